"""Rows that meet by index: what is of no row of the tile is passed over, and nothing else is written."""

import numpy as np
import pytest

from numbaflux.kernels.cpu import scatter


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("product", "right"), [(1, [1, 6, -4]), (0, [-np.inf, 3, 1])])
def test_fold(dtype, product, right):
    guarded = np.full((7, 2), 9, dtype)
    x = np.array([[2, 2], [9, 9], [3, 3], [-4, -4], [1, 1], [9, 9]], dtype)
    index = np.array([11, -1, 11, 12, 12, 2**62])
    scatter.scatter_fold(guarded[2:5], x, index, 10, product)
    np.testing.assert_array_equal(guarded[:, 1], [9, 9, *right, 9, 9])
    np.testing.assert_array_equal(guarded[:, 0], guarded[:, 1])


def test_nan_stays():
    table, index = np.empty((1, 1)), np.zeros(3, np.int64)
    for product in (0, 1):
        scatter.scatter_fold(table, np.array([[1.0], [np.nan], [2.0]]), index, 0, product)
        assert np.isnan(table).all()
