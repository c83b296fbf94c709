"""gradient_hook: the value stays, the gradient is the user's; eager, compiled, of second order; messages."""

import re

import numpy as np
import pytest

import numbaflux as nf

X = nf.Generator(0).normal((5, 3))
Y = nf.Generator(1).normal((5, 2))


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def net():
    return nf.Chain(nf.Dense(3, 4, nf.tanh, rng=0), nf.Dense(4, 2, rng=1))


def hooked(f):
    """A loss whose gradient goes through f between the layers."""
    return lambda m, x, y: nf.losses.mse(m[1](nf.gradient_hook(f, m[0](x))), y)


def test_the_value_stays_and_the_gradient_is_changed():
    model, plain = net(), nf.gradient(lambda m: nf.losses.mse(m(X), Y), net())
    value, grads = nf.withgradient(lambda m: hooked(lambda g: 3 * g)(m, X, Y), model)
    assert value == nf.losses.mse(model(X), Y)
    np.testing.assert_allclose(grads[0].weight, 3 * plain[0].weight, rtol=1e-5)
    np.testing.assert_array_equal(grads[1].weight, plain[1].weight)


def test_the_gradient_is_seen():
    seen = []
    hook = hooked(lambda g: seen.append(g) or g)
    nf.gradient(lambda m: hook(m, X, Y), net())
    h = net()[0](X)
    expected = nf.gradient(lambda h: nf.losses.mse(net()[1](h), Y), h)
    assert len(seen) == 1 and type(seen[0]) is np.ndarray
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6)


def test_outside_of_a_gradient_nothing_happens():
    assert nf.gradient_hook(lambda g: 1 / 0, X) is X
    predict = nf.compile(lambda x: nf.gradient_hook(lambda g: 1 / 0, x) * 2)
    np.testing.assert_array_equal(predict(X), 2 * X)


@pytest.mark.parametrize("f", [lambda g: -g, lambda g: np.minimum(g, 0.01), nf.tanh], ids=["minus", "clip", "tanh"])
def test_a_compiled_step_takes_the_same_gradient(f):
    eager, planned = net(), net()
    states = [nf.setup(nf.Descent(0.1), m) for m in (eager, planned)]
    step = nf.compile(hooked(f), planned, states[1])
    for _ in range(3):
        value, grads = nf.withgradient(lambda m: hooked(f)(m, X, Y), eager)
        nf.update(states[0], eager, grads)
        assert step(X, Y) == value
    for a, b in zip(nf.trainables(eager), nf.trainables(planned), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_lambda_inside_the_loss_and_a_scalar():
    model, scale = nf.Dense(3, 2, rng=0), nf.Scalar(1.0)
    before = model.weight.copy()

    def loss(m, x, y):
        return nf.losses.mse(nf.gradient_hook(lambda g: g * scale, m(x)), y)

    step = nf.compile(loss, model, nf.setup(nf.Descent(0.1), model))
    scale.value = 0.0
    step(X, Y)
    assert np.array_equal(model.weight, before)
    scale.value = 1.0
    step(X, Y)
    assert not np.array_equal(model.weight, before)


def test_second_order():
    x = np.array([1.0, 2.0])

    def f(x):
        return (nf.gradient_hook(lambda g: g * g, x) ** 3).sum()  # its gradient is (3 x**2)**2

    np.testing.assert_allclose(nf.gradient(f, x), 9 * x**4)
    # Each gradient on its way back to x goes through the hook: that of the first gradient too.
    np.testing.assert_allclose(nf.hessian(f, x), np.diag((36 * x**3) ** 2))


@pytest.mark.parametrize(
    ("f", "got"),
    [
        (lambda g: None, "NoneType"),
        (lambda g: g.sum(), "float64 of shape ()"),
        (lambda g: g.astype(np.float32), "float32 of shape (2,)"),
        (lambda g: 1.0, "float"),
    ],
)
def test_what_does_not_fit(f, got):
    text = f"gradient_hook: f must be a function that returns float64 of shape (2,) as the gradient, got {got}"
    with raises(nf.ShapeError, text):
        nf.gradient(lambda x: nf.gradient_hook(f, x).sum(), np.ones(2))
    with raises(nf.DTypeError, "gradient_hook: f must be a function of a gradient, got 3"):
        nf.gradient_hook(3, np.ones(2))
