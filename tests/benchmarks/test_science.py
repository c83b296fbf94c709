"""The cases from science do the same work in numbaflux, PyTorch and, where it is installed, JAX."""

import importlib.util
import os

import numpy as np
import pytest

from benchmarks.peers.catalogue import CASES, peers
from benchmarks.peers.science import SCIENCE, pinn, series, surrogate, unet
from benchmarks.peers.worker import make

SMALL = {
    "unet": unet.program(unet.Unet(8, (2, 3, 5)), 1.0),
    "pinn": pinn.program(pinn.Burgers(width=6, hidden=2, points=50, edge=10), 1.0),
    "surrogate": surrogate.program(surrogate.Reactor(3, steps=5), 1.0),
    "series": series.Forecast(series.LAYERS, (series.WINDOW, 1), batch=8, loss="mse", target=1.0),
}
OTHERS = [name for name in ("torch", "jax") if importlib.util.find_spec(name)]


def last(peer, case, steps=20):
    call = make(peer, case)
    return [float(call()) for _ in range(steps)]


@pytest.mark.parametrize("name", SMALL)
def test_peers_agree_after_20_calls(name, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # one thread: two would wait for each other
    case = SMALL[name]
    ours = last("numbaflux", case)
    variants = [f"{other}{way}" for other in OTHERS for way in ("", "-last")]
    for peer in [p for p in variants if p in peers(case)]:
        np.testing.assert_allclose(last(peer, case), ours, rtol=1e-3, err_msg=peer)
    assert name == "surrogate" or ours[-1] < ours[0]


def test_surrogate_follows_the_scheme():
    case = surrogate.Reactor(5, steps=3)
    u = np.random.default_rng(1).uniform(0, 1, (5, surrogate.SPECIES)).astype(np.float32)
    for _ in range(3):
        u = u + surrogate.COURANT * (np.roll(u, 1, 0) - u) + surrogate.DT * np.sin(u)
    call = case.run(np.sin)
    assert call() == pytest.approx(np.mean(u * u), rel=1e-5)
    assert call() == call()


def test_residual_of_the_network_is_the_equation_s():
    """By differences in float64."""
    case = pinn.Burgers(width=6, hidden=2, points=50, edge=10)
    x, t, edge_x, edge_t, edge_u = (part.astype(np.float64) for part in case.data())

    def u(x, t):
        y = np.concatenate([x, t], axis=1)
        *hidden, w = case.weights()
        for weight in hidden:
            y = np.tanh(y @ weight)
        return y @ w

    e = 1e-4
    dx, dt = (u(x + e, t) - u(x - e, t)) / (2 * e), (u(x, t + e) - u(x, t - e)) / (2 * e)
    dxx = (u(x + e, t) - 2 * u(x, t) + u(x - e, t)) / e**2
    residual = dt + u(x, t) * dx - pinn.VISCOSITY * dxx
    expected = np.mean(residual**2) + np.mean((u(edge_x, edge_t) - edge_u) ** 2)
    assert last("numbaflux", pinn.program(case, 1.0), steps=1) == pytest.approx([expected], rel=1e-4)


def test_work_of_a_call():
    assert surrogate.Reactor(2, steps=3).flops == 2 * 3 * 2 * (4 * 64 + 64 * 64 + 64 * 4)
    assert pinn.Burgers(width=3, hidden=2, points=5, edge=1).flops == 3 * 2 * 21 * (2 * 3 + 3 * 3 + 3 * 1)
    # Places times weights: the two blocks down, the transposed convolution, the block up, the last convolution.
    down = 4**3 * 27 * (1 * 2 + 2 * 2) + 2**3 * 27 * (2 * 4 + 4 * 4)
    up = 2**3 * 8 * 4 * 2 + 4**3 * 27 * (4 * 2 + 2 * 2) + 4**3 * 2
    assert unet.Unet(4, (2, 4)).flops == 2 * (3 * (down + up) - 4**3 * 27 * 2)


def test_all_are_in_the_table():
    assert {name.partition("_")[0] for name in SCIENCE} == {"unet", "pinn", "surrogate", "series"}
    assert {"surrogate_b1", "surrogate_b8", "surrogate_b64"} < set(SCIENCE)
    assert all(CASES[name] is case for name, case in SCIENCE.items())
