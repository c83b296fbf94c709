"""What cannot be compiled is refused by name; a step that fails changes no byte."""

import itertools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.warm import warm
from tests.nets import batch, held, mlp, mse


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """All that are missing, compiled at once."""
    for _ in warm():
        pass


# ---------------------------------------------------------------- what cannot be compiled

COUNT = itertools.count()
CHANGES = {
    "number": (lambda x: x * float(next(COUNT)), "affine: the number scale, "),
    "array": (lambda x: x + np.full(3, next(COUNT), np.float32), r"add: an array of shape \(3,\)|broadcast: an array"),
    "random": (
        lambda x: x * np.random.default_rng().random(3).astype(np.float32),
        r"broadcast: an array of shape \(3,\)",
    ),
    "operation": (lambda x: nf.tanh(x) if next(COUNT) % 2 else nf.relu(x), "the operations"),
    "order": (lambda x: x - x[0] if next(COUNT) % 2 else x[0] - x, "sub: an array of shape"),
    "shape": (
        lambda x: nf.functions.reshape(x * 2.0, (1, -1) if next(COUNT) % 2 else (-1, 1)),
        "reshape: the number shape",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_function_that_is_another_at_each_call_is_refused_and_what_changed_is_named(name):
    f, said = CHANGES[name]
    with pytest.raises(
        nf.PlanError, match=f"compile: f must be the same at each call, got a change in ({said}).*nf.Scalar"
    ):
        nf.compile(f)(np.ones((2, 3), np.float32))
    model = {"w": np.ones((2, 3), np.float32)}
    step = nf.compile(lambda m, x: f(m["w"]).sum() + x.sum(), model, nf.setup(nf.Descent(), model))
    with pytest.raises(nf.PlanError, match=f"compile: loss must be the same at each call, got a change in ({said})"):
        step(np.ones(3, np.float32))


X = np.ones((2, 3), np.float32)


def trains(loss, *args):
    model = {"w": np.ones((2, 3), np.float32)}
    return lambda: nf.compile(loss, model, nf.setup(nf.Descent(), model))(*args)


def compiles(f, x=X):
    return lambda: nf.compile(f)(x)


REFUSED = {
    "empty batch": (compiles(nf.tanh, X[:0]), nf.PlanError,
                    r"argument 0 must be of at least one sample, got shape \(0, 3\)"),
    "empty batch of a step": (trains(lambda m, x: (m["w"] * x).sum(), X[:0]), nf.PlanError, "of at least one sample"),
    "branch": (compiles(lambda x: x if x.sum() > 0 else -x), nf.PlanError,
               "must not be asked for by if, while.*nf.where"),
    "float": (compiles(lambda x: x * float(x.sum())), nf.PlanError, r"must not be asked for by float\(\)"),
    "item": (compiles(lambda x: x * x.sum().item()), nf.PlanError, r"must not be asked for by .item\(\)"),
    "constant": (compiles(lambda x: X), nf.PlanError, "f must be a function whose result depends on its arguments"),
    "nothing": (compiles(lambda x: None), nf.PlanError, "compile: f must be .*, got None"),
    "no function": (compiles(3), nf.DTypeError, "compile: f must be a function or model, got int"),
    "no state": (lambda: nf.compile(mse, mlp(2, 2)), nf.DTypeError,
                 "compile: opt_state must be what nf.setup returned for the model, got NoneType"),
    "no model": (lambda: nf.compile(mse, None, nf.setup(nf.Adam(), mlp(2, 2))), nf.DTypeError, "opt_state must be"),
    "another's state": (lambda: nf.compile(mse, mlp(7, 3), nf.setup(nf.Adam(), mlp(7, 3)))(*batch(2)), nf.PlanError,
                        r"compile: 0.weight must be a parameter of opt_state.*call nf.setup\(rule, model\)"),
    "no scalar": (trains(lambda m, x: m["w"] * x, X), nf.ShapeError,
                  r"compile: loss must be a scalar, got shape \(2, 3\); take its mean or sum"),
    "no loss": (trains(lambda m, x: 1.0, X), nf.PlanError, "loss must be computed from the arguments, got float"),
    "without the model": (trains(lambda m, x: x.sum(), X), nf.PlanError,
                          "compile: loss must be computed from the model"),
    "text": (compiles(nf.tanh, np.array(["a"])), nf.DTypeError, "argument 0.* must be of a float or integer type"),
    "half": (compiles(nf.tanh, X.astype(np.float16)), nf.DTypeError, "got float16"),
    "byte order": (compiles(nf.tanh, X.astype(">f4")), nf.DTypeError, "got >f4"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compiled_is_said_so(name):
    call, error, said = REFUSED[name]
    with pytest.raises(error, match=said):
        call()


def test_array_of_the_other_byte_order_is_refused_also_where_a_plan_for_its_shape_exists():
    f = nf.compile(nf.tanh)
    x = np.ones((3000, 3), np.float32)
    f(x)
    with pytest.raises(nf.DTypeError, match="got >f4"):
        f(x.astype(">f4"))


def test_step_of_an_older_state_says_so():
    model = mlp(7, 3)
    step = nf.compile(mse, model, nf.setup(nf.Adam(), model))
    step(*batch(4))
    newer = nf.setup(nf.Adam(), model)
    with pytest.raises(
        nf.PlanError, match="step: opt_state must be the last one set up for the model, got an older one"
    ):
        step(*batch(4))
    nf.compile(mse, model, newer)(*batch(4))


def test_step_follows_freeze_thaw_and_adjust():
    model = mlp(7, 9, 3)
    state = nf.setup(nf.Descent(0.5), model)
    step = nf.compile(mse, model, state)
    x, y = batch(8)
    step(x, y)
    nf.freeze(state, "0")
    before = [layer.weight.copy() for layer in model]
    step(x, y)
    assert np.array_equal(model[0].weight, before[0]) and not np.array_equal(model[1].weight, before[1])
    nf.thaw(state)
    nf.adjust(state, eta=0.0)
    before = [layer.weight.copy() for layer in model]
    step(x, y)
    assert all(np.array_equal(layer.weight, old) for layer, old in zip(model, before, strict=True))
    nf.adjust(state, eta=0.5)
    step(x, y)
    assert not any(np.array_equal(layer.weight, old) for layer, old in zip(model, before, strict=True))


# ---------------------------------------------------------------- commit last


def crossentropy(m, x, y):
    return nf.losses.logitcrossentropy(m(x), y)


def rooted(m, x, y):
    """Finite at 0, with a slope that is not."""
    return nf.functions.sqrt(m(x) * m(x)).mean() + 0.0 * y.sum()


def failures(n):
    x, y = batch(n)
    bad = x.copy()
    bad[n // 2, 3] = np.nan
    labels = np.zeros(n, np.int64)
    wrong = labels.copy()
    wrong[n - 1] = 3
    finite = "must be finite, got NaN or Inf; nothing was changed"
    label = r"crossentropy: labels must be in 0\.\.2, got another at position"
    return {
        "loss": (mse, (x, y), (bad, y), nf.NonFiniteError, f"step: loss {finite}"),
        "overflow": (mse, (x, y), (x * 1e30, y), nf.NonFiniteError, f"step: loss {finite}"),
        "gradient": (rooted, (x, y), (x * 0, y), nf.NonFiniteError, rf"step: gradient of \d\.\w+ {finite}"),
        "label": (crossentropy, (x, labels), (x, wrong), nf.RangeError, f"{label} {n - 1}"),
        "negative label": (crossentropy, (x, labels), (x, labels - 1), nf.RangeError, f"{label} 0"),
    }


@pytest.mark.parametrize("rule", [nf.Adam(0.01), nf.Momentum(0.01)], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("n", [5, 3000])
@pytest.mark.parametrize("name", failures(1))
def test_step_that_fails_changes_no_byte_and_the_next_one_is_as_if_it_had_not_been(name, n, rule):
    loss, good, bad, error, said = failures(n)[name]
    states = []
    for fails in (False, True):
        model = mlp(7, 33, 3, activation=nf.relu)
        for layer in model:
            layer.bias = np.zeros_like(layer.bias)
        states.append(state := nf.setup(rule, model))
        step = nf.compile(loss, model, state)
        step(*good)
        for layer in model:
            layer.bias[...] = 0
        if fails:
            before = held(state)
            for _ in range(2):
                with pytest.raises(error, match=said):
                    step(*bad)
                assert held(state) == before
        step(*good)
    assert held(states[0]) == held(states[1]) and states[1].step == 2
