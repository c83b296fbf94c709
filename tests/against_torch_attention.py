"""Attention and bags of rows beside PyTorch. See against_torch.py."""

from __future__ import annotations

import numpy as np
import pytest

import numbaflux as nf
from tests.against_torch import Peer, coin, count, counts, dense_of, drawn, one_of

torch = pytest.importorskip("torch")


def heads_of(x, n):
    """(n, positions, c) as (n, heads, positions, c // heads)."""
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def masked(rng, n, heads, queries, keys):
    """None, "causal", or booleans that broadcast; each query sees a key."""
    kind = one_of(rng, ("none", "causal", "array"))
    if kind == "array":
        shape = (one_of(rng, (1, n)), one_of(rng, (1, heads)), one_of(rng, (1, queries)), keys)
        mask = rng.random(shape) < 0.6
        mask[..., 0] = True
        return mask
    return None if kind == "none" else kind


def attention(rng):
    """Of q alone, of q and k, or of q, k and v; with a bias of scores, a mask, both or none."""
    heads, (n, queries, keys) = count(rng, 3), counts(rng, 3, 5)
    qk, width = (heads * count(rng, 3) for _ in range(2))
    given = count(rng, 3)
    q, k, v = (count(rng, 5),) * 3 if given == 1 else counts(rng, 3, 5)
    keys, v = queries if given == 1 else keys, k if given < 3 else v
    out = count(rng, 5)
    layer = nf.MultiHeadAttention(((q, k, v), (qk, width), out), heads, bias=coin(rng))
    arrays = (drawn(rng, n, queries, q), drawn(rng, n, keys, k), drawn(rng, n, keys, v))[:given]
    added = drawn(rng, one_of(rng, (1, n)), one_of(rng, (1, heads)), queries, keys) if coin(rng) else None
    inputs = (*arrays, *[None] * (3 - given), added, masked(rng, n, heads, queries, keys))

    def peer(p, q, k, v, bias, mask):
        k = q if k is None else k
        v = k if v is None else v
        q, k, v = (heads_of(dense_of(p, x, f"{name}_proj."), heads) for name, x in zip("qkv", (q, k, v), strict=True))
        scores = q @ k.transpose(-1, -2) / (qk / heads) ** 0.5
        scores = scores if bias is None else scores + bias
        if mask is not None:
            seen = torch.ones(queries, keys).tril().bool() if isinstance(mask, str) else mask
            scores = scores.masked_fill(~seen, -torch.inf)
        y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return dense_of(p, y, "out_proj.")

    return Peer(layer, inputs, peer)


def embedding_bag(rng):
    """Bags of one length, or of several, some of them empty."""
    n_in, n_out = counts(rng, 2, 8)
    kind = one_of(rng, ("mean", "sum", "max"))
    layer = nf.EmbeddingBag(n_in, n_out, kind)
    run = torch.nn.functional.embedding_bag
    if coin(rng):
        x = rng.integers(0, n_in, counts(rng, 2, 5))
        return Peer(layer, (x,), lambda p, x: run(x, p["weight"], mode=kind))
    x = rng.integers(0, n_in, count(rng, 12))
    offsets = np.array([0, *np.sort(rng.integers(0, len(x) + 1, count(rng, 4, 0)))])
    return Peer(layer, (x, offsets), lambda p, x, offsets: run(x, p["weight"], offsets, mode=kind))


ATTENTION = {"MultiHeadAttention": attention, "EmbeddingBag": embedding_bag}
