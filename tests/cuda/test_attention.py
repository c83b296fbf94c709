"""Attention on CUDA kernels, beside the CPU's: blocks of 64 positions and their edges, more channels than a block sums
at once."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import run
from tests.cuda import plans, simulator
from tests.cuda.entries import call

simulator.install()
OPS = {op.name: op for op in nf.REGISTRY}


def drawn(queries, keys, depth, width, *, bias=None, mask=None):
    rng = np.random.default_rng(queries)
    q, k, v = (rng.normal(size=s).astype(np.float32) for s in ((1, queries, depth), (1, keys, depth), (1, keys, width)))
    bias = None if bias is None else rng.normal(size=bias).astype(np.float32)
    if mask is not None:
        mask = rng.random(mask) < 0.7
        mask[..., 0] = True
    return [q, k, v, bias, mask]


@pytest.mark.parametrize(
    ("sizes", "more", "causal", "order"),
    [
        ((1, 1, 1, 1), {}, False, "forward"),
        ((65, 33, 2, 66), {"mask": (1, 1, 1, 33)}, False, "backward"),
        ((33, 65, 17, 4), {"bias": (1, 1, 33, 65)}, True, "shuffled"),
        ((64, 64, 4, 4), {}, True, "backward"),
    ],
)
def test_beside_the_cpu(sizes, more, causal, order):
    given, attrs = drawn(*sizes, **more), {"heads": 1, "causal": causal}
    y, lse = run.run(OPS["attention"], given, attrs)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    delta = np.sum(y * dy, -1, keepdims=True)
    for name, arrays in (("attention", given), ("attention_grad", [*given, lse, delta, dy])):
        found = plans.run(OPS[name], arrays, attrs, order)
        for a, b in zip(found, run.run(OPS[name], arrays, attrs), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_all_gradients_of_a_head_in_one_tile():
    given = [np.random.default_rng(i).normal(size=10) for i in range(3)]
    lse, delta, dy = np.full(5, 3.0), np.zeros(5), np.ones(10)
    nothing, mask = np.empty(0), np.empty(0, np.bool_)
    found = []
    for tile, which in ((5, 3), (64, 1), (64, 2)):
        sizes = np.array([1, 5, 5, 2, 2, 0, tile, which] + [0] * 8)
        outs = [np.zeros(10) for _ in range(3)]
        call("attention.attention_grad", *outs, nothing, *given, nothing, mask, lse, delta, dy, 0.5, 0, sizes)
        found.append(outs)
    together, of_queries, of_keys = found
    for a, b in zip(together, (of_queries[0], *of_keys[1:]), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(a != 0)
