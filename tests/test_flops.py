"""Operations and bytes of entries, beside what the loops of the definitions count."""

import math

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.flops import COUNTS, MULTIPLY, PRODUCTS, flops, touched
from numbaflux.kernels.cpu import attention, conv, dense, depthwise, recurrent

KERNELS = {"attention": attention, "conv": conv, "dense": dense, "depthwise": depthwise, "recurrent": recurrent}
R = np.random.default_rng(0)


def normal(*shape):
    return R.normal(size=shape).astype(np.float32)


def entries(f, *args):
    one = nf.compile(f)
    one(*args)
    return next(iter(one.programs.values())).plan.entries


def total(f, *args):
    return sum(flops(entries(f, *args)))


def by_operation(f, model, *args):
    """Of each operation of a training step."""
    step = nf.compile(f, model, nf.setup(nf.Descent(0.0), model))
    step(*args)
    plan = next(iter(step.programs.values())).plan
    found = {}
    for e, count in zip(plan.entries, flops(plan.entries), strict=True):
        if count:
            found.setdefault(e.origin.op, []).append(count)
    return {op: round(sum(counts)) for op, counts in found.items()}


@pytest.mark.parametrize(("m", "k", "n"), [(3, 5, 7), (300, 64, 10), (256, 784, 512), (1, 40, 40)])
def test_products(m, k, n):
    a, b = normal(m, k), normal(k, n)
    assert total(lambda a, b: a @ b, a, b) == pytest.approx(2 * m * n * k)
    assert total(lambda a, b: a.T @ b, normal(k, m), b) == pytest.approx(2 * m * n * k)
    assert total(nf.Dense(k, n), a) == pytest.approx(2 * m * n * k)


def test_products_of_a_batch():
    assert total(nf.batched_mul, normal(6, 3, 5), normal(6, 5, 7)) == pytest.approx(6 * 2 * 3 * 5 * 7)


def test_a_step_of_dense_layers_multiplies_three_times_but_for_the_input():
    model = nf.Chain(nf.Dense(20, 30, nf.relu), nf.Dense(30, 10))
    found = by_operation(lambda m, x: m(x).sum(), model, normal(64, 20))
    forward = 2 * 64 * (20 * 30 + 30 * 10)
    assert found == {"dense": forward, "matmul": forward + 2 * 64 * 30 * 10}


@pytest.mark.parametrize("n", [2, 32])  # in rows, in lanes
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 4), (1, 2)])
def test_convolutions(n, stride, groups):
    layer = nf.Conv((3, 3), 4, 8 if groups == 2 else 4, stride=stride, pad=1, groups=groups)
    x = normal(n, 8, 8, 4)
    y = layer(x)
    each = 2 * math.prod(y.shape) * 9 * 4 // groups  # for each element of y: taps times channels
    model = nf.Chain(nf.Conv((1, 1), 4, 4), layer)
    found = by_operation(lambda m, x: m(x).sum(), model, x)
    first = 2 * x.size * 4
    assert total(layer, x) == pytest.approx(each)
    assert found == {"conv": each + first, "conv_grad_x": each, "conv_grad_wb": each + first}


@pytest.mark.parametrize(("n", "queries", "causal"), [(2, 40, False), (2, 40, True), (16, 40, False), (2, 300, False)])
def test_attention(n, queries, causal):
    c, heads = 32, 4
    mask = "causal" if causal else None

    def f(m, x):
        return nf.dot_product_attention(x * m["w"], x * m["w"], x * m["w"], mask=mask, nheads=heads)[0].sum()

    model = {"w": np.ones(c, np.float32)}
    found = by_operation(f, model, normal(n, queries, c))
    one = 2 * n * queries * queries * c // (1 + causal)  # a product over all scores
    parts = 1 if n * heads >= 32 else 2  # those of queries and those of keys each make the scores and their gradients
    assert found == {"attention": 2 * one, "attention_grad": (2 * parts + 3) * one}


@pytest.mark.parametrize(("layer", "gates"), [(nf.RNN, 1), (nf.LSTM, 4), (nf.GRU, 3)])
def test_recurrent_layers(layer, gates):
    n, steps, c, h = 5, 7, 6, 8
    model = nf.Chain(nf.Dense(c, c), layer(c, h))
    found = by_operation(lambda m, x: m(x).sum(), model, normal(n, steps, c))
    inputs, states = 2 * n * steps * gates * h * c, 2 * n * steps * gates * h * h
    assert found["recurrent"] == inputs + states
    assert found["recurrent_grad"] == 2 * inputs + 2 * states


def test_what_is_no_product_is_not_counted():
    assert set(flops(entries(lambda x: nf.tanh(x) * 2.0, normal(40, 40)))) == {0.0}


def test_names_are_those_of_kernels_and_operations():
    for name in MULTIPLY | PRODUCTS.keys() - {"cublas.product"}:
        module, _, kernel = name.rpartition(".")
        assert hasattr(KERNELS[module], kernel), name
    assert COUNTS.keys() <= {op.name for op in nf.REGISTRY}


def test_bytes_count_each_array_once():
    [e] = entries(nf.tanh, normal(100, 50))
    assert touched(e, 4) == 2 * 100 * 50 * 4
    found = {e.kernel: touched(e, -(-e.rows // e.block)) for e in entries(lambda x: x.sum(0), normal(4096, 8))}
    assert found["rows.sum"] == 4 * (4096 * 8 + 8 * 64)  # each of 64 tiles has a place of its own
