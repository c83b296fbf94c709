"""Softmax, its logarithm and the loss of labels against their formulas in float64."""

import numpy as np
import pytest

from numbaflux.kernels.cpu import softmax

SHAPES = [(1, 1), (103, 10), (15, 16), (13, 17), (2, 1024), (3, 1025), (2, 2503)]  # below, at and above a block of 1024
DTYPES = [np.float32, np.float64]


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def fill(name, shape, *args):
    """What a kernel makes of an array of NaN; nothing may be left of them."""
    y = np.full(shape, np.nan, args[0].dtype)
    getattr(softmax, name)(y, *args)
    return y


def probabilities(x):
    e = np.exp(x.astype(np.longdouble) - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def logarithms(x):
    shifted = x.astype(np.longdouble) - x.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def close(y, right, size=1.0, factor=16):
    """Within `factor` units of rounding of `size`."""
    assert np.all(abs(y - right) <= factor * np.finfo(y.dtype).eps * np.maximum(size, abs(right)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_and_logsoftmax(shape, dtype):
    x = 5 * numbers(shape, dtype)
    y = fill("softmax", shape, x)
    close(y, probabilities(x), size=0)  # the relative error, of small probabilities too
    close(y.sum(1), 1)
    close(fill("logsoftmax", shape, x), logarithms(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(shape, dtype):
    x, dy = numbers(shape, dtype), numbers(shape, dtype, 1)
    y, wide = probabilities(x), dy.astype(np.longdouble)
    right = y * (wide - (y * wide).sum(1, keepdims=True))
    close(fill("softmax_grad", shape, y.astype(dtype), dy), right, size=y)
    total = wide.sum(1, keepdims=True)
    size = abs(wide) + y * abs(wide).sum(1, keepdims=True)
    close(fill("logsoftmax_grad", shape, logarithms(x).astype(dtype), dy), wide - y * total, size=size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_crossentropy_of_labels(shape, dtype):
    n, c = shape
    x, labels, dloss = 3 * numbers(shape, dtype), np.random.default_rng(1).integers(0, c, n), numbers(n, dtype, 2)
    close(fill("crossentropy_labels", n, x, labels), -logarithms(x)[np.arange(n), labels])
    right = (probabilities(x) - np.eye(c)[labels]) * dloss[:, None]
    close(fill("crossentropy_labels_grad", shape, x, labels, dloss), right, size=abs(dloss[:, None]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c", [3, 10, 17, 1025])
def test_cuts_of_rows_do_not_show(c, dtype):
    """All rows at once, and in three pieces: the same bits."""
    n = 350 if c < 100 else 7
    x, dy, labels, dloss = numbers((n, c), dtype), numbers((n, c), dtype, 1), np.arange(n) % c, numbers(n, dtype, 2)
    calls = {
        "softmax": (x,), "logsoftmax": (x,), "softmax_grad": (abs(x), dy), "logsoftmax_grad": (x, dy),
        "crossentropy_labels": (x, labels), "crossentropy_labels_grad": (x, labels, dloss),
    }  # fmt: skip
    for name, args in calls.items():
        shape = (c,) if name not in ("crossentropy", "crossentropy_labels") else ()
        pieces = [fill(name, (b - a, *shape), *(v[a:b] for v in args)) for a, b in ((0, 1), (1, n // 2), (n // 2, n))]
        np.testing.assert_array_equal(fill(name, (n, *shape), *args), np.concatenate(pieces), name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_neither_overflow_nor_lose_the_loss(dtype):
    x = np.array([[1e4, 1e4 - 10, 0], [-1e4, -1e4, -3e4]], dtype)
    labels = np.array([0, 1])
    small = np.exp(-10) / (1 + np.exp(-10))
    close(fill("softmax", (2, 3), x), np.array([[1 - small, small, 0], [0.5, 0.5, 0]]))
    close(fill("crossentropy_labels", 2, x, labels), np.log([1 + np.exp(-10), 2]))


def test_rows_with_nan_and_infinities_are_their_own():
    """A bad row tells nothing to its neighbours."""
    x = numbers((6, 10), np.float32)
    good = fill("softmax", (6, 10), x)
    x[1, 3], x[2, 9], x[4] = np.nan, np.inf, -np.inf
    x[3, 5] = -np.inf
    y = fill("softmax", (6, 10), x)
    np.testing.assert_array_equal(y[[0, 5]], good[[0, 5]])
    assert np.isnan(y[1]).all()
    assert np.isnan(y[2, 9])
    assert np.isnan(y[4]).all()
    assert y[3, 5] == 0
    close(y[3].sum(), 1)
    loss = fill("crossentropy_labels", 6, x, np.array([0, 0, 0, 5, 0, 0]))
    np.testing.assert_array_equal(np.isnan(loss), [False, True, True, False, True, False])
    assert loss[3] == np.inf


def test_labels_out_of_range_read_nothing_outside():
    """They act as the nearest label; the check that stops the step is another kernel."""
    x, dloss = numbers((4, 5), np.float32), np.ones(4, np.float32)
    labels, nearest = np.array([-1, 5, 2**62, -(2**62)]), np.array([0, 4, 4, 0])
    np.testing.assert_array_equal(*(fill("crossentropy_labels", 4, x, v) for v in (labels, nearest)))
    np.testing.assert_array_equal(*(fill("crossentropy_labels_grad", (4, 5), x, v, dloss) for v in (labels, nearest)))
