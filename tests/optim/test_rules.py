"""Rules against their formulae in NumPy float64 and against PyTorch, over 20 steps."""

import itertools
import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.optim import RULES
from tests.reference.optim import Oracle

STEPS = 20
G = nf.Generator(0)
START = {"w": G.normal((7, 5), dtype=np.float64), "b": G.normal((3,), dtype=np.float64)}
GRADS = [{k: G.normal(v.shape, dtype=np.float64) for k, v in START.items()} for _ in range(STEPS)]

CASES = [
    nf.Descent(), nf.Descent(0.03), nf.Momentum(), nf.Momentum(0.1, 0.5), nf.Momentum(0.1, 0.0),
    nf.Nesterov(), nf.Nesterov(0.1, 0.5), nf.RMSProp(), nf.RMSProp(0.01, 0.5, 1e-3),
    nf.RMSProp(centred=True), nf.RMSProp(0.01, 0.5, 1e-3, centred=True),
    nf.Rprop(), nf.Rprop(0.1, (0.3, 2.0), (0.05, 0.5)),
    nf.Adam(), nf.Adam(0.1, (0.8, 0.95), 1e-3), nf.Adam(beta=(0.0, 0.0)),
    nf.AdamW(), nf.AdamW(0.1, decay=0.05), nf.AdamW(0.1, (0.7, 0.9), decay=0.05, couple=False),
    nf.RAdam(), nf.RAdam(0.1, (0.5, 0.7), 1e-3), nf.RAdam(0.01, (0.0, 0.0)),
    nf.NAdam(), nf.NAdam(0.1, (0.5, 0.9), 1e-3), nf.NAdam(beta=(0.0, 0.5)),
    nf.AdaBelief(), nf.AdaBelief(0.1, (0.8, 0.9), 1e-3),
    nf.AdaMax(), nf.AdaMax(0.1, (0.5, 0.8), 1e-3), nf.AMSGrad(), nf.AMSGrad(0.01, (0.5, 0.6), 1e-2),
    nf.OAdam(), nf.OAdam(0.1, (0.9, 0.95), 1e-3), nf.AdaGrad(), nf.AdaGrad(0.01, 1e-2),
    nf.AdaDelta(), nf.AdaDelta(0.5, 1e-3), nf.Lion(), nf.Lion(0.01, (0.5, 0.8), 0.1),
    nf.LAMB(), nf.LAMB(0.1, (0.8, 0.9), 1e-3, 0.05), nf.Muon(), nf.Muon(0.05, 0.5, 0.1, 0.01, (0.8, 0.9), 1e-3),
]  # fmt: skip


def test_every_rule_has_a_case():
    assert {type(rule) for rule in CASES} == set(RULES)


def run(rule, dtype):
    """Parameters after each step."""
    model = {k: v.astype(dtype) for k, v in START.items()}
    state = nf.setup(rule, model)
    found = []
    for grads in GRADS:
        nf.update(state, model, {k: g.astype(dtype) for k, g in grads.items()})
        found.append({k: np.array(p) for k, p in model.items()})
    assert state.step == STEPS
    return found


@pytest.mark.parametrize("rule", CASES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_the_formula(rule, dtype):
    oracle = Oracle(rule, START)
    for grads, got in zip(GRADS, run(rule, dtype), strict=True):
        oracle.update({k: g.astype(dtype) for k, g in grads.items()})
        for k, right in oracle.params.items():
            assert got[k].dtype == dtype
            np.testing.assert_allclose(got[k], right, rtol=0, atol=STEPS * 4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        (nf.Descent(0.03), ("SGD", {"lr": 0.03})),
        (nf.Adam(0.01), ("Adam", {"lr": 0.01})),
        (nf.Adam(0.1, (0.8, 0.95), 1e-3), ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3})),
        (nf.AdamW(0.1, decay=0.05), ("AdamW", {"lr": 0.1, "weight_decay": 0.05})),
        (nf.AdamW(0.1, decay=0.005, couple=False), ("AdamW", {"lr": 0.1, "weight_decay": 0.05})),
        # PyTorch multiplies the velocity by the rate, Flux.jl puts the rate inside: the same while the rate stays
        (nf.Momentum(0.1, 0.5), ("SGD", {"lr": 0.1, "momentum": 0.5})),
        (nf.Nesterov(0.1, 0.5), ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True})),
        (nf.RMSProp(0.01, 0.7), ("RMSprop", {"lr": 0.01, "alpha": 0.7})),
        (nf.RMSProp(0.01, 0.7, centred=True), ("RMSprop", {"lr": 0.01, "alpha": 0.7, "centered": True})),
        (nf.Rprop(0.1), ("Rprop", {"lr": 0.1, "step_sizes": (1e-6, 50)})),
        (nf.AdaMax(0.01, eps=0.0), ("Adamax", {"lr": 0.01, "eps": 0.0})),  # PyTorch adds eps inside the maximum
        (nf.AdaGrad(0.1, 1e-300), ("Adagrad", {"lr": 0.1, "eps": 0.0})),  # which starts at 0
        (nf.AdaDelta(0.8, 1e-3), ("Adadelta", {"lr": 1.0, "rho": 0.8, "eps": 1e-3})),
        (nf.OptimiserChain(nf.WeightDecay(0.1), nf.Adam(0.01)), ("Adam", {"lr": 0.01, "weight_decay": 0.1})),
    ],
    ids=str,
)
def test_against_pytorch(rule, other):
    for right, got in zip(pytorch(*other), run(rule, np.float64), strict=True):
        for k in START:
            np.testing.assert_allclose(got[k], right[k], rtol=0, atol=1e-13)


def pytorch(name, numbers):
    """Parameters after each step of one of PyTorch's optimisers."""
    torch = pytest.importorskip("torch")
    params = {k: torch.tensor(v, requires_grad=True) for k, v in START.items()}
    optimiser = getattr(torch.optim, name)(params.values(), **numbers)
    for grads in GRADS:
        for k, p in params.items():
            p.grad = torch.tensor(grads[k])
        optimiser.step()
        yield {k: p.detach().numpy().copy() for k, p in params.items()}


def test_radam_moves_as_pytorchs_but_in_the_fifth_step():
    """There the length is between 4, from where on Flux.jl rectifies, and 5, PyTorch's. (It adds eps elsewhere.)"""
    ours, theirs = ([START, *found] for found in (run(nf.RAdam(eps=0.0), np.float64),
                                                  pytorch("RAdam", {"lr": 1e-3, "eps": 0.0})))  # fmt: skip
    moves = [[after["w"] - before["w"] for before, after in itertools.pairwise(one)] for one in (ours, theirs)]
    same = [np.allclose(a, b, rtol=0, atol=1e-14) for a, b in zip(*moves, strict=True)]
    assert [t for t, equal in enumerate(same, 1) if not equal] == [5]


def test_a_changed_rate_shows_where_flux_and_pytorch_differ():
    model = {"w": np.zeros(1)}
    state = nf.setup(nf.Momentum(1.0, 0.5), model)
    nf.update(state, model, {"w": np.ones(1)})
    nf.adjust(state, eta=0.0)
    nf.update(state, model, {"w": np.ones(1)})
    assert model["w"] == -1.5, "the velocity keeps the rate under which it was made"


def test_small_gradients_do_not_get_lost_in_adam():
    model = {"w": np.zeros(3, np.float32)}
    state = nf.setup(nf.Adam(0.1), model)
    nf.update(state, model, {"w": np.array([1e-12, 1e-30, 0], np.float32)})
    g = np.array([1e-12, 1e-30, 0])
    np.testing.assert_allclose(model["w"], -0.1 * g / (g + 1e-8), rtol=1e-5)


def test_a_rule_is_a_record():
    assert nf.Adam(0.1) == nf.Adam(0.1) != nf.Adam(0.2) and hash(nf.Adam()) == hash(nf.Adam())
    with pytest.raises(AttributeError):
        nf.Adam().eta = 1
    assert repr(nf.AdamW(decay=0.1)) == "AdamW(eta=0.001, beta=(0.9, 0.999), decay=0.1, eps=1e-08, couple=True)"


@pytest.mark.parametrize("beta", [0.9, (0.9,), (0.9, 0.99, 0.999), "ab", None])
def test_beta_is_a_pair(beta):
    with pytest.raises(nf.DTypeError, match=f"^Adam: beta must be a pair of numbers, got {re.escape(str(beta))}$"):
        nf.Adam(beta=beta)


def test_a_pair_in_a_list_will_do():
    assert nf.Adam(beta=[0.5, 0.6]).hyper().tolist() == nf.Adam(beta=(0.5, 0.6)).hyper().tolist()
