"""Sums, maxima and repetition: exact sums of whole numbers over many shapes, ties, NaN, no elements."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ops import reduce as R
from tests.cases import DTYPES

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
SIZES = (1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 1023, 1024, 1025, 2503)
SHAPES = [(a, k, b) for k in SIZES for a, b in ((1, 1), (1, 2), (1, 5), (3, 1), (2, 7), (40, 1), (33, 3))]


def whole(shape, dtype):
    return np.random.default_rng(sum(shape)).integers(-8, 9, shape).astype(dtype)


@every_dtype
def test_sums_of_whole_numbers_are_exact(dtype):
    """Whatever the order; each element counts once."""
    for shape in SHAPES:
        x = whole(shape, dtype)
        np.testing.assert_array_equal(nf.apply(R.SUM, x, start=1, stop=2, scale=1.0), x.sum(1), err_msg=str(shape))
        np.testing.assert_array_equal(
            nf.apply(R.SUM, x, start=0, stop=2, scale=0.5), x.sum((0, 1)) / 2, err_msg=str(shape)
        )


@every_dtype
def test_a_maximum_is_found_wherever_it_stands(dtype):
    for shape in SHAPES:
        x = -(whole(shape, dtype) ** 2) - 1
        at = np.random.default_rng(0).integers(0, shape[1], (shape[0], 1, shape[2]))
        np.put_along_axis(x, at, 5, 1)
        np.testing.assert_array_equal(nf.apply(R.MAX, x, start=1, stop=2), np.full_like(x[:, 0], 5), err_msg=str(shape))
        grad = nf.gradient(lambda v: F.sum(nf.apply(R.MAX, v, start=1, stop=2)), x)
        np.testing.assert_array_equal(grad, x == 5, err_msg=str(shape))


def test_the_gradient_of_equal_maxima_goes_to_the_first():
    x = np.array([[1, 3, 3], [2, 2, 2]], np.float32)
    np.testing.assert_array_equal(nf.gradient(lambda v: F.sum(F.max(v, 1)), x), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(nf.gradient(lambda v: F.max(v), x), [[0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(nf.gradient(lambda v: F.sum(F.max(v, 0)), x), [[0, 1, 1], [1, 0, 0]])


def test_the_gradient_of_a_maximum_that_is_nan_goes_to_the_nan():
    x = np.array([1, np.nan, 3, np.nan], np.float32)
    assert np.isnan(F.max(x))
    np.testing.assert_array_equal(nf.gradient(lambda v: F.max(v), x), [0, 1, 0, 0])


def test_nothing_sums_to_zero():
    x = np.ones((3, 0, 2), np.float32)
    np.testing.assert_array_equal(nf.apply(R.SUM, x, start=1, stop=2, scale=1.0), np.zeros((3, 2)))
    assert nf.apply(R.SUM, x, start=0, stop=3, scale=1.0) == 0
    with pytest.raises(
        nf.ShapeError, match=r"^max: x must be of at least one element along the axis, got shape \(3, 0, 2\)"
    ):
        nf.apply(R.MAX, x, start=1, stop=2)


@pytest.mark.parametrize("op", [R.SUM, R.MAX], ids=lambda op: op.name)
def test_floats_are_asked_for(op):
    attrs = {"scale": 1.0} if op is R.SUM else {}
    with pytest.raises(
        nf.DTypeError, match=rf"^{op.name}: x must be an array of float32 or float64, got int64; x.astype"
    ):
        nf.apply(op, np.ones(3, np.int64), start=0, stop=1, **attrs)


def test_mean_and_variance_of_a_shifted_array():
    """The variance is of distances: a large mean costs it no digits but those of the numbers."""
    x = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32) + 100
    np.testing.assert_allclose(F.mean(x, 0), x.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(F.var(x, 0), x.var(0, dtype=np.float64), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, bool])
@pytest.mark.parametrize("shape", [(3, 1), (1, 4), (2, 1, 3), (3, 1, 1)])
def test_what_is_no_float_is_repeated_as_it_is(shape, dtype):
    x = (np.arange(np.prod(shape)).reshape(shape) + (0 if dtype is bool else 2**7)).astype(dtype)
    target = tuple(5 if size == 1 else size for size in shape)
    np.testing.assert_array_equal(F.broadcast_to(x, target), np.broadcast_to(x, target))
    np.testing.assert_array_equal(nf.compile(lambda x: F.broadcast_to(x, target))(x), np.broadcast_to(x, target))
