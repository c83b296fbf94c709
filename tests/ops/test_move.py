"""Operations that move elements, against NumPy over many shapes and keys; gradients of casts; indices out of range."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import functions as F
from numbaflux import shapes as H
from numbaflux.ops import move as M


def counted(*shape, dtype=np.float32):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(4))), ids=str)
def test_every_order_of_four_axes(axes):
    for shape in ((2, 3, 4, 5), (17, 1, 16, 3), (1, 33, 2, 18)):
        for dtype in (np.float32, np.float64):
            x = counted(*shape, dtype=dtype)
            np.testing.assert_array_equal(H.transpose(x, axes), x.transpose(axes))


def test_as_many_axes_as_a_transpose_takes():
    x = counted(2, 3, 2, 3, 2, 3)
    np.testing.assert_array_equal(
        H.transpose(x, (1, 2, 0, 4, 5, 3)), x.transpose(1, 2, 0, 4, 5, 3)
    )  # four, once joined
    with pytest.raises(nf.ShapeError, match="^transpose: axes must be at most 5 once neighbours are joined"):
        H.transpose(x, (5, 4, 3, 2, 1, 0))


SLICES = st.builds(slice, *[st.none() | st.integers(-9, 9)] * 2, st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3]))
KEYS = st.lists(SLICES | st.integers(-2, 1) | st.none() | st.just(...), max_size=4).filter(
    lambda keys: keys.count(...) <= 1 and sum(k is not None and k is not ... for k in keys) <= 3
)


@given(KEYS)
def test_any_index_is_numpys(keys):
    x = counted(2, 5, 7)
    key = tuple(keys)
    y, back = nf.pullback(lambda v: v[key], x)
    np.testing.assert_array_equal(y, x[key])
    dy = np.asarray(np.random.default_rng(0).normal(size=y.shape), np.float32)
    right = np.zeros_like(x)
    right[key] = dy
    np.testing.assert_array_equal(back(dy), right)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 2))
def test_any_concatenation_is_numpys(sizes, axis):
    shapes = [tuple(n if a == axis else a + 2 for a in range(3)) for n in sizes]
    xs = [counted(*shape) for shape in shapes]
    np.testing.assert_array_equal(H.concatenate(xs, axis), np.concatenate(xs, axis))


def test_rows_met_again_are_added():
    x, index = counted(4, 3), np.array([[2, 0], [2, 2]])
    np.testing.assert_array_equal(
        nf.gradient(lambda v: F.sum(H.take(v, index)), x), np.repeat([[1], [0], [3], [0]], 3, 1)
    )


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, np.uint64])
def test_indices_are_of_any_integer_type(dtype):
    x = counted(5, 2)
    np.testing.assert_array_equal(H.take(x, np.array([4, 1], dtype)), x[[4, 1]])
    np.testing.assert_array_equal(H.getitem(x, np.array([4, 1], dtype)), x[[4, 1]])


@pytest.mark.parametrize("index", [[0, 9, 5], [0, -1, 5], [0, 2**62, 7], [0, -(2**62), 9]])
def test_an_index_out_of_range_stops_the_call(index):
    x, index = counted(5, 2), np.array(index)
    compiled = nf.compile(lambda v, i: H.take(v, i))
    for f in (H.take, compiled):
        with pytest.raises(nf.RangeError, match=r"^take: index must be in 0..4, got another at position 1$"):
            f(x, index)
        np.testing.assert_array_equal(f(x, np.array([3, 4, 0])), x[[3, 4, 0]])  # the next call is well


@pytest.mark.parametrize(
    ("op", "xs", "attrs", "error", "message"),
    [
        (M.TAKE, (counted(3), counted(3)), {}, nf.DTypeError, "take: index must be an array of integers, got float32"),
        (M.TAKE, (counted(0), np.array([0])), {}, nf.ShapeError, r"take: x must be of at least one row, got .* \(0,\)"),
        (M.TAKE, (counted(), np.array([0])), {}, nf.ShapeError, r"take: x must be of at least one row, got .* \(\)"),
        (M.RESHAPE, (counted(6),), {"shape": (4,)}, nf.ShapeError, r"reshape: shape must be of 6 .* got \(4,\)"),
        (M.CONCAT, (counted(2, 3), counted(2, 3, dtype=np.float64)), {"axis": 0}, nf.DTypeError,
         "concatenate: arrays must be all float32, got float64"),
        (M.CONCAT, (counted(2, 3), counted(2, 4)), {"axis": 0}, nf.ShapeError,
         r"concatenate: arrays must be as \(2, 3\) but along axis 0, got \(2, 4\)"),
        (M.CONCAT, (counted(2, 3), counted(6)), {"axis": 0}, nf.ShapeError, r"concatenate: arrays .* got \(6,\)"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(op, xs, attrs, error, message):
    with pytest.raises(error, match="^" + message):
        nf.apply(op, *xs, **attrs)


# ---------------------------------------------------------------- casts


@pytest.mark.parametrize(("one", "other"), [(np.float32, np.float64), (np.float64, np.float32)])
def test_the_gradient_of_a_cast_is_cast_back(one, other):
    x = np.random.default_rng(0).normal(size=17).astype(one)
    y, back = nf.pullback(lambda v: v.astype(other) * 3, x)
    np.testing.assert_array_equal(y, x.astype(other) * 3)
    dy = np.random.default_rng(1).normal(size=17).astype(other)
    grad = back(dy)
    assert grad.dtype == one
    np.testing.assert_array_equal(grad, (dy * 3).astype(one))


def test_no_gradient_goes_through_integers():
    x = np.array([0.5, 2.5], np.float32)
    grad = nf.gradient(lambda v: F.sum(v.astype(np.int64).astype(np.float32) * v), x)
    np.testing.assert_array_equal(grad, [0, 2])


def test_a_cast_to_the_same_type_is_nothing():
    x = np.ones(3, np.float32)
    assert H.astype(x, "float32") is x


@pytest.mark.parametrize("op", [M.SLICE, M.PLACE], ids=lambda op: op.name)
@pytest.mark.parametrize("numbers", [(0, 1, 5), (-1, 1, 2), (3, -2, 3), (0, 2**40, 2), (4, 1, 1)])
def test_slices_stay_inside(op, numbers):
    """Whoever applies the operation itself can name any numbers."""
    start, step, count = numbers
    x = counted(2, 4 if op is M.SLICE else count)
    size = count if op is M.SLICE else 4
    with pytest.raises(nf.ShapeError, match=f"^{op.name}: start, step and size must be of elements 0..3, got"):
        nf.apply(op, x, axis=1, start=start, step=step, size=size)
