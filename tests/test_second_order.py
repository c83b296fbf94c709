"""Jacobians times vectors, Hessians and Hessians times vectors: closed forms, PyTorch; eager and compiled."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from tests.nets import batch, mlp, mse

A = np.random.default_rng(1).normal(size=(4, 4))


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rosenbrock(x):
    """Many dimensions, its Hessian is tridiagonal."""
    return F.sum(100 * F.square(x[1:] - F.square(x[:-1])) + F.square(1 - x[:-1]))


def rosenbrock_hessian(x):
    h = np.diag(np.r_[1200 * x[:-1] ** 2 - 400 * x[1:] + 2, 0] + np.r_[0, np.full(x.size - 1, 200.0)])
    return h + np.diag(-400 * x[:-1], 1) + np.diag(-400 * x[:-1], -1)


def softmax_hessian(x):
    """Of the logarithm of a sum of powers of e."""
    p = np.exp(x) / np.exp(x).sum()
    return np.diag(p) - np.outer(p, p)


# name -> (function, its Hessian)
FORMS = {
    "quadratic": (lambda x: x @ A @ x, lambda x: A + A.T),
    "cubic": (lambda x: F.sum(x * x * x), lambda x: np.diag(6 * x)),
    "rosenbrock": (rosenbrock, rosenbrock_hessian),
    "logsumexp": (nf.logsumexp, softmax_hessian),
    "linear": (lambda x: F.sum(x * A[0]), lambda x: np.zeros((4, 4))),
    "half": (lambda x: F.sum(x[:2] * x[1:3]) + x[3], lambda x: np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0],
                                                                         [0, 0, 0, 0]])),
    "partly constant": (lambda x: x[0] ** 3 + x[1] * x[2], lambda x: np.array(
        [[6 * x[0], 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])),
    "kinked": (lambda x: F.sum(F.square(nf.relu(x))), lambda x: np.diag(2.0 * (x > 0))),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_closed_forms(name):
    f, hessian = FORMS[name]
    x, v = drawn(4), drawn(4, seed=2)
    right = hessian(x)
    found = {
        lambda x, v: nf.hessian(f, x): right, lambda x, v: nf.diaghessian(f, x): np.diag(right),
        lambda x, v: nf.hvp(f, x, v): right @ v,
    }  # fmt: skip
    for g, wanted in found.items():
        np.testing.assert_allclose(g(x, v), wanted, rtol=1e-12, atol=1e-12)
        compiled = nf.compile(lambda x, v, g=g: F.add(g(x, v), F.sum(x)))  # alone, what is constant is refused
        np.testing.assert_allclose(compiled(x, v) - x.sum(), wanted, rtol=1e-12, atol=1e-12)


# name -> (function of matrices (3, 4) and (4, 2), its change along da, db)
CHANGES = {
    "matmul": (F.matmul, lambda a, b, da, db: da @ b + a @ db),
    "quotient": (lambda a, b: F.exp(a) / (1 + F.sum(F.square(b))), lambda a, b, da, db: (
        np.exp(a) * da / (1 + (b**2).sum()) - np.exp(a) * 2 * (b * db).sum() / (1 + (b**2).sum()) ** 2)),
    "linear": (lambda a, b: F.sum(a, axis=0) * 3, lambda a, b, da, db: da.sum(0) * 3),
    "max": (lambda a, b: F.max(a, axis=1), lambda a, b, da, db: da[range(3), a.argmax(1)]),
    "nothing": (lambda a, b: nf.stop_gradient(a) * 2 + F.mul(F.sum(b), 0.0), lambda a, b, da, db: np.zeros((3, 4))),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_jacobian_times_vectors(name):
    f, change = CHANGES[name]
    a, b = drawn(3, 4), drawn(4, 2, seed=1)

    def along(a, b, da, db):
        return nf.pushforward(f, a, b)[1](da, db)

    y, push = nf.pushforward(f, a, b)
    np.testing.assert_array_equal(y, f(a, b))
    for seed in (2, 4):  # may be called again
        da, db = drawn(3, 4, seed=seed), drawn(4, 2, seed=seed + 1)
        right = change(a, b, da, db)
        np.testing.assert_allclose(push(da, db), right, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(nf.compile(along)(a, b, da, db), right, rtol=1e-12, atol=1e-14)


def test_pushforward_and_pullback_are_transposes():
    f, x, v, w = (lambda x: F.tanh(F.matmul(x, A)) * x), drawn(5, 4), drawn(5, 4, seed=1), drawn(5, 4, seed=2)
    (_, push), (_, back) = nf.pushforward(f, x), nf.pullback(f, x)
    np.testing.assert_allclose((push(v) * w).sum(), (back(w) * v).sum(), rtol=1e-12)
    jacobian = nf.jacobian(f, x)
    np.testing.assert_allclose(push(v), np.tensordot(jacobian, v, 2), rtol=1e-12)


def test_further_derivatives_go_through():
    x, v = drawn(4), drawn(4, seed=1)
    third = nf.gradient(lambda x: F.sum(nf.hvp(lambda u: F.sum(F.exp(u)), x, v)), x)
    np.testing.assert_allclose(third, np.exp(x) * v, rtol=1e-12)
    by_v = nf.gradient(lambda v: F.sum(nf.hvp(lambda u: F.sum(F.exp(u)), x, v) * A[0]), v)
    np.testing.assert_allclose(by_v, np.exp(x) * A[0], rtol=1e-12)
    _, push = nf.pushforward(lambda x: nf.pushforward(F.exp, x)[1](v), x)
    np.testing.assert_allclose(push(v), np.exp(x) * v * v, rtol=1e-12)


def test_a_slope_without_end_stays_where_it_is():
    """What is 0 on the way back is not multiplied with it."""
    _, push = nf.pushforward(F.sqrt, np.array([0.0, 4.0]))
    np.testing.assert_array_equal(push(np.array([1.0, 2.0])), [np.inf, 0.5])


def test_numbers_shapes_and_dtypes():
    assert nf.hessian(lambda x: x * x * x, 2.0) == nf.diaghessian(lambda x: x * x * x, np.float32(2)) == 12
    assert nf.hvp(lambda x: x * x * x, 2.0, 3) == 36 and nf.jacobian(lambda x: x * x, 2.0) == 4
    x = drawn(2, 3).astype(np.float32)
    hessian = nf.hessian(lambda x: F.sum(x**4), x[:, ::-1])
    assert hessian.shape == (2, 3, 2, 3) and hessian.dtype == np.float32
    np.testing.assert_allclose(hessian.reshape(6, 6), np.diag(12 * x[:, ::-1].ravel() ** 2), rtol=1e-5)
    assert nf.hvp(lambda x: F.sum(x * x), x, np.ones((2, 3), int)).dtype == np.float32
    value = nf.hvp(lambda x: (F.sum(x * x), "aux"), x, x)
    np.testing.assert_array_equal(value, 2 * x)


def test_trees_with_other_things_and_two_dtypes():
    p = {"w": drawn(3), "f": drawn(2).astype(np.float32), "index": np.array([0, 2]), "name": "p"}

    def f(p):
        return F.sum(p["w"][p["index"]] ** 3) + F.sum(F.astype(p["f"], np.float64) ** 2)

    found = nf.hvp(f, p, {"w": np.ones(3), "f": np.ones(2)})
    np.testing.assert_allclose(found["w"], 6 * p["w"] * [1, 0, 1], rtol=1e-13)
    np.testing.assert_allclose(found["f"], [2, 2], rtol=1e-6)
    assert found["index"] is None and found["f"].dtype == np.float32


def test_an_array_that_stands_twice_is_one_variable():
    x, v = drawn(3), drawn(3, seed=1)
    found = nf.hvp(lambda p: F.sum(p[0] * p[0] * p[1]), [x, x], [v, np.zeros(3)])
    for part in found:
        np.testing.assert_allclose(part, 6 * x * v, rtol=1e-13)
    _, push = nf.pushforward(lambda p: p[0] * p[1], [x, x])
    np.testing.assert_allclose(push([v, v]), 2 * x * v, rtol=1e-13)


# ---------------------------------------------------------------- models, against PyTorch


def torch_mlp(torch, parameters, x):
    *inner, (w, b) = zip(parameters[::2], parameters[1::2], strict=True)
    for weight, bias in inner:
        x = torch.tanh(x @ weight + bias)
    return x @ w + b


def torch_net(torch, parameters, x):
    """CONV in PyTorch, images (n, h, w, c) as here."""
    (w1, b1, w2, b2, w3, b3), functional = parameters, torch.nn.functional
    y = functional.conv2d(x.permute(0, 3, 1, 2), w1.permute(3, 2, 0, 1), b1, padding=1)
    y = functional.max_pool2d(torch.tanh(y), 2)
    y = functional.avg_pool2d(torch.tanh(functional.conv2d(y, w2.permute(3, 2, 0, 1), b2)), 2)
    return y.permute(0, 2, 3, 1).flatten(1) @ w3 + b3


def conv_net():
    nf.seed(0)
    return nf.f64(nf.Chain(
        nf.Conv((3, 3), 2, 3, nf.tanh, pad=1), nf.MaxPool((2, 2)), nf.Conv((2, 2), 3, 4, nf.tanh), nf.MeanPool((2, 2)),
        nf.flatten, nf.Dense(4, 3),
    ))  # fmt: skip


def torch_lstm(torch, parameters, x):
    """Gates i, f, g, o, as here."""
    wi, wh, b, w, c = parameters
    h = state = torch.zeros(x.shape[0], wh.shape[0], dtype=x.dtype)
    for t in range(x.shape[1]):
        i, f, g, o = (x[:, t] @ wi + h @ wh + b).chunk(4, 1)
        state = torch.sigmoid(f) * state + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(state)
    return h @ w + c


def torch_gru(torch, parameters, x):
    """Gates r, z, n, as here."""
    wi, wh, b, w, c = parameters
    h = torch.zeros(x.shape[0], wh.shape[0], dtype=x.dtype)
    for t in range(x.shape[1]):
        (xr, xz, xn), (hr, hz, hn) = (x[:, t] @ wi + b).chunk(3, 1), (h @ wh).chunk(3, 1)
        z, n = torch.sigmoid(xz + hz), torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
        h = (1 - z) * n + z * h
    return h @ w + c


def last_step(y):
    return y[:, -1]


def recurrent_net(layer):
    nf.seed(1)
    return nf.f64(nf.Chain(layer(2, 2), last_step, nf.Dense(2, 3)))


def first_weight(model):
    return model[0].cells[0].Wi if hasattr(model[0], "cells") else model[0].weight


# name -> (model, x, the same in PyTorch)
MODELS = {
    "mlp": (lambda: mlp(7, 6, 5, 3, dtype="f8"), drawn(9, 7), torch_mlp),
    "conv": (conv_net, drawn(3, 6, 6, 2), torch_net),
    "lstm": (lambda: recurrent_net(nf.LSTM), drawn(3, 3, 2), torch_lstm),
    "gru": (lambda: recurrent_net(nf.GRU), drawn(3, 3, 2), torch_gru),
}


def like(model, arrays):
    """A model of the same shapes that holds these arrays."""
    other = nf.f64(model)
    for place, array in zip(nf.trainables(other), arrays, strict=True):
        place[...] = array
    return other


@pytest.mark.parametrize("name", MODELS)
def test_models_against_pytorch(name):
    torch = pytest.importorskip("torch")
    make, x, peer = MODELS[name]
    model, y = make(), drawn(len(x), 3, seed=3)
    tangents = [drawn(*p.shape, seed=5 + i) for i, p in enumerate(nf.trainables(model))]
    dx, other = drawn(*x.shape, seed=4), like(model, tangents)
    p, v = (tuple(map(torch.tensor, arrays)) for arrays in (nf.trainables(model), tangents))
    tx, ty, tdx = map(torch.tensor, (x, y, dx))

    right, change = torch.func.jvp(lambda p, x: peer(torch, p, x), (p, tx), (v, tdx))
    out, push = nf.pushforward(lambda m, x: m(x), model, x)
    np.testing.assert_allclose(out, right.numpy(), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(push(other, dx), change.numpy(), rtol=1e-10, atol=1e-12)
    step = nf.compile(lambda x, dx: nf.pushforward(lambda m, x: m(x), model, x)[1](other, dx))
    np.testing.assert_array_equal(step(x, dx), push(other, dx))

    slope = torch.func.grad(lambda p: ((peer(torch, p, tx) - ty) ** 2).mean())
    _, rights = torch.func.jvp(slope, (p,), (v,))
    found = nf.hvp(lambda m: mse(m, x, y), model, other)
    assert type(found) is nf.Chain
    for ours, theirs in zip(nf.trainables(found), rights, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-9, atol=1e-12)
    first = nf.compile(lambda x, y: first_weight(nf.hvp(lambda m: mse(m, x, y), model, other)))
    np.testing.assert_array_equal(first(x, y), first_weight(found))


STEP = 1e-5  # of central differences


@pytest.mark.parametrize("name", MODELS)
def test_models_against_differences(name):
    """A Jacobian, its product with a vector, a Hessian with one, and whole: of parameters, of values and gradients."""
    make, x, _ = MODELS[name]
    model, y = make(), drawn(len(x), 3, seed=3)
    flat, rebuild = nf.destructure(model)
    v = drawn(*flat.shape, seed=8)

    def out(p):
        return rebuild(p)(x)

    def loss(p):
        return mse(rebuild(p), x, y)

    def along(f, direction):
        return (f(flat + STEP * direction) - f(flat - STEP * direction)) / (2 * STEP)

    change = along(out, v)
    np.testing.assert_allclose(nf.pushforward(out, flat)[1](v), change, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(np.tensordot(nf.jacobian(out, flat), v, 1), change, rtol=1e-6, atol=1e-7)
    curve = along(lambda p: nf.gradient(loss, p), v)
    np.testing.assert_allclose(nf.hvp(loss, flat, v), curve, rtol=1e-6, atol=1e-7)
    hessian = nf.hessian(loss, flat)
    np.testing.assert_allclose(hessian @ v, curve, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(nf.diaghessian(loss, flat), np.diag(hessian), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_hessians_of_models_against_pytorch(name):
    """By a flat vector of parameters, and by the input."""
    torch = pytest.importorskip("torch")
    make, x, peer = MODELS[name]
    model = make()
    x, y = x[:1], drawn(1, 3, seed=3)
    right = torch.func.hessian(lambda x: torch.sum((peer(torch, p, x) - torch.tensor(y)) ** 2))
    p = tuple(map(torch.tensor, nf.trainables(model)))
    right = right(torch.tensor(x)).numpy()
    f = nf.compile(lambda x: nf.hessian(lambda x: F.sum(F.square(model(x) - y)), x))
    np.testing.assert_allclose(f(x), right, rtol=1e-9, atol=1e-12)
    flat, rebuild = nf.destructure(model)
    v = drawn(*flat.shape, seed=8)
    one = nf.hvp(lambda p: mse(rebuild(p), x, y), flat, v)
    other = nf.hvp(lambda m: mse(m, x, y), model, rebuild(v))
    np.testing.assert_allclose(one, nf.destructure(other)[0], rtol=1e-10, atol=1e-13)


def test_a_compiled_step_may_follow_curvature():
    """A penalty on the curvature along a direction: the compiled step's gradients are the eager ones."""
    model, (x, y) = mlp(7, 5, 3), batch(16)

    def loss(m, x, y):
        return mse(m, x, y) + 0.1 * F.sum(F.square(nf.hvp(lambda x: mse(m, x, y), x, nf.stop_gradient(x))))

    value, grads = nf.withgradient(loss, model, x, y)
    step = nf.compile(loss, model, nf.setup(nf.Descent(0.1), model))
    assert step(x, y) == value
    for one, other in zip(step.gradients().values(), nf.trainables(grads[0]), strict=True):
        np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------- state, errors


def test_nothing_is_changed_and_layers_train_once():
    model = nf.f64(nf.Chain(nf.Dense(3, 4, rng=0), nf.BatchNorm(4), nf.Dense(4, 1, rng=1)))
    x, before = drawn(6, 3), [p.copy() for p in nf.trainables(model)]
    nf.gradient(lambda m: F.mean(F.square(m(x))), once := nf.f64(model))
    nf.hvp(lambda m: F.mean(F.square(m(x))), model, model)
    np.testing.assert_array_equal(model[1].mean, once[1].mean)
    for p, old in zip(nf.trainables(model), before, strict=True):
        np.testing.assert_array_equal(p, old)


X = np.ones(3, np.float32)
MODEL = {"body": [X, np.ones((2, 3))]}
ERRORS = [
    (lambda: nf.hvp(F.sum, X, np.ones(4)), nf.ShapeError,
     "hvp: v must be of shape (3,) as the argument, got shape (4,)"),
    (lambda: nf.hvp(F.sum, X, None), nf.ShapeError, "hvp: v must be of shape (3,) as the argument, got NoneType"),
    (lambda: nf.hvp(F.sum, X, ["a"] * 3), nf.ShapeError, "hvp: v must be of shape (3,) as the argument, got NoneType"),
    (lambda: nf.hvp(F.sum, MODEL, {"body": [X, X]}), nf.ShapeError,
     "hvp: v at body.1 must be of shape (2, 3) as the argument, got shape (3,)"),
    (lambda: nf.hvp(lambda x: x * x, X, X), nf.ShapeError, "gradient: loss must be a scalar, got shape (3,)"),
    (lambda: nf.hvp(lambda i: F.sum(X), np.arange(3), X), nf.DTypeError,
     "hvp: x must be an array of floats, or what holds some, got int64"),
    (lambda: nf.hvp(lambda m: F.sum(X), {"a": None}, X), nf.DTypeError,
     "hvp: x must be an array of floats, or what holds some, got dict"),
    (lambda: nf.pushforward(lambda x: x > 0, X), nf.DTypeError,
     "pushforward: f must be a function that returns floats, got bool"),
    (lambda: nf.pushforward(F.exp, X)[1](), nf.ShapeError, "pushforward: tangents must be 1, one an argument, got 0"),
    (lambda: nf.pushforward(F.add, X, X)[1](X, X[:2]), nf.ShapeError,
     "pushforward: tangent 1 must be of shape (3,) as the argument, got shape (2,)"),
    (lambda: nf.pushforward(lambda x: (x, x), X), nf.PlanError, "pullback: f must be a function that returns one"),
    (lambda: nf.hessian(F.sum, np.arange(3)), nf.DTypeError,
     "hessian: x must be an array of floats, got int64; of a model take nf.destructure, or nf.hvp"),
    (lambda: nf.hessian(F.sum, X[:0]), nf.ShapeError, "hessian: x must be of at least one element, got shape (0,)"),
    (lambda: nf.diaghessian(F.sum, nf.Dense(2, 2)), nf.DTypeError,
     "diaghessian: x must be an array of floats, got Dense; of a model take nf.destructure, or nf.hvp"),
]  # fmt: skip


@pytest.mark.parametrize("i", range(len(ERRORS)))
def test_what_is_wrong_is_named(i):
    call, error, message = ERRORS[i]
    with pytest.raises(error) as info:
        call()
    assert str(info.value).startswith(message)
