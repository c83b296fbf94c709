"""The table: how the arrays of each layer come from PyTorch's and Keras's, by name or place, and in which layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..layers import (
    BatchNorm,
    Bilinear,
    Conv,
    ConvTranspose,
    Dense,
    Embedding,
    EmbeddingBag,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MultiHeadAttention,
    RMSNorm,
)
from ..op import expect

Array = np.ndarray[Any, Any]


class Row(NamedTuple):
    """An array of a layer: the names of theirs it is made of (none: the one at its place), make(layer, *theirs)."""

    names: tuple[str, ...]
    make: Callable[..., Array]


def same(layer: Any, a: Array) -> Array:
    """As it is."""
    return a


def swapped(layer: Any, a: Array) -> Array:
    """(out, in, k...) as (k..., in, out), and (in, out, k...) as (k..., out, in)."""
    return window(layer, a.transpose(*range(2, a.ndim), *range(min(a.ndim, 2))[::-1]))


def window(layer: Any, a: Array) -> Array:
    """(k..., in, out), turned over for a layer that turns it back; of Keras's depthwise (k..., in, n), n an input."""
    if isinstance(layer, Conv):
        rank = layer.weight.ndim - 2
        if a.shape[rank:-1] == (layer.groups,) and layer.weight.shape[-2] == 1:
            a = a.reshape(*a.shape[:rank], 1, -1)
        a = a[(slice(None, None, -1),) * rank] if layer.flip and a.ndim > rank else a
    return a


def out_last(layer: Any, a: Array) -> Array:
    """(out, in1, in2) as (in1, in2, out)."""
    return np.moveaxis(a, 0, -1) if a.ndim else a


def rows(layer: Any, a: Array) -> Array:
    """As it is; numbaflux's row of padding is zeros always."""
    at = layer.padding_idx
    zero = at is None or a.shape != layer.weight.shape or not a[at].any()
    expect(zero, "Embedding", f"row {at} of the weight, for padding,", "zeros", "others")
    return a


def third(i: int) -> Callable[..., Array]:
    """Of (3 out, in), or (3 out,), the part i as (in, out)."""
    return lambda layer, a: np.split(a, 3)[i].T if len(a) % 3 == 0 else a


def heads_last(layer: Any, a: Array) -> Array:
    """(in, heads, size) as (in, heads size), (heads, size) as (heads size,)."""
    return a.reshape(*a.shape[:-2], -1)


def heads_first(layer: Any, a: Array) -> Array:
    """(heads, size, out) as (heads size, out)."""
    return a.reshape(-1, a.shape[-1])


def _named(**names: str) -> dict[str, Row]:
    return {field: Row((name,), same) for field, name in names.items()}


_AFFINE = _named(weight="weight", bias="bias")
_TRACKED = _AFFINE | _named(mean="running_mean", var="running_var")
_TURNED = _AFFINE | {"weight": Row(("weight",), swapped)}
_PROJECTIONS = "q_proj k_proj v_proj".split()
_PACKED = {f"{p}.{f}": Row((f"in_proj_{f}",), third(i)) for i, p in enumerate(_PROJECTIONS) for f in _AFFINE}
TORCH: dict[type, dict[str, Row]] = {
    Dense: _TURNED,
    Conv: _TURNED,
    ConvTranspose: _TURNED,
    Bilinear: _AFFINE | {"weight": Row(("weight",), out_last)},
    Embedding: {"weight": Row(("weight",), rows)},
    EmbeddingBag: _named(weight="weight"),
    MultiHeadAttention: _PACKED | {f"out_proj.{f}": Row((f"out_proj.{f}",), row.make) for f, row in _TURNED.items()},
    BatchNorm: _TRACKED,
    InstanceNorm: _TRACKED,
    GroupNorm: _AFFINE,
    LayerNorm: _AFFINE,
    RMSNorm: _named(weight="weight"),
}
TORCH_UNUSED = r"(.*\.)?num_batches_tracked"  # a count that only momentum=None reads


def _placed(*fields: str, **made: Callable[..., Array]) -> dict[str, Row]:
    """Fields in the order of Keras's variables."""
    return {field: Row((), made.get(field, same)) for field in fields}


def _inner(ours: str, theirs: str, weight: Callable[..., Array], bias: Callable[..., Array]) -> dict[str, Row]:
    """Of a Dense inside of a layer."""
    return {f"{ours}.weight": Row((f"{theirs}.0",), weight), f"{ours}.bias": Row((f"{theirs}.1",), bias)}


_KERAS_AFFINE = _placed("weight", "bias")
KERAS: dict[type, dict[str, Row]] = {
    Dense: _KERAS_AFFINE,
    Conv: _placed("weight", "bias", weight=window),
    ConvTranspose: _KERAS_AFFINE,
    Embedding: _placed("weight", weight=rows),
    BatchNorm: _placed("weight", "bias", "mean", "var"),
    InstanceNorm: _KERAS_AFFINE,
    GroupNorm: _KERAS_AFFINE,
    LayerNorm: _KERAS_AFFINE,
    RMSNorm: _placed("weight"),
    MultiHeadAttention: {
        **_inner("q_proj", "query_dense", heads_last, heads_last),
        **_inner("k_proj", "key_dense", heads_last, heads_last),
        **_inner("v_proj", "value_dense", heads_last, heads_last),
        **_inner("out_proj", "output_dense", heads_first, same),
    },
}
# What Keras calls them, in paths of its files: two kinds of layers whose arrays have the same shapes are told apart.
KERAS_KINDS: dict[type, str] = {
    Dense: "dense",
    Conv: "(depthwise_)?conv[123]d",
    ConvTranspose: "conv[123]d_transpose",
    Embedding: "embedding",
    BatchNorm: "batch_normalization",
    InstanceNorm: "group_normalization",
    GroupNorm: "group_normalization",
    LayerNorm: "layer_normalization",
    RMSNorm: "rms_normalization",
    MultiHeadAttention: "multi_head_attention",
}
KERAS_UNUSED = r"optimizer\..*|(.*\.)?seed_generator\..*"  # of training, and of random numbers
