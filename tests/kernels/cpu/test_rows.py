"""Reductions over the leading axis of a tile, and repetition along it, against NumPy in extended precision."""

import numpy as np
import pytest

from tests.entries import call

DTYPES = [np.float32, np.float64]
SIZES = [(1, 1), (1, 7), (7, 1), (64, 3), (65, 16), (97, 17), (2000, 1), (129, 1031)]


def numbers(shape, dtype):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("scale", [1.0, 0.375])
def test_sum(shape, dtype, scale):
    x = numbers(shape, dtype)
    y = np.full(shape[1] + 1, 77, dtype)
    call("rows.sum", y[:-1], x, dtype(scale))
    exact = x.astype(np.longdouble)
    bound = (8 + shape[0] / 4) * np.finfo(dtype).eps * abs(exact).sum(0)
    assert (abs(y[:-1] - scale * exact.sum(0)) <= bound).all()
    assert y[-1] == 77


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES)
def test_max_to_the_bit_and_nan_where_one_is(shape, dtype):
    x = numbers(shape, dtype)
    y = np.full(shape[1] + 1, 77, dtype)
    call("rows.max", y[:-1], x)
    np.testing.assert_array_equal(y[:-1], x.max(0))
    assert y[-1] == 77
    column = shape[1] // 2
    for row in {0, shape[0] // 2, shape[0] - 1}:
        bad = x.copy()
        bad[row, column] = np.nan
        call("rows.max", y[:-1], bad)
        np.testing.assert_array_equal(y[:-1], bad.max(0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES)
def test_broadcast(shape, dtype):
    x = numbers(shape[1], dtype)
    y = np.full((shape[0] + 1, shape[1]), 77, dtype)
    call("rows.broadcast", y[:-1], x)
    np.testing.assert_array_equal(y[:-1], np.broadcast_to(x, shape))
    assert (y[-1] == 77).all()
