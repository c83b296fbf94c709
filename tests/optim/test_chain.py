"""What changes gradients, alone and together, against NumPy and PyTorch; waiting for several gradients; norms."""

import copy
import pickle

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.optim import TRANSFORMS
from tests.reference.optim import Oracle
from tests.steps import X, Y, bits, everything, grads_of, loss, mlp, raises

G = nf.Generator(3)
SHAPES = {"w": (70, 80), "b": (3,), "one": (1,), "zero": (5, 2)}
START = {k: G.normal(shape, dtype=np.float64) for k, shape in SHAPES.items()}
GRADS = [{k: G.normal(s, dtype=np.float64) * (k != "zero") for k, s in SHAPES.items()} for _ in range(6)]


def chain(*members, eta=1.0):
    return nf.OptimiserChain(*members, nf.Descent(eta))


CASES = [
    chain(nf.WeightDecay()), chain(nf.WeightDecay(0.3)), chain(nf.SignDecay()), chain(nf.SignDecay(0.3)),
    chain(nf.ClipGrad(0.7)), chain(nf.ClipGrad()), chain(nf.ClipGrad(0)),
    chain(nf.ClipNorm(1.0)), chain(nf.ClipNorm(1.0, 1)), chain(nf.ClipNorm(0.5, 3.5)), chain(nf.ClipNorm()),
    chain(nf.ClipGlobalNorm()), chain(nf.ClipGlobalNorm(1e3)), chain(nf.ClipGlobalNorm(0)),
    chain(nf.AccumGrad(1)), chain(nf.AccumGrad(2)), chain(nf.AccumGrad(5)), chain(nf.AccumGrad(2), nf.AccumGrad(3)),
    nf.OptimiserChain(nf.Adam(0.1)),
    nf.OptimiserChain(nf.ClipNorm(1.0), nf.WeightDecay(1e-2), nf.Adam(1e-2)),
    nf.OptimiserChain(nf.WeightDecay(1e-2), nf.ClipNorm(1.0), nf.Momentum(1e-2)),
    nf.OptimiserChain(nf.ClipGrad(1.5), nf.AccumGrad(2), nf.ClipGlobalNorm(0.3), nf.SignDecay(0.1), nf.Lion(0.1)),
    nf.OptimiserChain(nf.AccumGrad(3), nf.WeightDecay(0.1), nf.RMSProp(0.01)),
]  # fmt: skip


def test_every_transformation_has_a_case():
    assert {type(member) for rule in CASES for member in rule.rules[:-1]} == set(TRANSFORMS)


@pytest.mark.parametrize("rule", CASES, ids=str)
@pytest.mark.parametrize("dtypes", ["ffff", "dddd", "fddf"])
def test_against_composition_by_hand(rule, dtypes):
    kinds = dict(zip(SHAPES, dtypes, strict=True))
    model = {k: v.astype(kinds[k]) for k, v in START.items()}
    state, oracle = nf.setup(rule, model), Oracle(rule, model)
    for grads in GRADS:
        given = {k: g.astype(kinds[k]) for k, g in grads.items()}
        nf.update(state, model, given)
        oracle.update(given)
        assert state.step == oracle.step
        for k, right in oracle.params.items():
            assert model[k].dtype == kinds[k]
            np.testing.assert_allclose(model[k], right, rtol=0, atol=1e-5 if kinds[k] == "f" else 1e-13)


@pytest.mark.parametrize(
    ("rule", "clip"),
    [
        (chain(nf.ClipGrad(0.5)), lambda torch, ps: torch.nn.utils.clip_grad_value_(ps, 0.5)),
        # PyTorch divides by the norm + 1e-6
        (chain(nf.ClipGlobalNorm(0.9)), lambda torch, ps: torch.nn.utils.clip_grad_norm_(ps, 0.9)),
        (chain(nf.ClipNorm(0.9, 3)), lambda torch, ps: [torch.nn.utils.clip_grad_norm_(p, 0.9, 3) for p in ps]),
    ],
    ids=str,
)
def test_against_pytorch(rule, clip):
    torch = pytest.importorskip("torch")
    model = {k: v.copy() for k, v in START.items()}
    params = {k: torch.tensor(v, requires_grad=True) for k, v in START.items()}
    optimiser, state = torch.optim.SGD(params.values(), lr=1.0), nf.setup(rule, model)
    for grads in GRADS:
        for k, p in params.items():
            p.grad = torch.tensor(grads[k])
        clip(torch, list(params.values()))
        optimiser.step()
        nf.update(state, model, grads)
        for k, p in params.items():
            np.testing.assert_allclose(model[k], p.detach().numpy(), rtol=0, atol=1e-5)


def test_gradients_of_a_step_are_shown_as_they_were_before_the_chain():
    one, two = mlp(), mlp()
    steps = [nf.compile(loss, m, nf.setup(rule, m)) for m, rule in ((one, nf.Descent(0.0)),
             (two, nf.OptimiserChain(nf.ClipGrad(1e-3), nf.WeightDecay(9.0), nf.Descent(0.0))))]  # fmt: skip
    for step in steps:
        step(X, Y)
    raw, shown = (step.gradients() for step in steps)
    assert all((raw[path] == g).all() and abs(g).max() > 1e-3 for path, g in shown.items())


def test_a_rule_alone_keeps_no_scratch_vector():
    for rule, used in ((nf.Adam(), 0), (nf.OptimiserChain(nf.Adam()), 0), (chain(nf.ClipGrad()), 1)):
        [vectors] = nf.setup(rule, mlp()).vectors.values()
        assert vectors.scratch.size == used * vectors.grads.size


# ------------------------------------------------------------------------------------------------------------- frozen


def test_what_is_frozen_counts_in_no_norm():
    model = {"a": np.zeros(3), "b": np.zeros(2), "c": np.zeros(1)}
    state = nf.setup(chain(nf.ClipGlobalNorm(5.0)), model)
    nf.freeze(state, "b")
    nf.update(state, model, {"a": np.array([6.0, 0, 0]), "b": np.array([1e9, 1e9]), "c": np.array([8.0])})
    assert model["a"].tolist() == [-3, 0, 0] and model["b"].tolist() == [0, 0] and model["c"] == -4
    nf.freeze(state, "")
    nf.update(state, model, {"a": np.ones(3), "b": np.ones(2), "c": np.ones(1)})
    assert model["a"].tolist() == [-3, 0, 0]


def test_a_parameter_thawed_between_takes_part_with_the_gradients_since():
    model = {"a": np.zeros(1), "b": np.zeros(1)}
    state = nf.setup(chain(nf.AccumGrad(2)), model)

    def give(*numbers):
        for g in numbers:
            nf.update(state, model, {"a": np.array([g]), "b": np.array([g])})

    give(2.0, 4.0, 100.0)
    nf.freeze(state, "a")
    give(100.0, 6.0)
    assert model == {"a": -3.0, "b": -103.0}
    nf.thaw(state, "a")
    give(8.0)
    assert model == {"a": -3.0 - 4.0, "b": -103.0 - 7.0}


# -------------------------------------------------------------------------------------------- several gradients a step

GATHER = nf.OptimiserChain(nf.AccumGrad(3), nf.ClipGlobalNorm(0.1), nf.Adam(0.05))


def test_gathered_steps_compiled_are_the_eager_ones_bit_for_bit():
    one, two = mlp(), mlp()
    states = [nf.setup(GATHER, m) for m in (one, two)]
    step, before = nf.compile(loss, two, states[1]), None
    for t in range(1, 11):
        a, b = (t, t + 16) if t % 2 else (0, 64)
        nf.update(states[0], one, grads_of(one, X[a:b], Y[a:b]))
        step(X[a:b], Y[a:b])
        assert everything(one, states[0]) == everything(two, states[1])
        assert (bits(two) != before) == (t % 3 == 0 or t == 1) and states[1].step == t // 3
        before = bits(two)


def test_the_mean_of_parts_of_a_batch_is_the_gradient_of_the_batch():
    one, two = nf.f64(mlp()), nf.f64(mlp())
    whole, parts = nf.setup(nf.Adam(0.05), one), nf.setup(nf.OptimiserChain(nf.AccumGrad(4), nf.Adam(0.05)), two)
    x, y = X.astype(float), Y.astype(float)
    steps = nf.compile(loss, one, whole), nf.compile(loss, two, parts)
    for _ in range(3):
        steps[0](x, y)
        for i in range(4):
            steps[1](x[16 * i : 16 * i + 16], y[16 * i : 16 * i + 16])
    for a, b in zip(nf.trainables(one), nf.trainables(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_a_bad_batch_between_is_as_if_it_had_not_been():
    one, two = mlp(), mlp()
    states = [nf.setup(GATHER, m) for m in (one, two)]
    steps = [nf.compile(loss, m, s) for m, s in zip((one, two), states, strict=True)]
    for t in range(6):
        before = everything(two, states[1])
        with pytest.raises(nf.NonFiniteError):
            steps[1](X * np.nan, Y)
        assert everything(two, states[1]) == before
        for step in steps:
            step(X[t:], Y[t:])
    assert everything(one, states[0]) == everything(two, states[1]) and states[0].step == 2


# ----------------------------------------------------------------------------------------------------------- a record


def test_a_chain_is_a_record_with_the_numbers_of_its_members():
    one = nf.OptimiserChain(nf.WeightDecay(0.1), nf.ClipNorm(1.0), nf.AdamW(0.2, decay=0.3))
    assert one.eta == 0.2 and one.omega == 1.0 and one.decay == 0.3, "of the last that has it"
    assert one == nf.OptimiserChain(*one.rules) != nf.OptimiserChain(*one.rules[1:]) and hash(one) == hash(one)
    assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))  # noqa: S301  # of objects made here
    assert repr(chain(nf.AccumGrad(4))) == "OptimiserChain(AccumGrad(n=4), Descent(eta=1.0))"
    with pytest.raises(AttributeError, match="^OptimiserChain: no member has rho$"):
        _ = one.rho


@pytest.mark.parametrize(
    ("members", "got"),
    [
        ((), "()"),
        ((nf.ClipNorm(),), "(ClipNorm)"),
        ((nf.Adam(), nf.ClipNorm()), "(Adam, ClipNorm)"),
        ((nf.Adam(), nf.Descent()), "(Adam, Descent)"),
        ((nf.ClipNorm(), nf.Adam), "(ClipNorm, the class Adam)"),
        ((nf.ClipNorm, nf.Adam()), "(the class ClipNorm, Adam)"),
        ((nf.ClipNorm(), chain(nf.ClipGrad())), "(ClipNorm, OptimiserChain)"),
        (([nf.ClipNorm(), nf.Adam()],), "(list)"),
    ],
)
def test_a_chain_ends_with_its_one_rule(members, got):
    with raises(nf.DTypeError, "OptimiserChain: rules must be what changes gradients, such as nf.ClipNorm(), and one "
                f"rule at the end, such as nf.Adam(), got {got}"):  # fmt: skip
        nf.OptimiserChain(*members)


def test_a_transformation_alone_is_no_rule():
    with raises(nf.DTypeError, "setup: rule must be a rule such as nf.Adam(), got ClipNorm; "
                "nf.OptimiserChain(nf.ClipNorm(...), nf.Descent(...))"):  # fmt: skip
        nf.setup(nf.ClipNorm(), mlp())


# ------------------------------------------------------------------------------------------------------------- adjust


def test_adjust_reaches_each_member_that_has_the_number_and_is_seen_by_compiled_steps():
    rule = nf.OptimiserChain(nf.WeightDecay(0.1), nf.ClipGrad(0.2), nf.AdamW(0.3, decay=0.4))
    one, two = mlp(), mlp()
    states = [nf.setup(rule, m) for m in (one, two)]
    step = nf.compile(loss, two, states[1])
    for numbers in ({}, {"eta": 0.01}, {"decay": 0.02, "delta": 0.5}, {"beta": (0.5, 0.6), "delta": 9.0}):
        for state in states:
            nf.adjust(state, **numbers)
        nf.update(states[0], one, grads_of(one))
        step(X, Y)
        assert everything(one, states[0]) == everything(two, states[1])
    right = nf.OptimiserChain(nf.WeightDecay(0.02), nf.ClipGrad(9.0), nf.AdamW(0.01, (0.5, 0.6), decay=0.02))
    assert states[0].rule == right and states[0].step == 4
    fresh = nf.setup(right, mlp())
    changed = [i for i, (a, b) in enumerate(zip(states[0].hyper, fresh.hyper, strict=True)) if a != b]
    assert len(changed) == 3, "steps done and the powers of beta"


@pytest.mark.parametrize(
    ("numbers", "kind", "text"),
    [
        ({"rho": 0.9}, nf.RangeError,
         "adjust: numbers must be of OptimiserChain: ['beta', 'eps', 'eta', 'n', 'omega'], got ['rho']"),
        ({"omega": 2.0, "eta": -1}, nf.RangeError, "Adam: eta must be a number in [0, inf), got -1"),
        ({"eta": 1.0, "n": 0}, nf.RangeError, "AccumGrad: n must be an integer in [1, 2**53), got 0"),
        ({"eta": 1.0, "n": 2.0}, nf.DTypeError, "AccumGrad: n must be an integer in [1, 2**53), got 2.0"),
    ],
)  # fmt: skip
def test_a_wrong_number_changes_nothing(numbers, kind, text):
    model = mlp()
    state = nf.setup(GATHER, model)
    before = everything(model, state)
    with raises(kind, text):
        nf.adjust(state, **numbers)
    assert everything(model, state) == before and state.rule == GATHER
