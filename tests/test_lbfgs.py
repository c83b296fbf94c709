"""nf.lbfgs against known optima and PyTorch's L-BFGS; its line search; what it refuses."""

import itertools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.lbfgs import ENOUGH, FLAT, Objective, search
from tests.steps import X, Y, bits, grads_of, loss, mlp, raises

G = nf.Generator(2)
XS, LABELS = G.normal((60, 4), dtype=np.float64), np.arange(60) % 3


def rosenbrock(model):
    """Of any number of dimensions."""
    p = model["p"]
    return ((1 - p[:-1]) ** 2 + 100 * (p[1:] - p[:-1] ** 2) ** 2).sum()


def bowl(model, a, b):
    """A parabola whose lowest point solves a x = b."""
    x = model["x"]
    return 0.5 * (x * (a @ x)).sum() - (b * x).sum()


def logistic(model, x, y):
    return nf.losses.logitcrossentropy(model(x), y) + 0.05 * ((model.weight**2).sum() + (model.bias**2).sum())


def newton(x, y):
    """The optimum of `logistic`, by Newton's method on its 15 numbers."""
    ones = np.hstack([x, np.ones((60, 1))])
    w, hot = np.zeros((5, 3)), np.eye(3)[y]
    for _ in range(30):
        p = np.exp(ones @ w)
        p /= p.sum(axis=1, keepdims=True)
        g = ones.T @ (p - hot) / 60 + 0.1 * w
        h = np.einsum("ni,nj,nkl->ikjl", ones, ones, p[:, :, None] * np.eye(3) - p[:, :, None] * p[:, None]) / 60
        w -= np.linalg.solve(h.reshape(15, 15) + 0.1 * np.eye(15), g.reshape(15)).reshape(5, 3)
    assert abs(g).max() < 1e-12
    return w[:4], w[4]


@pytest.mark.parametrize("size", [2, 5, 40])
@pytest.mark.parametrize("memory", [1, 5, 20])
def test_rosenbrock(size, memory):
    model = {"p": np.tile([-1.2, 1.0], size)[:size]}
    history = nf.lbfgs(rosenbrock, model, iterations=500, memory=memory, tolerance=1e-8)
    assert history[-1]["gradient"] <= 1e-8 and [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    assert np.abs(model["p"] - 1).max() < 1e-6 or size > 2  # more dimensions have a second valley
    assert all(b < a for a, b in itertools.pairwise(history.column("loss")))


def test_a_system_of_equations():
    a = np.diag(np.linspace(1, 50, 12)) + 0.1
    b = G.normal((12,), dtype=np.float64)
    model = {"x": np.zeros(12)}
    history = nf.lbfgs(bowl, model, a, b, memory=12, tolerance=1e-10)
    assert history[-1]["gradient"] <= 1e-10  # where losses differ in the last digit, if at all
    np.testing.assert_allclose(model["x"], np.linalg.solve(a, b), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-7), (np.float32, 1e-3)])
def test_a_convex_model_is_at_its_optimum(dtype, atol):
    model = nf.f64(nf.Dense(4, 3, rng=0)) if dtype is np.float64 else nf.Dense(4, 3, rng=0)
    nf.lbfgs(logistic, model, XS.astype(dtype), LABELS, tolerance=1e-9)
    for got, right in zip((model.weight, model.bias), newton(XS, LABELS), strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=atol)


def test_a_small_net_comes_as_far_down_as_pytorchs():
    torch = pytest.importorskip("torch")
    model = nf.f64(mlp())
    x, y = X.astype(np.float64), Y.astype(np.float64)
    params = {k: torch.tensor(v, requires_grad=True) for k, v in nf.state(model).items()}
    optimiser = torch.optim.LBFGS(params.values(), max_iter=200, max_eval=10_000, history_size=10,
                                  tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe")  # fmt: skip

    def closure():
        optimiser.zero_grad()
        hidden = torch.tanh(torch.tensor(x) @ params["0.weight"] + params["0.bias"])
        value = ((hidden @ params["1.weight"] + params["1.bias"] - torch.tensor(y)) ** 2).mean()
        value.backward()
        return value

    first = float(optimiser.step(closure).detach())
    history = nf.lbfgs(loss, model, x, y, iterations=200)
    assert loss(model, x, y) == pytest.approx(history[-1]["loss"], rel=1e-12)
    assert history[-1]["loss"] < 1.1 * float(closure().detach()) < 0.5 * first


def test_the_conditions_of_wolfe_hold():
    objective = Objective(rosenbrock, {"p": np.array([-1.2, 1.0, 0.3, -2.0])}, ())
    start = objective.first()
    for length in (1e-9, 1e-3, 1.0, 1e3):
        direction = -start.gradient
        slope = start.gradient @ direction
        step, point = search(objective, start, direction, length)
        assert point.loss <= start.loss + ENOUGH * step * slope
        assert abs(point.gradient @ direction) <= -FLAT * slope
        np.testing.assert_allclose(point.x, start.x + step * direction, rtol=1e-15)
    assert search(objective, start, start.gradient, 1.0) is None, "uphill"


def test_steps_to_where_the_loss_is_not_finite_are_made_shorter():
    model = {"w": np.array([30.0, 0.01])}
    nf.lbfgs(lambda m: (m["w"] - F.log(m["w"])).sum(), model, tolerance=1e-9)
    np.testing.assert_allclose(model["w"], 1.0, rtol=1e-8)


def test_tied_weights_stay_tied():
    tied = np.full(2, 5.0)
    model = {"a": tied, "b": tied}
    nf.lbfgs(lambda m: (m["a"] * m["b"]).sum() + ((m["a"] - 3) ** 2).sum(), model, tolerance=1e-10)
    assert model["a"] is model["b"]
    np.testing.assert_allclose(model["a"], 1.5, rtol=1e-8)


def test_it_ends_where_nothing_is_left_to_do():
    model = {"p": np.ones(4)}
    assert nf.lbfgs(rosenbrock, model) == [] and model["p"].tolist() == [1, 1, 1, 1]
    assert len(nf.lbfgs(rosenbrock, {"p": np.zeros(4)}, iterations=3)) == 3
    convex = nf.lbfgs(logistic, nf.Dense(4, 3, rng=0), XS.astype(np.float32), LABELS, tolerance=0.0, iterations=1000)
    assert 5 < len(convex) < 100, "float32 comes to an end"


def test_ctrl_c_keeps_the_last_whole_iteration(monkeypatch):
    model, calls, descend = {"p": np.array([-1.2, 1.0])}, [], Objective.descend

    def interrupted(self, point, memory):
        calls.append(point.x)
        if len(calls) == 4:
            self.put(point.x + 1)
            raise KeyboardInterrupt
        return descend(self, point, memory)

    monkeypatch.setattr(Objective, "descend", interrupted)
    history = nf.lbfgs(rosenbrock, model)
    assert len(history) == 3 and history.interrupted and (model["p"] == calls[-1]).all()


def test_training_goes_on_with_another_rule():
    model = mlp()
    old = nf.setup(nf.Adam(), model)
    history = nf.lbfgs(loss, model, X, Y, iterations=5)
    with pytest.raises(nf.PlanError, match="an older one"):
        nf.update(old, model, grads_of(model))
    step = nf.compile(loss, model, nf.setup(nf.Descent(0.0), model))
    assert step(X, Y) == pytest.approx(history[-1]["loss"], rel=1e-6)


CALLS = [
    (lambda m: nf.lbfgs(3, m), nf.DTypeError, "lbfgs: loss must be a function loss(model, *batch), got int"),
    (lambda m: nf.lbfgs(loss, m, X, Y, memory=0), nf.RangeError, "lbfgs: memory must be an integer in [1, inf), got 0"),
    (lambda m: nf.lbfgs(loss, m, X, Y, iterations=-1), nf.RangeError,
     "lbfgs: iterations must be an integer in [0, inf), got -1"),
    (lambda m: nf.lbfgs(loss, m, X * np.nan, Y), nf.NonFiniteError,
     "step: loss must be finite, got NaN or Inf; nothing was changed; input 0, which dense in layer 0 (Dense) reads, "
     "of shape (64, 3) has 192 of 192 elements that are NaN or Inf, the first nan at (0, 0)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), CALLS, ids=[c[2][:30] for c in CALLS])
def test_what_it_refuses(call, kind, text):
    model = mlp()
    before = bits(model)
    with raises(kind, text):
        call(model)
    assert bits(model) == before


def test_a_loss_that_draws_is_refused():
    model = nf.Chain(nf.Dense(3, 17, rng=0), nf.Dropout(0.5, rng=1), nf.Dense(17, 2, rng=1))
    before = bits(model)
    with pytest.raises(nf.PlanError, match="^lbfgs: loss must be the same at each call, got .* and .*; leave out what"):
        nf.lbfgs(loss, model, X, Y)
    assert bits(model) == before
