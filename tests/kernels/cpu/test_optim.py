"""The rules against their papers' formulas in extended precision, over several steps."""

import numpy as np
import pytest

from numbaflux.optim.rules import HYPER
from tests.entries import call

DTYPES = [np.float32, np.float64]
SIZES = [1, 15, 16, 17, 1000]
LD = np.longdouble


def start(n, dtype, **numbers):
    """Parameters, gradients, the numbers in memory."""
    rng = np.random.default_rng(0)
    hyper = np.array([{"power1": 1.0, "power2": 1.0, **numbers}.get(name, 0.0) for name in HYPER])
    return rng.normal(size=n).astype(dtype), [rng.normal(size=n).astype(dtype) for _ in range(5)], hyper


def near(found, right, dtype, units):
    """Within some roundings of numbers near 1."""
    assert abs(found - right).max() <= units * np.finfo(dtype).eps * max(1, abs(right).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_descent(n, dtype):
    p, gs, hyper = start(n, dtype, eta=0.05)
    right = p.astype(LD)
    for g in gs:
        call("optim.descent", p, g, hyper)
        right -= LD(0.05) * g
    near(p, right, dtype, 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_momentum(n, dtype):
    """Flux's: eta inside the velocity."""
    p, gs, hyper = start(n, dtype, eta=0.05, beta1=0.9)
    right, v, velocity = p.astype(LD), np.zeros(n, LD), np.zeros(n, dtype)
    for g in gs:
        call("optim.momentum", p, velocity, g, hyper)
        v = LD(0.9) * v + LD(0.05) * g
        right -= v
    near(velocity, v, dtype, 10)
    near(p, right, dtype, 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("decay", "eta_decay"), [(0.0, 0.0), (0.01, 0.0), (0.0, 0.2)])
def test_adam(n, dtype, decay, eta_decay):
    """Kingma and Ba, algorithm 1; Loshchilov and Hutter: weights shrink by eta_decay times eta, or by decay."""
    eta, beta1, beta2, eps = (LD(x) for x in (0.01, 0.9, 0.99, 1e-8))
    p, gs, hyper = start(n, dtype, eta=0.01, beta1=0.9, beta2=0.99, eps=1e-8, decay=decay, eta_decay=eta_decay)
    m, v = np.zeros(n, dtype), np.zeros(n, dtype)
    right, first, second = p.astype(LD), np.zeros(n, LD), np.zeros(n, LD)
    for t, g in enumerate(gs, 1):
        call("optim.adam", p, m, v, g, hyper)
        call("optim.tick", hyper)
        first = beta1 * first + (1 - beta1) * g
        second = beta2 * second + (1 - beta2) * g.astype(LD) ** 2
        step = eta * (first / (1 - beta1**t)) / (np.sqrt(second / (1 - beta2**t)) + eps)
        right = right - step - (LD(decay) + eta * LD(eta_decay)) * right
        assert hyper[0] == t
        near(hyper[1:3], np.array([beta1**t, beta2**t]), np.float64, 10)
    near(m, first, dtype, 10)
    near(v, second, dtype, 20)
    near(p, right, dtype, 20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_leaves_a_parameter_without_gradient_alone(dtype):
    p, _, hyper = start(33, dtype, eta=0.01, beta1=0.9, beta2=0.99, eps=1e-8)
    before, zero = p.copy(), np.zeros(33, dtype)
    call("optim.adam", p, zero.copy(), zero.copy(), zero, hyper)
    np.testing.assert_array_equal(p, before)


def test_tick_changes_what_it_counts_only():
    hyper = np.arange(1.0, 10.0)
    call("optim.tick", hyper)
    assert hyper.tolist() == [2, 8, 15, 4, 5, 6, 7, 8, 9]
