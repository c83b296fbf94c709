"""Every rule: the same bits on one thread and on two, and where a state goes on from what another one held."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import native
from tests.steps import RULES, X, Y, bits, everything, loss, mlp

GATHER = nf.OptimiserChain(nf.ClipNorm(0.1), nf.AccumGrad(3), nf.ClipGlobalNorm(0.05), nf.Adam(0.05))
SHAPES = {"a": (131, 157), "b": (17,), "c": (20_001,)}
START, *GRADS = [{k: nf.Generator(i).normal(s, dtype=np.float64) for k, s in SHAPES.items()} for i in range(3)]


@pytest.mark.skipif(native.pool().limit < 2, reason="machine: one CPU")
@pytest.mark.parametrize(("rule", "dtype"), [(GATHER, "f8"), *((rule, "f4") for rule in [*RULES, GATHER])], ids=str)
def test_number_of_threads_changes_no_bit(rule, dtype):
    found = []
    for n in (1, 2):
        with nf.threads(n):
            model = {k: v.astype(dtype) for k, v in START.items()}
            state = nf.setup(rule, model)
            nf.freeze(state, "b")
            for grads in GRADS:
                nf.update(state, model, {k: g.astype(dtype) for k, g in grads.items()})
            assert state._update[1].workers() == n
            found.append(everything(model, state))
    assert found[0] == found[1]


@pytest.mark.parametrize("rule", [*RULES, GATHER], ids=str)
def test_a_state_goes_on_from_vectors_and_numbers_alone(rule):
    """In the middle of gradients that make one step, too."""
    one, two = mlp(), mlp()
    first = nf.setup(rule, one)
    step = nf.compile(loss, one, first)
    for t in range(5):
        step(X[t:], Y[t:])
    nf.load_state(two, nf.state(one))
    second = nf.setup(first.rule, two)
    for a, b in zip(first.vectors.values(), second.vectors.values(), strict=True):
        for name, vector in b.states.items():
            vector[...] = a.states[name]
    second.hyper[...] = first.hyper
    again = nf.compile(loss, two, second)
    for t in range(5):
        assert step(X[t:], Y[t:]) == again(X[t:], Y[t:])
    assert everything(one, first) == everything(two, second) and bits(one) != bits(mlp())
