"""The rows: how a layer is made here and there, and what shape it takes. Channels are c in and out where they may.

PyTorch's side is given torch.nn, or imports what it needs: asv reads this table where there is no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import numbaflux as nf

VOCABULARY = 1000
# Shapes of a small and of a middle input by kind; of labels also the channels that come out.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "rows": {"small": (32, 32), "middle": (256, 512)},
    "narrow": {"small": (32, 16), "middle": (256, 64)},
    "images": {"small": (32, 8, 8, 8), "middle": (64, 32, 32, 32)},
    "sequences": {"small": (32, 16, 16), "middle": (64, 64, 64)},
    "labels": {"small": (32, 16, 16), "middle": (256, 64, 64)},
}


class Around(NamedTuple):
    """A module of PyTorch that is called in another way."""

    module: Any
    call: Callable[[Any, Any], Any]

    def __call__(self, x: Any) -> Any:
        return self.call(self.module, x)

    def parameters(self) -> Any:
        return self.module.parameters()


@nf.layer
class FromInput:
    """A cell whose state is its input."""

    cell: Any

    def __call__(self, x: Any) -> Any:
        return self.cell(x, (x, x) if isinstance(self.cell, nf.LSTMCell) else x)


def same(layer: Any) -> Any:
    return layer


def called(call: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda module: Around(module, call)


def recomputed(module: Any, x: Any) -> Any:
    from torch.utils.checkpoint import checkpoint

    return checkpoint(module, x, use_reentrant=False)


def weight_norm(module: Any) -> Any:
    from torch.nn.utils import parametrizations

    return parametrizations.weight_norm(module)


class Row(NamedTuple):
    """Layers of c channels, here and there; wrap and wrap_torch: what is put around them, after weights were made
    equal."""

    kind: str
    ours: Callable[[int], Any]
    torch: Callable[[Any, int], Any]  # (torch.nn, c)
    wrap: Callable[[Any], Any] = same
    wrap_torch: Callable[[Any], Any] = same

    def input(self, size: str) -> tuple[np.ndarray, int]:
        """Numbers, or labels; and the channels."""
        *shape, channels = SHAPES[self.kind][size]
        rng = np.random.default_rng(0)
        if self.kind == "labels":
            return rng.integers(0, VOCABULARY, shape), channels
        return rng.standard_normal((*shape, channels)).astype(np.float32), channels


PRODUCTS = {
    "Dense": Row("rows", lambda c: nf.Dense(c, c), lambda nn, c: nn.Linear(c, c)),
    "Chain": Row("rows", lambda c: nf.Chain(nf.Dense(c, c, nf.tanh), nf.Dense(c, c)),
                 lambda nn, c: nn.Sequential(nn.Linear(c, c), nn.Tanh(), nn.Linear(c, c))),
    "Checkpointed": Row("rows", lambda c: nf.Chain(nf.Dense(c, c, nf.tanh), nf.Dense(c, c)),
                        lambda nn, c: nn.Sequential(nn.Linear(c, c), nn.Tanh(), nn.Linear(c, c)),
                        nf.Checkpointed, called(recomputed)),
    "WeightNorm": Row("rows", lambda c: nf.Dense(c, c), lambda nn, c: nn.Linear(c, c), nf.WeightNorm, weight_norm),
    "Bilinear": Row("narrow", lambda c: nf.Bilinear(c, c, c), lambda nn, c: nn.Bilinear(c, c, c),
                    wrap_torch=called(lambda m, x: m(x, x))),
    "Embedding": Row("labels", lambda c: nf.Embedding(VOCABULARY, c), lambda nn, c: nn.Embedding(VOCABULARY, c)),
    "EmbeddingBag": Row("labels", lambda c: nf.EmbeddingBag(VOCABULARY, c),
                        lambda nn, c: nn.EmbeddingBag(VOCABULARY, c, mode="mean")),
    "MultiHeadAttention": Row("sequences", lambda c: nf.MultiHeadAttention(c, 4),
                              lambda nn, c: nn.MultiheadAttention(c, 4, bias=False, batch_first=True),
                              wrap_torch=called(lambda m, x: m(x, x, x, need_weights=False))),
}  # fmt: skip
IMAGES = {
    "Conv": Row("images", lambda c: nf.Conv((3, 3), c, c, pad=1), lambda nn, c: nn.Conv2d(c, c, 3, padding=1)),
    "Conv 1x1": Row("images", lambda c: nf.Conv((1, 1), c, c), lambda nn, c: nn.Conv2d(c, c, 1)),
    "Conv strided": Row("images", lambda c: nf.Conv((3, 3), c, c, pad=1, stride=2),
                        lambda nn, c: nn.Conv2d(c, c, 3, 2, 1)),
    "Conv grouped": Row("images", lambda c: nf.Conv((3, 3), c, c, pad=1, groups=4),
                        lambda nn, c: nn.Conv2d(c, c, 3, padding=1, groups=4)),
    "Conv depthwise": Row("images", lambda c: nf.DepthwiseConv((3, 3), c, c, pad=1),
                          lambda nn, c: nn.Conv2d(c, c, 3, padding=1, groups=c)),
    "ConvTranspose": Row("images", lambda c: nf.ConvTranspose((2, 2), c, c, stride=2),
                         lambda nn, c: nn.ConvTranspose2d(c, c, 2, 2)),
    "MaxPool": Row("images", lambda c: nf.MaxPool((2, 2)), lambda nn, c: nn.MaxPool2d(2)),
    "MeanPool": Row("images", lambda c: nf.MeanPool((2, 2)), lambda nn, c: nn.AvgPool2d(2)),
    "LPPool": Row("images", lambda c: nf.LPPool(2, (2, 2)), lambda nn, c: nn.LPPool2d(2, 2)),
    "AdaptiveMaxPool": Row("images", lambda c: nf.AdaptiveMaxPool((4, 4)), lambda nn, c: nn.AdaptiveMaxPool2d(4)),
    "AdaptiveMeanPool": Row("images", lambda c: nf.AdaptiveMeanPool((4, 4)), lambda nn, c: nn.AdaptiveAvgPool2d(4)),
    "GlobalMaxPool": Row("images", lambda c: nf.GlobalMaxPool(), lambda nn, c: nn.AdaptiveMaxPool2d(1)),
    "GlobalMeanPool": Row("images", lambda c: nf.GlobalMeanPool(), lambda nn, c: nn.AdaptiveAvgPool2d(1)),
    "BatchNorm": Row("images", lambda c: nf.BatchNorm(c), lambda nn, c: nn.BatchNorm2d(c)),
    "GroupNorm": Row("images", lambda c: nf.GroupNorm(c, 4), lambda nn, c: nn.GroupNorm(4, c)),
    "InstanceNorm": Row("images", lambda c: nf.InstanceNorm(c, affine=True),
                        lambda nn, c: nn.InstanceNorm2d(c, affine=True)),
    "PixelShuffle": Row("images", lambda c: nf.PixelShuffle(2), lambda nn, c: nn.PixelShuffle(2)),
    "Upsample nearest": Row("images", lambda c: nf.Upsample(2), lambda nn, c: nn.Upsample(scale_factor=2)),
    "Upsample bilinear": Row("images", lambda c: nf.Upsample(2, "bilinear"),
                             lambda nn, c: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
}  # fmt: skip
REST = {
    "LayerNorm": Row("rows", lambda c: nf.LayerNorm(c), lambda nn, c: nn.LayerNorm(c)),
    "RMSNorm": Row("rows", lambda c: nf.RMSNorm(c), lambda nn, c: nn.RMSNorm(c, 1e-5)),
    "Dropout": Row("rows", lambda c: nf.Dropout(0.5), lambda nn, c: nn.Dropout(0.5)),
    "AlphaDropout": Row("rows", lambda c: nf.AlphaDropout(0.5), lambda nn, c: nn.AlphaDropout(0.5)),
    "RNNCell": Row("rows", lambda c: nf.RNNCell(c, c), lambda nn, c: nn.RNNCell(c, c), FromInput,
                   called(lambda m, x: m(x, x))),
    "LSTMCell": Row("rows", lambda c: nf.LSTMCell(c, c), lambda nn, c: nn.LSTMCell(c, c), FromInput,
                    called(lambda m, x: m(x, (x, x)))),
    "GRUCell": Row("rows", lambda c: nf.GRUCell(c, c), lambda nn, c: nn.GRUCell(c, c), FromInput,
                   called(lambda m, x: m(x, x))),
    "RNN": Row("sequences", lambda c: nf.RNN(c, c), lambda nn, c: nn.RNN(c, c, batch_first=True)),
    "LSTM": Row("sequences", lambda c: nf.LSTM(c, c), lambda nn, c: nn.LSTM(c, c, batch_first=True)),
    "GRU": Row("sequences", lambda c: nf.GRU(c, c), lambda nn, c: nn.GRU(c, c, batch_first=True)),
}  # fmt: skip
_ACTIVATIONS: dict[Callable[[Any], Any], Callable[[Any], Any]] = {
    nf.relu: lambda nn: nn.ReLU(), nf.leakyrelu: lambda nn: nn.LeakyReLU(), nf.elu: lambda nn: nn.ELU(),
    nf.selu: lambda nn: nn.SELU(), nf.gelu: lambda nn: nn.GELU("tanh"), nf.gelu_erf: lambda nn: nn.GELU(),
    nf.swish: lambda nn: nn.SiLU(), nf.mish: lambda nn: nn.Mish(), nf.sigmoid: lambda nn: nn.Sigmoid(),
    nf.tanh: lambda nn: nn.Tanh(), nf.softplus: lambda nn: nn.Softplus(), nf.softsign: lambda nn: nn.Softsign(),
    nf.hardsigmoid: lambda nn: nn.Hardsigmoid(), nf.hardswish: lambda nn: nn.Hardswish(),
    nf.softmax: lambda nn: nn.Softmax(-1), nf.logsoftmax: lambda nn: nn.LogSoftmax(-1),
}  # fmt: skip


def _activation(ours: Any, theirs: Any) -> Row:
    return Row("rows", lambda c: ours, lambda nn, c: theirs(nn))


ACTIVATIONS = {ours.__name__: _activation(ours, theirs) for ours, theirs in _ACTIVATIONS.items()}
ROWS = PRODUCTS | IMAGES | REST | ACTIVATIONS
SIZES = ("small", "middle")
RANDOM = ("Dropout", "AlphaDropout")  # each draws its own numbers
# Layers that PyTorch has no module for.
WITHOUT = ("Normalise", "Maxout", "Parallel", "PairwiseFusion", "Scale", "SkipConnection", "Recurrence", "GRUv3",
           "GRUv3Cell")  # fmt: skip
