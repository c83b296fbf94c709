"""Small models of every layer, and what to call them with: the table that test_every_layer.py goes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import numbaflux as nf


class Row(NamedTuple):
    """A function that makes a model with the layer in it, and its inputs: in float32, or integers."""

    make: Callable[[], Any]
    inputs: tuple[np.ndarray, ...]


def row(make: Callable[[], Any], *inputs: np.ndarray) -> Row:
    return Row(make, inputs)


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def below(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, n, shape)


def between(make: Callable[[], Any], n_out: int = 4) -> Callable[[], Any]:
    """The layer, of 4 channels to n_out, among others: what comes to it and what it gives depends on parameters."""
    return lambda: nf.Chain(nf.Dense(3, 4, nf.tanh), make(), nf.Dense(n_out, 2))


def plain(layer: Any, x: np.ndarray, n_out: int = 4) -> Row:
    """Of a layer that holds no arrays."""
    return row(between(lambda: layer, n_out), x)


def dense() -> Any:
    return nf.Dense(4, 4, nf.sigmoid)


FLAT, SERIES, IMAGE, VOLUME = drawn(6, 3), drawn(3, 7, 3), drawn(2, 7, 6, 3), drawn(2, 4, 5, 4, 3)
SHORT = drawn(2, 3, 3)
WORDS, OFFSETS = below(5, 4, 3), np.array([0, 2, 2, 5])

PLAIN = {
    "Chain": (
        row(between(lambda: nf.Chain(nf.relu, dense(), nf.softmax)), FLAT),
        row(between(lambda: nf.Chain(body=dense(), head=nf.tanh)), SERIES),
    ),
    "Dense": (row(between(dense), FLAT), row(between(lambda: nf.Dense(4, 5, bias=False), 5), IMAGE)),
    "Bilinear": (
        row(between(lambda: nf.Bilinear(4, 4, 5, nf.tanh), 5), FLAT),
        row(lambda: nf.Bilinear(3, 2, 4, bias=False), FLAT, drawn(6, 2)),
    ),
    "Scale": (row(between(lambda: nf.Scale(4, activation=nf.tanh)), FLAT),),
    "Normalise": (row(between(lambda: nf.Normalise(drawn(4), np.arange(1, 5, dtype=np.float32))), FLAT),),
    "Embedding": (
        row(lambda: nf.Chain(nf.Embedding(5, 4), nf.Dense(4, 2, nf.tanh)), WORDS),
        row(lambda: nf.Chain(nf.Embedding(5, 4, padding_idx=1), nf.Dense(4, 2, nf.tanh)), WORDS),
    ),
    "EmbeddingBag": (
        *(row(lambda how=how: nf.Chain(nf.EmbeddingBag(5, 4, how), nf.Dense(4, 2, nf.tanh)), WORDS)
          for how in ("mean", "sum", "max")),
        *(row(lambda how=how: nf.Chain(nf.EmbeddingBag(5, 4, how), nf.Dense(4, 2, nf.tanh)), below(5, 7), OFFSETS)
          for how in ("mean", "sum", "max")),
    ),
    "WeightNorm": (
        row(between(lambda: nf.WeightNorm(dense())), FLAT),
        row(between(lambda: nf.WeightNorm(nf.Conv((3,), 4, 4, nf.tanh), dims=(0, 1, 2))), SERIES),
    ),
    "MultiHeadAttention": (
        row(between(lambda: nf.MultiHeadAttention(4, nheads=2)), SERIES),
        row(lambda: nf.MultiHeadAttention((3, 4, 2), nheads=2, bias=True), SERIES, drawn(3, 5, 3)),
        row(between(lambda: nf.MultiHeadAttention(4, nheads=2, dropout_prob=0.3)), SERIES),
    ),
    "Dropout": (row(between(lambda: nf.Dropout(0.4, rng=3)), FLAT), row(between(lambda: nf.Dropout(0.4, 1)), IMAGE)),
    "AlphaDropout": (row(between(lambda: nf.AlphaDropout(0.4, rng=3)), FLAT),),
}  # fmt: skip


def nested() -> Any:
    """Containers in containers."""
    inner = nf.Parallel(nf.add, nf.Dense(3, 3, nf.tanh), nf.Maxout(nf.Dense(3, 3), nf.Scale(3)))
    return nf.Chain(nf.SkipConnection(inner, nf.add), nf.Dense(3, 3))


CONTAINERS = {
    "Parallel": (
        row(between(lambda: nf.Parallel(nf.cat, dense(), nf.tanh), 8), FLAT),
        row(lambda: nf.Parallel(nf.mul, left=nf.Dense(3, 4), right=nf.Dense(2, 4, nf.tanh)), FLAT, drawn(6, 2)),
    ),
    "PairwiseFusion": (
        row(lambda: nf.PairwiseFusion(nf.add, *(nf.Dense(3, 3, nf.tanh) for _ in "123")), FLAT),
        row(lambda: nf.PairwiseFusion(nf.mul, left=nf.Dense(3, 4, nf.tanh), right=nf.Dense(4, 2)), FLAT, drawn(6, 4)),
    ),
    "SkipConnection": (
        row(between(lambda: nf.SkipConnection(dense(), nf.add)), FLAT),
        row(between(lambda: nf.SkipConnection(dense(), nf.Bilinear(4, 4, 3)), 3), FLAT),
        row(between(lambda: nf.SkipConnection(nf.tanh, nf.cat), 8), FLAT),
    ),
    "Checkpointed": (
        row(between(lambda: nf.Checkpointed(nf.Chain(dense(), nf.relu, dense()))), FLAT),
        row(between(lambda: nf.Checkpointed(nf.Chain(nf.BatchNorm(4), nf.Dropout(0.4, rng=1), dense()))), FLAT),
    ),
    "Maxout": (row(between(lambda: nf.Maxout(dense, 3)), FLAT), row(lambda: nf.Maxout(nested(), nf.Scale(3)), FLAT)),
}

WINDOWS = {
    "Conv": (
        row(between(lambda: nf.Conv((3, 2), 4, 5, nf.tanh, stride=(2, 1), pad=1), 5), IMAGE),
        row(between(lambda: nf.Conv((3,), 4, 6, dilation=2, groups=2, bias=False), 6), SERIES),
        row(between(lambda: nf.Conv((2, 2, 2), 4, 4, nf.tanh, flip=True, pad="same")), VOLUME),
        row(between(lambda: nf.Conv((3, 3), 4, 4, pad=1, pad_mode="reflect")), IMAGE),
        row(between(lambda: nf.DepthwiseConv((3, 3), 4, 8, nf.tanh), 8), IMAGE),
        row(between(lambda: nf.CrossCor((3,), 4, 4)), SERIES),
    ),
    "ConvTranspose": (
        row(between(lambda: nf.ConvTranspose((3, 3), 4, 6, nf.tanh, stride=2, pad=1, outpad=1, groups=2), 6), IMAGE),
        row(between(lambda: nf.ConvTranspose((2,), 4, 4, bias=False)), SERIES),
    ),
    "MaxPool": (plain(nf.MaxPool((2, 2)), IMAGE), plain(nf.MaxPool((3,), stride=2, pad=1), SERIES)),
    "MeanPool": (plain(nf.MeanPool((3, 2), stride=2, pad=1), IMAGE), plain(nf.MeanPool((2, 2, 2)), VOLUME)),
    "LPPool": (plain(nf.LPPool(2, 2), IMAGE), plain(nf.LPPool(3.5, (3, 2), stride=2, pad=1), IMAGE)),
    "AdaptiveMaxPool": (plain(nf.AdaptiveMaxPool((5, 3)), IMAGE),),
    "AdaptiveMeanPool": (plain(nf.AdaptiveMeanPool((3, 4)), IMAGE), plain(nf.AdaptiveMeanPool((3,)), SERIES)),
    "GlobalMaxPool": (plain(nf.GlobalMaxPool(), IMAGE),),
    "GlobalMeanPool": (plain(nf.GlobalMeanPool(), IMAGE), plain(nf.GlobalMeanPool(), VOLUME)),
    "Upsample": (
        plain(nf.Upsample(2), IMAGE),
        plain(nf.Upsample((1, 3)), IMAGE),
        plain(nf.Upsample(size=(14, 12)), IMAGE),
        plain(nf.Upsample(3), VOLUME),
        plain(nf.Upsample(2, "linear"), SERIES),
        plain(nf.Upsample(size=3, mode="linear"), SERIES),
        plain(nf.Upsample(2, "bilinear"), IMAGE),
        plain(nf.Upsample((1.7, 0.5), "bilinear"), IMAGE),
        plain(nf.Upsample(size=(1, 9), mode="bilinear"), IMAGE),
        plain(nf.Upsample((2, 1, 1.5), "trilinear"), VOLUME),
    ),
    "PixelShuffle": (
        plain(nf.PixelShuffle(2), IMAGE, 1),
        plain(nf.PixelShuffle(4), SERIES, 1),
        row(lambda: nf.Chain(nf.Dense(3, 8, nf.tanh), nf.PixelShuffle(2)), VOLUME),
    ),
}

NORMS = {
    "BatchNorm": (
        row(between(lambda: nf.BatchNorm(4, nf.tanh)), FLAT),
        row(between(lambda: nf.BatchNorm(4, affine=False)), IMAGE),
        row(between(lambda: nf.BatchNorm(4, track_stats=False)), SERIES),
    ),
    "InstanceNorm": (
        row(between(lambda: nf.InstanceNorm(4, nf.tanh, affine=True, track_stats=True)), IMAGE),
        row(between(lambda: nf.InstanceNorm(4)), SERIES),
    ),
    "GroupNorm": (row(between(lambda: nf.GroupNorm(4, 2, nf.tanh)), IMAGE),),
    "LayerNorm": (
        row(between(lambda: nf.LayerNorm(4, nf.tanh)), FLAT),
        row(between(lambda: nf.LayerNorm((7, 4))), SERIES),
    ),
    "RMSNorm": (
        row(between(lambda: nf.RMSNorm(4)), IMAGE),
        row(between(lambda: nf.RMSNorm((7, 4), nf.tanh, eps=1e-2)), SERIES),
        row(between(lambda: nf.RMSNorm(4, affine=False)), FLAT),
    ),
}

RECURRENT = {
    "RNNCell": (
        row(lambda: nf.RNNCell(3, 4), FLAT), row(lambda: nf.RNNCell(3, 4, nf.sigmoid, bias=False), FLAT, drawn(6, 4)),
    ),
    "LSTMCell": (row(lambda: nf.LSTMCell(3, 4, trainable_state=True), FLAT),),
    "GRUCell": (row(lambda: nf.GRUCell(3, 4, state_bias=True), FLAT, drawn(6, 4)),),
    "GRUv3Cell": (row(lambda: nf.GRUv3Cell(3, 4), FLAT, drawn(6, 4)),),
    "Recurrence": (
        row(between(lambda: nf.Recurrence(nf.LSTMCell(4, 5)), 5), SERIES),
        row(lambda: nf.Recurrence(nf.GRUv3Cell(3, 4), return_state=True), SERIES),
    ),
    "RNN": (
        row(between(lambda: nf.RNN(4, 5), 5), SERIES),
        row(between(lambda: nf.RNN(4, 5, nf.sigmoid, layers=2, bias=False, trainable_state=True), 5), SHORT),
    ),
    "LSTM": (
        row(between(lambda: nf.LSTM(4, 5), 5), SERIES),
        row(lambda: nf.LSTM(3, 4, layers=2, bidirectional=True, dropout=0.3, return_state=True), SHORT),
        row(between(lambda: nf.LSTM(4, 3, trainable_state=True), 3), SERIES),
    ),
    "GRU": (
        row(between(lambda: nf.GRU(4, 5), 5), SERIES),
        row(between(lambda: nf.GRU(4, 3, layers=2, bidirectional=True, state_bias=True), 6), SHORT),
    ),
    "GRUv3": (row(between(lambda: nf.GRUv3(4, 5), 5), SERIES), row(lambda: nf.GRUv3(3, 4, return_state=True), SERIES)),
}  # fmt: skip

TABLE = PLAIN | CONTAINERS | WINDOWS | NORMS | RECURRENT
