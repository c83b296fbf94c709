"""Sums, maxima and their gradients against NumPy in float64."""

import numpy as np
import pytest

from numbaflux.kernels.cpu import reduce

SHAPES = [
    (1, 1, 1), (3, 15, 1), (2, 17, 1), (2, 1024, 1), (1, 5003, 1), (1, 1, 7), (3, 63, 16), (2, 65, 17), (1, 131, 1031),
]  # fmt: skip
DTYPES = [np.float32, np.float64]


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def summed(x, scale=1):
    y = np.full((x.shape[0], x.shape[2]), np.nan, x.dtype)
    reduce.sum(y, x, x.dtype.type(scale))
    return y


def largest(x):
    y = np.full((x.shape[0], x.shape[2]), np.nan, x.dtype)
    reduce.max(y, x)
    return y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sum(shape, dtype):
    """Any order errs by k eps / 2 times the sum of magnitudes at most, this one by the depth of its blocks, lanes."""
    x = numbers(shape, dtype)
    wide = x.astype(np.longdouble)
    depth = 64 + 16 + shape[1] / 1024 + 1
    bound = depth * np.finfo(dtype).eps / 2 * abs(wide).sum(1)
    assert np.all(abs(summed(x) - wide.sum(1)) <= bound)
    scaled = summed(x, 0.25)
    np.testing.assert_array_equal(scaled, summed(x) / 4)


def test_sum_of_many_stays_exact():
    """Sixteen million ones: one accumulator of float32 would end at 2**24."""
    x = np.ones((1, 2**24 + 2**20, 1), np.float32)
    assert summed(x)[0, 0] == x.size
    assert summed(x.reshape(1, -1, 16))[0, 0] == x.size / 16


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 37, 1), (5, 37, 9), (6, 1025, 1)])
def test_cuts_of_outer_do_not_show(shape, dtype):
    """The same array whole, and outer index by outer index: the same bits."""
    x = numbers(shape, dtype)
    for f in (summed, largest):
        np.testing.assert_array_equal(f(x), np.concatenate([f(x[o : o + 1]) for o in range(shape[0])]))


@pytest.mark.parametrize("inner", [1, 5])
def test_empty_sum_is_zero(inner):
    np.testing.assert_array_equal(summed(np.empty((2, 0, inner), np.float32)), np.zeros((2, inner)))


@pytest.mark.parametrize("inner", [1, 7])
def test_infinities_and_nan(inner):
    x = numbers((4, 40, inner), np.float32)
    x[0, 17], x[1, 38], x[2, 3], x[3, 39] = np.nan, np.inf, -np.inf, np.nan
    np.testing.assert_array_equal(summed(x)[:, 0], [np.nan, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(largest(x), x.max(1))
    np.testing.assert_array_equal(largest(np.full_like(x, -np.inf)), np.full((4, inner), -np.inf))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_max_and_its_gradient(shape, dtype):
    """All to the first of equal maxima."""
    x = np.round(numbers(shape, dtype))
    y, dy, dx = largest(x), numbers((shape[0], shape[2]), dtype, 1), np.full_like(x, np.nan)
    np.testing.assert_array_equal(y, x.max(1))
    reduce.max_grad(dx, x, y, dy)
    right = np.zeros_like(x)
    np.put_along_axis(right, x.argmax(1)[:, None], dy[:, None], 1)
    np.testing.assert_array_equal(dx, right)


def test_gradient_of_max_goes_to_the_first_nan():
    x = np.array([[[1.0], [np.nan], [5], [np.nan]]], np.float32)
    dx = np.empty_like(x)
    reduce.max_grad(dx, x, largest(x), np.array([[2]], np.float32))
    np.testing.assert_array_equal(dx[0, :, 0], [0, 2, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 17, 1), (2, 5, 16), (1, 1, 1)])
def test_broadcast(shape, dtype):
    x, y = numbers((shape[0], shape[2]), dtype), np.full(shape, np.nan, dtype)
    reduce.broadcast(y, x)
    np.testing.assert_array_equal(y, np.broadcast_to(x[:, None], shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 61])
def test_sum_slots_by_fours_and_by_any_cut(rows, dtype):
    slots = numbers((rows, 1500), dtype)
    whole, pieces = np.empty(1500, dtype), np.empty(1500, dtype)
    reduce.sum_slots(whole, slots, 0)
    fours = rows - rows % 4
    a, b, c, d = (slots[i:fours:4] for i in range(4))
    in_order = np.concatenate([np.zeros((1, 1500), dtype), (a + b) + (c + d), slots[fours:]])
    np.testing.assert_array_equal(whole, np.add.accumulate(in_order)[-1])
    for at, stop in ((0, 13), (13, 1201), (1201, 1500)):
        reduce.sum_slots(pieces[at:stop], slots, at)
    np.testing.assert_array_equal(pieces, whole)
