"""Every layer, in models of tests/layers/models.py: compiled, trained, in files, copied, frozen, in float64, twice
differentiated. A layer of LAYERS without a row there fails."""

import copy
import pickle
import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.layers.layer import one_line
from numbaflux.models import trainables
from numbaflux.session import Session
from numbaflux.tree import layers, leaves
from tests.layers.models import TABLE

NAMED = {cls.__name__: cls for cls in nf.layers.LAYERS}
EACH = [pytest.param(name, row, id=f"{name} {i}") for name, rows in TABLE.items() for i, row in enumerate(rows)]
every_model = pytest.mark.parametrize(("name", "row"), EACH)
STEP = 1e-5  # of central differences


def made(row):
    """The same numbers and draws at each call."""
    nf.seed(11)
    return row.make()


def wide(inputs):
    return tuple(x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs)


def tupled(y):
    """All arrays of a result, also of tuples in it."""
    return tuple(part for one in y for part in tupled(one)) if isinstance(y, tuple) else (y,)


def loss(model, *inputs):
    """All results, each element with a weight of its own."""
    total = 0.0
    for y in tupled(model(*inputs)):
        weights = np.cos(np.arange(np.prod(y.shape), dtype=y.dtype)).reshape(y.shape)
        total = F.add(total, F.sum(F.mul(F.square(y), weights)))
    return total


def bits(model):
    return {leaf.path: (leaf.array.dtype, leaf.array.shape, leaf.array.tobytes()) for leaf in leaves(model)}


def same(one, two):
    assert [(y.dtype, y.shape, y.tobytes()) for y in tupled(one)] == [
        (y.dtype, y.shape, y.tobytes()) for y in tupled(two)
    ]


def innermost(name, model):
    """The layer that the row is for."""
    return [one for _, one in layers(model) if type(one) is NAMED[name]][-1]


def test_every_layer_has_a_row():
    assert TABLE.keys() == NAMED.keys()
    for name, rows in TABLE.items():
        assert rows and all(innermost(name, made(row)) for row in rows), name


# ------------------------------------------------------------------------------------------------- calls, plans, modes


@every_model
def test_compiled_is_eager_bit_for_bit(name, row):
    model = made(row)
    before, y = bits(model), model(*row.inputs)
    same(nf.compile(model)(*row.inputs), y)
    assert bits(model) == before and all(np.isfinite(part).all() and part.any() for part in tupled(y))


@every_model
def test_a_compiled_step_is_gradient_and_update(name, row):
    """Three of each: losses, gradients, parameters, running statistics, draws."""
    model = made(row)
    state = nf.setup(nf.Adam(0.01), model)
    losses, found = [], []
    for _ in range(3):
        value, grads = nf.withgradient(loss, model, *row.inputs)
        grads = grads[0]
        nf.update(state, model, grads)
        losses.append(value)
        found.append([g.tobytes() for g in trainables(grads)])
    other = made(row)
    step = nf.compile(loss, other, nf.setup(nf.Adam(0.01), other))
    for value, grads in zip(losses, found, strict=True):
        assert step(*row.inputs) == value
        assert [np.ascontiguousarray(g).tobytes() for g in step.gradients().values()] == grads
    assert bits(other) == bits(model) != bits(made(row))


@every_model
def test_the_shape_is_known_without_computing(name, row):
    model = made(row)
    kind = row.inputs[0].dtype
    found = nf.outputsize(model, *(x.shape for x in row.inputs), dtype=None if kind == np.float32 else kind)
    shapes = tuple(y.shape for y in tupled(model(*row.inputs)))
    assert found == (shapes if len(shapes) > 1 else shapes[0])


@every_model
def test_a_mode_may_be_told(name, row):
    """What is told to infer does so in a gradient; what is told to train does so in a call."""
    model, other = made(row), made(row)
    before = bits(model)
    value, _ = nf.withgradient(loss, nf.testmode(model), *row.inputs)
    assert value == loss(model, *row.inputs) and bits(model) == before
    told = nf.trainmode(model)
    nf.seed(5)
    value = loss(told, *row.inputs)
    nf.seed(5)
    assert value == nf.withgradient(loss, other, *row.inputs)[0]
    assert bits(model) == bits(other)
    assert all(a is b for a, b in zip(trainables(told), trainables(model), strict=True))


# ------------------------------------------------------------------------------------------------------ files, copies


def copies(model, folder):
    nf.save(folder / "model.h5", model)
    return nf.load(folder / "model.h5"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))  # noqa: S301  # of objects made here


@every_model
def test_files_and_copies_hold_all_of_it(name, row, tmp_path):
    """They compute the same, now and after more training, and share nothing."""
    model = made(row)
    nf.withgradient(loss, model, *row.inputs)  # running statistics are other ones than those of a new layer
    for again in copies(model, tmp_path):
        assert bits(again) == bits(model) and repr(again) == repr(model) and type(again) is type(model)
        same(again(*row.inputs), model(*row.inputs))
        assert not any(np.shares_memory(a, b) for a, b in zip(trainables(again), trainables(model), strict=True))
    [other, *_], states = copies(model, tmp_path), []
    for one in (model, other):
        nf.seed(5)
        state = nf.setup(nf.Descent(0.1), one)
        value, grads = nf.withgradient(loss, one, *row.inputs)
        nf.update(state, one, grads[0])
        states.append((value, bits(one)))
    assert states[0] == states[1]


@every_model
def test_it_shows_its_name_and_its_parameters(name, row):
    model = made(row)
    layer, text = innermost(name, model), repr(model)
    count = sum(a.size for a in trainables(model))
    assert re.search(rf"^ *(\w+: )?{name}\(", text, re.MULTILINE)
    assert f"arrays, {count:_} parameters" in text and "(!)" not in text
    line = repr(layer).splitlines()[-1]
    assert f" {sum(a.size for a in trainables(layer)):_} parameters" in line
    assert name in one_line(layer)


# ------------------------------------------------------------------------------------------------- training, freezing


@every_model
def test_what_is_frozen_stays(name, row):
    """The layer, or where it has nothing to train the first parameter; all else trains, compiled as eager."""
    found = []
    for compiled in (True, False):
        model = made(row)
        state = nf.setup(nf.Adam(0.01), model)
        layer = innermost(name, model)
        kept = trainables(layer) if trainables(layer) else trainables(model)[:1]
        if trainables(layer):
            nf.freeze(state, layer)
        else:
            nf.freeze(state, state.segments[0].path)
        before = [(a, a.copy()) for a in trainables(model)]
        if compiled:
            nf.compile(loss, model, state)(*row.inputs)
        else:
            nf.update(state, model, nf.withgradient(loss, model, *row.inputs)[1][0])
        frozen = {id(a) for a in kept}
        for a, old in before:
            assert (id(a) in frozen) == np.array_equal(a, old)
        found.append(bits(model))
    assert found[0] == found[1]


# ----------------------------------------------------------------------------------------------- float64, derivatives


@every_model
def test_float64_is_float32_with_more_digits(name, row):
    model = made(row)
    double = nf.f64(model)
    right = double(*wide(row.inputs))
    same(nf.compile(double)(*wide(row.inputs)), right)
    for y, exact in zip(tupled(model(*row.inputs)), tupled(right), strict=True):
        assert y.dtype == np.float32 and exact.dtype == np.float64
        np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-4 * abs(exact).max())


@every_model
def test_gradients_against_differences(name, row):
    """Of every parameter and input."""
    given = [i for i, x in enumerate(row.inputs) if x.dtype.kind == "f"]
    inputs = wide(row.inputs)

    def f(model, *xs):
        filled = iter(xs)
        return loss(model, *(next(filled) if i in given else x for i, x in enumerate(inputs)))

    nf.check_gradients(f, nf.f64(made(row)), *(inputs[i] for i in given))


@every_model
def test_second_derivatives_against_differences_of_gradients(name, row):
    model, inputs = nf.f64(made(row)), wide(row.inputs)
    flat, rebuild = nf.destructure(model)
    v = np.random.default_rng(3).normal(size=flat.shape)

    def slope(numbers):
        return nf.destructure(nf.gradient(loss, rebuild(numbers), *inputs)[0])[0]

    with Session(training=True):  # never committed: each gradient sees the same draws
        found = nf.hvp(lambda numbers: loss(rebuild(numbers), *inputs), flat, v)
    ends = []
    for step in (STEP, -STEP):
        with Session(training=True):
            ends.append(slope(flat + step * v))
    right = (ends[0] - ends[1]) / (2 * STEP)
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6 * abs(right).max())
