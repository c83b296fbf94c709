"""Layers that normalise, beside PyTorch, in training mode; WeightNorm; activations. See against_torch.py."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import numbaflux as nf
from tests.against_torch import Peer, coin, count, counts, dense_of, drawn, function, one_of, softplus
from tests.test_activations import PEERS

torch = pytest.importorskip("torch")


def normed(x, axes, eps, groups=None):
    """x less its mean over axes, by the root of its variance."""
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(axes, keepdim=True) + eps)


def affine(p, y):
    return y * p.get("weight", 1) + p.get("bias", 0)


def epsilon(rng):
    return float(10 ** rng.uniform(-6, -1))


def batch_norm(rng):
    (ours, theirs), ch, eps = function(rng), count(rng, 6), epsilon(rng)
    x = drawn(rng, count(rng, 5, 2), *counts(rng, count(rng, 3, 0), 4), ch)
    layer = nf.BatchNorm(ch, ours, affine=coin(rng), track_stats=coin(rng), eps=eps)

    def peer(p, x):
        first = x.movedim(-1, 1)
        y = torch.nn.functional.batch_norm(first, None, None, p.get("weight"), p.get("bias"), training=True, eps=eps)
        return theirs(y.movedim(1, -1))

    return Peer(layer, (x,), peer)


def instance_norm(rng):
    (ours, theirs), ch, eps = function(rng), count(rng, 5), epsilon(rng)
    size = (count(rng, 4, 2), *counts(rng, count(rng, 2, 0), 4))
    x = drawn(rng, count(rng, 4), *size, ch)
    layer = nf.InstanceNorm(ch, ours, affine=coin(rng), track_stats=coin(rng), eps=eps)
    axes = tuple(range(1, 1 + len(size)))
    return Peer(layer, (x,), lambda p, x: theirs(affine(p, normed(x, axes, eps))))


def group_norm(rng):
    (ours, theirs), groups, eps = function(rng), count(rng, 3), epsilon(rng)
    ch = groups * count(rng, 4, 2)
    x = drawn(rng, count(rng, 4), *counts(rng, count(rng, 3, 0), 4), ch)
    layer = nf.GroupNorm(ch, groups, ours, affine=coin(rng), eps=eps)

    def peer(p, x):
        y = torch.nn.functional.group_norm(x.movedim(-1, 1), groups, p.get("weight"), p.get("bias"), eps)
        return theirs(y.movedim(1, -1))

    return Peer(layer, (x,), peer)


def layer_norm(rng):
    (ours, theirs), size, eps = function(rng), (*counts(rng, count(rng, 2, 0), 4), count(rng, 6, 2)), epsilon(rng)
    x = drawn(rng, *counts(rng, count(rng, 2, 0), 4), *size)
    layer = nf.LayerNorm(size, ours, affine=coin(rng), eps=eps)
    return Peer(layer, (x,), lambda p, x: theirs(
        torch.nn.functional.layer_norm(x, size, p.get("weight"), p.get("bias"), eps)))  # fmt: skip


def rms_norm(rng):
    (ours, theirs), size, eps = function(rng), counts(rng, count(rng, 3), 5), epsilon(rng)
    x = drawn(rng, *counts(rng, count(rng, 2, 0), 4), *size)
    layer = nf.RMSNorm(size, ours, affine=coin(rng), eps=eps)
    return Peer(layer, (x,), lambda p, x: theirs(
        torch.nn.functional.rms_norm(x, size, p.get("weight"), eps)))  # fmt: skip


def weight_norm(rng):
    """Of Dense, over any axes; the length has the smallest step of the type below its root."""
    (ours, theirs), n_in, n_out = function(rng), count(rng, 6), count(rng, 6)
    dims = one_of(rng, (None, 0, 1, (0, 1)))
    axes = (0,) if dims is None else dims
    x = drawn(rng, *counts(rng, count(rng, 2), 4), n_in)

    def peer(p, x):
        v = p["layer.weight"]
        length = torch.sqrt((v**2).sum(axes, keepdim=True) + np.finfo(float).eps)
        new = {name.removeprefix("layer."): t for name, t in p.items()} | {"weight": v * p["scale"] / length}
        return theirs(dense_of(new, x))

    return Peer(nf.WeightNorm(nf.Dense(n_in, n_out, ours, bias=coin(rng)), dims=dims), (x,), peer)


NORMS = {
    "BatchNorm": batch_norm, "InstanceNorm": instance_norm, "GroupNorm": group_norm, "LayerNorm": layer_norm,
    "RMSNorm": rms_norm, "WeightNorm": weight_norm,
}  # fmt: skip

# --------------------------------------------------------------------------------------------------------- activations

# PyTorch's own take 1 / 6 and 1 / alpha as float32.
EXACT = {
    "hardsigmoid": lambda x: torch.clamp(x + 3, 0, 6) / 6,
    "celu": lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0) / alpha)),
    "softplus": softplus,
}
MORE = (  # name, keywords -> the same of PyTorch's functions
    ("relu", {}, torch.relu), ("tanh", {}, torch.tanh), ("sigmoid", {}, torch.sigmoid),
    ("logcosh", {}, lambda x: torch.logaddexp(x, -x) - np.log(2)), ("lisht", {}, lambda x: x * torch.tanh(x)),
    ("softmax", {}, lambda x: x.softmax(-1)), ("logsoftmax", {}, lambda x: x.log_softmax(-1)),
    ("logsumexp", {"axis": -1}, lambda x: x.logsumexp(-1)),
)  # fmt: skip


def activation(name, ours, peer, rng):
    """Of numbers far out, too."""
    shape = (*counts(rng, 2, 5), 2 * count(rng, 4)) if name != "glu" else (*[2 * n for n in counts(rng, 3, 3)],)
    x = drawn(rng, *shape) * 10 ** rng.uniform(-1, 1)
    return Peer(functools.partial(getattr(nf, name), **ours), (x,), lambda p, x: peer(x))


def _titled(name, keywords):
    return f"{name} {keywords}" if keywords else name


ACTIVATIONS = {
    _titled(name, ours): functools.partial(
        activation, name, ours, functools.partial(EXACT.get(name) or getattr(torch.nn.functional, peer), **theirs)
    )
    for name, ours, peer, theirs in PEERS
} | {_titled(name, ours): functools.partial(activation, name, ours, peer) for name, ours, peer in MORE}
