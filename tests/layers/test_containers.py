"""Layers beside one another, and Scale and Bilinear: values against NumPy, paths, trees, every message."""

import re

import numpy as np
import pytest

import numbaflux as nf

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
Y = np.linspace(2, -1, 8, dtype=np.float32).reshape(4, 2)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def a(seed=0):
    return nf.Dense(3, 3, nf.tanh, rng=seed)


def b():
    return nf.Dense(3, 2, rng=1)


# ----------------------------------------------------------------------------------------------------- SkipConnection


def test_a_skip_connection_joins_result_and_input():
    layer = a()
    np.testing.assert_array_equal(nf.SkipConnection(layer, nf.add)(X), layer(X) + X)
    np.testing.assert_array_equal(nf.SkipConnection(layer, nf.cat)(X), np.concatenate([layer(X), X], -1))
    np.testing.assert_array_equal(nf.SkipConnection(layer, lambda y, x: y - 2 * x)(X), layer(X) - 2 * X)


def test_a_connection_may_be_a_layer():
    join = nf.Bilinear(3, 3, 2, rng=2)
    layer = a()
    model = nf.SkipConnection(layer, join)
    np.testing.assert_array_equal(model(X), join(layer(X), X))
    assert [path for path, _ in nf.trainables(model, path=True)] == [
        "layer.weight", "layer.bias", "connection.weight", "connection.bias",
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- Parallel


def test_one_input_goes_to_all_layers():
    one, two = a(), b()
    np.testing.assert_array_equal(nf.Parallel(nf.cat, one, two)(X), np.concatenate([one(X), two(X)], -1))
    np.testing.assert_allclose(nf.Parallel(nf.add, one, nf.relu, nf.tanh)(X), one(X) + np.maximum(X, 0) + np.tanh(X),
                               rtol=1e-6)  # fmt: skip


def test_each_input_goes_to_its_layer():
    one, two = a(), nf.Dense(2, 3, rng=2)
    model = nf.Parallel(nf.mul, left=one, right=two)
    np.testing.assert_array_equal(model(X, Y), one(X) * two(Y))
    np.testing.assert_array_equal(model((X, Y)), model(X, Y))
    split = nf.Chain(lambda x: (x[:, :3], x[:, 3:]), model)
    np.testing.assert_array_equal(split(np.concatenate([X, Y], 1)), model(X, Y))


def test_one_layer_takes_each_input():
    one = a()
    np.testing.assert_array_equal(nf.Parallel(nf.add, one)(X, -X, X), one(X) + one(-X) + one(X))


def test_the_connection_is_called_once():
    calls = []
    nf.Parallel(lambda *results: calls.append(len(results)) or results[0], a(), a(), a())(X)
    assert calls == [3]


def test_index_names_iteration_of_parallel():
    one, two = a(), b()
    model = nf.Parallel(nf.cat, wide=one, deep=two)
    assert model["deep"] is two and model[0] is one and len(model) == 2 and list(model) == [one, two]
    with raises(nf.RangeError, "Parallel: name must be one of ['wide', 'deep'], got left"):
        model["left"]
    assert [path for path, _ in nf.trainables(model, path=True)] == [
        "wide.weight", "wide.bias", "deep.weight", "deep.bias",
    ]  # fmt: skip
    unnamed = nf.Parallel(nf.cat, one, two)
    assert [path for path, _ in nf.trainables(unnamed, path=True)][0] == "0.weight"


# ------------------------------------------------------------------------------------------------------------- Maxout


def test_maxout_is_the_largest_of_its_layers():
    one, two, three = (nf.Dense(3, 2, rng=i) for i in range(3))
    np.testing.assert_array_equal(nf.Maxout(one, two, three)(X), np.maximum(np.maximum(one(X), two(X)), three(X)))
    np.testing.assert_array_equal(nf.Maxout(one)(X), one(X))


def test_maxout_makes_layers_by_a_function():
    nf.seed(0)
    model = nf.Maxout(lambda: nf.Dense(3, 2), 4)
    weights = [w for path, w in nf.trainables(model, path=True) if path.endswith("weight")]
    assert len(weights) == 4 and not any((w == weights[0]).all() for w in weights[1:])


# -------------------------------------------------------------------------------------------------- Scale and Bilinear


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(3,), (4, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_scale_against_numpy(size, dtype, bias):
    model = nf.Scale(*size, activation=nf.relu, bias=bias, init=nf.init.glorot_uniform, rng=0)
    model = nf.f64(model) if dtype == np.float64 else model
    if bias:
        model.bias = np.arange(model.bias.size, dtype=dtype).reshape(size) - 4
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(dtype)
    right = np.maximum(x * model.scale + (model.bias if bias else 0), 0)
    y = model(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, right, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_scale_begins_as_identity():
    np.testing.assert_array_equal(nf.Scale(3)(X), X)


@pytest.mark.parametrize("lead", [(), (4,), (2, 5)])
def test_bilinear_against_einsum(lead):
    rng = np.random.default_rng(0)
    model = nf.f64(nf.Bilinear(3, 2, 5, nf.tanh, rng=0))
    model.bias = rng.normal(size=5)
    x, y = rng.normal(size=(*lead, 3)), rng.normal(size=(*lead, 2))
    right = np.tanh(np.einsum("...i,ijk,...j->...k", x, model.weight, y) + model.bias)
    np.testing.assert_allclose(model(x, y), right, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(model((x, y)), model(x, y))


def test_bilinear_of_one_input_takes_it_twice():
    model = nf.Bilinear(3, 3, 2, bias=False, rng=0)
    np.testing.assert_array_equal(model(X), model(X, X))


# --------------------------------------------------------------------------------------------------- in one another


def test_training_reaches_every_part():
    model = nf.Chain(nf.SkipConnection(nf.Parallel(nf.add, a(), nf.Maxout(a(), nf.Scale(3))), nf.add), b())
    before = [w.copy() for w in nf.trainables(model)]
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), model, nf.setup(nf.Adam(0.05), model))
    losses = [float(step(X)) for _ in range(20)]
    assert losses[-1] < losses[0] and all((w != old).any() for w, old in zip(nf.trainables(model), before, strict=True))


def test_trees_show_connections():
    model = nf.Chain(nf.SkipConnection(nf.tanh, nf.add), nf.Parallel(nf.cat, wide=a(), deep=nf.Maxout(nf.Scale(3))))
    assert repr(model) == (
        "Chain(\n"
        "  0: SkipConnection(\n"
        "    layer: tanh,\n"
        "    connection: add,\n"
        "  )\n"
        "  1: Parallel(\n"
        "    connection: cat,\n"
        "    wide: Dense(3, 3, tanh),                     # 12 parameters\n"
        "    deep: Maxout(\n"
        "      0: Scale(3),                               # 6 parameters\n"
        "    )\n"
        "  )\n"
        ")\n"
        "# 4 arrays, 18 parameters, 72 bytes"
    )
    rows = {path: shape for path, _, shape, _ in nf.summary(model, (2, 3)).rows}
    assert rows == {
        "": (2, 6), "0": (2, 3), "0.layer": (2, 3), "0.connection": (2, 3), "1": (2, 6), "1.connection": (2, 6),
        "1.wide": (2, 3), "1.deep": (2, 3), "1.deep.0": (2, 3),
    }  # fmt: skip


def test_layers_show_their_settings():
    assert repr(nf.Scale(2, 3, activation=nf.relu, bias=False)).startswith("Scale(2, 3, activation=relu, bias=False),")
    assert repr(nf.Bilinear(2, 3, 4, nf.relu, bias=False)).startswith("Bilinear(2, 3, 4, relu, bias=False),")


# ------------------------------------------------------------------------------------------------------------ messages


def wrong_bias():
    model = nf.Scale(3)
    model.bias = np.zeros(2, np.float32)
    model.check_fields()


def wrong_dtype():
    model = nf.Bilinear(3, 2, 1)
    model.bias = np.zeros(1)
    model.check_fields()


CURE = "x.astype(np.float32) or nf.f64(model)"
WRONG = [
    (lambda: nf.SkipConnection(3, nf.add), nf.DTypeError,
     "SkipConnection: layer must be a layer or function, got int"),
    (lambda: nf.SkipConnection(nf.relu, "add"), nf.DTypeError,
     "SkipConnection: connection must be a layer or function, got str"),
    (lambda: nf.SkipConnection(nf.Chain(a(), b()), nf.add)(Y), nf.ShapeError,
     "layer.0.dense: x must be of shape (..., 3), got (4, 2)"),
    (lambda: nf.Chain(nf.SkipConnection(b(), nf.add))(X), nf.ShapeError,
     "0.connection.add: arguments must be of shapes that broadcast, got (4, 2) and (4, 3)"),
    (lambda: nf.Parallel(a()), nf.RangeError, "Parallel: layers must be at least one layer, got none"),
    (lambda: nf.Parallel(nf.add, 1), nf.DTypeError, "Parallel: layers must be layers or functions, got int"),
    (lambda: nf.Parallel(None, a()), nf.DTypeError, "Parallel: connection must be a layer or function, got NoneType"),
    (lambda: nf.Parallel(nf.add, a(), left=b()), nf.RangeError,
     "Parallel: arguments must be all named or none, got 1 without a name"),
    (lambda: nf.Parallel(nf.add, connection=b()), nf.RangeError,
     "Parallel: names must be without dots, and not connection or layers or names, got connection"),
    (lambda: nf.Parallel(nf.add, a(), b())(X, X, X), nf.ShapeError,
     "Parallel: inputs must be 1 or 2, as many as layers, got 3"),
    (lambda: nf.Parallel(nf.add, a())(), nf.ShapeError, "Parallel: inputs must be 1 or more, got 0"),
    (lambda: nf.Chain(side=nf.Parallel(nf.add, a(), b()))(Y), nf.ShapeError,
     "side.0.dense: x must be of shape (..., 3), got (4, 2)"),
    (lambda: nf.Parallel(nf.add, left=a(), right=b())(X, Y), nf.ShapeError,
     "right.dense: x must be of shape (..., 3), got (4, 2)"),
    (lambda: nf.Maxout(), nf.RangeError, "Maxout: layers must be at least one layer, got none"),
    (lambda: nf.Maxout(a, 0), nf.RangeError, "Maxout: n must be an integer in [1, inf), got 0"),
    (lambda: nf.Maxout(3, 2), nf.DTypeError, "Maxout: f must be a layer or function, got int"),
    (lambda: nf.Maxout(a(), b())(Y), nf.ShapeError, "0.dense: x must be of shape (..., 3), got (4, 2)"),
    (lambda: nf.Scale(), nf.RangeError, "Scale: size must be at least one number, got ()"),
    (lambda: nf.Scale(0), nf.RangeError, "Scale: size must be an integer in [1, inf), got 0"),
    (lambda: nf.Scale(3, activation=1), nf.DTypeError, "Scale: activation must be a function, got int"),
    (lambda: nf.Scale(3, init=lambda shape, rng: np.ones(2)), nf.ShapeError,
     "Scale: init(shape) must be of shape (3,), got (2,)"),
    (lambda: nf.Scale(3, init=lambda shape, rng: np.ones(shape, int)), nf.DTypeError,
     "Scale: scale must be an array of float32 or float64, got int64"),
    (wrong_bias, nf.ShapeError, "Scale: bias must be None or float32 of shape (3,), got float32 of shape (2,)"),
    (lambda: nf.Scale(4, 3)(X.reshape(2, 2, 3)), nf.ShapeError, "scale: x must be of shape (..., 4, 3), got (2, 2, 3)"),
    (lambda: nf.Scale(3)(None), nf.DTypeError, "scale: x must be an array, got NoneType"),
    (lambda: nf.Scale(3)(X.astype(np.float64)), nf.DTypeError,
     f"mul: arguments must be of one dtype, got float64 and float32; {CURE}"),
    (lambda: nf.Bilinear(3, 0, 1), nf.RangeError, "Bilinear: in2 must be an integer in [1, inf), got 0"),
    (wrong_dtype, nf.DTypeError, "Bilinear: bias must be None or float32 of shape (1,), got float64 of shape (1,)"),
    (lambda: nf.Bilinear(3, 2, 1)(X, X), nf.ShapeError, "bilinear: y must be of shape (4, 2), got (4, 3)"),
    (lambda: nf.Bilinear(2, 2, 1)(X), nf.ShapeError, "bilinear: x must be of shape (..., 2), got (4, 3)"),
    (lambda: nf.cat(X, Y[:2]), nf.ShapeError, "concatenate: arrays must be as (4, 3) but along axis 1, got (2, 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_messages(call, kind, text):
    with raises(kind, text):
        call()
