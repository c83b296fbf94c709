"""Bad input of every kind: an error that says where, what was expected, what came and the cure; the model as it was."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ranges import RANGES, check
from numbaflux.tree import leaves
from tests.made import MAKE, NARROW

G = nf.Generator(0)
X, Y, LABELS = G.normal((8, 3)), G.normal((8, 2)), np.arange(8) % 2


def mlp():
    return nf.Chain(nf.Dense(3, 5, nf.tanh, rng=0), nf.Dense(5, 2, rng=1))


def mse(m, x, y):
    return nf.losses.mse(m(x), y)


def crossentropy(m, x, y):
    return nf.losses.logitcrossentropy(m(x), y)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


# -------------------------------------------------------------------------------------------- batches that do not fit

LIKE = "as the prediction"
ONE = "of one dtype"
BATCHES = [
    ("rank of x", mse, X[0, 0], Y, nf.ShapeError, "0.dense: x must be of shape (..., 3), got ()"),
    ("shape of x", mse, X[:, :2], Y, nf.ShapeError, "0.dense: x must be of shape (..., 3), got (8, 2)"),
    ("rank of y", mse, X, Y[:, 0], nf.ShapeError, f"mse: target must be of shape (8, 2) {LIKE}, got (8,)"),
    ("shape of y", mse, X, Y[:7], nf.ShapeError, f"mse: target must be of shape (8, 2) {LIKE}, got (7, 2)"),
    ("y flat", mse, X, Y.ravel(), nf.ShapeError,
     f"mse: target must be of shape (8, 2) {LIKE}, got (16,); target.reshape(8, 2)"),
    ("dtype of x", mse, X.astype(np.float64), Y, nf.DTypeError,
     "0.dense: x must be of float32 as w, got float64; x.astype(np.float32) or nf.f64(model)"),
    ("integers as x", mse, X.astype(int), Y, nf.DTypeError,
     "0.dense: x must be an array of float32 or float64, got int64; x.astype(np.float32)"),
    ("dtype of y", mse, X, Y.astype(np.float64), nf.DTypeError,
     "sub: arguments must be of one dtype, got float32 and float64; x.astype(np.float32) or nf.f64(model)"),
    ("complex numbers", mse, X.astype(complex), Y, nf.DTypeError, "complex128"),
    ("texts", mse, X.astype(str), Y, nf.DTypeError, "array must be of a float or integer type"),
    ("objects", mse, X.astype(object), Y, nf.DTypeError, "array must be of a float or integer type"),
    ("half precision", mse, X.astype(np.float16), Y, nf.DTypeError, "float16"),
    ("foreign byte order", mse, X.astype(">f4"), Y, nf.DTypeError, "array must be of a float or integer type"),
    ("label too large", crossentropy, X, LABELS + 1, nf.RangeError,
     "crossentropy: labels must be in 0..1, got another at position 1"),
    ("label negative", crossentropy, X, LABELS - 1, nf.RangeError,
     "crossentropy: labels must be in 0..1, got another at position 0"),
    ("too few labels", crossentropy, X, LABELS[:4], nf.ShapeError,
     "logitcrossentropy: labels must be of shape (8,), got (4,)"),
    ("labels as a column", crossentropy, X, LABELS[:, None], nf.ShapeError,
     "logitcrossentropy: labels must be of shape (8,), got (8, 1); y.reshape(8,)"),
    ("labels as floats", crossentropy, X, LABELS.astype(np.float32), nf.ShapeError,
     "logitcrossentropy: target must be of shape (8, 2) as the prediction, got (8,); "
     "labels are integers: y.astype(np.int64)"),
    ("one-hot of integers", crossentropy, X, np.eye(2, dtype=int)[LABELS], nf.ShapeError,
     "logitcrossentropy: labels must be of shape (8,), got (8, 2); one-hot targets are floats: y.astype(np.float32)"),
    ("NaN", mse, X * np.float32(np.nan), Y, nf.NonFiniteError,
     "step: loss must be finite, got NaN or Inf; nothing was changed"),
    ("infinite", mse, X, Y + np.float32(np.inf), nf.NonFiniteError,
     "step: loss must be finite, got NaN or Inf; nothing was changed"),
    ("empty", mse, X[:0], Y[:0], nf.PlanError, "compile: argument 0 must be of at least one sample, got shape (0, 3)"),
]  # fmt: skip


def untouched(model, state, act, kind, text):
    """act raises, and model and optimiser state stay bit for bit."""

    def bits():
        vectors = [a.tobytes() for v in state.vectors.values() for a in (v.params, *v.states.values())]
        return [leaf.array.tobytes() for leaf in leaves(model)], vectors, state.hyper.tobytes()

    before = bits()
    with pytest.raises(kind) as caught:
        act()
    said = str(caught.value)
    assert said == text if ": " in text else text in said
    assert bits() == before
    return said


@pytest.mark.parametrize(("name", "f", "x", "y", "kind", "text"), BATCHES, ids=[b[0] for b in BATCHES])
@pytest.mark.parametrize("trained", [False, True])
def test_a_bad_batch_leaves_the_model_alone(name, f, x, y, kind, text, trained):
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    step = nf.compile(f, model, state)
    good = X, LABELS if f is crossentropy else Y
    if trained:
        step(*good)
    untouched(model, state, lambda: step(x, y), kind, text)
    step(*good)  # the step is not spoilt
    assert state.step == 1 + trained


EAGER = [b for b in BATCHES if b[0] not in ("NaN", "infinite", "empty")]


@pytest.mark.parametrize(("name", "f", "x", "y", "kind", "text"), EAGER, ids=[b[0] for b in EAGER])
def test_eager_calls_say_the_same(name, f, x, y, kind, text):
    with pytest.raises(kind) as caught:
        nf.withgradient(lambda m: f(m, x, y), mlp())
    assert text in str(caught.value)


def test_an_empty_batch_for_a_predictor():
    with raises(nf.PlanError, "compile: argument 0 must be of at least one sample, got shape (0, 3)"):
        nf.compile(mlp())(X[:0])


def test_an_empty_batch_eager():
    with raises(nf.ShapeError, "mean: x must be of at least one element, got shape (0, 2)"):
        nf.withgradient(lambda m: mse(m, X[:0], Y[:0]), mlp())


# ----------------------------------------------------------------------------------------------------- losses, models

LOSSES = [
    (lambda m, x, y: m(x), nf.ShapeError, "{}: loss must be a scalar, got shape (8, 2); take its mean or sum"),
    (lambda m, x, y: 1.5, nf.PlanError,
     "{}: loss must be computed from the arguments, got float; return what depends on them"),
    (lambda m, x, y: None, nf.PlanError,
     "{}: loss must be computed from the arguments, got NoneType; return what depends on them"),
    (lambda m, x, y: [mse(m, x, y)], nf.PlanError,
     "{}: loss must be computed from the arguments, got list; return what depends on them"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "kind", "text"), LOSSES)
def test_a_loss_that_is_no_scalar(f, kind, text):
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    step = nf.compile(f, model, state)
    untouched(model, state, lambda: step(X, Y), kind, text.format("compile"))
    with raises(kind, text.format("gradient")):
        nf.withgradient(lambda m: f(m, X, Y), model)


def test_a_loss_that_does_not_depend_on_the_model():
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    step = nf.compile(lambda m, x, y: nf.losses.mse(x, x), model, state)
    text = "compile: loss must be computed from the model, got one that does not depend on it"
    untouched(model, state, lambda: step(X, Y), nf.PlanError, text)


def test_a_loss_that_changes_from_call_to_call():
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    rate = iter(range(100))
    step = nf.compile(lambda m, x, y: mse(m, x, y) * float(next(rate)), model, state)
    text = ("compile: loss must be the same at each call, got a change in affine: the number scale, 0.0 then 1.0; "
            "use nf.Scalar for a number that changes, an argument for an array")  # fmt: skip
    untouched(model, state, lambda: step(X, Y), nf.PlanError, text)


def test_a_loss_that_asks_for_a_number():
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    step = nf.compile(lambda m, x, y: mse(m, x, y) * (1 if m(x)[0, 0] > 0 else 2), model, state)
    text = ("compile: a number computed from arrays must not be asked for by if, while, and, or, not while a plan is "
            "made; use nf.where, or call the function without compile")  # fmt: skip
    untouched(model, state, lambda: step(X, Y), nf.PlanError, text)


@pytest.mark.parametrize("model", [nf.Chain(nf.relu), nf.Chain(), [], {"y": LABELS}, nf.tanh])
def test_a_model_with_nothing_to_train(model):
    text = f"setup: model must be one with parameters to train, got {type(model).__name__}"
    with raises(nf.PlanError, text):
        nf.setup(nf.Adam(), model)


def test_compile_without_a_state_or_function():
    model = mlp()
    for wrong in (None, nf.Adam(), model):
        text = f"compile: opt_state must be what nf.setup returned for the model, got {type(wrong).__name__}"
        with raises(nf.DTypeError, text):
            nf.compile(mse, model, wrong)
    with raises(nf.DTypeError, "compile: f must be a function or model, got int"):
        nf.compile(3)


def test_a_step_takes_the_arguments_of_its_loss():
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    step = nf.compile(mse, model, state)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        step(X)
    assert state.step == 0


# ------------------------------------------------------------------------------------------------- read-only targets


def readonly(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def test_read_only_inputs_are_only_read():
    model = mlp()
    nf.compile(mse, model, nf.setup(nf.Adam(), model))(readonly(X), readonly(Y))
    np.testing.assert_array_equal(nf.compile(model)(readonly(X)), model(X))


def test_read_only_weights_are_copied_by_setup():
    model = {"w": readonly(np.ones((3, 2), np.float32))}
    kept = model["w"]
    state = nf.setup(nf.Descent(), model)
    nf.compile(lambda m, x, y: nf.losses.mse(x @ m["w"], y), model, state)(X, Y)
    assert (kept == 1).all() and (model["w"] != 1).any() and model["w"].flags.writeable


def test_a_read_only_target_is_refused():
    model = {"a": np.zeros(3, np.float32), "b": readonly(np.zeros(3, np.float32))}
    with raises(nf.DeviceError, "load_state: b must be writeable in the model, got a read-only array"):
        nf.load_state(model, {"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)})
    assert not model["a"].any()


# ------------------------------------------------------------------------------------------------ the table of ranges


def test_every_range_is_tried():
    assert MAKE.keys() == RANGES.keys()


@st.composite
def inside(draw, name):
    span = RANGES[name]
    low, high = NARROW.get(name, (span.low, span.high - 1 if span.whole else span.high))
    if span.whole:
        kind = draw(st.sampled_from([int, np.int64, np.uint8]))
        least, most = {int: (-(2**65), 2**65), np.int64: (-(2**63), 2**63 - 1), np.uint8: (0, 255)}[kind]
        return kind(draw(st.integers(max(low, least), min(high, most))))
    bounds = {"exclude_min": span.open_low, "exclude_max": span.open_high and math.isfinite(high)}
    top = None if math.isinf(high) else high
    value = draw(st.floats(low, top, allow_nan=False, allow_infinity=False, **bounds))
    return draw(st.sampled_from([float, np.float64]))(value) if value != int(value) else int(value)


@st.composite
def outside(draw, name):
    span = RANGES[name]
    if span.whole:
        choices = [st.integers(max_value=span.low - 1)]
        return draw(st.one_of(*choices, *([st.integers(min_value=span.high)] if math.isfinite(span.high) else [])))
    below = span.low if span.open_low else math.nextafter(span.low, -math.inf)
    choices = [st.sampled_from([math.nan, -math.inf, math.inf, 10**400, -(10**400)]), st.floats(max_value=below)]
    if math.isfinite(span.high):
        choices.append(st.floats(min_value=span.high if span.open_high else math.nextafter(span.high, math.inf)))
    return draw(st.one_of(choices))


wrong_kinds = st.sampled_from(
    ["1", None, [1], (0.5,), {}, b"1", True, False, np.array([0.5]), np.array([1]), np.array(1), 1j, np.str_("1")]
)


@pytest.mark.parametrize("name", RANGES)
@given(data=st.data())
def test_values_inside_are_taken(name, data):
    value = data.draw(inside(name))
    MAKE[name](value)
    assert check(name, value) is value


@pytest.mark.parametrize("name", RANGES)
@given(data=st.data())
def test_values_outside_are_refused_by_name(name, data):
    value = data.draw(outside(name))
    owner, argument = name.split(".")
    with raises(nf.RangeError, f"{owner}: {argument} must be {RANGES[name]}, got {repr(value)[:200]}"):
        MAKE[name](value)


@pytest.mark.parametrize("name", RANGES)
@given(value=wrong_kinds)
def test_values_that_are_no_numbers_are_refused_by_name(name, value):
    owner, argument = name.split(".")
    with raises(nf.DTypeError, f"{owner}: {argument} must be {RANGES[name]}, got {value!r}"):
        MAKE[name](value)


@pytest.mark.parametrize("name", [name for name, span in RANGES.items() if span.whole])
@pytest.mark.parametrize("value", [1.0, 2.5, np.float32(3), math.nan, math.inf])
def test_counts_are_integers(name, value):
    with pytest.raises(nf.DTypeError, match=f"must be an integer in .*got {re.escape(repr(value))}$"):
        MAKE[name](value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Adam.eta", "a number in [0, inf)"),
        ("Adam.beta1", "a number in [0, 1)"),
        ("Dense.n_in", "an integer in [1, inf)"),
        ("Generator.seed", "an integer in [0, 2**64)"),
        ("integers.low", "an integer in [-2**63, 2**63)"),
    ],
)
def test_ranges_read_well(name, text):
    assert str(RANGES[name]) == text


def test_a_wrong_rate_leaves_a_training_model_alone():
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    nf.compile(mse, model, state)(X, Y)
    for numbers, text in (
        ({"eta": -0.1}, "Adam: eta must be a number in [0, inf), got -0.1"),
        ({"eta": math.nan}, "Adam: eta must be a number in [0, inf), got nan"),
        ({"beta": (0.9, 1)}, "Adam: beta2 must be a number in [0, 1), got 1"),
    ):
        untouched(model, state, lambda n=numbers: nf.adjust(state, **n), nf.RangeError, text)


# ------------------------------------------------------------------------------------------------------ functions


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: F.add(X, Y), nf.ShapeError,
         "add: arguments must be of shapes that broadcast, got (8, 3) and (8, 2)"),
        (lambda: F.add(X, X.astype(np.float64)), nf.DTypeError,
         "add: arguments must be of one dtype, got float32 and float64; x.astype(np.float32) or nf.f64(model)"),
        (lambda: F.matmul(X, Y), nf.ShapeError, "matmul: "),
        (lambda: F.reshape(X, 5, -1), nf.ShapeError, "reshape: shape must be of 24 elements, got (5, -1)"),
        (lambda: F.reshape(X, 5, 5), nf.ShapeError, "reshape: "),
        (lambda: F.sum(X, axis=2), nf.ShapeError, "sum: axis must be in -2..1, got 2"),
        (lambda: F.transpose(X, 0, 0), nf.ShapeError, "transpose: axes must be each of 0..1 once, got (0, 0)"),
        (lambda: F.concatenate([]), nf.ShapeError, "concatenate: arrays must be at least one array, got none"),
        (lambda: F.concatenate([X, Y]), nf.ShapeError, "concatenate: "),
        (lambda: F.take(X, np.array([0, 8])), nf.RangeError, "take: "),
        (lambda: F.mean(X[:0]), nf.ShapeError, "mean: x must be of at least one element, got shape (0, 3)"),
        (lambda: F.broadcast_to(X, (3, 3)), nf.ShapeError,
         "broadcast_to: shape must be one that (8, 3) broadcasts to, got (3, 3)"),
    ],
)  # fmt: skip
def test_functions_say_what_does_not_fit(call, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        call()
