"""Gradients of models and of functions that take gradients: against formulas, PyTorch, and what must be refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ops import elementwise as E

x32 = np.array([1, 2, 3], np.float32)


def drawn(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def network(dtype=np.float64):
    nf.seed(3)
    model = nf.Chain(nf.Dense(5, 7, nf.tanh), nf.Dense(7, 4, nf.sigmoid), nf.Dense(4, 3))
    return nf.f64(model) if dtype == np.float64 else model


def cube(x):
    return F.sum(x * x * x)


# ---------------------------------------------------------------- arguments


def test_one_argument_and_several():
    value, grad = nf.withgradient(cube, x32)
    assert (value, value.dtype) == (36, np.float32)
    np.testing.assert_array_equal(grad, 3 * x32**2)
    value, grads = nf.withgradient(lambda a, b: F.sum(a * b), x32, x32 + 1)
    assert value == 20 and isinstance(grads, tuple)
    np.testing.assert_array_equal(grads, [x32 + 1, x32])
    np.testing.assert_array_equal(nf.gradient(cube, x32), 3 * x32**2)


def test_an_array_that_is_two_arguments_is_two_variables():
    np.testing.assert_array_equal(nf.gradient(lambda a, b: F.sum(a * a * b), x32, x32), [2 * x32**2, x32**2])
    assert [float(g) for g in nf.gradient(lambda a, b: a * a * b, 3.0, 3.0)] == [18, 9]


def test_an_array_that_stands_twice_in_a_model_is_one_variable():
    tied = {"in": x32, "out": [x32]}
    grads = nf.gradient(lambda p: F.sum(p["in"] * p["in"] * p["out"][0]), tied)
    np.testing.assert_array_equal(grads["in"], 3 * x32**2)
    np.testing.assert_array_equal(grads["out"][0], 3 * x32**2)


def test_integers_and_other_things_have_no_gradient():
    def f(p, index, name):
        assert name == "sum"
        return F.sum(p["w"][index]) * p["twice"]

    p = {"w": x32, "index": np.array([0, 1]), "mask": np.array([True]), "twice": 2, "name": "p", "none": None}
    grads = nf.gradient(f, p, np.array([0, 2]), "sum")
    np.testing.assert_array_equal(grads[0]["w"], [2, 0, 2])
    assert (grads[0]["index"], grads[0]["mask"], grads[1]) == (None, None, None)


def test_what_is_not_used_has_a_gradient_of_zeros():
    grads = nf.gradient(lambda a, b: F.sum(a), x32, drawn(2, 3))
    assert grads[1].shape == (2, 3) and grads[1].dtype == np.float64 and not grads[1].any()


def test_shapes_strides_and_numbers():
    x = drawn(4, 6)[::2, ::-1]
    np.testing.assert_array_equal(nf.gradient(lambda v: F.sum(v * v), x), 2 * x)
    grad = nf.gradient(lambda v: v * v, np.array(3.0))
    assert (grad.shape, grad.dtype, grad) == ((), np.float64, 6)
    assert nf.gradient(lambda v: v * v, np.float32(3)).dtype == np.float32
    np.testing.assert_array_equal(nf.gradient(lambda v: v * v, np.ones((1, 1))), [[2]])  # one element is a scalar


def test_arguments_stay_as_they_are():
    model, x = network(), drawn(9, 5)
    before = [a.copy() for a in nf.trainables(model)] + [x.copy()]
    nf.gradient(lambda m, x: F.sum(F.square(m(x))), model, x)
    for a, b in zip([*nf.trainables(model), x], before, strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- models


def torch_network(torch, model):
    layers = []
    for layer, activation in zip(model, (torch.tanh, torch.sigmoid, lambda x: x), strict=True):
        w, b = (torch.tensor(a, requires_grad=True) for a in (layer.weight, layer.bias))
        layers.append((w, b, activation))
    return layers


@pytest.mark.parametrize("n", [1, 33, 300])
def test_gradients_of_a_network_are_torchs(n):
    torch = pytest.importorskip("torch")
    model, x, target = network(), drawn(n, 5, seed=1), drawn(n, 3, seed=2)
    layers = torch_network(torch, model)
    y = torch.tensor(x)
    for w, b, activation in layers:
        y = activation(y @ w + b)
    right = torch.nn.functional.mse_loss(y, torch.tensor(target))
    right.backward()
    loss, grads = nf.withgradient(lambda m: nf.losses.mse(m(x), target), model)
    assert type(grads) is nf.Chain and grads[0].activation is nf.tanh
    np.testing.assert_allclose(loss, right.item(), rtol=1e-13)
    for ours, (w, b, _) in zip(grads, layers, strict=True):
        np.testing.assert_allclose(ours.weight, w.grad.numpy(), rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(ours.bias, b.grad.numpy(), rtol=1e-11, atol=1e-14)


def test_a_layer_used_twice_is_summed():
    layer = nf.f64(nf.Dense(4, 4, nf.tanh))
    x, w = drawn(6, 4, seed=1), drawn(6, 4, seed=2)

    def loss(one, two):
        return F.sum(two(one(x)) * w)

    apart = nf.gradient(loss, layer, layer)
    both = nf.gradient(lambda m: loss(m, m), layer)
    np.testing.assert_allclose(both.weight, apart[0].weight + apart[1].weight, rtol=1e-13)
    chain = nf.Chain(layer, layer)
    again = nf.gradient(lambda m: F.sum(m(x) * w), chain)
    np.testing.assert_array_equal(again[0].weight, both.weight)
    np.testing.assert_array_equal(again[1].weight, both.weight)


def test_aux_comes_along_as_arrays():
    def f(x):
        y = x * 2
        return F.sum(y), {"y": y, "rest": [F.sum(x), "text", 3]}

    (value, aux), grad = nf.withgradient(f, x32)
    assert value == 12 and aux["rest"] == [6, "text", 3]
    assert type(aux["y"]) is np.ndarray
    np.testing.assert_array_equal(aux["y"], 2 * x32)
    np.testing.assert_array_equal(grad, [2, 2, 2])


def test_arrays_from_outside_are_constants():
    w = drawn(3, dtype=np.float32)
    f, g = (lambda v: F.sum(v * v * w)), nf.compile(lambda v: nf.gradient(f, v))
    for _ in range(2):
        np.testing.assert_allclose(nf.gradient(f, x32), 2 * x32 * w, rtol=1e-6)
        np.testing.assert_allclose(g(x32), 2 * x32 * w, rtol=1e-6)
        w += 1  # read where they are: the plan sees it, too


def test_stop_gradient_is_a_constant():
    np.testing.assert_array_equal(nf.gradient(lambda v: F.sum(v * nf.stop_gradient(v)), x32), x32)
    grad = nf.compile(lambda v: nf.gradient(lambda v: F.sum(v * nf.stop_gradient(v * v)), v))(x32)
    np.testing.assert_array_equal(grad, x32**2)
    assert not nf.gradient(lambda v: nf.stop_gradient(cube(v)), x32).any()


# ---------------------------------------------------------------- gradients of gradients


def test_derivatives_of_any_order():
    def derivative(f):
        return lambda v: nf.gradient(lambda u: F.sum(f(u)), v)

    f, right = lambda v: v**5 / 120, lambda k: np.float64(2.0) ** (5 - k) / np.prod(np.arange(1.0, 6 - k))
    for k in range(5):
        np.testing.assert_allclose(f(np.array([2.0])), right(k), rtol=1e-12)
        np.testing.assert_allclose(nf.compile(f)(np.array([2.0])), right(k), rtol=1e-12)
        f = derivative(f)


def test_inner_and_outer_variables_are_told_apart():
    """d/dx (x d/dy (x + y)) = 1, d/dx (x d/dy (x y)) = 2 x: the classic confusion of perturbations."""
    for inner, right in ((lambda x, y: x + y, 1), (lambda x, y: x * y, 6)):

        def slope(x, inner=inner):
            return nf.gradient(lambda x: x * nf.gradient(lambda y: inner(x, y), np.array(1.0)), x)

        assert slope(np.array(3.0)) == nf.compile(slope)(np.array(3.0)) == right


def test_a_gradient_of_what_does_not_depend_on_it_is_refused():
    with pytest.raises(nf.PlanError, match="^gradient: loss must be computed from the arguments, got "):
        nf.gradient(lambda x: nf.gradient(lambda y: F.sum(y), x32).sum(), x32)


def test_hessian_is_the_jacobian_of_the_gradient():
    a = drawn(4, 4)
    hessian = nf.jacobian(lambda x: nf.gradient(lambda v: F.sum(F.tanh(F.matmul(v, a)) * v), x), drawn(4, seed=1))
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12)
    quadratic = nf.jacobian(lambda x: nf.gradient(lambda v: v @ a @ v, x), drawn(4, seed=1))
    np.testing.assert_allclose(quadratic, a + a.T, rtol=1e-12)


def test_the_gradient_of_a_laplacian():
    """A gradient of a trace of a jacobian of a gradient, as equations of physics take it; eager and compiled."""
    x = drawn(3)

    def laplacian(v):
        hessian = nf.jacobian(lambda u: nf.gradient(lambda w: F.sum(F.exp(w) * w), u), v)
        return sum(hessian[i, i] for i in range(3))

    np.testing.assert_allclose(laplacian(x), np.sum(np.exp(x) * (x + 2)), rtol=1e-12)
    for f in (lambda v: nf.gradient(laplacian, v), nf.compile(lambda v: nf.gradient(laplacian, v))):
        np.testing.assert_allclose(f(x), np.exp(x) * (x + 3), rtol=1e-12)


def test_a_gradient_inside_of_what_the_argument_does_not_reach():
    """Its own arrays are constants of the plan, read where they are."""
    w = drawn(3)
    f = nf.compile(lambda v: nf.gradient(lambda u: F.sum(u * u * v), w))
    for _ in range(2):
        np.testing.assert_allclose(f(x32.astype(np.float64)), 2 * w * x32, rtol=1e-13)
        w += 1


def test_a_penalty_on_a_gradient_is_torchs():
    """Weights' gradient of the square of the input's gradient, eager and compiled."""
    torch = pytest.importorskip("torch")
    model, x = network(), drawn(6, 5, seed=1)
    layers, leaf = torch_network(torch, model), torch.tensor(x, requires_grad=True)
    y = leaf
    for w, b, activation in layers:
        y = activation(y @ w + b)
    [inner] = torch.autograd.grad(y.sum(), leaf, create_graph=True)
    (inner**2).sum().backward()

    def penalty(m, x):
        return F.sum(F.square(nf.gradient(lambda v: F.sum(m(v)), x)))

    grads = nf.gradient(lambda m: penalty(m, x), model)
    for ours, (w, _, _) in zip(grads, layers, strict=True):
        np.testing.assert_allclose(ours.weight, w.grad.numpy(), rtol=1e-10, atol=1e-13)
    compiled = nf.compile(lambda w: nf.gradient(lambda w: penalty(with_weight(model, w), x), w))(model[0].weight)
    np.testing.assert_allclose(compiled, layers[0][0].grad.numpy(), rtol=1e-10, atol=1e-13)


def with_weight(model, w):
    """The network with another first weight, written out."""
    first, *rest = model

    def run(x):
        y = F.tanh(F.dense(x, w, first.bias))
        for layer in rest:
            y = layer(y)
        return y

    return run


# ---------------------------------------------------------------- pullback, jacobian


def test_pullback_takes_any_gradient_and_may_be_called_again():
    a, b = drawn(3, 4), drawn(4, 2, seed=1)
    y, back = nf.pullback(F.matmul, a, b)
    np.testing.assert_allclose(y, a @ b, rtol=1e-13)
    for seed in (2, 3):
        dy = drawn(3, 2, seed=seed)
        da, db = back(dy)
        np.testing.assert_allclose(da, dy @ b.T, rtol=1e-13)
        np.testing.assert_allclose(db, a.T @ dy, rtol=1e-13)
    da, _ = back(np.ones((3, 2), int))  # cast to the dtype of y
    assert da.dtype == np.float64


def test_withjacobian_runs_the_function_once():
    runs = []
    y, found = nf.withjacobian(lambda x: runs.append(1) or cube(x), x32)
    assert len(runs) == 1 and np.array_equal(y, cube(x32)) and np.array_equal(found, nf.jacobian(cube, x32))


def test_jacobian_has_all_derivatives():
    a = drawn(3, 4)
    np.testing.assert_allclose(nf.jacobian(lambda x: F.matmul(a, x), drawn(4)), a, rtol=1e-15)
    assert nf.jacobian(lambda x: F.exp(x), drawn(2, 3)).shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(nf.jacobian(cube, x32), 3 * x32**2)
    np.testing.assert_array_equal(nf.jacobian(lambda x: x * x32, np.float32(2)), x32)
    assert nf.jacobian(F.exp, np.zeros((0, 2))).shape == (0, 2, 0, 2)


# ---------------------------------------------------------------- errors, threads


def no_rule(name):
    return nf.Op(name, lambda x: x, E.NEG.lower, None, reason="its family does not close")


WRONG = {
    "a vector": (
        lambda x: x * 2,
        nf.ShapeError,
        r"gradient: loss must be a scalar, got shape \(3,\); take its mean or sum",
    ),
    "a constant": (
        lambda x: 1.0,
        nf.PlanError,
        r"gradient: loss must be computed from the arguments, got float; return what",
    ),
    "nothing": (lambda x: None, nf.PlanError, r"gradient: loss must be computed from the arguments, got NoneType"),
    "a bool": (lambda x: F.max(x) > 0, nf.DTypeError, r"gradient: loss must be a floating number, got bool"),
    "NumPy": (
        lambda x: np.asarray(x).sum(),
        nf.PlanError,
        r"gradient: a traced value must not be turned into a NumPy array",
    ),
    "no rule": (
        lambda x: F.sum(nf.apply(no_rule("mine"), x)),
        nf.PlanError,
        r"mine: has no gradient: its family does not close",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_losses_are_named(name):
    f, error, message = WRONG[name]
    with pytest.raises(error, match="^" + message):
        nf.gradient(f, x32)


def test_pullback_names_what_is_wrong():
    _, back = nf.pullback(lambda x: x * 2, x32)
    with pytest.raises(nf.ShapeError, match=r"^pullback: dy must be of shape \(3,\), got shape \(4,\)"):
        back(np.ones(4))
    with pytest.raises(nf.PlanError, match=r"^pullback: f must be a function that returns one array, got tuple"):
        nf.pullback(lambda x: (x, x), x32)


def test_an_operation_without_a_rule_may_be_used_where_no_gradient_goes():
    f = no_rule("mine")
    np.testing.assert_array_equal(nf.gradient(lambda x: F.sum(x * nf.apply(f, nf.stop_gradient(x))), x32), -x32)


def test_an_error_leaves_nothing_open():
    for _ in range(2):
        with pytest.raises(nf.ShapeError):
            nf.gradient(lambda x: F.sum(nf.gradient(lambda v: v * x, x)), x32)
        np.testing.assert_array_equal(nf.gradient(cube, x32), 3 * x32**2)


def test_branches_follow_values():
    f = nf.gradient(lambda x: F.sum(x) if F.sum(x) > 0 else F.sum(-x), -x32)
    np.testing.assert_array_equal(f, [-1, -1, -1])
    np.testing.assert_array_equal(nf.gradient(lambda x: sum(v * v for v in x), x32), 2 * x32)


def test_many_threads_at_once():
    model, xs = network(), [drawn(20 + i, 5, seed=i) for i in range(8)]

    def grads(x):
        return nf.gradient(lambda m: F.sum(F.square(m(x))), model)[0].weight

    right = [grads(x) for x in xs]
    with ThreadPoolExecutor(4) as pool:
        for one, two in zip(pool.map(grads, xs * 5), right * 5, strict=True):
            np.testing.assert_array_equal(one, two)
