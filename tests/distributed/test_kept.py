"""Gradients that wait are added up as NumPy adds them, on any number of threads, stretch by stretch."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.distributed.kept import Kept


def made(dtype):
    """The vectors of a model of that dtype, and stretches of them from the end."""
    model = nf.Chain(nf.Dense(200, 300, rng=0), nf.Dense(300, 7, rng=1))
    state = nf.setup(nf.Descent(), nf.f64(model) if dtype == np.float64 else model)
    [v] = state.vectors.values()
    return v, [(v, max(0, end - 9_000), end) for end in range(v.grads.size, 0, -9_000)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
def test_sums_have_the_bits_of_numpy(dtype, threads):
    if nf.native.pool().limit < threads:
        pytest.skip("machine: one core")
    v, stretches = made(dtype)
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4, v.grads.size)).astype(dtype)
    kept = Kept(stretches)
    with nf.threads(threads):
        for i in range(3):
            v.grads[...] = drawn[i]
            kept.keep(first=i == 0)
        v.grads[...] = drawn[3]
        kept.give(1)
    expected = drawn[3].copy()
    _, start, end = stretches[1]
    expected[start:end] += ((drawn[0] + drawn[1]) + drawn[2])[start:end]
    np.testing.assert_array_equal(v.grads, expected)


def test_the_first_forgets_what_was_not_finite():
    v, stretches = made(np.float32)
    kept = Kept(stretches)
    for value in (np.inf, 2.0):
        v.grads[...] = value
        kept.keep(first=True)
    kept.give(0)
    assert v.grads[-1] == 4
    assert v.grads[0] == 2
