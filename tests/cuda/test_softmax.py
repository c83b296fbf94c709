"""Softmax and its losses on CUDA kernels, by the tests of the CPU's; and rows at the edges of teams."""

import numpy as np
import pytest

from numbaflux.kernels.cuda.launch import HELD, THREADS
from tests.cuda.entries import again, call

# The first has a bound that the CPU's order of sums just keeps; the other makes thousands of blocks.
LEAVE = "test_softmax_and_logsoftmax", "test_cuts_of_rows_do_not_show"
globals().update(again("tests/kernels/cpu/test_softmax.py", LEAVE))


def made(name, shape, *args):
    y = np.full(shape, np.nan, args[0].dtype)
    call(f"softmax.{name}", y, *args)
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (35, 10), (13, 17), (2, 1024), (3, 1025)])
def test_softmax_and_logsoftmax(shape, dtype):
    """x - its largest is rounded, which the power of a small one shows."""
    x, eps = (5 * np.random.default_rng(0).normal(size=shape)).astype(dtype), np.finfo(dtype).eps
    distance = x.astype(np.longdouble) - x.max(1, keepdims=True)
    total = np.exp(distance).sum(1, keepdims=True)
    y, right = made("softmax", shape, x), np.exp(distance) / total
    assert np.all(abs(y - right) <= (3 - distance / 2) * eps * right)
    assert np.all(abs(y.sum(1) - 1) <= 4 * eps)
    y, right = made("logsoftmax", shape, x), distance - np.log(total)
    assert np.all(abs(y - right) <= 4 * eps * np.maximum(abs(right), 1))


@pytest.mark.parametrize(("n", "c"), [(40, 3), (12, 65), (3, 513)])
def test_cuts_of_rows_do_not_show(n, c):
    """All rows at once, and in two pieces: the same bits."""
    x, dy = np.random.default_rng(0).normal(size=(2, n, c)).astype(np.float32)
    labels, dloss = np.arange(n) % c, dy[:, 0].copy()
    calls = {
        "softmax": (x,), "logsoftmax": (x,), "softmax_grad": (x, dy), "logsoftmax_grad": (x, dy),
        "crossentropy_labels": (x, labels), "crossentropy_labels_grad": (x, labels, dloss),
    }  # fmt: skip
    for name, args in calls.items():
        shape = (c,) if name != "crossentropy_labels" else ()
        pieces = [made(name, (b - a, *shape), *(v[a:b] for v in args)) for a, b in ((0, n // 3), (n // 3, n))]
        np.testing.assert_array_equal(made(name, (n, *shape), *args), np.concatenate(pieces), name)


@pytest.mark.parametrize("c", [7, 64, 65, 512, 513, HELD * THREADS, 2 * HELD * THREADS - 1])
def test_rows_at_the_edges_of_teams(c):
    x = 4 * np.random.default_rng(0).normal(size=(3, c)).astype(np.float32)
    x[0, : c // 2] = x[1, 1:] = -np.inf  # a thread may see nothing else
    x[2] -= 200
    wide = x.astype(np.longdouble) - x.max(1, keepdims=True)
    right = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
    y, dx, dlog, loss = np.full_like(x, np.nan), np.full_like(x, np.nan), np.full_like(x, np.nan), x[:, 0].copy()
    call("softmax.softmax", y, x)
    np.testing.assert_allclose(y, right.astype(np.float64), rtol=2e-6, atol=1e-37)
    call("softmax.crossentropy_labels", loss, x, np.array([c - 1, 0, c // 2]))
    labelled = right[range(3), [c - 1, 0, c // 2]]
    np.testing.assert_allclose(loss, -np.log(labelled.astype(np.float64)), rtol=2e-6, atol=1e-6)
    dy = np.random.default_rng(1).normal(size=(3, c)).astype(np.float32)
    wide, sums = dy.astype(np.longdouble), abs(dy).sum(1, keepdims=True)
    call("softmax.softmax_grad", dx, y, dy)
    right_dx = y * (wide - (y * wide).sum(1, keepdims=True))
    assert np.all(abs(dx - right_dx) <= 1e-6 * y * (1 + abs(wide)))
    call("softmax.logsoftmax_grad", dlog, np.log(y + np.float32(1e-37)), dy)
    assert np.all(abs(dlog - (wide - y * wide.sum(1, keepdims=True))) <= 1e-6 * (abs(wide) + y * sums))
