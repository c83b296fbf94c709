"""Convolutions, pools and layers that make larger, beside PyTorch, of one to three spatial axes. See against_torch.py.

What PyTorch lacks (uneven pads, symmetric padding, windows of Flux's adaptive pools) is put together there.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import numbaflux as nf
from tests.against_torch import Peer, coin, count, counts, drawn, function, one_of

torch = pytest.importorskip("torch")
AROUND = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge", "symmetric": "symmetric"}


def first(x):
    """Channels behind the samples, as PyTorch has them."""
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


def turned(w):
    """(window, a, b) as (b, a, window)."""
    return w.movedim(-1, 0).movedim(-1, 1).contiguous()  # else PyTorch may fail in its own gradient


def widened(x, pads, value=0.0):
    """x (n, c, spatial axes) with a number around it."""
    return torch.nn.functional.pad(x, [p for pair in reversed(pads) for p in pair], value=value)


def wrapped(x, pads, mode):
    """The same with elements of x: NumPy says which, axis by axis."""
    for axis, pair in enumerate(pads, 2):
        x = x.index_select(axis, torch.tensor(np.pad(np.arange(x.shape[axis]), pair, AROUND[mode])))
    return x


def padding(rng, window, dilation):
    """As a layer takes it, and one pair an axis."""
    rank, kind = len(window), one_of(rng, ("none", "one", "each", "pairs", "same"))
    reach = [(k - 1) * d for k, d in zip(window, dilation, strict=True)]
    if kind == "none":
        return 0, ((0, 0),) * rank
    if kind == "one":
        n = count(rng, max(0, min(window) - 1), 0)
        return n, ((n, n),) * rank
    if kind == "each":
        each = tuple(count(rng, k - 1, 0) for k in window)
        return each, tuple((n, n) for n in each)
    if kind == "pairs":
        pairs = tuple((count(rng, k - 1, 0), count(rng, k - 1, 0)) for k in window)
        return tuple(n for pair in pairs for n in pair), pairs
    return "same", tuple((n // 2, n - n // 2) for n in reach)


def size_for(rng, window, dilation, pads, more=5):
    """Spatial sizes that a window fits in, and that any mode of padding may take elements from."""
    rows = zip(window, dilation, pads, strict=True)
    return tuple(
        max((k - 1) * d + 1 - low - high, low + 1, high + 1) + count(rng, more, 0) for k, d, (low, high) in rows
    )


# -------------------------------------------------------------------------------------------------------- convolutions


def conv(rng):
    return _conv(rng, nf.Conv, one_of(rng, (1, 1, 2, 3)))


def depthwise_conv(rng):
    return _conv(rng, nf.DepthwiseConv, None)


def _conv(rng, make, groups):
    """groups: None: one a channel, as DepthwiseConv has them."""
    (ours, theirs), rank = function(rng), count(rng, 3)
    window, stride, dilation = counts(rng, rank, 4), counts(rng, rank, 3), counts(rng, rank, 2)
    pad, pads = padding(rng, window, dilation)
    n_in = (groups or 1) * count(rng, 4)
    parts = groups or n_in
    n_out, mode, flip = parts * count(rng, 4), one_of(rng, ("zeros", "zeros", *AROUND)), coin(rng)
    options = {"stride": stride, "pad": pad, "dilation": dilation, "pad_mode": mode, "flip": flip, "bias": coin(rng)}
    options |= {} if groups is None else {"groups": groups}
    x = drawn(rng, count(rng, 3), *size_for(rng, window, dilation, pads), n_in)

    def peer(p, x):
        w = turned(p["weight"])
        w = w.flip(tuple(range(2, 2 + rank))) if flip else w
        x = widened(first(x), pads) if mode == "zeros" else wrapped(first(x), pads, mode)
        run = getattr(torch.nn.functional, f"conv{rank}d")
        return theirs(last(run(x, w, p.get("bias"), stride, 0, dilation, parts)))

    return Peer(make(window, n_in, n_out, ours, **options), (x,), peer)


def conv_transpose(rng):
    """Uneven pads cut what PyTorch gives without any; what outpad adds has no window, only the bias."""
    (ours, theirs), rank, groups = function(rng), count(rng, 3), one_of(rng, (1, 1, 2, 3))
    window, stride, dilation = counts(rng, rank, 4), counts(rng, rank, 3), counts(rng, rank, 2)
    pad, pads = padding(rng, window, dilation)
    outpad = tuple(count(rng, s - 1, 0) for s in stride)
    n_in, n_out = (groups * count(rng, 4) for _ in range(2))
    rows = list(zip(window, stride, dilation, pads, outpad, strict=True))
    least = [
        max(1, math.ceil((1 - more + low + high - (k - 1) * d - 1) / s) + 1) for k, s, d, (low, high), more in rows
    ]
    x = drawn(rng, count(rng, 3), *(n + count(rng, 4, 0) for n in least), n_in)

    def peer(p, x):
        run = getattr(torch.nn.functional, f"conv_transpose{rank}d")
        y = run(first(x), turned(p["weight"]), None, stride, 0, 0, groups, dilation)
        y = widened(y, tuple((-low, more - high) for (low, high), more in zip(pads, outpad, strict=True)))
        return theirs(last(y) + p.get("bias", 0))

    layer = nf.ConvTranspose(window, n_in, n_out, ours, stride=stride, pad=pad, outpad=outpad, dilation=dilation,
                             groups=groups, bias=coin(rng))  # fmt: skip
    return Peer(layer, (x,), peer)


# --------------------------------------------------------------------------------------------------------------- pools


def pooled(kind, x, window, stride, pads, p=2.0):
    """Of x with channels last; padding is below all numbers, or 0."""
    rank = len(window)
    if kind == "max":
        run, x = getattr(torch.nn.functional, f"max_pool{rank}d"), widened(first(x), pads, -math.inf)
        return last(run(x, window, stride))
    run, x = getattr(torch.nn.functional, f"avg_pool{rank}d"), widened(first(x), pads)
    if kind == "mean":
        return last(run(x, window, stride))
    return last((run(x.abs() ** p, window, stride) * math.prod(window)) ** (1 / p))


def pool(kind):
    def row(rng):
        rank = count(rng, 3)
        window = counts(rng, rank, 4)
        stride = counts(rng, rank, 4) if coin(rng) else None
        pad, pads = padding(rng, window, (1,) * rank)
        x = drawn(rng, count(rng, 3), *size_for(rng, window, (1,) * rank, pads), count(rng, 5))
        p = one_of(rng, (1, 1.5, 2, 3, 4.25))
        make = {"max": nf.MaxPool, "mean": nf.MeanPool, "lp": lambda *a, **k: nf.LPPool(p, *a, **k)}[kind]
        return Peer(make(window, stride=stride, pad=pad), (x,),
                    lambda _, x: pooled(kind, x, window, stride or window, pads, p))  # fmt: skip

    return row


def adaptive(kind):
    def row(rng):
        rank = count(rng, 3)
        out = counts(rng, rank, 4)
        size = tuple(n + count(rng, 6, 0) for n in out)
        stride = tuple(a // b for a, b in zip(size, out, strict=True))
        window = tuple(a - (b - 1) * s for a, b, s in zip(size, out, stride, strict=True))
        x = drawn(rng, count(rng, 3), *size, count(rng, 5))
        make = {"max": nf.AdaptiveMaxPool, "mean": nf.AdaptiveMeanPool}[kind]
        return Peer(make(out), (x,), lambda _, x: pooled(kind, x, window, stride, ((0, 0),) * rank))

    return row


def over_space(kind):
    def row(rng):
        rank = count(rng, 3)
        x, axes = drawn(rng, *counts(rng, rank + 2, 5)), tuple(range(1, 1 + rank))
        layer = {"max": nf.GlobalMaxPool, "mean": nf.GlobalMeanPool}[kind]()
        reduce = torch.amax if kind == "max" else torch.mean
        return Peer(layer, (x,), lambda _, x: reduce(x, axes, keepdim=True))

    return row


# ------------------------------------------------------------------------------------------------------------- resizing


def upsample(rng):
    rank = count(rng, 3)
    mode = one_of(rng, ("nearest", {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]))
    spatial, times = counts(rng, rank, 4), counts(rng, rank, 3)
    if mode != "nearest":
        times = tuple(max(float(t * rng.uniform(0.5, 1.5)), 1.01 / n) for t, n in zip(times, spatial, strict=True))
    out = tuple(math.floor(n * t) for n, t in zip(spatial, times, strict=True))
    options = {"size": out} if coin(rng) else {"scale": times}
    corners = {} if mode == "nearest" else {"align_corners": True}
    x = drawn(rng, count(rng, 3), *spatial, count(rng, 4))

    def peer(_, x):
        return last(torch.nn.functional.interpolate(first(x), size=out, mode=mode, **corners))

    return Peer(nf.Upsample(mode=mode, **options), (x,), peer)


def pixel_shuffle(rng):
    rank, r, c = count(rng, 3), count(rng, 3), count(rng, 3)
    spatial = counts(rng, rank, 3)
    x = drawn(rng, count(rng, 3), *spatial, c * r**rank)

    def peer(_, x):
        """Channel ((c r + i) r + j) r + k goes to place i, j, k of its block."""
        apart = x.reshape(x.shape[0], *spatial, c, *(r for _ in spatial))
        pairs = [axis for i in range(rank) for axis in (1 + i, 2 + rank + i)]
        return apart.permute(0, *pairs, 1 + rank).reshape(x.shape[0], *(n * r for n in spatial), c)

    return Peer(nf.PixelShuffle(r), (x,), peer)


WINDOWS = {
    "Conv": conv, "DepthwiseConv": depthwise_conv, "ConvTranspose": conv_transpose,
    "MaxPool": pool("max"), "MeanPool": pool("mean"), "LPPool": pool("lp"),
    "AdaptiveMaxPool": adaptive("max"), "AdaptiveMeanPool": adaptive("mean"),
    "GlobalMaxPool": over_space("max"), "GlobalMeanPool": over_space("mean"),
    "Upsample": upsample, "PixelShuffle": pixel_shuffle,
}  # fmt: skip
