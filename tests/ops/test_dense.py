"""Products of whole numbers are exact in any order: sizes around the tiles, each side transposed, stacks, gradients."""

import itertools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ops import dense as D
from tests.cases import DTYPES

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
ROWS, COLUMNS, DEPTHS = (1, 2, 7, 8, 9, 17, 33, 101), (1, 8, 15, 16, 17, 47, 48, 49, 97), (1, 2, 16, 33, 131)
LARGE = [(300, 7, 5), (5, 7, 300), (257, 130, 131), (64, 257, 130), (3, 1031, 17), (129, 31, 1025)]
SIZES = [*itertools.product(ROWS, COLUMNS, DEPTHS), *LARGE]


def whole(*shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def equal(y, right, where):
    np.testing.assert_array_equal(y, right, err_msg=str(where))


@every_dtype
def test_products_of_whole_numbers_are_exact(dtype):
    for m, n, k in SIZES:
        a, b = whole(m, k, dtype=dtype), whole(k, n, dtype=dtype, seed=1)
        right = a @ b
        equal(nf.apply(D.MATMUL, a, b, ta=False, tb=False), right, (m, n, k))
        equal(nf.apply(D.MATMUL, np.ascontiguousarray(a.T), b, ta=True, tb=False), right, (m, n, k, "ta"))
        equal(nf.apply(D.MATMUL, a, np.ascontiguousarray(b.T), ta=False, tb=True), right, (m, n, k, "tb"))


@every_dtype
def test_dense_layers_of_whole_numbers_are_exact(dtype):
    """Value and all three gradients; the bias is added once, also where the depth is walked in parts."""
    for m, n, k in SIZES[::3] + LARGE:
        x, w, b = whole(m, k, dtype=dtype), whole(k, n, dtype=dtype, seed=1), whole(n, dtype=dtype, seed=2)
        dy = whole(m, n, dtype=dtype, seed=3)
        y, back = nf.pullback(lambda x, w, b: F.dense(x, w, b), x, w, b)
        equal(y, x @ w + b, (m, n, k))
        for got, right in zip(back(dy), (dy @ w.T, x.T @ dy, dy.sum(0)), strict=True):
            equal(got, right, (m, n, k))


@every_dtype
@pytest.mark.parametrize(("ta", "tb"), [(False, False), (True, False), (False, True)])
def test_stacks_of_whole_numbers_are_exact(ta, tb, dtype):
    for count, (m, n, k) in itertools.product(
        (1, 3, 33), [(1, 1, 1), (7, 49, 3), (9, 16, 17), (2, 97, 33), (48, 5, 8)]
    ):
        a, b = whole(count, m, k, dtype=dtype), whole(count, k, n, dtype=dtype, seed=1)
        left, right = (np.ascontiguousarray(x.swapaxes(1, 2)) if t else x for x, t in ((a, ta), (b, tb)))
        equal(nf.apply(D.BATCHED, left, right, ta=ta, tb=tb), a @ b, (count, m, n, k))


def test_leading_axes_are_samples():
    x, w, b = whole(2, 3, 5, 7, dtype=np.float32), whole(7, 4, dtype=np.float32), whole(4, dtype=np.float32)
    equal(F.dense(x, w, b), x @ w + b, "")
    equal(F.dense(x[0, 0, 0], w, b), x[0, 0, 0] @ w + b, "")
    grads = nf.gradient(lambda x, w, b: F.sum(F.dense(x, w, b)), x, w, b)
    equal(grads[0], np.broadcast_to(w.sum(1), x.shape), "")
    equal(grads[1], np.repeat(x.sum((0, 1, 2))[:, None], 4, 1), "")
    equal(grads[2], np.full(4, 30), "")


@every_dtype
def test_a_row_does_not_depend_on_its_neighbours(dtype):
    """The same sample in any batch, and anywhere in it, gives the same bits."""
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(300, 101)).astype(dtype), rng.normal(size=(101, 53)).astype(dtype), np.ones(53, dtype)
    y = F.dense(x, w, b)
    for at in (slice(0, 1), slice(5, 12), slice(7, 40), slice(1, 300)):
        assert F.dense(x[at], w, b).tobytes() == y[at].tobytes()


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "message"),
    [
        (
            D.MATMUL,
            ((3, 4), (5, 4)),
            {"ta": False, "tb": False},
            r"matmul: a must be of shape \(..., 5\), got \(3, 4\)",
        ),
        (D.MATMUL, ((3, 4), (4, 5)), {"ta": False, "tb": True}, r"matmul: a must be of shape \(..., 5\), got \(3, 4\)"),
        (
            D.MATMUL,
            ((3, 4), (2, 5)),
            {"ta": True, "tb": False},
            r"matmul: b must be of shape \(3,\) \+ \(columns,\), got",
        ),
        (
            D.BATCHED,
            ((2, 3, 4), (3, 4, 5)),
            {"ta": False, "tb": False},
            r"matmul: b must be of shape \(2,\) \+ \(k, n\), got",
        ),
        (
            D.BATCHED,
            ((2, 3, 4), (2, 5, 4)),
            {"ta": False, "tb": False},
            r"matmul: b must be with 4 rows, got \(2, 5, 4\)",
        ),
        (D.DENSE, ((3, 4), (4,)), {}, r"dense: w must be of shape \(in, out\), got \(4,\)"),
        (D.DENSE, ((), (4, 2)), {}, r"dense: x must be of shape \(..., 4\), got \(\)"),
        (D.DENSE, ((3, 4), (4, 2), (3,)), {}, r"dense: b must be of shape \(2,\), got \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit(op, shapes, attrs, message):
    xs = [np.ones(s, np.float32) for s in shapes] + [None] * (op is D.DENSE and len(shapes) == 2)
    with pytest.raises(nf.ShapeError, match="^" + message):
        nf.apply(op, *xs, **attrs)


def test_dtypes_that_do_not_fit():
    x, w = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    with pytest.raises(nf.DTypeError, match="^dense: w must be an array of float32 or float64, got int64; x.astype"):
        F.dense(x, w.astype(np.int64))
    with pytest.raises(nf.DTypeError, match=r"^dense: b must be of float32 as w, got float64; .* or nf.f64\(model\)"):
        F.dense(x, w, np.ones(4))
    with pytest.raises(nf.DTypeError, match="^matmul: a must be an array of float32 or float64, got int64"):
        F.matmul(x.astype(np.int64), w)
