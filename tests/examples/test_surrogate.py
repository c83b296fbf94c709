"""Surrogate: the solver against an exact solution, the network by PyTorch from its file, mass, symmetry."""

import re

import numpy as np
import pytest

import numbaflux as nf
from tests.examples.program import imported, ran

surrogate = imported("surrogate")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Half as long as the program runs unless told."""
    return ran("surrogate", tmp_path_factory.mktemp("surrogate"), "--epochs", 4, watch=("rollout",))


def exact(x, t):
    """A periodic solution of Burgers' equation in one dimension (Cole and Hopf): -2 nu (d phi / dx) / phi."""
    k, nu = 2 * np.pi, surrogate.VISCOSITY
    wave = 0.5 * np.exp(-nu * k * k * t)
    return 2 * nu * k * wave * np.sin(k * x) / (1 + wave * np.cos(k * x))


@pytest.mark.parametrize("axis", [1, 2])
def test_solver_comes_close_to_an_exact_solution(axis):
    x = np.arange(surrogate.GRID) / surrogate.GRID
    shape = (1, -1, 1, 1) if axis == 1 else (1, 1, -1, 1)
    u = np.broadcast_to(exact(x, 0).reshape(shape), (1, surrogate.GRID, surrogate.GRID, 1))
    found = surrogate.solve(u, 200)
    expected = exact(x, 200 * surrogate.DT).reshape(shape)
    assert np.abs(expected - u).max() > 0.1 * np.abs(expected).max()  # it has moved
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_solver_keeps_the_mass():
    u = surrogate.start(3, np.random.default_rng(0))
    moved = surrogate.solve(u, 50)
    assert np.abs(moved - u).max() > 0.1
    np.testing.assert_allclose(moved.mean(axis=(1, 2, 3)), u.mean(axis=(1, 2, 3)), atol=1e-15)


def test_report_and_files(run):
    assert run.code == 0
    assert list(run.report) == ["one step", "roll-out", "mass", "speed", "training", "files"]
    assert {path.name for path in run.folder.iterdir()} == {"surrogate.h5", "surrogate.png"}
    speed = (
        r"1 at once: .* ms by the solver, [\d.]+ times as fast\n16 at once: .* ms by the solver, [\d.]+ times as fast"
    )
    assert re.fullmatch(speed, run.report["speed"])


def test_errors_are_small_and_as_reported(run):
    frames = run.returned["rollout"]
    rng = np.random.default_rng(0)
    surrogate.trajectories(40, 10, rng)
    truth = surrogate.trajectories(16, surrogate.FRAMES, rng)
    found = []
    for frame in (1, surrogate.FRAMES):
        errors = []
        for u, v in zip(frames[frame].astype(np.float64), truth[frame].astype(np.float64), strict=True):
            errors.append(np.sqrt(np.sum((u - v) ** 2) / np.sum((v - v.mean()) ** 2)))
        found.append(np.mean(errors))
    assert run.report["one step"].startswith(f"relative error {found[0]:.2%}; ")
    assert run.report["roll-out"].startswith(f"relative error {found[1]:.2%} after 30 steps, 480 of the solver")
    left = float(run.report["one step"].split("; ")[1].split("%")[0]) / 100
    assert found[0] < 0.03 < 0.15 < left
    assert found[1] < 0.2


def test_mass_is_kept(run):
    frames = run.returned["rollout"].astype(np.float64)
    change = np.abs(frames.mean(axis=(2, 3, 4)) - frames[0].mean(axis=(1, 2, 3))).max()
    assert run.report["mass"].startswith(f"changes by {change:.1e} at most")
    assert change < 1e-6


def test_file_holds_the_network(run):
    torch = pytest.importorskip("torch")
    frames, t = run.returned["rollout"], run.tensors
    x = torch.from_numpy(frames[0].transpose(0, 3, 1, 2).astype(np.float64))
    y = x
    for i in (1, 3, 5, 7):
        w = torch.from_numpy(t[f"layer.{i}.weight"].transpose(3, 2, 0, 1).copy())
        y = torch.nn.functional.pad(y, (1, 1, 1, 1), mode="circular")
        y = torch.nn.functional.conv2d(y, w, torch.from_numpy(t[f"layer.{i}.bias"]))
        y = torch.nn.functional.gelu(y, approximate="tanh") if i < 7 else y
    y = x + y - y.mean(dim=(2, 3), keepdim=True)
    np.testing.assert_allclose(frames[1], y.numpy().transpose(0, 2, 3, 1), atol=1e-5)
    model = nf.load(run.folder / "surrogate.h5", functions=[surrogate.wrap, surrogate.keep_mass])
    np.testing.assert_array_equal(nf.compile(model)(frames[0]), frames[1])


def test_network_moves_with_the_field():
    nf.seed(0)
    model = surrogate.network(4)
    u = surrogate.start(2, np.random.default_rng(1)).astype(np.float32)
    moved = np.roll(model(u), (5, -3), (1, 2))
    np.testing.assert_allclose(model(np.roll(u, (5, -3), (1, 2))), moved, atol=1e-6)


def test_gradient_goes_through_the_edges():
    nf.seed(0)
    model = nf.f64(surrogate.network(2))
    x = np.random.default_rng(2).normal(size=(1, 4, 5, 1))
    nf.check_gradients(lambda model, x: surrogate.loss(model, x, x**2), model, x)
