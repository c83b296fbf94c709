"""Ten steps of every rule down two parabolas and through Rosenbrock's valley, against float64 NumPy."""

import numpy as np
import pytest

import numbaflux as nf
from tests.optim.test_rules import CASES
from tests.reference.optim import Oracle

A, B = np.array([[3.0, 0.5, -1.0], [0.2, 2.0, 0.7]]), np.array([10.0, -4.0, 0.5, 1.0])
START = {"w": np.array([[-1.2, 1.0, 0.4], [0.3, -0.7, 2.0]]), "b": np.array([1.0, 1.0, -2.0, 0.2])}


def round_parabola(p):
    """The gradients of half the sum of squares of w - A, and of b."""
    return {"w": p["w"] - A, "b": p["b"]}


def long_parabola(p):
    """The same with curvatures from 0.5 to 10."""
    return {"w": (p["w"] - A) * [10.0, 1.0, 0.5], "b": p["b"] * np.abs(B)}


def rosenbrock(p):
    """Of a thousandth of the sum over w[0] and w[1] as x and y, and over pairs in b, of (1 - x)**2 + 100 (y - x**2)**2:
    rules with the steps that suit a parabola stay in the valley."""

    def pair(x, y):
        return (-2 * (1 - x) - 400 * x * (y - x**2)) / 1000, 200 * (y - x**2) / 1000

    first, second = pair(p["b"][:2], p["b"][2:])
    return {"w": np.stack(pair(*p["w"])), "b": np.concatenate([first, second])}


RULES = [
    *CASES,
    nf.EMA(nf.Adam(0.1), 0.9), nf.MixedPrecision(nf.Descent(1e-3)), nf.MixedPrecision(nf.Adam(0.1), "bfloat16"),
    nf.MixedPrecision(nf.LAMB(0.1)), nf.EMA(nf.Muon(0.1), 0.5),
]  # fmt: skip


@pytest.mark.parametrize("gradient", [round_parabola, long_parabola, rosenbrock])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_ten_steps(rule, gradient):
    model = {k: p.copy() for k, p in START.items()}
    state, oracle = nf.setup(rule, model), Oracle(rule, START)
    for _ in range(10):
        nf.update(state, model, gradient(model))
        oracle.update(gradient(oracle.params))
        for k, right in oracle.params.items():
            np.testing.assert_allclose(model[k], right, rtol=0, atol=1e-11)
    if isinstance(rule, nf.EMA):
        for k, right in oracle.averages().items():
            np.testing.assert_allclose(nf.ema(state, model)[k], right, rtol=0, atol=1e-11)
