"""Segmentation of one volume by a U-Net in three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.peers.cases import Call
from benchmarks.peers.science.steps import by_hand, jax_step, numbaflux_step, torch_step

EPS = 1e-5


@dataclass(frozen=True)
class Unet:
    """Two convolutions a level, each with a norm of the volume and relu; as many levels as there are channels."""

    size: int = 32
    channels: tuple[int, ...] = (8, 16, 32)

    def shapes(self) -> list[tuple[int, ...]]:
        """Of the weights, in the order of the calls: down, up (of a transposed convolution out stands before in)."""

        def block(c: int, o: int) -> list[tuple[int, ...]]:
            return [(3, 3, 3, c, o), (3, 3, 3, o, o)]

        down = [shape for pair in pairwise((1, *self.channels)) for shape in block(*pair)]
        pairs = reversed(list(pairwise(self.channels)))
        up = [shape for o, c in pairs for shape in ((2, 2, 2, o, c), *block(2 * o, o))]
        return [*down, *up, (1, 1, 1, self.channels[0], 1)]

    @property
    def flops(self) -> float:
        """Of convolutions: forward, gradients of weights, of all that is no input of the model."""
        levels = range(len(self.channels))
        places = [self.size**3 // 8**level for level in levels]
        down = [n for n in places for _ in range(2)]
        up = [n for level in reversed(levels[:-1]) for n in (places[level + 1], places[level], places[level])]
        forward = [2.0 * n * np.prod(s) for n, s in zip((*down, *up, places[0]), self.shapes(), strict=True)]
        return float(3 * sum(forward) - forward[0])

    def weights(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        drawn = [rng.standard_normal(s) * (2 / np.prod(s[:-1])) ** 0.5 for s in self.shapes()]
        return [w.astype(np.float32) for w in drawn]

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """(1, size, size, size, 1): a ball in noise, and where it is."""
        rng = np.random.default_rng(1)
        place = np.linspace(-1, 1, self.size)
        radius = np.sum(np.meshgrid(*3 * [place**2], indexing="ij"), 0)
        mask = (radius < 0.4).astype(np.float32)[None, ..., None]
        return mask + rng.standard_normal(mask.shape).astype(np.float32), mask


def numbaflux(case: Unet) -> Call:
    import numbaflux as nf

    def half(c: int, o: int) -> list[Any]:
        return [nf.Conv((3, 3, 3), c, o, pad=1, bias=False), nf.InstanceNorm(o, nf.relu, affine=True)]

    def block(c: int, o: int) -> list[Any]:
        return [*half(c, o), *half(o, o)]

    def beside(y: Any, x: Any) -> Any:
        return nf.concatenate([x, y], axis=-1)

    def level(c: int, o: int, *deeper: int) -> nf.Chain:
        if not deeper:
            return nf.Chain(*block(c, o))
        up = nf.ConvTranspose((2, 2, 2), deeper[0], o, stride=2)
        below = nf.Chain(nf.MaxPool((2, 2, 2)), level(o, *deeper), up)
        return nf.Chain(*block(c, o), nf.SkipConnection(below, beside), *block(2 * o, o))

    model = nf.Chain(level(1, *case.channels), nf.Conv((1, 1, 1), case.channels[0], 1))
    layers = [m for m in nf.modules(model) if isinstance(m, nf.Conv | nf.ConvTranspose)]
    for layer, w in zip(layers, case.weights(), strict=True):
        layer.weight = w
    return numbaflux_step(lambda m, x, y: nf.losses.logitbinarycrossentropy(m(x), y), model, case.data())


def torch_model(case: Unet) -> Any:
    import torch
    from torch import nn

    class Beside(nn.Module):
        def __init__(self, below: nn.Module) -> None:
            super().__init__()
            self.below = below

        def forward(self, x: Any) -> Any:
            return torch.cat((x, self.below(x)), 1)

    def half(c: int, o: int) -> list[nn.Module]:
        return [nn.Conv3d(c, o, 3, padding=1, bias=False), nn.InstanceNorm3d(o, EPS, affine=True), nn.ReLU()]

    def block(c: int, o: int) -> list[nn.Module]:
        return [*half(c, o), *half(o, o)]

    def level(c: int, o: int, *deeper: int) -> nn.Module:
        if not deeper:
            return nn.Sequential(*block(c, o))
        up = nn.ConvTranspose3d(deeper[0], o, 2, stride=2)
        below = nn.Sequential(nn.MaxPool3d(2), level(o, *deeper), up)
        return nn.Sequential(*block(c, o), Beside(below), *block(2 * o, o))

    model = nn.Sequential(level(1, *case.channels), nn.Conv3d(case.channels[0], 1, 1))
    layers = [m for m in model.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    with torch.no_grad():
        for layer, w in zip(layers, case.weights(), strict=True):
            layer.weight.copy_(torch.from_numpy(w.transpose(4, 3, 0, 1, 2).copy()))
            if layer.bias is not None:
                layer.bias.zero_()
    return model


def torch(case: Unet, compiled: bool = False, last: bool = False) -> Call:
    """last: with the channels last in memory."""
    import torch

    layout = {"memory_format": torch.channels_last_3d if last else torch.contiguous_format}
    model = torch_model(case).to(**layout)
    batch = [torch.from_numpy(part).movedim(-1, 1).contiguous(**layout) for part in case.data()]
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return torch_step(lambda m, x, y: loss(m(x), y), model, batch, compiled)


def jax_model(levels: int) -> Callable[[Any, Any], Any]:
    """forward(layers, x), layers as lists of arrays in the order of the calls."""
    import jax
    from jax import numpy as jnp

    def block(layers: Any, x: Any) -> Any:
        for _ in range(2):
            w, scale, bias = next(layers)
            x = jax.lax.conv_general_dilated(x, w, (1, 1, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))
            mean, var = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
            x = jax.nn.relu((x - mean) * (jax.lax.rsqrt(var + EPS) * scale) + bias)
        return x

    def pooled(x: Any) -> Any:
        n, d, h, w, c = x.shape
        return x.reshape(n, d // 2, 2, h // 2, 2, w // 2, 2, c).max((2, 4, 6))

    def up(layers: Any, x: Any) -> Any:
        """Windows of the transposed convolution do not overlap: a product each."""
        (w, bias), (n, *space, _) = next(layers), x.shape
        y = jnp.einsum("ndhwc,ijkoc->ndihjwko", x, w)
        return y.reshape(n, *(2 * size for size in space), -1) + bias

    def forward(layers: Any, x: Any) -> Any:
        rest, kept = iter(layers), []
        for _ in range(levels - 1):
            kept.append(block(rest, x))
            x = pooled(kept[-1])
        x = block(rest, x)
        for skipped in reversed(kept):
            x = block(rest, jnp.concatenate((skipped, up(rest, x)), -1))
        w, bias = next(rest)
        return x @ w[0, 0, 0] + bias

    return forward


def jax(case: Unet) -> Call:
    import optax
    from jax import numpy as jnp

    def layer(w: np.ndarray) -> list[Any]:
        """Weight and bias; a scale between them where a norm follows."""
        out = w.shape[3] if w.shape[0] == 2 else w.shape[4]
        return [jnp.asarray(w), *([jnp.ones(out)] if w.shape[0] == 3 else []), jnp.zeros(out)]

    forward = jax_model(len(case.channels))

    def loss(layers: Any, x: Any, y: Any) -> Any:
        return optax.sigmoid_binary_cross_entropy(forward(layers, x), y).mean()

    return jax_step(loss, [layer(w) for w in case.weights()], case.data())


program = by_hand(numbaflux, torch, jax, last=True)
CASES = {"unet_3d_b1": program(Unet(), 2.0)}
