"""What users add, on this GPU beside the CPU: an operation of their own, its kernels for threads and for blocks; and
nf.profile of a step."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import cuda

import numbaflux as nf

COUNT = 256  # threads of a block


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def wave(y: Any, x: Any, scale: Any) -> None:
    for i in range(y.size):
        y[i] = scale * math.sin(x[i])


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def wave_grad(dx: Any, x: Any, dy: Any, scale: Any) -> None:
    for i in range(dx.size):
        dx[i] = scale * math.cos(x[i]) * dy[i]


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def squares(y: Any, x: Any) -> None:
    for i in range(y.shape[0]):
        total = 0.0
        for k in range(x.shape[1]):
            total += x[i, k] * x[i, k]
        y[i, 0] = total


def squares_of_a_block(y: Any, x: Any) -> None:
    parts = cuda.shared.array(COUNT, numba.float64)
    for i in range(y.shape[0]):
        me, total = cuda.threadIdx.x, 0.0
        for k in range(me, x.shape[1], COUNT):
            total += x[i, k] * x[i, k]
        parts[me] = total
        cuda.syncthreads()
        if me == 0:
            for k in range(1, COUNT):
                total += parts[k]
            y[i, 0] = total
        cuda.syncthreads()


WAVE_GRAD = nf.Op(
    "wave_grad", lambda x, dy, **_: x, nf.lowering.elements(wave_grad), None, "first derivatives are enough"
)
WAVE = nf.Op(
    "wave", lambda x, **_: x, nf.lowering.elements(wave), (lambda c, dy: c.apply(WAVE_GRAD, c.x, dy, **c.attrs),)
)
SHAPE = lambda x: nf.Spec((x.shape[0], 1), x.dtype)  # noqa: E731
SQUARES = {
    "threads": nf.Op("squares", SHAPE, nf.lowering.rows(squares), None, "forward alone"),
    "blocks": nf.Op("squares", SHAPE, nf.lowering.rows(squares, squares_of_a_block), None, "forward alone"),
    "a block": nf.Op("squares", SHAPE, nf.lowering.one_tile(squares, squares_of_a_block), None, "forward alone"),
}


def waves(x: Any) -> Any:
    return nf.apply(WAVE, x, scale=0.5)


def operations(quick: bool) -> None:
    """Results for many sizes and both types; gradients, a step."""
    for dtype, most in (("float32", 1e-5), ("float64", 1e-12)):
        for n in (1, 7) if quick else (1, 255, 257, 100_003):
            x = np.random.default_rng(n).normal(size=(n, 3)).astype(dtype)
            np.testing.assert_allclose(waves(nf.gpu(x)), np.sin(x) / 2, rtol=most, atol=most)
            right = (x.astype(np.float64) ** 2).sum(1, keepdims=True)
            for who, op in SQUARES.items():
                if who == "threads" or not quick:  # what numba.cuda has, only a GPU runs
                    np.testing.assert_allclose(nf.apply(op, nf.gpu(x)), right, rtol=most)
    x, found = np.ones((8, 3), np.float32), []
    for put in (nf.cpu, nf.gpu):
        m, given = put((nf.Chain(nf.Dense(3, 5, waves, rng=0), nf.Dense(5, 2, rng=1)), x))
        grads = nf.gradient(lambda m, given=given: (m(given) ** 2).mean(), m)
        step = nf.compile(lambda m, x: (m(x) ** 2).mean(), m, nf.setup(nf.Descent(0.1), m))
        found.append([*(step(x) for _ in range(3)), *(np.abs(g).sum() for g in nf.trainables(grads))])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)


def profile(quick: bool) -> str:
    """A profile's times fit into its call, and it leaves the model as it was."""
    n, width = (4, 4) if quick else (512, 1024)
    m = nf.gpu(nf.Chain(nf.Dense(width, width, nf.relu, rng=0), nf.Dense(width, 3, rng=1)))
    before = nf.state(m)
    x = np.ones((n, width), np.float32)
    found = nf.profile(nf.compile(lambda m, x: (m(x) ** 2).mean(), m, nf.setup(nf.Adam(), m)), x, repeats=5)
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), nf.state(m).values(), strict=True)), "it trained"
    assert all(row["us"] > 0 for row in found.rows), "a launch took no time"
    within = found.native_us <= found.us or quick  # a simulated clock is not that of the CPU
    assert within, f"{found.native_us:.0f} us on the GPU, in a call of {found.us:.0f} us"
    best = max(found.rows, key=lambda row: row["gflop_s"] or 0.0)
    return f"{found.native_us:.0f} of {found.us:.0f} us on the GPU; {best['gflop_s']:.0f} GFLOP/s by {best['kernel']}"
