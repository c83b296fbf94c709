"""Products and transposes of batches of matrices: NumPy's einsum, gradients, plans, every message."""

import re

import numpy as np
import pytest

import numbaflux as nf

RNG = np.random.default_rng(0)
PRODUCTS = [  # shapes of a and b
    ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
    ((1, 2, 3), (1, 3, 4)), ((1, 2, 3), (3, 4)), ((7, 1, 1), (7, 1, 17)), ((33, 9, 16), (33, 16, 8)),
]  # fmt: skip
VECTORS = [((5, 2, 3), (5, 3)), ((5, 2, 3), (3,)), ((5, 2, 3), (1, 3)), ((1, 2, 3), (5, 3)), ((4, 1, 1), (4, 1))]


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def drawn(*shapes, dtype=np.float64):
    return [RNG.normal(size=s).astype(dtype) for s in shapes]


def of_each(a, b):
    """One product after another."""
    n = max(x.shape[0] if x.ndim == 3 else 1 for x in (a, b))
    pairs = [[x[i % len(x)] if x.ndim == 3 else x for x in (a, b)] for i in range(n)]
    return np.stack([left @ right for left, right in pairs])


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products(shapes, dtype):
    a, b = drawn(*shapes, dtype=dtype)
    y = nf.batched_mul(a, b)
    np.testing.assert_allclose(y, of_each(a, b), rtol=100 * np.finfo(dtype).eps, atol=100 * np.finfo(dtype).eps)
    assert y.dtype == dtype
    np.testing.assert_array_equal(nf.compile(nf.batched_mul)(a, b), y)


@pytest.mark.parametrize("shapes", VECTORS, ids=str)
def test_vectors(shapes):
    a, b = drawn(*shapes)
    y = nf.batched_vec(a, b)
    np.testing.assert_allclose(y, of_each(a, np.atleast_2d(b)[..., None])[..., 0], rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(nf.compile(nf.batched_vec)(a, b), y)


@pytest.mark.parametrize("transposed", [nf.batched_transpose, nf.batched_adjoint])
def test_transposes(transposed):
    [x] = drawn((5, 2, 3))
    np.testing.assert_array_equal(transposed(x), np.stack([m.T for m in x]))
    np.testing.assert_array_equal(nf.compile(transposed)(x), transposed(x))
    nf.check_gradients(lambda x: (transposed(x)[:, 1:] ** 2).sum(), x)


@pytest.mark.parametrize(
    ("f", "shapes"),
    [(nf.batched_mul, PRODUCTS[0]), (nf.batched_mul, PRODUCTS[1]), (nf.batched_mul, PRODUCTS[2]),
     (nf.batched_mul, PRODUCTS[4]), (nf.batched_vec, VECTORS[0]), (nf.batched_vec, VECTORS[1])],
)  # fmt: skip
def test_gradients(f, shapes):
    a, b = drawn(*shapes)
    nf.check_gradients(lambda a, b: (f(a, b) ** 2).sum(), a, b)

    def along(a, b):
        da, db = nf.gradient(lambda a, b: (f(a, b) ** 3).sum(), a, b)
        return (da**2).sum() + (db**2).sum()

    nf.check_gradients(along, 0.3 * a, 0.3 * b)


X, SHOWN = np.ones((5, 2, 3)), "(n, rows, columns) or (rows, columns)"
WRONG = [
    (lambda: nf.batched_mul(None, X), nf.DTypeError,
     "batched_mul: a must be an array of float32 or float64, got NoneType; x.astype(np.float32)"),
    (lambda: nf.batched_mul(X, X.astype(int)), nf.DTypeError,
     "batched_mul: b must be an array of float32 or float64, got int64; x.astype(np.float32)"),
    (lambda: nf.batched_mul(X[0, 0], X), nf.ShapeError, f"batched_mul: a must be of shape {SHOWN}, got (3,)"),
    (lambda: nf.batched_mul(X, X[None]), nf.ShapeError, f"batched_mul: b must be of shape {SHOWN}, got (1, 5, 2, 3)"),
    (lambda: nf.batched_mul(X[0], X[0].T), nf.ShapeError,
     "batched_mul: a must be of shape (n, rows, columns) where b is one matrix, got (2, 3); a @ b"),
    (lambda: nf.batched_mul(X, X), nf.ShapeError,
     "batched_mul: b must be of 3 along axis -2 as a has columns, got (5, 2, 3)"),
    (lambda: nf.batched_mul(X, np.ones((4, 3, 2))), nf.ShapeError,
     "batched_mul: b must be a batch of 5 or 1 as a, got (4, 3, 2)"),
    (lambda: nf.batched_vec(X[0], X), nf.ShapeError, "batched_vec: a must be of shape (n, rows, columns), got (2, 3)"),
    (lambda: nf.batched_vec(X, 1.0), nf.ShapeError, "batched_vec: b must be of shape (n, k) or (k,), got float"),
    (lambda: nf.batched_vec(X, X), nf.ShapeError, "batched_vec: b must be of shape (n, k) or (k,), got (5, 2, 3)"),
    (lambda: nf.batched_vec(X, X[:4, 0]), nf.ShapeError,
     "batched_vec: b must be a batch of 5 or 1 as a, got (4, 3)"),
    (lambda: nf.batched_vec(X, X[:, 0, :2]), nf.ShapeError,
     "batched_vec: b must be of 3 along axis -1 as a has columns, got (5, 2)"),
    (lambda: nf.batched_transpose(X[0]), nf.ShapeError,
     "batched_transpose: x must be of shape (n, rows, columns), got (2, 3)"),
    (lambda: nf.batched_adjoint([1]), nf.DTypeError,
     "batched_adjoint: x must be an array of float32 or float64, got list; x.astype(np.float32)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text[:60] for *_, text in WRONG])
def test_messages(call, kind, text):
    with raises(kind, text):
        call()
