"""Operations on elements where a formula leaves a choice: zeros, kinks, NaN, powers; and arguments that do not fit."""

import itertools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ops import elementwise as E
from tests.cases import DTYPES, ROWS

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, 1e9, -1e9, np.inf, -np.inf, np.nan)


def grid(dtype):
    """Every pair, often enough that each stands in a vector and in what is left over."""
    a, b = np.array(list(itertools.product(NUMBERS, NUMBERS)), dtype).T
    return np.resize(a, 1 + 2 * a.size), np.resize(b, 1 + 2 * b.size)


def gradient(f, *xs):
    return nf.gradient(lambda *vs: F.sum(f(*vs)), *(np.array(x, np.float32) for x in xs))


@every_dtype
@pytest.mark.parametrize("op", [E.NEG, E.SQRT, E.ABS, E.SIGN, E.TANH, E.SQUARE], ids=lambda op: op.name)
def test_signs_of_zeros(op, dtype):
    x = np.resize(np.array([0.0, -0.0], dtype), 37)
    right = {"neg": -x, "abs": abs(x), "square": x * x}.get(op.name, x)
    y = nf.apply(op, x)
    np.testing.assert_array_equal(y, right)
    np.testing.assert_array_equal(np.signbit(y), np.signbit(right))


@every_dtype
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum", "pow"])
def test_special_numbers_are_ieees(name, dtype):
    a, b = grid(dtype)
    y = nf.apply(next(op for op in E.OPS if op.name == name), a, b)
    numpy = {"sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power"}.get(name, name)
    with np.errstate(all="ignore"):
        right = getattr(np, numpy)(a.astype(np.float64), b.astype(np.float64)).astype(dtype)
    np.testing.assert_array_max_ulp(y[~np.isnan(right)], right[~np.isnan(right)], 2)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(right))
    if name not in ("maximum", "minimum"):  # of 0 and -0 either is the larger
        np.testing.assert_array_equal(np.signbit(y)[right == 0], np.signbit(right)[right == 0])


@every_dtype
def test_affine_rounds_once(dtype):
    """(1 + e)(1 - e) - 1 = -e e, of which two roundings would leave 0."""
    e = np.finfo(dtype).eps
    y = nf.apply(E.AFFINE, np.full(37, 1 + e, dtype), scale=float(1 - e), shift=-1.0)
    np.testing.assert_array_equal(y, np.full(37, -e * e, dtype))


def test_zeros_of_both_signs_are_numbers_of_their_own():
    """A plan that is kept for one must not be run for the other."""
    x = np.ones(5, np.float32)
    for value in (0.0, -0.0, 0.0):
        assert np.signbit(nf.apply(E.FILL, x, value=value)).all() == np.signbit(value)
        assert np.signbit(nf.apply(E.AFFINE, -0.0 * x, scale=1.0, shift=value)).all() == np.signbit(value)


def test_gradients_at_kinks():
    np.testing.assert_array_equal(gradient(F.relu, [-1, -0.0, 0, 1]), [0, 0, 0, 1])
    np.testing.assert_array_equal(gradient(F.absolute, [-2, 0, 3]), [-1, 0, 1])
    np.testing.assert_array_equal(gradient(F.sign, [-2, 0, 3]), [0, 0, 0])
    for f in (F.maximum, F.minimum):
        np.testing.assert_array_equal(gradient(f, [1, 1], [1, 1]), [[1, 1], [0, 0]])  # equal: all to the first


def test_nan_goes_on_backwards():
    """A NaN that a rule would turn into 0 hides where it came from."""
    assert np.isnan(gradient(lambda x: F.square(F.relu(x)), [np.nan]))
    for f in (F.exp, F.tanh, F.sigmoid, F.square, F.sqrt, F.log):
        assert np.isnan(gradient(lambda x, f=f: F.mul(f(x), x), [np.nan]))


def test_gradients_of_powers_at_zero():
    np.testing.assert_array_equal(gradient(lambda x: x**0.0, [0, 2]), [0, 0])
    np.testing.assert_array_equal(gradient(lambda x: x**2.5, [0, 1]), [0, 2.5])
    base, exponent = gradient(lambda a, b: a**b, [0, 0, 2], [0, 3, 0])
    np.testing.assert_array_equal(base, [0, 0, 0])
    np.testing.assert_allclose(exponent, [0, 0, np.log(2)], rtol=1e-6)


def test_the_other_branch_of_where_is_not_seen():
    x = np.array([-1, 0, 4], np.float32)
    grad = gradient(lambda v: nf.where(v > 0, F.sqrt(nf.where(v > 0, v, 1)), 0), x)
    np.testing.assert_array_equal(grad, [0, 0, 0.25])


def test_comparisons_with_nan():
    x, nan = np.ones(33, np.float32), np.full(33, np.nan, np.float32)
    for f in (F.less, F.less_equal, F.equal, F.greater, F.greater_equal):
        assert not f(x, nan).any() and not f(nan, nan).any()
    assert F.not_equal(nan, nan).all()


@pytest.mark.parametrize("name", [op.name for op in E.OPS if len(ROWS[op.name].cases[0].inputs) > 1])
def test_arguments_that_do_not_fit(name):
    """Without broadcasting, which is an operation of its own, all shapes and dtypes agree."""
    op = next(op for op in E.OPS if op.name == name)
    xs = ROWS[name].cases[3].arrays(np.float32)
    with pytest.raises(
        nf.ShapeError, match=rf"^{name}: (arguments|condition) must be of shape \(1[56],\), got \(1[56],\)"
    ):
        nf.apply(op, *xs[:-1], xs[-1][1:])
    with pytest.raises(nf.DTypeError, match=rf"^{name}: arguments must be all float32, got float64; x.astype"):
        nf.apply(op, *xs[:-1], xs[-1].astype(np.float64))


@pytest.mark.parametrize(
    "name", [op.name for op in E.OPS if len(ROWS[op.name].cases[0].inputs) == 1 and op.name != "fill"]
)
def test_floats_are_asked_for(name):
    op, case = next(op for op in E.OPS if op.name == name), ROWS[name].cases[0]
    with pytest.raises(nf.DTypeError, match=rf"^{name}: x must be an array of float32 or float64, got int64; x.astype"):
        nf.apply(op, np.ones(3, np.int64), **case.attrs)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_other_arrays_are_filled_too(dtype):
    y = nf.apply(E.FILL, np.zeros(5, dtype), value=1.0)
    assert y.dtype == dtype and y.tolist() == [1] * 5
