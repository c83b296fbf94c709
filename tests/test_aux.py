"""A loss that returns (loss, anything): gradients, compiled steps and whole trainings see the first."""

import numpy as np

import numbaflux as nf

X, Y = nf.Generator(0).normal((6, 3)), nf.Generator(1).normal((6, 2))


def plain(m, x, y):
    return nf.losses.mse(m(x), y)


def with_aux(m, x, y):
    prediction = m(x)
    return nf.losses.mse(prediction, y), {"prediction": prediction, "note": "text"}


def test_training_goes_by_the_first_of_the_pair():
    found = []
    for loss in (plain, with_aux):
        for compiled in (True, False):
            model = nf.Dense(3, 2, rng=0)
            state = nf.setup(nf.Adam(0.1), model)
            history = nf.train(
                loss, model, [(X, Y)], state, epochs=3, validation=(X, Y), progress=False, compile=compiled
            )
            found.append((history.column("loss"), history.column("validation_loss"), model.weight.tobytes()))
    assert found[0] == found[2] and found[1] == found[3] and len(found[0][0]) == 3
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)


def test_gradient_leaves_it_out_and_withgradient_brings_it_as_arrays():
    model = nf.Dense(3, 2, rng=0)
    grads = nf.gradient(lambda m: with_aux(m, X, Y), model)
    np.testing.assert_array_equal(grads.weight, nf.gradient(lambda m: plain(m, X, Y), model).weight)
    (value, aux), _ = nf.withgradient(lambda m: with_aux(m, X, Y), model)
    assert value == plain(model, X, Y) and aux["note"] == "text" and np.array_equal(aux["prediction"], model(X))


def test_a_compiled_step_is_a_training_step():
    """Flux.jl's trainstep! and trainstep_withgradient!: the loss from before, the gradient, the new weights."""
    model, other = nf.Dense(3, 2, rng=0), nf.Dense(3, 2, rng=0)
    step = nf.compile(plain, model, nf.setup(nf.Descent(0.5), model))
    value, grads = nf.withgradient(lambda m: plain(m, X, Y), other)
    assert step(X, Y) == value and np.array_equal(step.gradients()["weight"], grads.weight)
    np.testing.assert_allclose(model.weight, other.weight - 0.5 * grads.weight, rtol=1e-6, atol=1e-7)
