"""PINN: exact solution and equation by differences, the network by PyTorch from its file, errors as reported."""

import re

import numpy as np
import pytest

import numbaflux as nf
from tests.examples.program import imported, ran

pinn = imported("pinn")
STEP = 1e-4  # of central differences


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A third as long as the program runs unless told."""
    return ran("pinn", tmp_path_factory.mktemp("pinn"), "--epochs", 20, watch=("evaluate",))


def places():
    rng = np.random.default_rng(0)
    return rng.uniform(-pinn.SIDE, pinn.SIDE, (50, 1)), rng.uniform(0.1, pinn.END, (50, 1))


def by_differences(u, x, t):
    """What is left of the equation for a function u(x, t)."""
    dt = (u(x, t + STEP) - u(x, t - STEP)) / (2 * STEP)
    dx = (u(x + STEP, t) - u(x - STEP, t)) / (2 * STEP)
    dxx = (u(x + STEP, t) - 2 * u(x, t) + u(x - STEP, t)) / STEP**2
    return dt + u(x, t) * dx - pinn.VISCOSITY * dxx


def test_exact_solution_solves_the_equation_and_moves():
    x, t = places()
    assert np.abs(by_differences(pinn.exact, x, t)).max() < 1e-5
    line = np.linspace(-pinn.SIDE, pinn.SIDE, 201)
    shocks = {-0.5: (0, 0.5), 0.5: (0, -0.5), -0.25: (0.5, 0.5), 0.25: (0.5, -0.5), 0.0: (pinn.END, 0.0)}
    for x, (t, u) in shocks.items():  # each goes with half of the speeds beside it, to the other
        assert pinn.exact(x, t) == pytest.approx(u, abs=0.01)
    assert (np.diff(pinn.exact(line, 0.7)) < 0).all() and pinn.exact(-1, 0.7) > 0.99 > -0.99 > pinn.exact(1, 0.7)


def test_residual_has_the_derivatives():
    """Of a network that was not trained, against differences; and gradients of it."""
    nf.seed(0)
    u = nf.f64(pinn.network(6))
    x, t = places()
    found = pinn.residual(u, x, t)
    np.testing.assert_allclose(found, by_differences(lambda x, t: pinn.at(u, x, t), x, t), atol=1e-6)
    assert np.abs(found).max() > 0.05
    edges = [part[:5].astype(np.float64) for part in pinn.draw_points(np.random.default_rng(1))[2:]]
    nf.check_gradients(lambda u: pinn.loss(u, x[:5], t[:5], *edges), u)


def test_points_are_inside_and_on_the_edges():
    x, t, edge_x, edge_t, edge_u = pinn.draw_points(np.random.default_rng(2))
    assert np.abs(x).max() <= pinn.SIDE and 0 <= t.min() < t.max() <= pinn.END
    on = [edge_t == 0, edge_x == -pinn.SIDE, edge_x == pinn.SIDE]
    assert [part.sum() for part in on] == [pinn.EDGE] * 3 and np.any(on, axis=0).all()
    np.testing.assert_allclose(edge_u, pinn.exact(edge_x, edge_t), atol=1e-6)


def test_report_and_files(run):
    assert run.code == 0
    titles = ["epoch  10", "epoch  20", "solution", "worst place", "equation", "training", "files"]
    assert list(run.report) == titles
    assert {path.name for path in run.folder.iterdir()} == {"pinn.h5", "pinn.png"}
    assert re.fullmatch(r"2000 steps of 512 places in [\d.]+ s, [\d.]+ ms each", run.report["training"])


def test_errors_are_small_and_as_reported(run):
    found, _, left = run.returned["evaluate"]
    t, x = np.linspace(0, pinn.END, 61)[:, None], np.linspace(-pinn.SIDE, pinn.SIDE, 129)
    right = pinn.exact(*np.broadcast_arrays(x, t))
    error = np.linalg.norm(found - right) / np.linalg.norm(right)
    still = np.linalg.norm(right[:1] - right) / np.linalg.norm(right)
    assert run.report["solution"] == f"relative error {error:.2%}; {still:.2%} if the start is left as it is"
    assert error < 0.015 < 0.4 < still
    assert run.report["worst place"] == f"off by {abs(found - right).max():.1e}"
    assert run.report["equation"].startswith(f"off by {np.sqrt((left**2).mean()):.1e}, ")
    assert float(run.report["epoch  20"].split()[1]) < 1e-3


def test_file_holds_the_network(run):
    torch = pytest.importorskip("torch")
    p = {name: torch.from_numpy(array) for name, array in run.tensors.items()}
    found, _, left = run.returned["evaluate"]
    t, x = torch.meshgrid(
        torch.linspace(0, pinn.END, 61).double(), torch.linspace(-pinn.SIDE, pinn.SIDE, 129).double(), indexing="ij"
    )
    place = torch.stack([x.flatten(), t.flatten()], 1).requires_grad_()
    y = place
    for i in range(4):
        y = y @ p[f"{i}.weight"] + p[f"{i}.bias"]
        y = torch.tanh(y) if i < 3 else y
    [slope] = torch.autograd.grad(y.sum(), place, create_graph=True)
    [curve] = torch.autograd.grad(slope[:, 0].sum(), place)
    equation = slope[:, 1] + y[:, 0] * slope[:, 0] - pinn.VISCOSITY * curve[:, 0]
    np.testing.assert_allclose(found, y.detach().numpy().reshape(found.shape), atol=1e-5)
    np.testing.assert_allclose(left, equation.detach().numpy().reshape(left.shape), atol=1e-3)
    model = nf.load(run.folder / "pinn.h5")
    assert nf.outputsize(model, (5, 2)) == (5, 1) and model[0].weight.shape == (2, 24)
