"""Rules against their formulae in NumPy float64 and against PyTorch, over 20 steps."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.optim import RULES

STEPS = 20
G = nf.Generator(0)
START = {"w": G.normal((7, 5), dtype=np.float64), "b": G.normal((3,), dtype=np.float64)}
GRADS = [{k: G.normal(v.shape, dtype=np.float64) for k, v in START.items()} for _ in range(STEPS)]


def descent(rule, p, g, s, t):
    return p - rule.eta * g


def momentum(rule, p, g, s, t):
    s["v"] = rule.rho * s.get("v", 0) + rule.eta * g  # Flux.jl: eta inside the velocity
    return p - s["v"]


def adam(rule, p, g, s, t):
    b1, b2 = rule.beta
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    decay = getattr(rule, "decay", 0) * (rule.eta if getattr(rule, "couple", True) else 1)
    step = rule.eta * (s["m"] / (1 - b1**t)) / (np.sqrt(s["v"] / (1 - b2**t)) + rule.eps)
    return p - decay * p - step


CASES = [
    (nf.Descent(), descent), (nf.Descent(0.03), descent),
    (nf.Momentum(), momentum), (nf.Momentum(0.1, 0.5), momentum), (nf.Momentum(0.1, 0.0), momentum),
    (nf.Adam(), adam), (nf.Adam(0.1, (0.8, 0.95), 1e-3), adam), (nf.Adam(beta=(0.0, 0.0)), adam),
    (nf.AdamW(), adam), (nf.AdamW(0.1, decay=0.05), adam), (nf.AdamW(0.1, (0.7, 0.9), decay=0.05, couple=False), adam),
]  # fmt: skip


def test_every_rule_has_a_case():
    assert {type(rule) for rule, _ in CASES} == set(RULES)


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


@pytest.mark.parametrize(("rule", "formula"), CASES, ids=lambda x: str(x) if isinstance(x, tuple(RULES)) else "")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_the_formula(rule, formula, dtype):
    p, states = dict(START), {k: {} for k in START}
    for t, (grads, got) in enumerate(zip(GRADS, run(rule, dtype), strict=True), 1):
        for k in p:
            p[k] = formula(rule, p[k], grads[k], states[k], t)
            assert got[k].dtype == dtype
            np.testing.assert_allclose(got[k], p[k], rtol=0, atol=STEPS * 4 * np.finfo(dtype).eps)


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
    ],
    ids=str,
)
def test_against_pytorch(rule, other):
    torch = pytest.importorskip("torch")
    params = {k: torch.tensor(v, requires_grad=True) for k, v in START.items()}
    optimiser = getattr(torch.optim, other[0])(params.values(), **other[1])
    for grads, got in zip(GRADS, run(rule, np.float64), strict=True):
        for k, p in params.items():
            p.grad = torch.tensor(grads[k])
        optimiser.step()
        for k, p in params.items():
            np.testing.assert_allclose(got[k], p.detach().numpy(), rtol=0, atol=1e-13)


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
