"""Moved elements against NumPy: every dtype, no number changed, nothing written or read outside."""

import itertools

import numpy as np
import pytest

from numbaflux.kernels.cpu import check, elementwise, move

DTYPES = [np.float32, np.float64, np.int64, np.bool_]


def numbers(shape, dtype, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 100).astype(dtype)


def permuted(x, axes):
    """x.transpose(axes) by the kernel, whole, and cut along the first axis of the result."""
    strides = [0] * (5 - x.ndim) + [int(np.prod(x.shape[a + 1 :])) for a in axes]
    shape = [1] * (5 - x.ndim) + [x.shape[a] for a in axes]
    whole, pieces = np.zeros(shape, x.dtype), np.zeros(shape, x.dtype)
    move.permute(whole, x.ravel(), *strides)
    at = shape[0] // 3
    for piece, start in ((pieces[:at], 0), (pieces[at:], at)):
        if piece.size:
            move.permute(piece, x.ravel()[start * strides[0] :], *strides)
    np.testing.assert_array_equal(whole, pieces)
    return whole.reshape([x.shape[a] for a in axes])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 61])
def test_copy_and_fill(n, dtype):
    x, y = numbers(n, dtype), np.zeros(n, dtype)
    elementwise.copy(y, x)
    np.testing.assert_array_equal(y, x)
    elementwise.fill(y, dtype(3))
    np.testing.assert_array_equal(y, np.full(n, dtype(3)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (15, 16), (16, 17), (61, 3), (1, 33), (47, 64)])
def test_transpose(shape, dtype):
    x = numbers(shape, dtype)
    np.testing.assert_array_equal(permuted(x, (1, 0)), x.T)


def test_every_permutation_of_five_axes():
    x = numbers((2, 3, 5, 17, 4), np.float32)
    for axes in itertools.permutations(range(5)):
        np.testing.assert_array_equal(permuted(x, axes), x.transpose(axes))


def test_bits_of_nan_pass():
    x = np.array([[0x7F800001, 0x7FC12345], [0xFF800002 - 2**32, 1]], np.int32).view(np.float32)
    np.testing.assert_array_equal(permuted(x, (1, 0)).view(np.int32), x.view(np.int32).T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inner", [1, 7, 32])
@pytest.mark.parametrize(
    ("start", "step", "count"), [(0, 1, 11), (3, 1, 5), (1, 3, 4), (10, -1, 11), (9, -4, 3), (4, 1, 0)]
)
def test_extract_and_place(start, step, count, inner, dtype):
    x = numbers((3, 11, inner), dtype)
    at = start + step * np.arange(count)
    y = np.ones((3, count, inner), dtype)
    move.extract(y, x, start, step)
    np.testing.assert_array_equal(y, x[:, at])
    z, right = np.ones_like(x), np.zeros_like(x)
    move.place(z, y, start, step)
    right[:, at] = y
    np.testing.assert_array_equal(z, right)


@pytest.mark.parametrize("dtype", DTYPES)
def test_insert_leaves_the_rest(dtype):
    parts = [numbers((5, k), dtype, k) for k in (3, 1, 17)]
    y = np.ones((5, 22), dtype)
    for part, at in zip(parts, (0, 3, 4), strict=True):
        move.insert(y, part, at)
    np.testing.assert_array_equal(y, np.concatenate([*parts, np.ones((5, 1), dtype)], 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c", [1, 16, 61])
def test_gather(c, dtype):
    table, index = numbers((13, c), dtype), np.random.default_rng(1).integers(0, 13, 40)
    y = np.zeros((40, c), dtype)
    move.gather(y, table, index)
    np.testing.assert_array_equal(y, table[index])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [1, 16, 61])
def test_scatter_add_is_in_order(c, dtype):
    """Bit for bit the sum that goes through the rows one after another."""
    dy, index = numbers((40, c), dtype), np.random.default_rng(1).integers(0, 7, 40)
    table, right = np.ones((13, c), dtype), np.zeros((13, c), dtype)
    move.scatter_add(table[:4], dy, index, 0)
    move.scatter_add(table[4:], dy, index, 4)
    np.add.at(right, index, dy)
    np.testing.assert_array_equal(table, right)


def test_indices_out_of_range_touch_nothing_outside():
    guarded = np.full((7, 4), 9, np.float32)
    guarded[2:5] = numbers((3, 4), np.float32)
    index, nearest = np.array([-1, 3, 2**62, -(2**62)]), [0, 2, 2, 0]
    y = np.zeros((4, 4), np.float32)
    move.gather(y, guarded[2:5], index)
    np.testing.assert_array_equal(y, guarded[2:5][nearest])
    move.scatter_add(guarded[2:5], np.ones((4, 4), np.float32), index, 0)
    np.testing.assert_array_equal(guarded[:, 0], [9, 9, 0, 0, 0, 9, 9])


@pytest.mark.parametrize(
    ("index", "before", "after"),
    [([0, 9, 3], [0, 0], [0, 0]), ([0, 10, -1], [0, 0], [7, 1]), ([-1, 3], [0, 0], [7, 0]), ([-1], [4, 2], [4, 2])],
)
def test_check_index(index, before, after):
    status = np.array(before)
    check.indices(status, np.array(index), 10, 7)
    np.testing.assert_array_equal(status, after)
