"""What users do with whole models: arrays by path, copies, flat vectors, dtypes, shapes without computing, copies in
memory."""

import copy
import multiprocessing
import pickle
import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import run
from numbaflux.checkpoint import FUNCTIONS
from numbaflux.tree import leaves

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


@nf.layer
class Norm:
    """A layer of a user with every kind of field."""

    scale: np.ndarray = nf.param()
    mean: np.ndarray = nf.buffer()
    count: np.ndarray = nf.buffer()
    table: np.ndarray
    inner: nf.Chain
    eps: float = 1e-5

    def __call__(self, x):
        return self.inner((x - self.mean) * self.scale + self.table)


def norm():
    body = nf.Chain(nf.Dense(3, 4, nf.tanh, rng=0), nf.Dense(4, 2, rng=1))
    return Norm(np.full(3, 2, np.float32), np.ones(3, np.float32), np.arange(2), np.zeros(3, np.float32), body)


def tied():
    one = nf.Dense(3, 3, nf.tanh, rng=0)
    model = nf.Chain(one, nf.Dense(3, 3, rng=1))
    model[1].weight = one.weight
    return model


def bits(model):
    return {leaf.path: (leaf.array.dtype, leaf.array.shape, leaf.array.tobytes()) for leaf in leaves(model)}


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def never(*args):
    raise AssertionError("something was computed")


# ---------------------------------------------------------------------------------------------------- arrays by path


def test_trainables_are_the_arrays_themselves():
    model = norm()
    names = ["scale", "inner.0.weight", "inner.0.bias", "inner.1.weight", "inner.1.bias"]
    assert [name for name, _ in nf.trainables(model, path=True)] == names
    found = nf.trainables(model)
    assert found[0] is model.scale and found[-1] is model.inner[1].bias and len(found) == 5
    assert [name for name, _ in nf.trainables(tied(), path=True)] == ["0.weight", "0.bias", "1.bias"]
    assert nf.trainables(nf.relu) == [] == nf.trainables({"labels": np.arange(3)})


def test_state_is_a_copy_of_every_array():
    model = norm()
    state = nf.state(model)
    assert list(state)[:4] == ["scale", "mean", "count", "table"] and len(state) == 8
    state["scale"][:] = 0
    assert (model.scale == 2).all() and not np.shares_memory(state["mean"], model.mean)
    assert list(nf.state(tied())) == ["0.weight", "0.bias", "1.bias"]


@pytest.mark.parametrize("held", [False, True])
def test_load_state_brings_back_every_bit(held):
    model = norm()
    if held:
        nf.setup(nf.Adam(), model)
    before, kept, places = nf.state(model), bits(model), {leaf.path: leaf.array for leaf in leaves(model)}
    for array in places.values():
        array[...] = 7
    nf.load_state(model, before)
    assert bits(model) == kept
    assert all(leaf.array is places[leaf.path] for leaf in leaves(model)), "arrays must stay where they are"


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"scale": None}, nf.DTypeError, "load_state: scale must be an array, got NoneType"),
        ({"scale": np.ones(4, np.float32)}, nf.ShapeError, "load_state: scale must be of shape (3,), got (4,)"),
        ({"scale": np.ones(3)}, nf.DTypeError,
         "load_state: scale must be float32, got float64; nf.f32(model) or nf.f64(model)"),
        ({"count": np.ones(2, np.int32)}, nf.DTypeError,
         "load_state: count must be int64, got int32; nf.f32(model) or nf.f64(model)"),
        ({"more": np.ones(2)}, nf.ShapeError, "load_state: more must be an array of the model, got an unknown name"),
        ("inner.1.bias", nf.ShapeError, "load_state: inner.1.bias must be given, got nothing"),
    ],
)  # fmt: skip
def test_load_state_changes_nothing_unless_all_fits(change, kind, text):
    model, other = norm(), norm()
    other.inner[0].weight = other.inner[0].weight + 1
    state = nf.state(other)
    if isinstance(change, str):
        del state[change]
    else:
        state |= change
    before = bits(model)
    with raises(kind, text):
        nf.load_state(model, state)
    assert bits(model) == before


def test_load_state_of_a_read_only_array():
    model = {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}
    model["b"].flags.writeable = False
    with raises(nf.DeviceError, "load_state: b must be writeable in the model, got a read-only array"):
        nf.load_state(model, {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)})
    assert not model["a"].any()


def test_a_part_of_another_model_is_loaded_and_settings_stay():
    def make(rng, activation):
        return nf.Chain(
            body=nf.Chain(nf.Dense(3, 4, activation, rng=rng), nf.Dropout(0.5, rng=rng)), head=nf.Dense(4, 2)
        )

    model, other = make(0, nf.relu), make(1, nf.tanh)
    head, draws = nf.state(model["head"]), model["body"][1].rng.state
    nf.load_state(model["body"], nf.state(other["body"]))
    assert bits(model["body"]) == bits(other["body"]) and model["body"][0].activation is nf.relu
    chosen = {name: array for name, array in nf.state(other).items() if name.endswith("bias")}
    nf.load_state(model, nf.state(model) | chosen)
    assert np.array_equal(model["head"].weight, head["weight"])
    assert model["body"][1].rng.state == draws, "draws are no part of the state"


# -------------------------------------------------------------------------------------------------------------- dtypes


def test_f64_and_f32_convert_every_float_and_nothing_else():
    model = norm()
    wide = nf.f64(model)
    dtypes = {leaf.path: str(leaf.array.dtype) for leaf in leaves(wide)}
    assert dtypes.pop("count") == "int64" and set(dtypes.values()) == {"float64"}
    assert wide.eps == model.eps and model.scale.dtype == np.float32 and isinstance(wide, Norm)
    assert bits(nf.f32(wide)) == bits(model)
    assert wide(X.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize("convert", [nf.f32, nf.f64])
def test_conversion_copies_and_keeps_ties(convert):
    model = tied()
    new = convert(model)
    assert new[0].weight is new[1].weight and new[0].bias is not new[1].bias
    assert not any(np.shares_memory(a, b) for a in nf.trainables(model) for b in nf.trainables(new))


def test_a_converted_model_is_free_of_the_old_state():
    model = nf.Dense(2, 1)
    state = nf.setup(nf.Adam(), model)
    new = nf.f64(model)
    new_state = nf.setup(nf.Adam(), new)
    grads = nf.gradient(lambda m: m(np.ones((1, 2), np.float32)).sum(), model)
    nf.update(state, model, grads)
    assert state.step == 1 and new_state.step == 0 and not new.bias.any()


# --------------------------------------------------------------------------------------------------------- destructure


@pytest.mark.parametrize("make", [norm, tied, lambda: [nf.Dense(2, 1), np.ones((2, 2), np.float32)]])
def test_destructure_and_rebuild(make):
    model = make()
    flat, rebuild = nf.destructure(model)
    expected = np.concatenate([a.ravel() for a in nf.trainables(model)])
    np.testing.assert_array_equal(flat, expected)
    assert flat.dtype == np.float32 and bits(rebuild(flat)) == bits(model)
    flat += 1
    again = rebuild(flat)
    assert not any(np.shares_memory(a, flat) for a in nf.trainables(again)), "rebuild copies"
    np.testing.assert_array_equal(np.concatenate([a.ravel() for a in nf.trainables(again)]), expected + 1)
    np.testing.assert_array_equal(np.concatenate([a.ravel() for a in nf.trainables(model)]), expected)


def test_only_what_is_trained_is_in_the_flat_vector():
    flat, rebuild = nf.destructure(nf.Chain(nf.BatchNorm(3), nf.Dropout(0.5)))
    assert flat.tolist() == [1, 1, 1, 0, 0, 0] and rebuild(flat + 1)[0].bias.tolist() == [1, 1, 1]
    assert nf.destructure(nf.f64(nf.Dense(2, 1)))[0].dtype == np.float64


def test_rebuild_keeps_ties_buffers_and_settings():
    model = norm()
    flat, rebuild = nf.destructure(model)
    again = rebuild(2 * flat)
    assert again.mean is model.mean and again.eps == model.eps and again.inner[0].activation is nf.tanh
    flat, rebuild = nf.destructure(tied())
    again = rebuild(2 * flat)
    assert again[0].weight is again[1].weight


def test_rebuild_works_after_setup():
    model = norm()
    flat, rebuild = nf.destructure(model)
    nf.setup(nf.Adam(), model)
    assert (rebuild(np.zeros_like(flat)).scale == 0).all() and (model.scale == 2).all()


def test_a_gradient_goes_through_rebuild():
    model = tied()
    flat, rebuild = nf.destructure(model)
    by_flat = nf.gradient(lambda v: nf.losses.mse(rebuild(v)(X), X), flat)
    by_model = nf.gradient(lambda m: nf.losses.mse(m(X), X), model)
    parts = [by_model[0].weight, by_model[0].bias, by_model[1].bias]
    np.testing.assert_allclose(by_flat, np.concatenate([p.ravel() for p in parts]), rtol=1e-6, atol=1e-7)


def test_wrong_arguments_of_destructure_and_rebuild():
    with raises(nf.PlanError, "destructure: model must be one with parameters to train, got function"):
        nf.destructure(nf.relu)
    mixed = [nf.Dense(1, 1), nf.f64(nf.Dense(1, 1))]
    with raises(nf.DTypeError, "destructure: model must be of one dtype, got float32 and float64; nf.f32(model)"):
        nf.destructure(mixed)
    flat, rebuild = nf.destructure(nf.Dense(2, 1))
    with raises(nf.ShapeError, "rebuild: flat must be of shape (3,), got (4,)"):
        rebuild(np.zeros(4, np.float32))
    with raises(nf.DTypeError, "rebuild: flat must be float32, got float64; flat.astype(np.float32)"):
        rebuild(np.zeros(3))


# ---------------------------------------------------------------------------------------------- shapes, without numbers


def test_outputsize_computes_nothing(monkeypatch):
    model = nf.Chain(nf.flatten, nf.Dense(12, 5, nf.relu), lambda x: nf.softmax(x).sum(axis=1, keepdims=True))
    monkeypatch.setattr(run, "planned", never)
    assert nf.outputsize(model, (7, 3, 4)) == (7, 1)
    assert nf.outputsize(model, (3, 4), padbatch=True) == (1, 1)
    assert nf.outputsize(nf.f64(model), (7, 2, 6)) == (7, 1)


def test_outputsize_of_several_inputs_and_outputs():
    assert nf.outputsize(lambda a, b: (a @ b, b), (2, 3), (3, 4)) == ((2, 4), (3, 4))
    assert nf.outputsize(nf.Chain(lambda a, b: a + b), (3,), (3,), padbatch=True) == (1, 3)


@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (2, 4, 3)])
def test_outputsize_is_that_of_the_call(shape):
    model = norm()
    assert nf.outputsize(model, shape) == model(np.ones(shape, np.float32)).shape


def test_outputsize_raises_as_the_call_does():
    with raises(nf.ShapeError, "1.dense: x must be of shape (..., 5), got (4, 4)"):
        nf.outputsize(nf.Chain(nf.Dense(3, 4), nf.Dense(5, 2)), (4, 3))
    with raises(nf.ShapeError, "outputsize: shapes must be at least one shape, got none"):
        nf.outputsize(nf.Dense(3, 4))
    with raises(nf.ShapeError, "outputsize: shape must be integers of 1 or more, got (0, 3)"):
        nf.outputsize(nf.Dense(3, 4), (0, 3))


def test_summary_golden(monkeypatch):
    model = nf.Chain(body=nf.Chain(nf.flatten, nf.Dense(12, 300, nf.relu)), norm=nf.Dense(300, 3), last=norm())
    monkeypatch.setattr(run, "planned", never)
    assert str(nf.summary(model, (7, 3, 4))) == (
        "path          layer                 output    parameters\n"
        "--------------------------------------------------------\n"
        "              Chain                 (7, 2)         4_832\n"
        "body          Chain                 (7, 300)       3_900\n"
        "body.0        flatten               (7, 12)\n"
        "body.1        Dense(12, 300, relu)  (7, 300)       3_900\n"
        "norm          Dense(300, 3)         (7, 3)           903\n"
        "last          Norm                  (7, 2)            29\n"
        "last.inner    Chain                 (7, 2)            26\n"
        "last.inner.0  Dense(3, 4, tanh)     (7, 4)            16\n"
        "last.inner.1  Dense(4, 2)           (7, 2)            10\n"
        "4_832 parameters, 5 not trained, 19_356 bytes"
    )


def test_summary_leaves_the_model_as_it_was():
    model = nf.Chain(nf.Dense(3, 4), nf.relu)
    text, types = repr(model), [type(one) for one in model]
    nf.summary(model, (2, 3))
    assert repr(model) == text and [type(one) for one in model] == types


def test_summary_says_what_is_never_called():
    @nf.layer
    class Half:
        used: nf.Dense
        unused: nf.Dense

        def __call__(self, x):
            return self.used(x)

    found = nf.summary(Half(nf.Dense(3, 1), nf.Dense(5, 1)), (2, 3)).rows
    rows = {path: (shape, count) for path, _, shape, count in found}
    assert rows == {"": ((2, 1), 10), "used": ((2, 1), 4), "unused": (None, 6)}


def test_summary_counts_a_tied_array_once():
    assert repr(nf.summary(tied(), (1, 3))).endswith("\n15 parameters, 60 bytes")


# ----------------------------------------------------------------------------------------------- copies in memory


def train_a_little(model):
    state = nf.setup(nf.Adam(0.1), model)
    step = nf.compile(lambda m, x: nf.losses.mse(m(x), np.zeros((4, 2), np.float32)), model, state)
    for _ in range(2):
        step(X)
    return state


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])  # noqa: S301  # of objects made here
@pytest.mark.parametrize("held", [False, True])
def test_copies_in_memory(how, held):
    model = norm()
    state = train_a_little(model) if held else None
    new = how(model)
    assert bits(new) == bits(model) and new.inner[0].activation is nf.tanh
    assert not any(np.shares_memory(a.array, b.array) for a in leaves(model) for b in leaves(new))
    np.testing.assert_array_equal(new(X), model(X))
    if held:
        assert len(pickle.dumps(model)) < 4000, "the optimiser state must not travel with the model"
        before = bits(new)
        train_a_little(copy.deepcopy(model))
        assert not state.moved and bits(new) == before


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])  # noqa: S301  # of objects made here
@pytest.mark.parametrize("held", [False, True])
def test_copies_in_memory_keep_ties(how, held):
    model = tied()
    if held:
        nf.setup(nf.Descent(), model)
    new = how(model)
    assert new[0].weight is new[1].weight and bits(new) == bits(model)


def test_every_own_function_can_be_pickled():
    assert all(pickle.loads(pickle.dumps(f)) is f for f in FUNCTIONS)  # noqa: S301  # of objects made here


def predict(model):
    return model(X)


def test_a_model_travels_to_another_process():
    model = nf.Chain(nf.Dense(3, 4, nf.tanh, rng=0), nf.Dense(4, 2, rng=1))
    nf.setup(nf.Adam(), model)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(predict, (model,)), model(X))
