"""Plans run through Numba's own dispatchers: the same bits as native, the same float mode."""

from functools import partial

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import interpreter
from numbaflux.instance import Instance
from numbaflux.interpreter import array_at, resolve
from numbaflux.ops import REGISTRY
from tests.cases import CASES


class Interpreted(Instance):
    """A plan that runs without its native runner."""

    def caller(self, first, last):
        return partial(self._interpret, first, last)


def interpreted(plan, arrays, outs):
    Interpreted(plan, 1).run(*arrays, *outs)
    return outs


def program(f, *args):
    one = nf.compile(f)
    one(*args)
    return next(iter(one.programs.values()))


def test_model_interpreted_has_the_bits_of_native():
    model = nf.Chain(nf.Dense(7, 19, nf.tanh), nf.Dense(19, 3))
    x = np.random.default_rng(0).normal(size=(70, 7)).astype(np.float32)
    p = program(model, x)
    [out] = interpreted(p.plan, [x], [np.zeros((70, 3), np.float32)])
    np.testing.assert_array_equal(out, model(x))


@pytest.mark.long
@pytest.mark.parametrize("op", REGISTRY, ids=lambda op: op.name)
def test_every_operation_interpreted_has_the_bits_of_native(op):
    cases = [c for c in CASES if c.name == op.name]
    for case in cases[:: max(1, len(cases) // 3)]:
        arrays = case.arrays(np.float32)
        given = [a for a in arrays if a is not None]
        if any(a.ndim and a.shape[0] == 0 for a in given):
            continue

        def f(*xs, case=case, arrays=arrays, op=op):
            rest = iter(xs)
            return nf.apply(op, *[None if a is None else next(rest) for a in arrays], **case.attrs)

        p = program(f, *given)
        native = [np.asarray(nf.apply(op, *arrays, **case.attrs))]
        outs = interpreted(p.plan, given, [np.zeros(s.shape, s.dtype) for s in p.specs])
        assert [o.tobytes() for o in outs] == [o.tobytes() for o in native], str(case)


def test_status_stops_the_waves_that_follow(monkeypatch):
    step = nf.compile(lambda m, x: (m["w"] * x).sum(), m := {"w": np.ones(3, np.float32)}, nf.setup(nf.Descent(), m))
    step(np.ones(3, np.float32))
    groups = step.last.plan.groups
    stopped = next(g.wave for g in groups if any(e.check for e in g.entries))
    assert stopped < max(g.wave for g in groups)
    ran, status = [], [0, 0]

    def one(e, row, tile):
        ran.append(e)
        status[0] = status[0] or int(e.check is not None)

    monkeypatch.setattr(interpreter, "_run", one)
    interpreter.interpret(groups, 0, 99, dict.fromkeys(id(e) for g in groups for e in g.entries), status)
    assert ran == [e for g in groups if g.wave <= stopped for e in g.entries]
    assert not any(e.commits for e in ran)


def test_interpreter_counts_subnormals_as_zero_and_restores_the_callers_mode():
    tiny = np.full(100, 1e-39, np.float32)
    p = program(lambda x: x * 0.5 + 0.0, tiny)
    [out] = interpreted(p.plan, [tiny], [np.ones(100, np.float32)])
    assert (out == 0).all()
    assert (tiny * np.float32(0.5) > 0).all()  # NumPy's mode is as it was


def test_float_mode_is_restored_where_a_kernel_cannot_be_called(monkeypatch):
    x = np.ones(100, np.float32)
    p = program(lambda x: x * 0.5, x)

    def fails(*args):
        raise MemoryError("no more")

    monkeypatch.setattr(interpreter, "_run", fails)
    with pytest.raises(MemoryError):
        interpreted(p.plan, [x], [x.copy()])
    assert (np.full(100, 1e-39, np.float32) * np.float32(0.5) > 0).all()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (2, 3), (2, 3, 4)])
def test_array_over_memory_is_that_memory(shape):
    held = np.arange(100, dtype=np.int32)
    one = array_at(held.ctypes.data + 4, shape, np.dtype(np.int32))
    size = int(np.prod(shape))
    np.testing.assert_array_equal(one.reshape(-1), held[1 : 1 + size])
    if size:
        one.reshape(-1)[-1] = -7
        assert held[size] == -7


def test_kernels_are_found_by_name_and_users_functions_are_themselves():
    from numbaflux.kernels.cpu import optim

    assert resolve("optim.tick") is optim.tick
    assert resolve(max) is max
