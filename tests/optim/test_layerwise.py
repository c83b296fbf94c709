"""LAMB and Muon: shapes, norms of 0, orthogonality, PyTorch's Muon; where they wait."""

import numpy as np
import pytest

import numbaflux as nf
from tests.reference.optim import Oracle

G = nf.Generator(5)
SHAPES = [(1, 1), (1, 9), (9, 1), (4, 7), (7, 4), (16, 16), (3, 3, 2, 5), (130, 33), (33, 300)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rule", [nf.LAMB(0.1, decay=0.1), nf.Muon(decay=0.1)], ids=lambda r: type(r).__name__)
def test_each_shape(shape, rule):
    model = {"w": G.normal(shape, dtype=np.float64), "b": G.normal((5,), dtype=np.float64)}
    state, oracle = nf.setup(rule, model), Oracle(rule, model)
    for _ in range(4):
        grads = {k: G.normal(p.shape, dtype=np.float64) for k, p in model.items()}
        nf.update(state, model, grads)
        oracle.update(grads)
        for k, right in oracle.params.items():
            np.testing.assert_allclose(model[k], right, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("w", "g"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1e-30, 1e-30), (1e30, 1e30)])
def test_lamb_where_a_norm_is_0_or_far_away(w, g):
    model = {"w": np.full((3, 5), w)}
    state, oracle = nf.setup(nf.LAMB(0.1, eps=0.0 if g else 1e-6), model), Oracle(nf.LAMB(0.1, eps=1e-300), model)
    nf.update(state, model, {"w": np.full((3, 5), g)})
    oracle.update({"w": np.full((3, 5), g)})
    np.testing.assert_allclose(model["w"], oracle.params["w"], rtol=1e-12)


def test_muon_of_no_gradient_only_decays():
    model = {"w": np.ones((3, 5))}
    nf.update(nf.setup(nf.Muon(0.5, decay=0.1), model), model, {"w": np.zeros((3, 5))})
    np.testing.assert_allclose(model["w"], 0.95, rtol=1e-15)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_muon_steps_are_nearly_orthogonal_whatever_the_gradient_is(scale):
    model = {"w": np.zeros((24, 12), np.float32)}
    nf.update(nf.setup(nf.Muon(1.0), model), model, {"w": scale * G.normal((24, 12))})
    sizes = np.linalg.svd(model["w"], compute_uv=False)
    assert 0.6 < sizes.min() and sizes.max() < 1.3


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_against_pytorchs_muon(shape):
    """Whose weights are (out, in), and whose iteration runs in bfloat16: near, not equal."""
    torch = pytest.importorskip("torch")
    model, w = {"w": np.zeros(shape)}, torch.zeros(shape[::-1], dtype=torch.float64, requires_grad=True)
    options = {"lr": 1.0, "momentum": 0.9, "weight_decay": 0.1, "adjust_lr_fn": "original"}
    state, optimiser = nf.setup(nf.Muon(1.0, 0.9, 0.1), model), torch.optim.Muon([w], **options)
    for _ in range(3):
        g = G.normal(shape, dtype=np.float64)
        w.grad = torch.tensor(g.T)
        before = model["w"].copy(), w.detach().numpy().copy()
        nf.update(state, model, {"w": g})
        optimiser.step()
        ours, theirs = model["w"] - 0.9 * before[0], w.detach().numpy().T - 0.9 * before[1].T
        assert np.abs(ours - theirs).max() < 0.02 * np.abs(ours).max() + 0.01


@pytest.mark.parametrize("rule", [nf.LAMB(0.1), nf.Muon(0.1)], ids=lambda r: type(r).__name__)
def test_they_wait_for_gradients_that_gather(rule):
    both = nf.OptimiserChain(nf.AccumGrad(2), rule)
    model = {"w": G.normal((6, 5), dtype=np.float64)}
    state, oracle, seen = nf.setup(both, model), Oracle(both, model), []
    for _ in range(4):
        grads = {"w": G.normal((6, 5), dtype=np.float64)}
        nf.update(state, model, grads)
        oracle.update(grads)
        seen.append(np.array(model["w"]))
        np.testing.assert_allclose(seen[-1], oracle.params["w"], rtol=0, atol=1e-10)
    assert (seen[1] == seen[2]).all() and (seen[2] != seen[3]).any()


def test_what_is_frozen_stays():
    model = {"a": np.ones((3, 4)), "b": np.ones((4, 3)), "c": np.ones(3)}
    for rule in (nf.LAMB(0.1), nf.Muon(0.1)):
        state = nf.setup(rule, model)
        nf.freeze(state, "b")
        before = {k: np.array(p) for k, p in model.items()}
        nf.update(state, model, {k: np.ones(p.shape) for k, p in model.items()})
        assert [bool((model[k] == before[k]).all()) for k in model] == [False, True, False]
