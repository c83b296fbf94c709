"""Moments, and what is made of them, on CUDA kernels: beside those of the CPU, at the edges of strips, teams, threads'
rows; means far larger than deviations."""

import numpy as np
import pytest

from numbaflux.kernels.cuda.launch import HELD, THREADS
from tests.cuda.entries import call
from tests.entries import call as on_cpu

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
CHANNELS = [(1, 1, 1), (2, 7, 3), (1, 300, 33), (3, 65, 4), (1, 900, 1)]  # o, k, c
ROWS = [(1, 1, 1), (3, 2, 40), (1, 1, 513), (2, 1, 2 * HELD * THREADS + 4)]  # o, g, numbers of a group


def numbers(shape, dtype, seed=0, mean=0.0):
    return (mean + np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def both(kernel, shape, dtype, *args):
    """What the GPU makes, and what the CPU makes."""
    made = []
    for run in (call, on_cpu):
        y = np.full(shape, np.nan, dtype)
        run(kernel, y, *args)
        made.append(y)
    return made


@every_dtype
@pytest.mark.parametrize(("o", "k", "c"), CHANNELS)
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_moments_of_channels(o, k, c, mean, dtype):
    x, eps = numbers((o * k, c), dtype, 0, mean), np.finfo(dtype).eps
    slots = np.full((o, 2, c), np.nan)
    call("norm.moments", slots, x)
    wide = x.astype(np.longdouble).reshape(o, k, c)
    centre = wide.mean(1)
    np.testing.assert_allclose(slots[:, 0], centre.astype(float), rtol=4 * eps, atol=4 * eps)
    square = ((wide - centre[:, None]) ** 2).sum(1)
    joins = np.finfo(float).eps * mean * np.sqrt(k * square)  # means are joined in float64, which rounds them
    assert np.all(abs(slots[:, 1] - square) <= 20 * eps * square + joins)


@every_dtype
@pytest.mark.parametrize(("o", "t", "c", "groups"), [(1, 9, 35, 35), (2, 1, 40, 4), (1, 70, 6, 3)])
def test_slots_are_joined(o, t, c, groups, dtype):
    slots = abs(numbers((o * t, 2, c), np.float64))
    rows, total = 5, 5 * t - 2
    stats, right, moments, wide = (np.full((o, 2, n), np.nan, d) for n, d in ((groups, dtype),) * 2 + ((c, float),) * 2)
    call("norm.join_slots", stats, moments, slots, rows, total)
    on_cpu("norm.join_slots", right, wide, slots, rows, total)
    np.testing.assert_allclose(moments, wide, rtol=1e-13)
    np.testing.assert_allclose(stats, right, rtol=4 * np.finfo(dtype).eps)


@every_dtype
@pytest.mark.parametrize(("o", "k", "c"), CHANNELS)
@pytest.mark.parametrize("weights", [0, 1])
def test_channels(o, k, c, weights, dtype):
    x, dy, eps = numbers((o * k, c), dtype, 0, 3.0), numbers((o * k, c), dtype, 1), dtype(1e-3)
    stats, w, b = abs(numbers((o, 2, c), dtype, 2)), numbers(c * weights, dtype, 3), numbers(c * weights, dtype, 4)
    close = {"rtol": 30 * np.finfo(dtype).eps, "atol": 300 * np.finfo(dtype).eps}
    f, right = both("norm.factors", (2 * o, 3, c), dtype, stats, w, b, eps)
    np.testing.assert_allclose(f, right, **close)
    f = f[::2].copy()
    np.testing.assert_allclose(*both("norm.apply", x.shape, dtype, x, f, dtype(0)), **close)
    slots, right = both("norm.sums", (o, 2, c), np.float64, x, dy, f)
    np.testing.assert_allclose(slots, right, rtol=close["rtol"], atol=(30 + k) * close["atol"])
    for groups in {1, c}:
        made = []
        for run in (call, on_cpu):
            f, totals = np.full((o, 4, c), np.nan, dtype), np.full((o, 2, c), np.nan)
            run("norm.grad_factors", f, totals, slots, stats[:, :, :groups].copy(), w, eps, k)
            made += [f, totals]
        np.testing.assert_allclose(made[0], made[2], **close)
        np.testing.assert_allclose(made[1], made[3], rtol=1e-14)
    np.testing.assert_allclose(*both("norm.grad_apply", x.shape, dtype, x, dy, f), **close)


@every_dtype
@pytest.mark.parametrize(("o", "groups", "m"), ROWS)
def test_rows(o, groups, m, dtype):
    c, eps = groups * m, dtype(1e-3)
    x, dy, close = numbers((o, c), dtype, 0, 5.0), numbers((o, c), dtype, 1), {"rtol": 1e-4, "atol": 1e-5}
    stats, right = both("norm.row_moments", (o, 2, groups), dtype, x)
    np.testing.assert_allclose(stats, right, rtol=40 * np.finfo(dtype).eps, atol=1e-30)
    for size in (0, c):
        w, b = numbers(size, dtype, 3), numbers(size, dtype, 4)
        np.testing.assert_allclose(*both("norm.rows", x.shape, dtype, x, stats, w, b, eps), **close)
        np.testing.assert_allclose(*both("norm.row_grad", x.shape, dtype, x, dy, stats, w, eps), **close)
