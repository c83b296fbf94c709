"""nf.debug.first_nonfinite: which layer, operation and array; nothing found where nothing is wrong; nothing changed."""

import copy

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.debug import cause, first_nonfinite
from tests.layers.models import TABLE
from tests.layers.test_every_layer import loss as every_result

X = nf.Generator(0).normal((4, 2))
Y = np.zeros((4, 1), np.float32)


def mse(m, x, y):
    return nf.losses.mse(m(x), y)


def with_one(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def net(*between, **named):
    nf.seed(0)
    return nf.Chain(nf.Dense(2, 3), *between, nf.Dense(3, 1), **named)


def spoilt(path, index, value):
    model = nf.Chain(nf.Dense(2, 3), nf.testmode(nf.BatchNorm(3)), nf.Dense(3, 1))
    nf.getkeypath(model, path)[index] = value
    return model


def holding(value):
    mask = np.where(np.arange(3) == 1, np.float32(value), np.float32(0))
    return lambda x: x + mask


MODELS = {
    "a norm, dropout": lambda: net(nf.BatchNorm(3), nf.Dropout(0.5)),
    "steps": lambda: nf.Chain(F.square, lambda x: nf.unfold(x[:, :, None], 1), nf.LSTM(1, 2), nf.Dense(2, 1)),
    "branches": lambda: nf.Chain(nf.Parallel(nf.cat, nf.Dense(2, 2), nf.identity), nf.SkipConnection(nf.relu, nf.add)),
    "checkpointed": lambda: net(nf.Checkpointed(nf.Chain(nf.Dense(3, 3, nf.tanh), nf.LayerNorm(3)))),
    "weight norm": lambda: nf.WeightNorm(nf.Dense(2, 1)),
    "a harmless infinity": lambda: net(lambda x: nf.softmax(x + np.array([0, -np.inf, 0], np.float32))),
    "a list": lambda: [nf.Dense(2, 1)],
}


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_found_where_nothing_is_wrong(name):
    model = MODELS[name]()
    if isinstance(model, list):
        assert first_nonfinite(model, X, Y, loss=lambda m, x, y: mse(m[0], x, y)) is None
    else:
        assert first_nonfinite(model, X, Y) is None


# what is wrong -> model, batch, loss, and (what, name, layer, kind, op, count, index, value)
CAUSES = {
    "an input": (net(), (with_one(X, (1, 1), np.nan), Y), mse,
                 ("input", "0", "0", "Dense", "dense", 1, (1, 1), np.nan)),
    "a target": (net(), (X, with_one(Y, (2, 0), np.inf)), mse,
                 ("input", "1", "", "loss", "sub", 1, (2, 0), np.inf)),
    "a target that is not used": (net(), (X, with_one(Y, (2, 0), np.inf)), None,
                                  ("input", "1", "", "loss", "", 1, (2, 0), np.inf)),
    "a weight": (spoilt("0.weight", (1, 2), np.nan), (X, Y), mse,
                 ("parameter", "0.weight", "0", "Dense", "dense", 1, (1, 2), np.nan)),
    "a running statistic": (spoilt("1.mean", 1, -np.inf), (X, Y), mse,
                            ("buffer", "1.mean", "1", "BatchNorm", "norm_fixed(eps=1e-05)", 1, (1,), -np.inf)),
    "a captured array": (net(holding(-np.inf)), (X, Y), mse,
                         ("constant", "", "1", "<lambda>", "add", 4, (0, 1), -np.inf)),
    "a logarithm": (net(nf.relu, lambda x: F.log(x * 0)), (X, Y), mse,
                    ("output", "", "2", "<lambda>", "log", 12, (0, 0), -np.inf)),
    "an overflow": (net(lambda x: F.exp(x * 0 + 89)), (X, Y), mse,
                    ("output", "", "1", "<lambda>", "exp", 12, (0, 0), np.inf)),
    "an activation": (nf.Chain(body=nf.Dense(2, 3), head=nf.Dense(3, 1, lambda x: F.sqrt(x * 0 - 1))), (X, Y),
                      mse, ("output", "", "head", "Dense", "sqrt", 4, (0, 0), np.nan)),
    "a loss": (net(), (X, Y), lambda m, x, y: F.sum(m(x)) * 3e38 * 3e38,
               ("output", "", "", "loss", "affine(scale=3e+38, shift=-0)", 1, (), np.inf)),
    "a slope of infinity": (net(), (X, Y), lambda m, x, y: F.sqrt(F.sum(m(x) * 0)),
                            ("gradient", "", "", "loss", "sqrt", 1, (), np.inf)),
    "zero times a slope of infinity": (net(lambda x: nf.where(x > 1e9, F.sqrt(x * 0), x)), (X, Y), mse,
                                       ("gradient", "", "1", "<lambda>", "sqrt", 12, (0, 0), np.nan)),
    "inside of checkpointed": (net(nf.Checkpointed(nf.Chain(nf.relu, lambda x: F.log(x * 0)))), (X, Y), mse,
                               ("output", "", "1.layer.1", "<lambda>", "log", 12, (0, 0), -np.inf)),
    "beside one another": (nf.Parallel(nf.add, a=nf.Dense(2, 1), b=nf.Chain(nf.Dense(2, 1), lambda x: 1 / (x * 0))),
                           (X, Y), mse, ("output", "", "b.1", "<lambda>", "div", 4, (0, 0), None)),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_what_is_found(name):
    model, batch, loss, (what, path, layer, kind, op, count, index, value) = CAUSES[name]
    found = first_nonfinite(model, *batch, loss=loss)
    assert (found.what, found.name, found.layer, found.kind) == (what, path, layer, kind)
    assert (found.op, found.count, found.index) == (op, count, index)
    assert not np.isfinite(found.value)
    assert value is None or np.array_equal(found.value, value, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_of_several_on_the_way(dtype):
    model = nf.Chain(lambda x: x * 2, lambda x: F.log(x), lambda x: F.sqrt(x - 1), nf.flatten)
    found = first_nonfinite(model, np.array([[2, 0], [-1, 1]], dtype))
    assert (found.layer, found.op, found.count, found.index, found.value) == ("1", "log", 2, (0, 1), -np.inf)
    assert found.extremes == (((2, 2), -2.0, 4.0),)


def test_as_text():
    found = first_nonfinite(spoilt("0.weight", (1, 2), np.nan), X, Y, loss=mse)
    text = "parameter 0.weight, which dense in layer 0 (Dense) reads, of shape (2, 3) has 1 of 6 elements that are NaN "
    assert str(found) == text + "or Inf, the first nan at (1, 2)"
    found = first_nonfinite(net(), X, Y, loss=lambda m, x, y: F.sqrt(F.sum(m(x) * 0)))
    text = (
        "a gradient made by sqrt in the loss of shape () has 1 of 1 elements that are NaN or Inf, the first inf at ()"
    )
    assert str(found) == text + "; it took () from 1 to 1, () from 0 to 0"


def test_gradients_whose_sum_overflows():
    model = nf.Scale(1)
    model.scale[...] = 1e-10
    found = first_nonfinite(model, loss=lambda m: F.sum(m.scale * 2e38) + F.sum(m.scale * 2.5e38))
    assert (found.what, found.name, found.op, found.value) == ("gradient", "scale", "the sum of gradients", np.inf)
    assert first_nonfinite(model, loss=lambda m: F.sum(m.scale * 2e38) + F.sum(m.scale * 1e38)) is None


def test_functions_that_numpy_runs():
    """Of which nothing is traced, as without a plan they may be."""

    def centred(x):
        return (x - np.mean(np.asarray(x))) / np.float32(0)

    with np.errstate(all="ignore"):
        found = first_nonfinite(nf.Chain(centred, nf.Dense(2, 1)), X, Y, loss=mse)
    assert (found.what, found.layer, found.kind, found.op) == ("output", "0", "centred", "NumPy")


def test_a_shared_layer_is_named_where_it_fails():
    shared = nf.Dense(1, 1, bias=False)
    shared.weight[...] = 1e20
    found = first_nonfinite(nf.Chain(shared, shared, shared), np.full((1, 1), 1e10, np.float32))
    assert (found.what, found.layer, found.op) == ("output", "1", "dense")


def test_nothing_is_changed():
    rng = nf.Generator(3)
    model = net(nf.BatchNorm(3), nf.Dropout(0.5, rng=rng), lambda x: F.log(x * 0))
    kept, state = copy.deepcopy(nf.state(model)), rng.state
    assert first_nonfinite(model, X, Y, loss=mse).op == "log"
    assert rng.state == state
    for path, array in nf.state(model).items():
        np.testing.assert_array_equal(array, kept[path])
    assert type(model) is nf.Chain and type(model[0]) is nf.Dense


def test_inside_of_a_gradient_nothing_of_it_stays():
    model, seen = net(nf.Dropout(0.5, rng=nf.Generator(1))), []

    def loss(m, x, y):
        seen.append(first_nonfinite(model, x, y))
        return mse(m, x, y)

    value = nf.withgradient(lambda m: loss(m, X, Y), model)[0]
    assert seen == [None] and model[1].rng.state == (1, 1)
    assert value == nf.withgradient(lambda m: mse(m, X, Y), net(nf.Dropout(0.5, rng=nf.Generator(1))))[0]


@pytest.mark.parametrize("compile", [True, False])
def test_training_names_the_cause(compile):
    model = net(lambda x: F.log(nf.relu(x) - 1e9))
    state = nf.setup(nf.Descent(0.1), model)
    with pytest.raises(nf.NonFiniteError) as info:
        nf.train(mse, model, [(X, Y)], state, epochs=1, progress=False, compile=compile)
    text = "train: epoch 1, batch 1: step: loss must be finite, got NaN or Inf; nothing was changed; the output of log "
    assert str(info.value).startswith(text + "in layer 1 (<lambda>) of shape (4, 3) has 12 of 12")


def test_training_of_one_array_and_a_cause_that_is_not_found():
    calls = []

    def loss(m, x):
        calls.append(1)
        return F.mean(m(x)) * (np.nan if len(calls) < 2 else 1.0)

    model = nf.Dense(2, 1)
    with pytest.raises(nf.NonFiniteError, match="nothing was changed$"):
        nf.train(loss, model, [X], nf.setup(nf.Descent(0.1), model), epochs=1, progress=False, compile=False)
    assert len(calls) == 2


def test_batches_of_other_kinds():
    """A dict, one-hot labels, integers, a model that is a function."""
    model, words = nf.Chain(nf.Embedding(4, 2), nf.Dense(2, 3)), np.array([0, 3])
    model[0].weight[3, 1] = np.inf
    batch = {"words": words, "labels": nf.OneHot([2, 0], 3)}
    found = first_nonfinite(model, batch, loss=lambda m, b: nf.losses.logitcrossentropy(m(b["words"]), b["labels"]))
    assert (found.what, found.name, found.layer) == ("parameter", "0.weight", "0")
    bad = {"x": with_one(X, (0, 0), np.nan), "y": [Y]}
    found = first_nonfinite(net(), bad, loss=lambda m, b: mse(m, b["x"], b["y"][0]))
    assert (found.what, found.name) == ("input", "0.x")
    assert first_nonfinite(lambda x: F.log(x * 0), X).op == "log"
    assert first_nonfinite(nf.softmax, X) is None


def test_wrong_arguments():
    with pytest.raises(
        nf.DTypeError, match=r"^first_nonfinite: loss must be a function loss\(model, \*batch\), got str$"
    ):
        first_nonfinite(net(), X, Y, loss="mse")
    with pytest.raises(nf.ShapeError, match="^first_nonfinite: loss must be a scalar"):
        first_nonfinite(net(), X, Y, loss=lambda m, x, y: m(x))
    with pytest.raises(nf.ShapeError, match="^0.dense: x must"):
        first_nonfinite(net(), X.T)


# ------------------------------------------------------------------------------------------- every layer


EACH = [pytest.param(row, id=f"{name} {i}") for name, rows in TABLE.items() for i, row in enumerate(rows)]


@pytest.mark.parametrize("row", EACH)
def test_every_layer_is_followed(row):
    """In models of every layer: nothing where nothing is wrong; a NaN in a parameter is named."""
    nf.seed(11)
    model = row.make()
    assert first_nonfinite(model, *row.inputs, loss=every_result) is None
    path, array = next(iter(nf.trainables(model, path=True)), (None, None))
    if path is not None:
        array.ravel()[0] = np.nan
        found = first_nonfinite(model, *row.inputs, loss=every_result)
        assert found is None or (found.what, found.name, found.index) == ("parameter", path, (0,) * array.ndim)
        assert found is not None or not np.isnan(every_result(model, *row.inputs))  # an embedding that nobody asked for


def test_layers_that_compute_with_other_ranks_are_left_alone():
    model = nf.Chain(nf.BatchNorm(2), nf.Dense(2, 1))
    assert cause(mse, model, (X * np.nan, Y)).startswith("; input 0, which ")
    object.__setattr__(model[0], "_world", object())
    assert cause(mse, model, (X * np.nan, Y)) == ""
