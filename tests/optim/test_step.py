"""A compiled step: the eager one bit for bit; changes are seen; what fails changes nothing."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.tree import leaves
from tests.steps import RULES, X, Y, bits, everything, grads_of, loss, mlp, raises

# --------------------------------------------------------------------------------------------------- compiled = eager


BATCHES = [(0, 16), (16, 32), (32, 39), (0, 1), (1, 18), (0, 64), (2, 18), (5, 12), (0, 1), (3, 4)]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("convert", [nf.f32, nf.f64])
def test_a_compiled_step_is_the_eager_one_bit_for_bit(rule, convert):
    eager, planned = convert(mlp()), convert(mlp())
    dtype = eager[0].weight.dtype
    x, y = X.astype(dtype), Y.astype(dtype)
    one, two = nf.setup(rule, eager), nf.setup(rule, planned)
    step = nf.compile(loss, planned, two)
    for i, (start, stop) in enumerate(BATCHES):
        value, grads = nf.withgradient(lambda m, a=start, b=stop: loss(m, x[a:b], y[a:b]), eager)
        nf.update(one, eager, grads)
        got = step(x[start:stop], y[start:stop])
        assert got == value and got.dtype == dtype, f"batch {i}"
        assert everything(eager, one) == everything(planned, two), f"batch {i}"
        eager_grads = {leaf.path: leaf.array for leaf in leaves(grads)}
        assert all((g == eager_grads[path]).all() for path, g in step.gradients().items())
    assert one.step == two.step == len(BATCHES)


def test_any_strides_of_a_batch_give_the_same_bits():
    results = []
    for prepare in (np.ascontiguousarray, np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2]):
        model = mlp()
        state = nf.setup(nf.Adam(), model)
        step = nf.compile(loss, model, state)
        step(prepare(X), prepare(Y))
        results.append(everything(model, state))
    assert results[0] == results[1] == results[2]


def test_aux_comes_beside_the_loss():
    model, twin = mlp(), mlp()
    step = nf.compile(lambda m, x, y: (loss(m, x, y), {"out": m(x)}), model, nf.setup(nf.Adam(), model))
    value, aux = step(X, Y)
    assert value == loss(twin, X, Y)
    np.testing.assert_array_equal(aux["out"], twin(X))


def test_the_loss_falls():
    model = mlp()
    step = nf.compile(loss, model, nf.setup(nf.Adam(0.02), model))
    first = step(X, Y)
    for _ in range(100):
        last = step(X, Y)
    assert last < 0.8 * first


# ------------------------------------------------------------------------------------- changes between steps are seen


def test_weights_changed_in_place_or_assigned_are_seen():
    model = mlp()
    state = nf.setup(nf.Descent(0.0), model)
    step, predict = nf.compile(loss, model, state), nf.compile(model)
    step(X, Y), predict(X)
    model[0].weight[...] = 0.5
    model[1].weight = np.full((17, 2), 0.25)
    assert step(X, Y) == loss(model, X, Y) and (predict(X) == model(X)).all()


def test_a_setting_that_changes_is_seen():
    model = mlp()
    step, predict = nf.compile(loss, model, nf.setup(nf.Descent(0.0), model)), nf.compile(model)
    old = step(X, Y), predict(X)
    model[0].activation = nf.relu
    assert step(X, Y) == loss(model, X, Y) != old[0] and (predict(X) == model(X)).all()


# ---------------------------------------------------------------------------------------------- status, commit last


def hole(x, at):
    x = x.copy()
    x.flat[at] = np.nan
    return x


FAILURES = [
    ("a target that is NaN", loss, (X, hole(Y, 5)), nf.NonFiniteError,
     "step: loss must be finite, got NaN or Inf; nothing was changed"),
    ("a loss that overflows", lambda m, x, y: loss(m, x, y) * 3e38 * 3e38, (X, Y), nf.NonFiniteError,
     "step: loss must be finite, got NaN or Inf; nothing was changed"),
    ("a gradient that is NaN", lambda m, x, y: loss(m, x, y) + F.sqrt(m[1].bias * 0).sum(), (X, Y),
     nf.NonFiniteError, "step: gradient of 1.bias must be finite, got NaN or Inf; nothing was changed"),
    ("a label out of range", lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), (X, np.arange(64) // 32 + 1),
     nf.RangeError, "crossentropy: labels must be in 0..1, got another at position 32"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "f", "batch", "kind", "text"), FAILURES, ids=[f[0] for f in FAILURES])
@pytest.mark.parametrize("rule", [nf.Momentum(), nf.AdamW(decay=0.1)], ids=str)
def test_a_step_that_fails_changes_nothing(name, f, batch, kind, text, rule):
    model = mlp()
    state = nf.setup(rule, model)
    nf.compile(loss, model, state)(X, Y)
    step = nf.compile(f, model, state)
    before = everything(model, state)
    for _ in range(2):
        with raises(kind, text):
            step(*batch)
        assert everything(model, state) == before
    nf.compile(loss, model, state)(X, Y)
    assert state.step == 2 and everything(model, state) != before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_update_that_fails_changes_nothing(bad):
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    grads = grads_of(model)
    grads[1].weight[3, 1] = bad
    before = everything(model, state)
    text = "update: gradient of 1.weight must be finite, got NaN or Inf; nothing was changed"
    with raises(nf.NonFiniteError, text):
        nf.update(state, model, grads)
    assert everything(model, state) == before
    nf.freeze(state, "1.weight")
    nf.update(state, model, grads)
    assert state.step == 1


def test_a_step_goes_on_after_a_bad_batch():
    model, twin = mlp(), mlp()
    steps = [nf.compile(loss, m, nf.setup(nf.Adam(), m)) for m in (model, twin)]
    for i in range(4):
        if i == 2:
            with pytest.raises(nf.NonFiniteError):
                steps[0](hole(X, 0), Y)
        assert steps[0](X, Y) == steps[1](X, Y)
    assert bits(model) == bits(twin)
