"""Rules around a rule: averages, weights of a short format, numbers that follow schedules."""

import copy
import math
import pickle

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import schedules as S
from tests.reference.optim import Oracle
from tests.steps import X, Y, everything, grads_of, loss, mlp, raises

G = nf.Generator(9)
START = {"w": G.normal((7, 5), dtype=np.float64), "b": G.normal((3,), dtype=np.float64)}
GRADS = [{k: G.normal(p.shape, dtype=np.float64) for k, p in START.items()} for _ in range(12)]
CHAIN = nf.OptimiserChain(nf.AccumGrad(3), nf.ClipNorm(0.5), nf.AdamW(0.1, decay=0.1))


def trained(rule, dtype=np.float64, grads=GRADS):
    """The model, its state and the oracle after some steps."""
    model = {k: p.astype(dtype) for k, p in START.items()}
    state, oracle = nf.setup(rule, model), Oracle(rule, model)
    for given in grads:
        given = {k: g.astype(dtype) for k, g in given.items()}
        nf.update(state, model, given)
        oracle.update(given)
        assert state.step == oracle.step
    return model, state, oracle


# -------------------------------------------------------------------------------------------------------- averages


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("rule", [nf.Adam(0.1), CHAIN, nf.MixedPrecision(nf.Adam(0.1))], ids=str)
def test_an_average_is_that_of_the_weights_after_each_step(rule, decay):
    model, state, oracle = trained(nf.EMA(rule, decay))
    average = nf.ema(state, model)
    for k, right in oracle.averages().items():
        np.testing.assert_allclose(average[k], right, rtol=0, atol=1e-12)
        np.testing.assert_allclose(model[k], oracle.params[k], rtol=0, atol=1e-12)
        assert average[k].base is None and average[k].dtype == np.float64


def test_an_average_over_steps_by_hand():
    model = {"w": np.zeros(1)}
    state = nf.setup(nf.EMA(nf.Descent(1.0), 0.75), model)
    assert nf.ema(state, model)["w"] == 0.0, "before the first step"
    seen = []
    for g in (-1.0, -2.0, 4.0):
        nf.update(state, model, {"w": np.array([g])})
        seen.append(nf.ema(state, model)["w"][0])
    weights = [[1.0], [0.75, 1.0], [0.75**2, 0.75, 1.0]]
    assert seen == pytest.approx([np.dot(w, [1, 3, -1][: len(w)]) / sum(w) for w in weights], rel=1e-12)


def test_training_is_as_without_an_average():
    models = [mlp(), mlp()]
    states = [nf.setup(rule, m) for rule, m in zip((nf.Adam(0.1), nf.EMA(nf.Adam(0.1))), models, strict=True)]
    for _ in range(3):
        for model, state in zip(models, states, strict=True):
            nf.compile(loss, model, state)(X, Y)
    assert all((a == b).all() for a, b in zip(*map(nf.trainables, models), strict=True))
    assert nf.ema(states[1], models[1])(X).shape == Y.shape


def test_frozen_and_tied_weights_and_buffers_of_an_average():
    w = np.ones((2, 2))
    model = {"a": w, "b": w, "c": np.full(2, 3.0), "net": nf.f64(nf.BatchNorm(2))}
    state = nf.setup(nf.EMA(nf.Descent(1.0), 0.5), model)
    nf.freeze(state, "c")
    for _ in range(2):
        grads = {"a": np.ones((2, 2)), "b": np.zeros((2, 2)), "c": np.ones(2), "net": model["net"]}
        nf.update(state, model, grads)
    average = nf.ema(state, model)
    assert average["a"] is average["b"] and average["a"][0, 0] == pytest.approx((0.5 * 0.0 - 1.0) / 1.5)
    assert average["c"].tolist() == [3.0, 3.0] and average["net"] is not model["net"]
    buffers = [{k: v for k, v in nf.state(m["net"]).items() if "running" in k or "mean" in k} for m in (average, model)]
    assert all((buffers[0][k] == buffers[1][k]).all() for k in buffers[1])


def test_what_has_no_average():
    model = mlp()
    text = "ema: opt_state must be of a rule nf.EMA(...), got Descent(eta=0.1); nf.setup(nf.EMA(rule), model)"
    with raises(nf.PlanError, text):
        nf.ema(nf.setup(nf.Descent(), model), model)
    state = nf.setup(nf.EMA(nf.Descent()), model)
    with raises(nf.PlanError, "ema: 0.weight must be an array that opt_state holds, got another; call nf.setup again"):
        nf.ema(state, mlp())
    nf.setup(nf.Descent(), model)
    with raises(nf.PlanError, "ema: opt_state must be the last one set up for the model, got an older one; use what "
                "the last nf.setup returned"):  # fmt: skip
        nf.ema(state, model)


# -------------------------------------------------------------------------------------------------- short formats


def bfloat16(x):
    torch = pytest.importorskip("torch")
    return torch.tensor(x).to(torch.bfloat16).to(torch.float64).numpy()


EDGES = [
    0.0, -0.0, 1.0, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 2**-14, 2**-14 * (1 - 2**-11),
    2**-24, 2**-25, 3 * 2**-25, 1.5 * 2**-24, 5.1e-8, 1e-30, -1e-37, 65504.0, 65519.0, 0.1, math.pi, 1e4,
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "cast"), [("float16", np.float16), ("bfloat16", None)])
def test_rounding_is_that_of_numpy_and_pytorch(name, cast, dtype):
    numbers = np.concatenate([EDGES, G.normal((500,), dtype=np.float64) * 10.0 ** np.arange(-9, 3.5, 0.025)])
    numbers = numbers.astype(dtype)
    model = {"w": numbers.copy()}
    nf.update(nf.setup(nf.MixedPrecision(nf.Descent(0.0), name), model), model, {"w": np.zeros_like(numbers)})
    right = numbers.astype(cast).astype(np.float64) if cast else bfloat16(numbers)
    np.testing.assert_array_equal(model["w"], right)


@pytest.mark.parametrize(("name", "most"), [("float16", 65504.0), ("bfloat16", 3.3895313892515355e38)])
def test_what_is_too_large_stays_at_the_largest(name, most):
    model = {"w": np.array([1e300, -1e300])}
    state = nf.setup(nf.MixedPrecision(nf.Descent(1.0), name), model)
    nf.update(state, model, {"w": np.zeros(2)})
    assert model["w"].tolist() == [most, -most]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("rule", [nf.Momentum(0.1), nf.Adam(0.1), nf.LAMB(0.1), CHAIN], ids=str)
def test_weights_are_of_the_format_and_nothing_is_lost(rule, name):
    model, state, oracle = trained(nf.MixedPrecision(rule, name))
    [vectors] = state.vectors.values()
    for s in vectors.segments:
        rest = next(s.of(v) for key, v in vectors.states.items() if key.endswith("rest"))
        np.testing.assert_allclose(model[s.path] + rest, oracle.full[s.path], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(model[s.path], oracle.params[s.path])
        assert abs(rest).max() > 1e-5


def test_small_steps_add_up():
    """Of weights that were rounded alone they would all be lost."""
    model = {"w": np.ones(1, np.float32)}
    state = nf.setup(nf.MixedPrecision(nf.Descent(1.0), "bfloat16"), model)
    for _ in range(1024):
        nf.update(state, model, {"w": np.full(1, 2.0**-11, np.float32)})
    assert model["w"][0] == 0.5


def test_frozen_weights_are_not_rounded():
    model = {"a": np.full(2, 0.1), "b": np.full(2, 0.1)}
    state = nf.setup(nf.MixedPrecision(nf.Descent(0.0)), model)
    nf.freeze(state, "a")
    nf.update(state, model, {"a": np.zeros(2), "b": np.zeros(2)})
    assert model["a"][0] == 0.1 != model["b"][0] == np.float16(0.1)


# ------------------------------------------------------------------------------------------------------ schedules


def test_a_scheduled_rule_is_the_rule_adjusted_before_each_step():
    rule = nf.OptimiserChain(nf.ClipNorm(1.0), nf.AdamW(decay=0.1))
    schedules = {"eta": S.Warmup(S.CosAnneal(0.1, 0.0, 9), 3), "omega": S.Exp(1.0, 0.7)}
    models = [mlp(), mlp(), mlp()]
    states = [nf.setup(r, m) for r, m in zip((rule, *[nf.Scheduler(rule, **schedules)] * 2), models, strict=True)]
    step = nf.compile(loss, models[2], states[2])
    for t in range(1, 15):
        nf.adjust(states[0], **{name: s(t) for name, s in schedules.items()})
        assert states[1].rule.eta == states[0].rule.eta and states[1].rule.omega == schedules["omega"](t)
        for model, state in zip(models[:2], states[:2], strict=True):
            nf.update(state, model, grads_of(model))
        step(X, Y)
        assert everything(models[1], states[1]) == everything(models[2], states[2])
        assert everything(models[0], states[0])[:2] == everything(models[1], states[1])[:2]


def test_a_schedule_counts_changes_of_parameters():
    model = {"w": np.zeros(1)}
    rule = nf.Scheduler(nf.OptimiserChain(nf.AccumGrad(2), nf.Descent()), eta=lambda t: 10.0 ** -(t - 1))
    state, seen = nf.setup(rule, model), []
    for _ in range(6):
        nf.update(state, model, {"w": np.ones(1)})
        seen.append(-model["w"][0])
    assert seen == pytest.approx([0, 1, 1, 1.1, 1.1, 1.11])


def test_a_step_that_fails_moves_no_schedule():
    model = mlp()
    state = nf.setup(nf.Scheduler(nf.Descent(), eta=S.Exp(0.1, 0.5)), model)
    step = nf.compile(loss, model, state)
    step(X, Y)
    before = everything(model, state)
    with pytest.raises(nf.NonFiniteError):
        step(X * np.nan, Y)
    assert everything(model, state) == before and state.rule.eta == 0.05


def test_what_follows_a_schedule_cannot_be_adjusted():
    state = nf.setup(nf.Scheduler(nf.Momentum(), eta=S.Exp(0.1, 0.5)), mlp())
    nf.adjust(state, rho=0.5)
    assert repr(state.rule) == "Scheduler(Momentum(eta=0.1, rho=0.5), eta=Exp(start=0.1, decay=0.5))"
    with raises(nf.RangeError, "adjust: numbers must be of Scheduler: ['rho'], got ['eta']; ('eta',) follow schedules"):
        nf.adjust(state, eta=0.1)


# ------------------------------------------------------------------------------------------------------- as records

EACH = [nf.EMA(CHAIN, 0.5), nf.MixedPrecision(CHAIN, "bfloat16"), nf.EMA(nf.MixedPrecision(nf.Adam())),
        nf.Scheduler(nf.EMA(CHAIN), eta=S.Exp(0.1, 0.5), omega=2.0)]  # fmt: skip


@pytest.mark.parametrize("rule", EACH, ids=str)
def test_they_are_records_with_the_numbers_of_what_they_hold(rule):
    assert copy.deepcopy(rule) == rule == pickle.loads(pickle.dumps(rule)) and hash(rule) == hash(copy.copy(rule))  # noqa: S301  # of objects made here
    assert rule != nf.EMA(nf.Adam()) and rule.eta in (0.1, 0.001)
    with pytest.raises(AttributeError, match=f"^{type(rule).__name__}: no member has nothing$"):
        _ = rule.nothing


@pytest.mark.parametrize("rule", EACH, ids=str)
def test_adjust_reaches_what_is_inside(rule):
    state = nf.setup(rule, mlp())
    nf.adjust(state, beta=(0.5, 0.6))
    assert state.rule.beta == (0.5, 0.6) and type(state.rule) is type(rule)
    with pytest.raises(nf.RangeError, match=r"adjust: numbers must be of .*, got \['dtype'\]$"):
        nf.adjust(state, dtype="float16")


CALLS = [
    (lambda: nf.EMA(nf.Adam), nf.DTypeError, "EMA: rule must be a rule such as nf.Adam(), got the class Adam"),
    (lambda: nf.EMA(nf.ClipNorm()), nf.DTypeError, "EMA: rule must be a rule such as nf.Adam(), got ClipNorm"),
    (lambda: nf.EMA(nf.Adam(), 1.0), nf.RangeError, "EMA: decay must be a number in [0, 1), got 1.0"),
    (lambda: nf.EMA(nf.Scheduler(nf.Adam(), eta=0.1)), nf.DTypeError,
     "EMA: rule must be a rule such as nf.Adam(), got Scheduler; nf.Scheduler(nf.EMA(...), ...)"),
    (lambda: nf.MixedPrecision(nf.Adam(), "float32"), nf.RangeError,
     "MixedPrecision: dtype must be 'float16' or 'bfloat16', got 'float32'"),
    (lambda: nf.OptimiserChain(nf.EMA(nf.Adam())), nf.DTypeError,
     "OptimiserChain: rules must be what changes gradients, such as nf.ClipNorm(), and one rule at the end, such as "
     "nf.Adam(), got (EMA)"),
    (lambda: nf.Scheduler(nf.Adam, eta=0.1), nf.DTypeError,
     "Scheduler: rule must be a rule such as nf.Adam(), got the class Adam"),
    (lambda: nf.Scheduler(nf.Adam(), rho=0.1), nf.RangeError,
     "Scheduler: schedules must be of ['beta', 'eps', 'eta'], got 'rho'"),
    (lambda: nf.Scheduler(nf.Adam(), eta="x"), nf.DTypeError,
     "Scheduler: eta must be a number or a schedule, got 'x'"),
    (lambda: nf.Scheduler(nf.Adam(), eta=-1.0), nf.RangeError, "Adam: eta must be a number in [0, inf), got -1.0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), CALLS, ids=[c[2][:40] for c in CALLS])
def test_what_cannot_be_around_a_rule(call, kind, text):
    with raises(kind, text):
        call()
