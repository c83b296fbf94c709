"""Sums, maxima and their gradients on CUDA kernels, at the edges of teams, strips and blocks."""

import numpy as np
import pytest

from tests.cuda.entries import call

SHAPES = [
    (1, 1, 1), (3, 15, 1), (33, 64, 1), (9, 65, 1), (2, 513, 1), (1, 5003, 1), (7, 32, 5), (2, 1, 300), (1, 31, 33),
    (2, 33, 2), (3, 63, 16), (2, 65, 17), (1, 300, 70), (1, 1100, 3),
]  # fmt: skip
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def numbers(shape, dtype):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def room(shape, dtype):
    """Memory with one number more behind it, which must stay."""
    memory = np.full(np.prod(shape) + 1, 77, dtype)
    return memory, memory[:-1].reshape(shape)


@every_dtype
@every_shape
def test_sum(shape, dtype):
    outer, k, inner = shape
    x, (memory, y) = numbers(shape, dtype), room((outer, inner), dtype)
    call("reduce.sum", y, x, dtype(0.5))
    wide = x.astype(np.longdouble)
    assert np.all(abs(y - wide.sum(1) / 2) <= (12 + k / 128) * np.finfo(dtype).eps * abs(wide).sum(1) / 2)
    assert memory[-1] == 77
    for o in range(min(outer, 3)):  # cuts of outer do not show
        part = np.full((1, inner), np.nan, dtype)
        call("reduce.sum", part, x[o : o + 1], dtype(0.5))
        np.testing.assert_array_equal(part[0], y[o])


@every_dtype
@every_shape
def test_max_and_its_gradient(shape, dtype):
    outer, k, inner = shape
    x, (memory, y) = np.round(numbers(shape, dtype), 1), room((outer, inner), dtype)
    x[outer // 2, k // 2, inner // 2] = np.nan
    call("reduce.max", y, x)
    np.testing.assert_array_equal(y, x.max(1))
    assert memory[-1] == 77
    dy, (memory, dx) = numbers((outer, inner), dtype), room(shape, dtype)
    call("reduce.max_grad", dx, x, y, dy)
    right = np.zeros_like(x)
    np.put_along_axis(right, x.argmax(1)[:, None], dy[:, None], 1)
    np.testing.assert_array_equal(dx, right)
    assert memory[-1] == 77


@every_dtype
@every_shape
def test_broadcast(shape, dtype):
    outer, k, inner = shape
    x, (memory, y) = numbers((outer, inner), dtype), room(shape, dtype)
    call("reduce.broadcast", y, x)
    np.testing.assert_array_equal(y, np.broadcast_to(x[:, None], shape))
    assert memory[-1] == 77


@every_dtype
@pytest.mark.parametrize(("t", "columns", "at", "m"), [(1, 1, 0, 1), (70, 1, 0, 1), (3, 600, 7, 300), (40, 80, 3, 70)])
def test_sum_slots(t, columns, at, m, dtype):
    slots, (memory, y) = numbers((t, columns), dtype), room((m,), dtype)
    call("reduce.sum_slots", y, slots, at)
    np.testing.assert_allclose(y, slots[:, at : at + m].sum(0, np.longdouble), rtol=20 * np.finfo(dtype).eps, atol=1e-6)
    assert memory[-1] == 77


@pytest.mark.parametrize("inner", [1, 5])
def test_empty_sum_is_zero(inner):
    y = np.full((3, inner), np.nan, np.float32)
    call("reduce.sum", y, np.empty((3, 0, inner), np.float32), np.float32(1))
    assert not y.any()


def test_values_at_any_address_give_the_same_bits():
    x = numbers(2001, np.float32)
    aligned, other = np.zeros(2, np.float32), np.zeros(2, np.float32)
    call("reduce.sum", aligned[:1].reshape(1, 1), x[:2000].copy().reshape(1, 2000, 1), np.float32(1))
    moved = np.empty(2001, np.float32)[1:]
    moved[:] = x[:2000]
    call("reduce.sum", other[:1].reshape(1, 1), moved.reshape(1, 2000, 1), np.float32(1))
    assert aligned[0] == other[0]
