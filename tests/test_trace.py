"""Values and the tape: what a value tells of itself, what an abstract one refuses, what a plan takes for a constant."""

import itertools
import random

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ops import elementwise as E
from numbaflux.trace import Value, tape

x32 = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def traced(f, x=x32, compiled=False):
    """What f makes of a value: concrete in a gradient, abstract in a plan."""
    found = []

    def look(v):
        found.append(f(v))
        return F.sum(v)

    if compiled:
        nf.compile(look)(x)
    else:
        nf.gradient(look, x)
    return found[0]


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("compiled", [False, True])
def test_a_value_knows_its_shape_and_type(compiled):
    told = traced(lambda v: (v.shape, v.dtype, v.ndim, v.size, len(v), v.spec, v.abstract), compiled=compiled)
    assert told == ((2, 3), np.float32, 2, 6, 2, nf.Spec((2, 3), np.dtype(np.float32)), compiled)


def test_a_value_shows_itself():
    assert traced(lambda v: repr(v[0])) == "Value([1. 2. 3.], shape=(3,), dtype=float32)"
    assert traced(lambda v: repr(v[0]), compiled=True) == "Value(abstract, shape=(3,), dtype=float32)"


def test_a_concrete_value_is_a_number_where_python_asks():
    told = traced(
        lambda v: (bool(v[0, 0] > 0), float(v[1, 2]), int(v[1, 0]), v[0, 1].item(), "yes" if v[0, 0] < 0 else "no")
    )
    assert told == (True, 6.0, 4, 2.0, "no")


def test_a_value_may_be_a_key_and_has_rows():
    assert traced(lambda v: (v in {v: 1}, [float(F.sum(row)) for row in v])) == (True, [6, 15])
    with pytest.raises(TypeError, match="0-d"):
        traced(lambda v: len(v[0, 0]))


ASKS = {
    "if, while, and, or, not": lambda v: 1 if F.sum(v) > 0 else 2, r"float\(\)": lambda v: float(F.sum(v)),
    r"int\(\)": lambda v: int(F.sum(v)), r"\.item\(\)": lambda v: F.sum(v).item(),
}  # fmt: skip


@pytest.mark.parametrize("what", ASKS)
def test_an_abstract_value_is_no_number(what):
    message = (
        f"^compile: a number computed from arrays must not be asked for by {what} while a plan is made; use nf.where"
    )
    with pytest.raises(nf.PlanError, match=message):
        traced(ASKS[what], compiled=True)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda v: np.asarray([v])], ids=["asarray", "array", "list"])
def test_no_value_turns_into_an_array(convert, compiled):
    message = "^gradient: a traced value must not be turned into a NumPy array, which .*; use nf.stop_gradient"
    with pytest.raises(nf.PlanError, match=message):
        traced(convert, compiled=compiled)


# ---------------------------------------------------------------- the tape


def test_apply_runs_arrays_and_records_values():
    assert type(nf.apply(E.NEG, x32)) is np.ndarray
    call = traced(lambda v: nf.apply(E.AFFINE, v, scale=2.0, shift=1.0).call)
    assert (call.op, call.attrs, len(call.inputs), call.outs[0].shape) == (
        E.AFFINE,
        {"scale": 2.0, "shift": 1.0},
        1,
        (2, 3),
    )


def test_the_tape_is_in_order_and_holds_what_is_needed():
    def f(v):
        F.exp(v)  # nobody needs it
        y = v * v
        return [c.op.name for c in tape([F.tanh(y) + y])]

    assert traced(f) == traced(f, compiled=True) == ["mul", "tanh", "add"]


def test_numbers_may_be_named_in_any_order():
    def f(v):
        return nf.apply(E.AFFINE, v, shift=1.0, scale=2.0)

    np.testing.assert_array_equal(f(x32), 2 * x32 + 1)
    np.testing.assert_array_equal(nf.compile(f)(x32), 2 * x32 + 1)


def test_levels_follow_gradients_alone():
    def f(v):
        return [value.levels == v.levels for value in (v * 2, nf.stop_gradient(v), F.sign(v), v > 0, F.relu(v))]

    assert traced(f) == [True, False, False, False, True]


def test_ones_own_operation():
    """A record is all there is to an operation: it is registered nowhere."""
    double = nf.Op("double", lambda x, **numbers: x, E.AFFINE.lower, (lambda c, dy: nf.apply(double, dy, **c.attrs),))

    def f(v):
        return F.sum(nf.apply(double, v, scale=2.0, shift=0.0))

    np.testing.assert_array_equal(nf.gradient(f, x32), np.full((2, 3), 2))
    value, grad = nf.compile(lambda v: nf.withgradient(f, v))(x32)
    assert value == 42
    np.testing.assert_array_equal(grad, np.full((2, 3), 2))


# ---------------------------------------------------------------- constants of a plan


def test_arrays_of_a_plan_are_read_where_they_are():
    w, table = np.ones(3, np.float32), np.array([2, 0, 1])
    f = nf.compile(lambda v: F.sum(nf.where(v > 2, v, 0.0) * w, axis=0)[table])
    np.testing.assert_array_equal(f(x32), [9, 4, 5])
    w[:] = [1, 2, 3]
    table[:] = 0
    np.testing.assert_array_equal(f(x32), [4, 4, 4])
    assert len(f.programs) == 1


STEPS = itertools.count()
CHANGES = {
    "numpy.random": (lambda v: v * np.random.normal(size=3).astype(np.float32), r"broadcast: an array of shape \(3,\)"),
    "random": (lambda v: v + random.random(), "affine: the number shift, 0.* then 0"),
    "a number": (lambda v: v * next(STEPS), "affine: the number scale, "),
    "a branch": (lambda v: F.exp(v) if next(STEPS) % 2 else F.tanh(v), "the operations"),
    "the sign of 0": (lambda v: v + 0.0 * (-1) ** next(STEPS), "affine: the number shift, -?0.0 then -?0.0"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_function_that_changes_is_refused(name):
    f, what = CHANGES[name]
    message = (
        f"^compile: f must be the same at each call, got a change in {what}.*; use nf.Scalar for a number that changes"
    )
    with pytest.raises(nf.PlanError, match=message):
        nf.compile(f)(x32)


def test_what_is_equal_at_each_call_has_not_changed():
    f = nf.compile(lambda v: v * np.arange(3, dtype=np.float32) + np.full(3, np.nan, np.float32) * 0 + float("nan"))
    assert np.isnan(f(x32)).all()


def test_a_plan_does_not_take_copies_of_ones_arrays():
    w = np.ones((3, 4), np.float32).T
    with pytest.raises(
        nf.PlanError, match=r"^dense: an array that a compiled function uses must be C-contiguous, got strides"
    ):
        nf.compile(lambda v: F.dense(w, v))(x32.T)
    assert F.dense(w, np.ascontiguousarray(x32.T)).shape == (4, 2)  # eager, a copy is only slow


def test_a_result_without_the_arguments_is_refused():
    with pytest.raises(
        nf.PlanError, match="^compile: f must be a function whose result depends on its arguments, got 3"
    ):
        nf.compile(lambda v: 3)(x32)


def test_results_may_be_anything_made_of_values():
    f = nf.compile(lambda v: {"same": v, "twice": (v * 2, v * 2), "T": v.T, "flat": v.reshape(-1), "n": 3, "w": x32})
    y = f(x32)
    np.testing.assert_array_equal(y["same"], x32)
    assert not np.shares_memory(y["same"], x32)
    np.testing.assert_array_equal(y["twice"], [2 * x32, 2 * x32])
    np.testing.assert_array_equal(y["T"], x32.T)
    np.testing.assert_array_equal(y["flat"], x32.ravel())
    assert y["n"] == 3 and y["w"] is x32


def test_the_same_value_as_several_results_is_several_arrays():
    a, b, c = nf.compile(lambda v: (lambda w: (w, w, w.reshape(3, 2)))(v + 1))(x32)
    a[:] = 0
    np.testing.assert_array_equal(b, x32 + 1)
    np.testing.assert_array_equal(c.ravel(), b.ravel())
    assert not isinstance(a, Value)
