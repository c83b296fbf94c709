"""MultiHeadAttention: against float64 NumPy and PyTorch, sizes, dropout, compiled steps, files, messages."""

import re

import numpy as np
import pytest

import numbaflux as nf

rng = np.random.default_rng(0)
Q, K, V = (rng.normal(size=(2, count, c)) for count, c in ((5, 6), (7, 10), (7, 9)))
X = rng.normal(size=(2, 5, 8))
MASK = rng.random((5, 7)) < 0.7
MASK[:, 0] = True


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def made(dims=8, nheads=4, **options):
    """In float64, with biases that are not 0."""
    layer = nf.f64(nf.MultiHeadAttention(dims, nheads=nheads, rng=0, **options))
    for one in (layer.q_proj, layer.k_proj, layer.v_proj, layer.out_proj):
        if one.bias is not None:
            one.bias[:] = np.random.default_rng(1).normal(size=one.bias.shape)
    return layer


def plain(layer, q, k, v, bias=0.0, mask=True):
    """(y, scores) in NumPy, one head after another."""
    q, k, v = (
        x @ p.weight + (0 if p.bias is None else p.bias)
        for x, p in zip((q, k, v), (layer.q_proj, layer.k_proj, layer.v_proj), strict=True)
    )
    d, width, ys, scores = q.shape[2] // layer.nheads, v.shape[2] // layer.nheads, [], []
    for h in range(layer.nheads):
        part, wide = slice(h * d, (h + 1) * d), slice(h * width, (h + 1) * width)
        s = np.where(mask, q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(d) + bias, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        scores.append(p / p.sum(-1, keepdims=True))
        ys.append(scores[-1] @ v[..., wide])
    out = layer.out_proj
    return np.concatenate(ys, -1) @ out.weight + (0 if out.bias is None else out.bias), np.stack(scores, 1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", [True, MASK, "causal"], ids=["all", "mask", "causal"])
def test_values_of_other_keys_and_values(bias, mask):
    layer = made(((6, 10, 9), (8, 12), 5), bias=bias)
    known = np.tri(5, 7, dtype=bool) if isinstance(mask, str) else mask
    right, scores = plain(layer, Q, K, V, mask=known)
    y = layer(Q, K, V, mask=None if mask is True else mask)
    np.testing.assert_allclose(y, right, rtol=1e-10)
    both = layer(Q, K, V, mask=None if mask is True else mask, return_scores=True)
    np.testing.assert_allclose(both[0], right, rtol=1e-10)
    np.testing.assert_allclose(both[1], scores, rtol=1e-10, atol=1e-15)


def test_what_is_left_out_is_the_one_before():
    layer, bias = made(), rng.normal(size=(5, 5))
    np.testing.assert_allclose(layer(X), plain(layer, X, X, X)[0], rtol=1e-10)
    np.testing.assert_array_equal(layer(X, X[:, ::-1]), layer(X, X[:, ::-1], X[:, ::-1]))
    np.testing.assert_allclose(layer(X, None, None, bias), plain(layer, X, X, X, bias)[0], rtol=1e-10)


@pytest.mark.parametrize("bias", [False, True])
def test_as_pytorch(bias):
    torch = pytest.importorskip("torch")
    layer = made(bias=bias)
    other = torch.nn.MultiheadAttention(8, 4, bias=bias, batch_first=True, dtype=torch.float64)
    inside = (layer.q_proj, layer.k_proj, layer.v_proj)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.tensor(np.concatenate([p.weight.T for p in inside])))
        other.out_proj.weight.copy_(torch.tensor(layer.out_proj.weight.T))
        if bias:
            other.in_proj_bias.copy_(torch.tensor(np.concatenate([p.bias for p in inside])))
            other.out_proj.bias.copy_(torch.tensor(layer.out_proj.bias))
    x, hidden = torch.tensor(X, requires_grad=True), torch.tensor(~nf.make_causal_mask(X))
    y, scores = other(x, x, x, attn_mask=hidden, average_attn_weights=False)
    (y**3).sum().backward()
    found = layer(X, mask="causal", return_scores=True)
    np.testing.assert_allclose(found[0], y.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1], scores.detach().numpy(), rtol=1e-9, atol=1e-12)
    dx, grads = nf.gradient(lambda x, m: (m(x, mask="causal") ** 3).sum(), X, layer)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-9, atol=1e-12)
    weights = np.concatenate([getattr(grads, name).weight.T for name in ("q_proj", "k_proj", "v_proj")])
    np.testing.assert_allclose(weights, other.in_proj_weight.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_gradients_with_and_without_scores():
    layer = made(((6, 10, 9), (8, 12), 5), bias=True)
    nf.check_gradients(lambda m: (m(Q, K, V, mask=MASK) ** 2).sum(), layer)
    one = nf.gradient(lambda m: (m(Q, K, V) ** 2).sum(), layer)
    two = nf.gradient(lambda m: (m(Q, K, V, return_scores=True)[0] ** 2).sum(), layer)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        np.testing.assert_allclose(getattr(one, name).weight, getattr(two, name).weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dims", [8, (8, 8, 8), ((8, 8, 8), (8, 8), 8)], ids=str)
def test_sizes_can_be_said_in_three_ways(dims):
    layer = nf.MultiHeadAttention(dims, nheads=2, rng=0)
    np.testing.assert_array_equal(layer.k_proj.weight, nf.MultiHeadAttention(8, nheads=2, rng=0).k_proj.weight)
    assert not np.array_equal(layer.q_proj.weight, layer.k_proj.weight)
    assert layer.q_proj.bias is None and nf.MultiHeadAttention(8).nheads == 8


def test_dropout_of_scores_in_training_only():
    layer = nf.MultiHeadAttention(8, nheads=2, dropout_prob=0.5, rng=0)
    x = X.astype(np.float32)
    np.testing.assert_array_equal(layer(x), nf.testmode(layer)(x))
    nf.seed(3)
    first = nf.trainmode(layer)(x, return_scores=True)
    share = (first[1] == 0).mean()
    kept = first[1] != 0
    np.testing.assert_allclose(first[1][kept], 2 * layer(x, return_scores=True)[1][kept], rtol=1e-5)
    assert 0.3 < share < 0.7
    nf.seed(3)
    again = nf.trainmode(layer)(x)
    np.testing.assert_array_equal(again, first[0])
    assert not np.array_equal(nf.trainmode(layer)(x), again)
    nf.seed(3)
    np.testing.assert_array_equal(nf.compile(nf.trainmode(layer))(x), again)


@pytest.mark.parametrize("p", [0.0, 0.2])
def test_a_compiled_step_is_that_of_gradients(p):
    x = X.astype(np.float32)

    def loss(m, x):
        return ((m(x, mask="causal") - x) ** 2).mean()

    found = []
    for compiled in (False, True):
        nf.seed(0)
        model = nf.MultiHeadAttention(8, nheads=2, bias=True, dropout_prob=p, rng=0)
        state = nf.setup(nf.Adam(0.01), model)
        step = nf.compile(loss, model, state)
        losses = []
        for _ in range(4):
            if compiled:
                losses.append(step(x))
            else:
                value, grads = nf.withgradient(lambda m: loss(m, x), model)
                nf.update(state, model, grads)
                losses.append(value)
        found.append((np.array(losses), model.q_proj.weight.copy()))
    np.testing.assert_array_equal(*(losses for losses, _ in found))
    np.testing.assert_array_equal(*(weight for _, weight in found))


def test_save_load_show(tmp_path):
    layer = nf.MultiHeadAttention((8, 4, 6), nheads=2, dropout_prob=0.25, rng=0)
    nf.save(tmp_path / "m.h5", nf.Chain(layer, nf.Dense(6, 2)))
    again, x = nf.load(tmp_path / "m.h5")[0], X.astype(np.float32)
    np.testing.assert_array_equal(again(x), layer(x))
    assert again.nheads == 2 and again.attn_drop.p == 0.25
    assert "v_proj: Dense(8, 4, bias=False)" in repr(again) and "nheads: 2" in repr(again)
    assert nf.outputsize(layer, (5, 8), padbatch=True) == (1, 5, 6)
    np.testing.assert_array_equal(nf.compile(layer)(x), layer(x))
    assert nf.f64(layer)(X).dtype == np.float64


def changed(**fields):
    layer = nf.MultiHeadAttention(8, nheads=2)
    for name, value in fields.items():
        setattr(layer, name, value)
    layer.check_fields()


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: nf.MultiHeadAttention((8, 8)), nf.DTypeError,
         "dims must be a size, (in, qkv, out) or ((q, k, v), (qk, v), out), got (8, 8)"),
        (lambda: nf.MultiHeadAttention(((8, 8), 8, 8)), nf.DTypeError,
         "dims must be a size, (in, qkv, out) or ((q, k, v), (qk, v), out), got ((8, 8), 8, 8)"),
        (lambda: nf.MultiHeadAttention((8, 0, 8)), nf.RangeError, "dims must be an integer in [1, inf), got 0"),
        (lambda: nf.MultiHeadAttention((8, 8.5, 8)), nf.DTypeError, "dims must be an integer in [1, inf), got 8.5"),
        (lambda: nf.MultiHeadAttention(8, nheads=3), nf.RangeError,
         "nheads must be a divisor of 8 and 8 channels, got 3"),
        (lambda: nf.MultiHeadAttention(8, dropout_prob=2), nf.RangeError,
         "dropout_prob must be a number in [0, 1], got 2"),
        (lambda: changed(k_proj=nf.identity), nf.DTypeError, "k_proj must be a Dense, got function"),
        (lambda: changed(attn_drop=None), nf.DTypeError, "attn_drop must be a Dropout, got NoneType"),
        (lambda: changed(out_proj=nf.Dense(4, 8)), nf.ShapeError,
         "weights must be of layers that fit each other, got shapes (8, 8), (8, 8), (8, 8), (4, 8)"),
    ],
)  # fmt: skip
def test_messages(make, kind, text):
    with raises(kind, f"MultiHeadAttention: {text}"):
        make()


def test_messages_of_calls_say_where():
    layer = nf.f64(nf.MultiHeadAttention(8, nheads=2))
    with raises(nf.ShapeError, "k_proj.dense: x must be of shape (..., 8), got (2, 7, 10)"):
        layer(X, K)
    with raises(nf.ShapeError, "0.q_proj.dense: x must be of shape (..., 8), got (2, 5, 6)"):
        nf.Chain(layer)(Q)
    with raises(nf.RangeError, "dot_product_attention: mask must be an array or one of 'causal', got future"):
        layer(X, mask="future")
