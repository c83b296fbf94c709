"""Random small programs of real operations, and what the schedule of any plan must hold to, byte by byte."""

import numpy as np
from hypothesis import strategies as st

from numbaflux import functions as F
from numbaflux.losses import logitcrossentropy
from numbaflux.lowering import Array

ROWS = st.sampled_from([1, 2, 7, 31, 32, 33, 64, 97, 256, 300])
COLUMNS = st.sampled_from([1, 2, 5, 16, 17, 48])


def _mean(x):
    return x - F.mean(x, axis=0, keepdims=True)


def _spread(x):
    return x / (F.sum(x * x, axis=1, keepdims=True) + 1.0)


# Results stay near 1, so nothing comes near the smallest numbers.
ONE = {
    "tanh": F.tanh, "relu": F.relu, "sigmoid": F.sigmoid, "mean": _mean, "spread": _spread, "softmax": F.softmax,
    "affine": lambda x: 0.5 * x + 0.25,
    "square": lambda x: F.tanh(x) * x + 0.5,
    "row": lambda x: x + x[0],
    "turn": lambda x: F.transpose(F.transpose(x)),
    "gram": lambda x: F.tanh(0.1 * F.matmul(x, F.matmul(F.transpose(x), x))),
    "flip": lambda x: x[::-1] * 0.5,
    "max": lambda x: x - F.max(x, axis=0, keepdims=True),
    "halves": lambda x: F.concatenate([x[: len(x) // 2], x[len(x) // 2 :]]),
    "reshape": lambda x: F.reshape(F.tanh(F.reshape(x, -1)), x.shape),
    "take": lambda x: x[np.arange(len(x)) // 2],
}  # fmt: skip
TWO = {"add": F.add, "mul": lambda a, b: a * b + 0.5, "sub": F.sub, "maximum": F.maximum}


@st.composite
def programs(draw):
    """(a function of two arrays and a weight, its arguments): operations on earlier results, some returned."""
    rows, columns = draw(ROWS), draw(COLUMNS)
    steps = []
    for i in range(draw(st.integers(1, 12))):
        earlier = st.integers(0, i + 1)
        name = draw(st.sampled_from([*ONE, *TWO, *TWO, "dense"]))
        steps.append((name, draw(earlier), draw(earlier)))
    kept = draw(st.lists(st.integers(2, len(steps) + 1), min_size=1, max_size=3, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    sizes = ((rows, columns), (rows, columns), (columns, columns))
    arrays = [(0.5 * rng.normal(size=s) + 0.1).astype(dtype) for s in sizes]

    def f(x, y, w):
        values = [x, y]
        for name, a, b in steps:
            if name == "dense":
                values.append(F.tanh(F.dense(values[a], w)))
            else:
                values.append(ONE[name](values[a]) if name in ONE else TWO[name](values[a], values[b]))
        return tuple(values[i] for i in kept)

    f.steps = steps, kept
    return f, arrays


@st.composite
def losses(draw):
    """(a scalar loss of the same, its arguments)."""
    f, arrays = draw(programs())
    labels = np.arange(len(arrays[0])) % arrays[0].shape[1]

    def loss(x, y, w):
        found = f(x, y, w)
        return logitcrossentropy(found[0], labels) + F.mean(x * x) + sum(F.mean(v * v) for v in found)

    return loss, arrays


# ---------------------------------------------------------------- the schedule, byte by byte


def touched(e, a: Array, group, tile):
    """(first byte, end) that an argument of an entry may touch in a tile, as kernels/table.py has it."""
    item = a.buf.dtype.itemsize
    block = group.block if group.tiles > 1 else e.rows
    if a.cut:
        per_row = int(np.prod(a.shape)) // e.rows * item
        first, last = min(tile * block, e.rows), min((tile + 1) * block, e.rows)
        return a.buf.offset + first * per_row, a.buf.offset + last * per_row
    start = a.buf.offset + (tile * block * a.per_row + tile * a.per_tile) * item
    return start, min(start + int(np.prod(a.shape)) * item, max(a.buf.offset + a.buf.nbytes, start))


def clash(one, two, tiles):
    """Whether two (entry, group) may touch the same byte, one of them writing, in a pair of tiles that is given."""
    for a in one[0].arrays:
        for b in two[0].arrays:
            if a.buf.storage is b.buf.storage and (a.write or b.write):
                for s, t in tiles:
                    (lo, hi), (low, high) = touched(*one[:1], a, one[1], s), touched(*two[:1], b, two[1], t)
                    if max(lo, low) < min(hi, high):
                        return True
    return False


def pairs(one, two, same):
    """Every pair of tiles of two groups (few, so that all can be looked at); same: only those that differ."""
    return [(s, t) for s in range(one.tiles) for t in range(two.tiles) if not (same and s == t)]


def hold(plan):
    """Assert that a plan's groups and waves keep the order in which its entries were made, wherever it matters."""
    place = {id(e): (g, i) for g in plan.groups for i, e in enumerate(g.entries)}
    entries = plan.needed
    assert sorted(place) == sorted(map(id, entries)), "each entry stands in one group"
    for i, e in enumerate(entries):
        g, at = place[id(e)]
        assert not (e.fixed and g.tiles > 1) or g.block == e.block
        assert g.tiles == 1 or e.rows == g.rows
        for p in entries[:i]:
            q, before = place[id(p)]
            if e.commits and not p.commits:
                assert q.wave < g.wave, "a change for good waits for all that may fail"
            if q is g:
                if clash((p, q), (e, g), [(t, t) for t in range(g.tiles)]):
                    assert before < at, "tile by tile in the order of the program"
                    assert p.check is None or e.check is not None, "a group is not stopped half way"
                assert not clash((p, q), (e, g), pairs(q, g, True)), "tiles of a group are independent"
            elif clash((p, q), (e, g), pairs(q, g, False)):
                assert q.wave < g.wave, "waves in the order of the program"
    waves = [g.wave for g in plan.groups]
    assert waves == sorted(waves) and set(waves) == set(range(plan.waves))
