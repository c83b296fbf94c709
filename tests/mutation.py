"""Kernels made wrong on purpose: after each entry of one, another entry spoils what it wrote."""

import contextlib

from numba import njit

from numbaflux import run
from numbaflux.lowering import Build, Int, whole

MUTATIONS = {"element": 0, "sign": 1, "last row": 2}


@njit(error_model="numpy")
def bend_floats(x, how, row):
    """One element off by a thousandth, all signs turned, or the last row off."""
    t = x.dtype.type
    if how == 0:
        x[x.size // 2] += t(1e-3) * max(abs(x[x.size // 2]), t(1))
    elif how == 1:
        for i in range(x.size):
            x[i] = -x[i]
    else:
        for i in range(x.size - row, x.size):
            x[i] += t(1e-3) * max(abs(x[i]), t(1))


@njit(error_model="numpy")
def bend_integers(x, how, row):
    if how == 0:
        x[0] ^= 1
    elif how == 1:
        for i in range(x.size):
            x[i] = ~x[i]
    else:
        for i in range(x.size - row, x.size):
            x[i] ^= 1


@njit(error_model="numpy")
def bend_booleans(x, how, row):
    for i in range(x.size):
        if how == 1 or (how == 0 and i == x.size // 2) or (how == 2 and i >= x.size - row):
            x[i] = not x[i]


BEND = {"f": bend_floats, "i": bend_integers, "b": bend_booleans}


@contextlib.contextmanager
def mutated(kernel, how):
    """Every plan made inside has the outputs of a kernel spoiled; .hit counts where."""
    add = Build.add
    hits = []

    def spoiled(self, name, *args, rows, **more):
        add(self, name, *args, rows=rows, **more)
        if name != kernel or rows == 0:
            return
        for a in [a for a in args if getattr(a, "write", False) and a.buf.size]:
            hits.append(a)
            flat, row = whole(a.buf, a.buf.size, write=True), max(1, a.buf.size // rows)
            commits = more.get("commits", False)
            add(self, BEND[a.buf.dtype.kind], flat, Int(MUTATIONS[how]), Int(row), rows=1, block=1, commits=commits)

    run.planned.cache_clear()
    Build.add = spoiled
    try:
        yield hits
    finally:
        Build.add = add
        run.planned.cache_clear()


def entries(op, specs, attrs):
    """The names of the kernels that a call of an operation runs."""
    from numbaflux.lowering import argument

    build = Build()
    outs = [argument(s, i) for i, s in enumerate(run.outputs(op, specs, attrs))]
    ins = [None if s is None else argument(s, len(outs) + i) for i, s in enumerate(specs)]
    op.lower(build, outs[0] if len(outs) == 1 else outs, *ins, **attrs)
    return {e.kernel for e in build.entries}
