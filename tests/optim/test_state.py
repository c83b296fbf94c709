"""setup, update, freeze, thaw, adjust: what stands in the vectors, what moves, what must not; compiled as eager."""

import itertools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.optim.vectors import ALIGN
from tests.steps import RULES, X, Y, bits, everything, grads_of, loss, mlp, raises

# -------------------------------------------------------------------------------------------------------------- setup


def test_parameters_become_views_of_one_vector():
    model = mlp()
    before = bits(model)
    state = nf.setup(nf.Adam(), model)
    assert bits(model) == before and list(state.vectors) == [np.dtype(np.float32)]
    v = state.vectors[np.dtype(np.float32)]
    assert [s.path for s in v.segments] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert set(v.states) == {"m", "v"} and not v.states["m"].any() and not v.states["v"].any()
    for s, (path, array) in zip(v.segments, nf.trainables(model, path=True), strict=True):
        assert s.path == path and s.shape == array.shape and s.start % ALIGN == 0
        assert np.shares_memory(array, v.params) and s.of(v.params).ctypes.data == array.ctypes.data
        assert array.ctypes.data % 64 == 0, "a cache line of its own"
    ends = [s.start + s.size for s in v.segments]
    assert all(end <= s.start for end, s in zip(ends, v.segments[1:], strict=False)), "segments do not overlap"


def test_a_tied_weight_is_one_segment():
    model = nf.Chain(nf.Dense(3, 3, rng=0), nf.Dense(3, 3, rng=1))
    model[1].weight = model[0].weight
    state = nf.setup(nf.Adam(), model)
    assert [(s.path, s.ties) for s in state.segments] == [
        ("0.weight", ("1.weight",)), ("0.bias", ()), ("1.bias", ()),
    ]  # fmt: skip
    assert model[0].weight is model[1].weight
    nf.update(state, model, grads_of(model, X, X))
    assert model[0].weight is model[1].weight


def test_a_tied_weight_moves_by_the_sum_of_its_gradients():
    w = np.eye(3, dtype=np.float64)
    model = [w, w]
    x = X.astype(np.float64)
    expected = w - 0.1 * nf.gradient(lambda v: ((x @ v @ v) ** 2).mean(), w)
    state = nf.setup(nf.Descent(0.1), model)
    f = lambda m, x: ((x @ m[0] @ m[1]) ** 2).mean()  # noqa: E731
    step = nf.compile(f, model, state)
    step(x)
    np.testing.assert_allclose(model[0], expected, rtol=1e-14)
    separate = [w.copy(), w.copy()]
    grads = nf.gradient(lambda m: f(m, x), separate)
    model = [w, w]
    state = nf.setup(nf.Descent(0.1), model)
    nf.update(state, model, grads)
    np.testing.assert_allclose(model[1], expected, rtol=1e-14)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_models_in_dicts_and_lists_of_two_dtypes(rule):
    def make():
        wide = nf.f64(nf.Dense(3, 2, rng=1))
        return {"a": [nf.Dense(3, 4, nf.tanh, rng=0)], "b": {"w": np.ones((4, 2), np.float32)}, "c": wide}

    model, twin = make(), make()
    state, other = nf.setup(rule, model), nf.setup(rule, twin)
    assert {str(t): [s.path for s in v.segments] for t, v in state.vectors.items()} == {
        "float32": ["a.0.weight", "a.0.bias", "b.w"], "float64": ["c.weight", "c.bias"],
    }  # fmt: skip

    def f(m, x, wide):
        left = nf.losses.mse(m["a"][0](x) @ m["b"]["w"], Y)
        return left + F.mean(m["c"](wide) ** 2).astype(np.float32)

    step = nf.compile(f, model, state)
    before = bits(model)
    for _ in range(3):
        value, grads = nf.withgradient(lambda m: f(m, X, X.astype(np.float64)), twin)
        nf.update(other, twin, grads)
        assert step(X, X.astype(np.float64)) == value
    assert everything(model, state) == everything(twin, other)
    assert all(bits(model)[path] != before[path] for path in before)


@pytest.mark.parametrize(
    ("model", "kind", "text"),
    [
        (nf.Chain(nf.relu), nf.PlanError, "setup: model must be one with parameters to train, got Chain"),
        ({"labels": np.arange(3)}, nf.PlanError, "setup: model must be one with parameters to train, got dict"),
        (nf.relu, nf.PlanError, "setup: model must be one with parameters to train, got function"),
        ({"w": np.ones(2, np.float16)}, nf.DTypeError,
         "setup: w must be float32 or float64, got float16; nf.f32(model)"),
        ({"w": (np.ones(2, np.float32),)}, nf.DTypeError,
         "setup: w.0 must be in a layer, list or dict, got in a tuple, whose arrays cannot be moved"),
        ({"w": np.ones((2, 0), np.float32)}, nf.ShapeError,
         "setup: w must be of at least one element, got shape (2, 0)"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_up(model, kind, text):
    with raises(kind, text):
        nf.setup(nf.Adam(), model)


def test_a_rule_must_be_a_rule():
    with raises(nf.DTypeError, "setup: rule must be a rule such as nf.Adam(), got the class Adam"):
        nf.setup(nf.Adam, mlp())


def test_a_setup_that_fails_leaves_the_model_alone():
    model = {"a": np.ones(2, np.float32), "b": (np.ones(2, np.float32),)}
    kept = model["a"]
    with pytest.raises(nf.DTypeError):
        nf.setup(nf.Adam(), model)
    assert model["a"] is kept


def test_the_old_state_is_refused_after_a_second_setup():
    model = mlp()
    old = nf.setup(nf.Adam(), model)
    step = nf.compile(loss, model, old)
    step(X, Y)
    new = nf.setup(nf.Adam(), model)
    before = everything(model, new)
    with raises(nf.PlanError, "step: opt_state must be the last one set up for the model, got an older one; "
                "compile again with what the last nf.setup returned"):  # fmt: skip
        step(X, Y)
    with pytest.raises(nf.PlanError, match="^update: opt_state must be the last one set up for the model"):
        nf.update(old, model, grads_of(model))
    assert everything(model, new) == before
    nf.compile(loss, model, new)(X, Y)
    assert new.step == 1


def test_repr_of_a_state():
    state = nf.setup(nf.Descent(0.5), mlp())
    nf.freeze(state, "0")
    assert repr(state) == "OptState(Descent(eta=0.5), 104 parameters in 4 arrays, 2 frozen, step 0)"


# ------------------------------------------------------------------------------------------------------------- update


def test_update_refuses_gradients_that_do_not_fit():
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    before = everything(model, state)
    good = grads_of(model)
    cases = [
        (nf.f64(good), nf.ShapeError, "update: grads.0.weight must be float32 (3, 17), got float64 (3, 17)"),
        (None, nf.ShapeError, "update: grads.0.weight must be float32 (3, 17), got nothing"),
        (good[:1], nf.ShapeError, "update: grads.1.weight must be float32 (17, 2), got nothing"),
        (grads_of(nf.Chain(nf.Dense(3, 2))), nf.ShapeError,
         "update: grads.0.weight must be float32 (3, 17), got float32 (3, 2)"),
    ]  # fmt: skip
    for grads, kind, text in cases:
        with raises(kind, text):
            nf.update(state, model, grads)
        assert everything(model, state) == before


def test_update_refuses_another_model():
    model, other = mlp(), mlp()
    state = nf.setup(nf.Adam(), model)
    text = "update: 0.weight must be an array that opt_state holds, got another; call nf.setup again"
    with raises(nf.PlanError, text):
        nf.update(state, other, grads_of(other))
    model = {"w": np.ones(2, np.float32)}
    state = nf.setup(nf.Adam(), model)
    model["w"] = np.ones(2, np.float32)
    with raises(nf.PlanError, text.replace("0.weight", "w")):
        nf.update(state, model, {"w": np.ones(2, np.float32)})


def test_compile_refuses_another_model_or_a_part():
    model, other = mlp(), mlp()
    state = nf.setup(nf.Adam(), model)
    with raises(nf.PlanError, "compile: 0.weight must be a parameter of opt_state, got an array that it does not hold; "
                "call nf.setup(rule, model) for this model"):  # fmt: skip
        nf.compile(loss, other, state)(X, Y)
    with raises(nf.PlanError, "compile: model must be the one that opt_state was set up for, got one without "
                "['0.weight', '0.bias']"):  # fmt: skip
        nf.compile(lambda m, x: (m(x) ** 2).mean(), model[1:], state)(np.ones((4, 17), np.float32))


# ------------------------------------------------------------------------------------------------------ freeze and thaw


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_frozen_stays_bit_for_bit(rule, compiled):
    model = mlp()
    state = nf.setup(rule, model)
    step = nf.compile(loss, model, state)

    def train():
        step(X, Y) if compiled else nf.update(state, model, grads_of(model))

    train()
    nf.freeze(state, "0")
    before = everything(model, state)
    first = {name: bits(model)[name] for name in ("0.weight", "0.bias")}
    states = state.vectors[np.dtype(np.float32)].states
    vectors = [v for name, v in states.items() if not (isinstance(rule, nf.EMA) and name == "1.mean")]  # which goes on
    kept = [s.of(v).tobytes() for s in state.segments[:2] for v in vectors]
    for _ in range(3):
        train()
    after = bits(model)
    assert all(after[name] == first[name] for name in first), "weights"
    assert kept == [s.of(v).tobytes() for s in state.segments[:2] for v in vectors]
    assert after["1.weight"] != before[0]["1.weight"] and after["1.bias"] != before[0]["1.bias"]
    nf.thaw(state)
    train()
    assert bits(model)["0.weight"] != first["0.weight"]


@pytest.mark.parametrize("frozen", [f for n in range(5) for f in itertools.combinations(range(4), n)], ids=str)
def test_what_is_not_frozen_moves_as_if_nothing_were(frozen):
    model, free = mlp(), mlp()
    grads, before = grads_of(model), bits(model)
    state = nf.setup(nf.Adam(), model)
    names = [s.path for s in state.segments]
    for i in frozen:
        nf.freeze(state, names[i])
    nf.update(state, model, grads)
    nf.update(nf.setup(nf.Adam(), free), free, grads)
    moved, now = bits(free), bits(model)
    assert now == {name: before[name] if i in frozen else moved[name] for i, name in enumerate(names)}


def test_freezing_is_seen_by_a_step_compiled_before_and_equals_eager():
    one, two = mlp(), mlp()
    states = [nf.setup(nf.Adam(), m) for m in (one, two)]
    step = nf.compile(loss, two, states[1])
    for what in (None, "1.weight", "0", "thaw"):
        for state in states:
            if what == "thaw":
                nf.thaw(state, "0.bias")
            elif what:
                nf.freeze(state, what)
        nf.update(states[0], one, grads_of(one))
        step(X, Y)
        assert everything(one, states[0]) == everything(two, states[1])


@pytest.mark.parametrize(
    ("what", "frozen"),
    [
        ("0", ["0.weight", "0.bias"]),
        ("0.weight", ["0.weight"]),
        ("", ["0.weight", "0.bias", "1.weight", "1.bias"]),
        (lambda m: m[1], ["1.weight", "1.bias"]),
        (lambda m: [m[0], m[1]], ["0.weight", "0.bias", "1.weight", "1.bias"]),
    ],
)
def test_freeze_by_path_or_layer(what, frozen):
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    nf.freeze(state, what(model) if callable(what) else what)
    assert [s.path for s in state.segments if s.frozen] == frozen
    nf.thaw(state, what(model) if callable(what) else what)
    assert not any(s.frozen for s in state.segments)


def test_a_tied_weight_is_frozen_by_any_of_its_paths():
    one = nf.Dense(3, 3, rng=0)
    state = nf.setup(nf.Adam(), {"a": one, "b": one})
    nf.freeze(state, "b.weight")
    assert [s.path for s in state.segments if s.frozen] == ["a.weight"]


@pytest.mark.parametrize("what", ["2", "0.weigh", "weight", nf.relu])
def test_freezing_nothing_is_an_error(what):
    state = nf.setup(nf.Adam(), mlp())
    with raises(nf.RangeError, f"freeze: what must be the path of a parameter or layer, or a layer, got {what!r}; "
                "paths begin with ['0.weight', '0.bias', '1.weight', '1.bias']"):  # fmt: skip
        nf.freeze(state, what)


def test_all_frozen_only_computes_the_loss():
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    nf.freeze(state, "")
    before = bits(model)
    assert nf.compile(loss, model, state)(X, Y) == loss(model, X, Y) and bits(model) == before


# ------------------------------------------------------------------------------------------------------------- adjust


def test_adjust_is_seen_by_eager_and_compiled_steps():
    one, two, three = mlp(), mlp(), mlp()
    states = [nf.setup(nf.Adam(0.01), m) for m in (one, two)]
    step = nf.compile(loss, two, states[1])
    for eta, beta in ((0.01, (0.9, 0.999)), (0.1, (0.9, 0.999)), (0.0, (0.5, 0.9)), (0.03, (0.5, 0.9))):
        for state in states:
            nf.adjust(state, eta=eta, beta=beta)
        before = bits(two)
        nf.update(states[0], one, grads_of(one))
        step(X, Y)
        assert everything(one, states[0]) == everything(two, states[1])
        assert (bits(two) == before) == (eta == 0.0)
    assert states[0].rule == nf.Adam(0.03, (0.5, 0.9)) and states[0].step == 4
    assert bits(one) != bits(three)


@pytest.mark.parametrize(
    ("numbers", "kind", "text"),
    [
        ({"eta": -1}, nf.RangeError, "Adam: eta must be a number in [0, inf), got -1"),
        ({"beta": (0.9, 1.0)}, nf.RangeError, "Adam: beta2 must be a number in [0, 1), got 1.0"),
        ({"eta": "fast"}, nf.DTypeError, "Adam: eta must be a number in [0, inf), got 'fast'"),
        ({"rho": 0.9}, nf.RangeError, "adjust: numbers must be of Adam: ['beta', 'eps', 'eta'], got ['rho']"),
        ({"eta": 0.5, "beta": (2, 2)}, nf.RangeError, "Adam: beta1 must be a number in [0, 1), got 2"),
    ],
)
def test_a_wrong_number_changes_nothing(numbers, kind, text):
    model = mlp()
    state = nf.setup(nf.Adam(), model)
    before = everything(model, state)
    with raises(kind, text):
        nf.adjust(state, **numbers)
    assert everything(model, state) == before and state.rule == nf.Adam()
