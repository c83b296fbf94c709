"""What NumPy and Python have under their own names, so that numbaflux has none: docs/flux-names.txt sends there."""

import numpy as np

import numbaflux as nf

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2


def test_arrays_like_another():
    for made, value in ((np.ones_like(X), 1), (np.zeros_like(X), 0), (np.full_like(X, 7), 7)):
        assert made.dtype == X.dtype and made.shape == X.shape and (made == value).all()
    assert np.ones_like(X, dtype=bool).all() and not np.zeros_like(X, dtype=bool).any()
    for made in (nf.init.rand(X.shape), nf.init.randn(X.shape)):
        assert made.dtype == np.float32 and made.shape == X.shape


def test_rows_gathered_in_a_list_are_stacked_inside_of_a_gradient():
    def f(x):
        rows, total = [], 0.0
        for row in list(x):
            total = total + row * row
            rows.append(total)
        return (np.stack(rows, axis=1) ** 2).sum()

    squares = (X**2).cumsum(axis=0)
    assert f(X) == (squares**2).sum()
    nf.check_gradients(f, X)
    np.testing.assert_array_equal(nf.gradient(f, X), 4 * X * np.stack([squares[0] + squares[1], squares[1]]))


def test_an_axis_more_inside_of_a_gradient():
    dx = nf.gradient(lambda x: (np.expand_dims(x, 1) * np.ones((2, 4, 3), np.float32)).sum(), X)
    np.testing.assert_array_equal(dx, np.full((2, 3), 4))
