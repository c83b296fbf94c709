"""Groups and waves: every dependence kept, byte by byte; tiles, threads and what the arena held change no bit."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.instance import Instance
from numbaflux.lowering import Buf, Build, Int, cut, whole
from numbaflux.schedule import schedule
from numbaflux.warm import warm
from tests.programs import hold, losses, programs


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """All that are missing, compiled at once."""
    for _ in warm():
        pass


def compiled(f, arrays):
    """The program that a function becomes for some arrays."""
    one = nf.compile(f)
    one(*arrays)
    return next(iter(one.programs.values()))


def outputs(program, arrays, workers, noise=None):
    """What a program gives on some workers, its arena filled with noise before."""
    outs = [np.full(s.shape, 77, s.dtype) for s in program.specs]
    instance = Instance(program.plan, workers)
    for _ in range(2):
        if noise is not None and not instance.fence:
            instance.memory.bytes[...] = noise.integers(0, 256, instance.memory.bytes.size, np.uint8)
            instance.status[0] = 0  # which is Python's between two calls
        instance.run(*arrays, *outs)
    return outs


def bits(arrays):
    return [np.asarray(a).tobytes() for a in arrays]


@settings(max_examples=60)
@given(programs())
def test_plan_gives_the_bits_of_eager_calls_on_any_number_of_workers(case):
    f, arrays = case
    before = bits(arrays)
    right = bits(f(*arrays))
    program = compiled(f, arrays)
    for workers in (1, 2, 3, 5):
        assert bits(outputs(program, arrays, workers, np.random.default_rng(workers))) == right, (workers, f.steps)
    assert bits(arrays) == before


@settings(max_examples=30)
@given(programs())
def test_plan_in_fences_gives_the_same_bits(case):
    f, arrays = case
    right = bits(f(*arrays))
    program = compiled(f, arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBAFLUX_FENCE", "1")
        for workers in (1, 2):
            assert bits(outputs(program, arrays, workers)) == right, (workers, f.steps)


@settings(max_examples=60)
@given(programs())
def test_groups_keep_every_dependence_byte_by_byte(case):
    f, arrays = case
    hold(compiled(f, arrays).plan)


@settings(max_examples=15)
@given(losses())
def test_training_steps_keep_every_dependence_and_give_the_bits_of_eager_updates(case):
    loss, arrays = case
    models = [{"x": arrays[0].copy(), "w": arrays[2].copy()} for _ in range(2)]
    states = [nf.setup(nf.Adam(0.01), m) for m in models]
    target = lambda m, y: loss(m["x"], y, m["w"])  # noqa: E731
    step = nf.compile(target, models[0], states[0])
    for _ in range(2):
        value, grads = nf.withgradient(lambda m: target(m, arrays[1]), models[1])
        nf.update(states[1], models[1], grads)
        assert bits([step(arrays[1])]) == bits([value])
        assert bits(models[0].values()) == bits(models[1].values())
    plan = next(iter(step.programs.values())).plan
    hold(plan)
    last = max(g.wave for g in plan.groups)
    assert {e.commits for g in plan.groups if g.wave == last for e in g.entries} == {True}


# ---------------------------------------------------------------- by hand

F4 = np.dtype(np.float32)


def entry(build, out, *ins, rows, block, **more):
    """An entry that writes out and reads others, all cut."""
    build.add("elementwise.add", cut(out, write=True), *map(cut, ins), rows=rows, block=block, **more)
    return build.entries[-1]


def test_entries_over_the_same_rows_join_one_group_and_a_reader_of_all_rows_waits():
    b = Build()
    x, y, z, s = (b.temp((64,), F4) for _ in range(4))
    entry(b, y, x, rows=64, block=8)
    entry(b, z, y, rows=64, block=8)
    b.add("reduce.sum_slots", whole(s, 1, 64, write=True), whole(z, 1, 64), rows=1, block=1)
    groups = schedule(b.entries)
    assert [(len(g.entries), g.tiles, g.wave) for g in groups] == [(2, 8, 0), (1, 1, 1)]


@pytest.mark.parametrize("shift", [(1, 64), (0, 32), (32, 32)], ids=["shifted", "narrower", "second half"])
def test_reader_whose_tiles_lie_elsewhere_in_the_buffer_waits(shift):
    """The same rows, and cut like what is written: but a tile holds other bytes."""
    b = Build()
    x, y = b.temp((128,), F4), b.temp((128,), F4)
    start, size = shift
    entry(b, y.part(0, 64), x.part(0, 64), rows=32, block=4)
    entry(b, x.part(0, 64), y.part(start, size), rows=32, block=4)
    groups = schedule(b.entries)
    hold(SimpleNamespace(groups=groups, needed=b.entries, waves=2))
    assert [g.wave for g in groups] == [0, 1]


def test_block_of_a_group_is_a_fixed_ones_else_that_of_the_most_work():
    def block(*entries):
        b = Build()
        x = b.temp((64,), F4)
        for work, size, fixed in entries:
            y = b.temp((64,), F4)
            entry(b, y, x, rows=64, block=size, work=work, fixed=fixed)
            x = y
        return [g.block for g in schedule(b.entries)]

    assert block((1, 8, False), (9, 16, False)) == [16]
    assert block((1, 8, True), (9, 16, False)) == [8]
    assert block((9, 16, False), (1, 8, True)) == [8]
    assert block((1, 8, True), (9, 16, True)) == [8, 16]
    assert block((9, 8, False), (1, 16, True)) == [8, 16], "larger tiles than suit most of the work"
    assert block((1, 16, True), (9, 8, False)) == [16, 8]


def test_group_does_not_grow_past_a_check():
    b = Build()
    x, y, z = (b.temp((64,), F4) for _ in range(3))
    entry(b, y, x, rows=64, block=8)
    b.check("check.finite_all", whole(y), error=ValueError)
    entry(b, z, y, rows=64, block=8)
    b.add("optim.tick", whole(z, write=True), rows=1, block=1, commits=True)
    groups = schedule(b.entries)
    commit = next(g for g in groups if any(e.commits for e in g.entries))
    check = next(g for g in groups if any(e.check for e in g.entries))
    assert check.wave < commit.wave and commit.entries == [b.entries[-1]]


def test_writes_that_overlap_in_part_wait_for_each_other():
    b = Build()
    x = b.temp((100,), F4)
    one, two, apart = x.part(0, 60), x.part(40, 60), x.part(0, 40)
    for part in (one, two, apart):
        b.add("move.fill", whole(part, write=True), Int(0), rows=1, block=1)
    groups = schedule(b.entries)
    order = [e for g in groups for e in g.entries]
    assert order.index(b.entries[0]) < order.index(b.entries[1])
    assert order.index(b.entries[0]) < order.index(b.entries[2])


@pytest.mark.parametrize("use", ["late", "early"])
def test_what_a_later_group_alone_takes_is_made_there(use):
    def f(x):
        t = nf.tanh(x)
        half = 0.5 * t
        centred = t - F.mean(half if use == "early" else t, axis=0, keepdims=True)
        return centred * half if use == "late" else centred

    x = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    program = compiled(f, [x])
    home = {e.kernel: g for g in program.plan.groups for e in g.entries}
    assert home["elementwise.tanh"] is not home["elementwise.sub"]
    assert home["elementwise.affine"] is home["elementwise.sub" if use == "late" else "elementwise.tanh"]
    assert bits(outputs(program, [x], 2)) == bits([f(x)])


def test_mlp_of_batch_256_is_one_group_of_tiles_then_sums_checks_and_the_update():
    """Forward and backward of a tile of samples stay in cache; nothing is changed before every check has passed."""
    nf.seed(0)
    model = nf.Chain(nf.Dense(8, 32, nf.tanh), nf.Dense(32, 1))
    step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, nf.setup(nf.Adam(), model))
    step(np.ones((256, 8), np.float32), np.ones((256, 1), np.float32))
    plan = next(iter(step.programs.values())).plan
    waves = [[e.kernel for g in plan.groups if g.wave == w for e in g.entries] for w in range(plan.waves)]
    assert [(g.rows, g.block, g.tiles) for g in plan.groups] == [(256, 32, 8), (1, 1, 1), (336, 336, 1)]
    assert waves == GOLDEN


GOLDEN = [
    [
        "dense.product", "elementwise.tanh", "dense.product", "elementwise.sub", "elementwise.square", "rows.sum",
        "elementwise.affine", "elementwise.mul", "dense.product", "dense.product", "rows.sum", "elementwise.tanh_grad",
        "dense.product", "rows.sum",
    ],
    [*["reduce.sum", "reduce.sum_slots"] * 2, "reduce.sum", "check.finite_all", "check.finite_all"],
    ["optim.adam", "optim.tick"],
]  # fmt: skip


def test_time_grows_with_the_entries_not_with_their_square():
    def looks(count):
        """How often two buffers are compared for a chain of that many entries that all read one array."""
        b, seen = Build(), []
        shared, x = b.temp((64,), F4), b.temp((64,), F4)
        for _ in range(count):
            y = b.temp((64,), F4)
            entry(b, y, x, shared, rows=64, block=8)
            x = y
        meets = Buf.meets
        Buf.meets = lambda self, other: seen.append(1) or meets(self, other)
        try:
            schedule(b.entries)
        finally:
            Buf.meets = meets
        return len(seen)

    assert looks(200) <= 2.5 * looks(100)
