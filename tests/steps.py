"""A small model, its data and what to compare, for tests of optimisers and of steps."""

import re

import pytest

import numbaflux as nf
from numbaflux.tree import leaves

G = nf.Generator(0)
X, Y = G.normal((64, 3)), G.normal((64, 2))
RULES = [
    nf.Descent(0.1), nf.Momentum(0.1), nf.Nesterov(0.1), nf.RMSProp(0.05), nf.RMSProp(0.05, centred=True), nf.Rprop(),
    nf.Adam(0.05), nf.AdamW(0.05, decay=0.1), nf.RAdam(0.05), nf.NAdam(0.05), nf.AdaBelief(0.05), nf.AdaMax(0.05),
    nf.AMSGrad(0.05), nf.OAdam(0.05), nf.AdaGrad(), nf.AdaDelta(eps=1e-3), nf.Lion(0.01, decay=0.1),
    nf.LAMB(0.05, decay=0.1), nf.Muon(0.05, decay=0.1), nf.EMA(nf.Adam(0.05)),
    nf.MixedPrecision(nf.Adam(0.05)), nf.Scheduler(nf.Adam(), eta=nf.schedules.Exp(0.1, 0.9)),
    nf.OptimiserChain(nf.WeightDecay(0.1), nf.SignDecay(0.01), nf.ClipGrad(0.1), nf.ClipNorm(0.1),
                      nf.ClipGlobalNorm(0.1), nf.AccumGrad(1), nf.Adam(0.05)),
]  # fmt: skip


def mlp():
    return nf.Chain(nf.Dense(3, 17, nf.tanh, rng=0), nf.Dense(17, 2, rng=1))


def loss(m, x, y):
    return nf.losses.mse(m(x), y)


def grads_of(model, x=X, y=Y):
    return nf.withgradient(lambda m: loss(m, x, y), model)[1]


def bits(model):
    return {leaf.path: leaf.array.tobytes() for leaf in leaves(model)}


def everything(model, state):
    """The model, and all of the optimiser state that training reads."""
    vectors = [v.params.tobytes() + b"".join(s.tobytes() for s in v.states.values()) for v in state.vectors.values()]
    return bits(model), vectors, state.hyper.tobytes()


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")
