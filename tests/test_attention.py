"""Attention as functions: against float64 NumPy and PyTorch, masks, biases, scores, memory, messages."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.second_order import hvp
from tests.reference import oracle

N, HEADS, QUERIES, KEYS, DEPTH, WIDTH = 2, 3, 7, 11, 4, 5
SCORES = (N, HEADS, QUERIES, KEYS)
rng = np.random.default_rng(0)
Q = rng.normal(size=(N, QUERIES, HEADS * DEPTH))
K = rng.normal(size=(N, KEYS, HEADS * DEPTH))
V = rng.normal(size=(N, KEYS, HEADS * WIDTH))
MASK = rng.random((N, 1, QUERIES, KEYS)) < 0.7
MASK[..., 0] = True
BIAS = rng.normal(size=(HEADS, QUERIES, KEYS))


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def right(q, k, v, bias=None, mask=None, causal=False):
    """y by the oracle, which takes bias and mask as they broadcast."""
    found = oracle("attention")(q, k, v, bias, mask, HEADS, causal)
    return found[: q.shape[0] * q.shape[1] * v.shape[2]].reshape(*q.shape[:2], -1)


WAYS = {
    "plain": ({}, {}),
    "mask": ({"mask": MASK}, {"mask": MASK}),
    "bias": ({"bias": BIAS}, {"bias": BIAS}),
    "causal": ({"mask": "causal"}, {"causal": True}),
    "keys": ({"mask": MASK[0, 0, 0]}, {"mask": MASK[0, 0, 0]}),
    "both": ({"bias": BIAS[:, :1], "mask": MASK}, {"bias": BIAS[:, :1], "mask": MASK}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scores", [False, True])
def test_values_with_and_without_scores(way, scores):
    given, known = WAYS[way]
    y = nf.dot_product_attention(Q, K, V, nheads=HEADS, return_scores=scores, **given)
    if scores:
        y, weights = y
        assert weights.shape == SCORES
        np.testing.assert_allclose(weights.sum(-1), 1)
        bias, mask = given.get("bias"), given.get("mask")
        alone = nf.dot_product_attention_scores(Q, K, bias, mask=mask, nheads=HEADS)
        np.testing.assert_array_equal(alone, weights)
    np.testing.assert_allclose(y, right(Q, K, V, **known), rtol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_as_pytorch(way):
    torch = pytest.importorskip("torch")
    given, known = WAYS[way]
    leaves = [torch.tensor(x, requires_grad=True) for x in (Q, K, V)]
    heads = [x.reshape(*x.shape[:2], HEADS, -1).transpose(1, 2) for x in leaves]
    mask = np.zeros(SCORES) + known.get("bias", 0.0)
    mask[~np.broadcast_to(known.get("mask", True), SCORES)] = -np.inf
    extra = {"is_causal": True} if known.get("causal") else {"attn_mask": torch.tensor(mask)}
    y = torch.nn.functional.scaled_dot_product_attention(*heads, **extra).transpose(1, 2).reshape(N, QUERIES, -1)
    (y**2).sum().backward()
    for scores in (False, True):

        def loss(q, k, v, scores=scores):
            y = nf.dot_product_attention(q, k, v, nheads=HEADS, return_scores=scores, **given)
            return ((y[0] if scores else y) ** 2).sum()

        for ours, theirs in zip(nf.gradient(loss, Q, K, V), leaves, strict=True):
            np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_a_query_that_sees_no_key_gives_nan_and_no_other_does():
    mask = np.ones((QUERIES, KEYS), bool)
    mask[2] = False
    for one in (mask, mask[:, :1]):
        for scores in (False, True):
            y = nf.dot_product_attention(Q, K, V, mask=one, nheads=HEADS, return_scores=scores)
            y = y[0] if scores else y
            assert np.isnan(y[:, 2]).all() and np.isfinite(np.delete(y, 2, 1)).all()
            np.testing.assert_allclose(np.delete(y, 2, 1), np.delete(right(Q, K, V), 2, 1))


def test_a_causal_mask_shows_what_is_not_later():
    mask = nf.make_causal_mask(np.ones((2, 4, 3)))
    np.testing.assert_array_equal(mask, [[j <= i for j in range(4)] for i in range(4)])
    np.testing.assert_array_equal(nf.make_causal_mask(np.ones((2, 4, 3)), axis=0), [[True, False], [True, True]])
    by_name = nf.dot_product_attention(K, K, V, mask="causal", nheads=HEADS)
    np.testing.assert_array_equal(by_name, nf.dot_product_attention(K, K, V, mask=nf.make_causal_mask(K), nheads=HEADS))
    short = nf.dot_product_attention(K[:, :5], K[:, :5], V[:, :5], mask="causal", nheads=HEADS)
    np.testing.assert_allclose(by_name[:, :5], short, rtol=1e-12)


def test_scores_go_through_fdrop():
    half = nf.dot_product_attention(Q, K, V, nheads=HEADS, fdrop=lambda scores: scores * 0.5)
    np.testing.assert_allclose(half, right(Q, K, V) / 2, rtol=1e-12)
    dropped = nf.dot_product_attention_scores(Q, K, nheads=HEADS, fdrop=lambda s: nf.dropout(s, 0.5, rng=0))
    plain = nf.dot_product_attention_scores(Q, K, nheads=HEADS)
    np.testing.assert_array_equal(dropped, np.where(dropped == 0, 0, 2 * plain))
    assert 0.3 < (dropped == 0).mean() < 0.7


@pytest.mark.parametrize("shape", [(HEADS, QUERIES, KEYS), (KEYS,), (N, 1, 1, 1), (1, 1, QUERIES, 1)], ids=str)
def test_gradients_of_a_bias_that_broadcasts(shape):
    bias = np.random.default_rng(1).normal(size=shape)
    nf.check_gradients(lambda q, b: (nf.dot_product_attention(q, K, V, b, mask=MASK, nheads=HEADS) ** 2).sum(), Q, bias)


def test_second_derivatives():
    def loss(x):
        return (nf.dot_product_attention(x, x, x, mask="causal", nheads=2) ** 3).sum()

    x, v, h = Q[:, :, :6], np.random.default_rng(2).normal(size=(N, QUERIES, 6)), 1e-5
    difference = (nf.gradient(loss, x + h * v) - nf.gradient(loss, x - h * v)) / (2 * h)
    np.testing.assert_allclose(hvp(loss, x, v), difference, rtol=1e-6, atol=1e-6)


def test_masks_may_be_arguments_of_compiled_functions():
    f = nf.compile(lambda q, mask: nf.dot_product_attention(q, K, V, mask=mask, nheads=HEADS))
    for mask in (MASK, MASK | (np.arange(KEYS) == 3)):
        np.testing.assert_array_equal(f(Q, mask), nf.dot_product_attention(Q, K, V, mask=mask, nheads=HEADS))


def test_scores_are_not_stored():
    x = np.random.default_rng(0).normal(size=(1, 1000, 32)).astype(np.float32)

    def slopes(x):
        return nf.gradient(lambda x: F.sum(nf.dot_product_attention(x, x, x, nheads=4)), x)

    step = nf.compile(slopes)
    step(x)
    assert step.memory < 4 * 1000 * 1000 * 4 / 4  # a quarter of what all scores take


def test_no_queries_and_no_samples():
    for n, queries in ((2, 0), (0, 5), (16, 0)):
        q, k = np.ones((n, queries, 6)), np.ones((n, 4, 6))
        assert nf.dot_product_attention(q, k, k, nheads=2).shape == (n, queries, 6)
        dk, dv = nf.gradient(lambda k, v, q=q: nf.dot_product_attention(q, k, v, nheads=2).sum(), k, k.copy())
        assert dk.shape == dv.shape == (n, 4, 6) and not dk.any() and not dv.any()


def test_many_channels():
    q, k, v = (np.random.default_rng(1).normal(size=(1, *size)) for size in ((70, 600), (140, 600), (140, 700)))
    right = oracle("attention")(q, k, v, None, None, 1, False)[: 70 * 700].reshape(1, 70, 700)
    np.testing.assert_allclose(nf.dot_product_attention(q, k, v), right, rtol=1e-9, atol=1e-12)


def test_it_is_saved_by_name(tmp_path):
    model = nf.Parallel(nf.dot_product_attention, *(nf.Dense(6, 4, rng=i) for i in range(3)))
    nf.save(tmp_path / "m.h5", model)
    x = Q[:, :, :6].astype(np.float32)
    np.testing.assert_array_equal(nf.load(tmp_path / "m.h5")(x), model(x))


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda f: f(Q[0], K, V), nf.ShapeError, "q must be of shape (n, positions, channels), got (7, 12)"),
        (lambda f: f(Q, K[:1], V), nf.ShapeError, "k must be of shape (2, keys, 12), got (1, 11, 12)"),
        (lambda f: f(Q, K[:, :0], V[:, :0]), nf.ShapeError, "k must be of at least one key, got shape (2, 0, 12)"),
        (lambda f: f(Q, K, V[:, :5]), nf.ShapeError, "v must be of shape (2, 11) + (channels,), got (2, 5, 15)"),
        (lambda f: f(Q, K.astype(np.float32), V), nf.DTypeError,
         "k must be of float64 as q, got float32; x.astype(np.float32) or nf.f64(model)"),
        (lambda f: f(Q.astype(int), K, V), nf.DTypeError,
         "q must be an array of float32 or float64, got int64; x.astype(np.float32)"),
        (lambda f: f(Q, K, V, nheads=5), nf.RangeError, "nheads must be a divisor of 12 and 15 channels, got 5"),
        (lambda f: f(Q, K, V, nheads=0), nf.RangeError, "nheads must be an integer in [1, inf), got 0"),
        (lambda f: f(Q, K, V, mask="later"), nf.RangeError, "mask must be an array or one of 'causal', got later"),
        (lambda f: f(Q, K, V, mask=MASK * 1.0), nf.DTypeError,
         "mask must be an array of booleans, True where a key is seen, got float64; mask.astype(bool)"),
        (lambda f: f(Q, K, V, mask=MASK.astype(int)), nf.DTypeError,
         "mask must be an array of floats or booleans, got int64"),
        (lambda f: f(Q, K, V, mask=MASK[:, 0]), nf.ShapeError,
         "mask must be of a shape that broadcasts to (2, 1, 7, 11), got (1, 2, 7, 11)"),
        (lambda f: f(Q, K, V, BIAS[None, None]), nf.ShapeError,
         "bias must be of at most four axes, got shape (1, 1, 3, 7, 11)"),
        (lambda f: f(Q, K, V, BIAS.astype(np.float32), nheads=3), nf.DTypeError,
         "bias must be of float64 as q, got float32; bias.astype(np.float64)"),
    ],
)  # fmt: skip
def test_messages(call, kind, text):
    for scores in (False, True):
        with raises(kind, f"dot_product_attention: {text}"):
            call(lambda *a, scores=scores, **k: nf.dot_product_attention(*a, return_scores=scores, **k))


def test_messages_of_scores():
    with raises(nf.ShapeError, "dot_product_attention_scores: k must be of shape (2, keys, 12), got (1, 11, 12)"):
        nf.dot_product_attention_scores(Q, K[:1])
    with raises(nf.ShapeError, "make_causal_mask: axis must be in -2..1, got 2"):
        nf.make_causal_mask(np.ones((2, 3)), axis=2)
