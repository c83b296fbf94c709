"""PairwiseFusion and activations: values against loops, gradients, plans, files, every message."""

import re

import numpy as np
import pytest

import numbaflux as nf

X = np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)
INPUTS = X, 2 * X[::-1].copy(), X**2
A, B, C = nf.Dense(3, 3, nf.tanh, rng=0), nf.Dense(3, 3, rng=1), nf.Dense(3, 2, rng=2)
MODEL = nf.PairwiseFusion(nf.add, A, B, C)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


# ----------------------------------------------------------------------------------------------------- PairwiseFusion


def test_each_layer_gets_what_the_one_before_gave():
    one = A(INPUTS[0])
    two = B(one + INPUTS[1])
    three = C(two + INPUTS[2])
    for got in (MODEL(*INPUTS), MODEL(INPUTS)):
        assert isinstance(got, tuple)
        for y, right in zip(got, (one, two, three), strict=True):
            np.testing.assert_array_equal(y, right)


def test_one_input_stands_for_all():
    for y, right in zip(MODEL(X), MODEL(X, X, X), strict=True):
        np.testing.assert_array_equal(y, right)


def test_the_order_of_a_connection_is_result_then_input():
    named = nf.PairwiseFusion(lambda y, x: y - 2 * x, first=nf.identity, second=nf.identity)
    np.testing.assert_array_equal(named(X, 3 * X)[1], X - 6 * X)
    assert named["first"] is nf.identity and named[1] is nf.identity and len(named) == len(list(named)) == 2


def test_one_layer_joins_nothing():
    (y,) = nf.PairwiseFusion(lambda *_: 1 / 0, A)(X)
    np.testing.assert_array_equal(y, A(X))


def test_gradients():
    inputs = [x.astype(np.float64) for x in INPUTS]
    nf.check_gradients(lambda m, *xs: sum((y**2).sum() for y in m(*xs)), nf.f64(MODEL), *inputs)


def test_compiled_and_in_files(tmp_path):
    for y, right in zip(nf.compile(MODEL)(*INPUTS), MODEL(*INPUTS), strict=True):
        np.testing.assert_array_equal(y, right)
    for model in (MODEL, nf.PairwiseFusion(nf.mul, left=A, right=B)):
        nf.save(tmp_path / "model.h5", model)
        again = nf.load(tmp_path / "model.h5")
        assert repr(again) == repr(model) and again.names == model.names
        np.testing.assert_array_equal(again(X)[-1], model(X)[-1])


def test_paths_and_tree():
    named = nf.PairwiseFusion(nf.add, left=A, right=B)
    paths = [path for path, _ in nf.trainables(named, path=True)]
    assert paths == ["left.weight", "left.bias", "right.weight", "right.bias"]
    shown = [line.split(" #")[0].strip() for line in repr(named).splitlines()]
    assert shown[:4] == [
        "PairwiseFusion(", "connection: add,", "left: Dense(3, 3, tanh),", "right: Dense(3, 3),"
    ]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), [
    (lambda: nf.PairwiseFusion(nf.add), nf.RangeError, "PairwiseFusion: layers must be at least one layer, got none"),
    (lambda: nf.PairwiseFusion(3, A), nf.DTypeError, "PairwiseFusion: connection must be a layer or function, got int"),
    (lambda: nf.PairwiseFusion(nf.add, A, 3), nf.DTypeError,
     "PairwiseFusion: layers must be layers or functions, got int"),
    (lambda: nf.PairwiseFusion(nf.add, A, b=B), nf.RangeError,
     "PairwiseFusion: arguments must be all named or none, got 1 without a name"),
    (lambda: MODEL(X, X), nf.ShapeError, "PairwiseFusion: inputs must be 1 or 3, as many as layers, got 2"),
    (lambda: MODEL(()), nf.ShapeError, "PairwiseFusion: inputs must be 1 or 3, as many as layers, got 0"),
    (lambda: MODEL["body"], nf.RangeError, "PairwiseFusion: name must be one of [], got body"),
    (lambda: MODEL(X, X, X[:, :2]), nf.ShapeError,
     "connection.add: arguments must be of shapes that broadcast, got (4, 3) and (4, 2)"),
])  # fmt: skip
def test_messages(call, kind, text):
    with raises(kind, text):
        call()


# -------------------------------------------------------------------------------------------------------- activations


def test_activations_are_what_each_layer_gives():
    model = nf.Chain(A, nf.relu, nf.Chain(B, nf.tanh), C)
    got = nf.activations(model, X)
    right = [A(X)]
    for one in (nf.relu, model[2], C):
        right.append(one(right[-1]))
    assert isinstance(got, tuple) and len(got) == 4
    for y, other in zip(got, right, strict=True):
        np.testing.assert_array_equal(y, other)
    np.testing.assert_array_equal(got[-1], model(X))


def test_activations_of_several_inputs_and_of_nothing():
    assert nf.activations(nf.Chain(nf.add, nf.relu), X, -X)[1].tolist() == np.zeros((4, 3)).tolist()
    assert nf.activations(nf.Chain(), X) == ()
    assert nf.Chain()(X) is X and nf.Chain()(X, X) == (X, X)


def test_gradients_and_plans_of_activations():
    model = nf.Chain(A, nf.tanh, C)
    nf.check_gradients(
        lambda m, x: sum((y**2).sum() for y in nf.activations(m, x)), nf.f64(model), X.astype(np.float64)
    )
    for y, right in zip(nf.compile(lambda x: nf.activations(model, x))(X), nf.activations(model, X), strict=True):
        np.testing.assert_array_equal(y, right)


def test_messages_of_activations():
    with raises(nf.DTypeError, "activations: chain must be a Chain, got Dense"):
        nf.activations(A, X)
    with pytest.raises(nf.ShapeError, match="^tail.dense: "):
        nf.activations(nf.Chain(head=A, tail=nf.Dense(2, 2)), X)
