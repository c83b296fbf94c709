"""The table: how the arrays of each layer come from PyTorch's and Keras's, by name or place, and in which layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..layers import (
    GRU,
    LSTM,
    RNN,
    BatchNorm,
    Bilinear,
    Conv,
    ConvTranspose,
    Dense,
    Embedding,
    EmbeddingBag,
    GroupNorm,
    GRUCell,
    GRUv3,
    GRUv3Cell,
    InstanceNorm,
    LayerNorm,
    LSTMCell,
    MultiHeadAttention,
    Recurrence,
    RMSNorm,
    RNNCell,
)
from ..op import ShapeError, expect

Array = np.ndarray[Any, Any]


class Row(NamedTuple):
    """An array of a layer: the names of theirs it is made of (none: the one at its place), make(layer, *theirs), and of
    PyTorch's back(layer, ours): what they are made of, in that order; several of one name are parts of one array."""

    names: tuple[str, ...]
    make: Callable[..., Array]
    back: Callable[..., Array] | None = None


Rows = dict[str, Row]
Table = dict[type, Rows | Callable[[Any], Rows]]  # of recurrent layers a function: they have more cells or fewer
UNFIT = np.empty(0)  # what arrays become that are none of the layer


def rows_of(table: Table, layer: Any) -> Rows | None:
    """The rows of a layer, by path of its arrays; None for one that the table does not have."""
    found = table.get(type(layer))
    return found(layer) if callable(found) else found


def same(layer: Any, a: Array) -> Array:
    """As it is."""
    return a


def swapped(layer: Any, a: Array) -> Array:
    """(out, in, k...) as (k..., in, out), and (in, out, k...) as (k..., out, in)."""
    return window(layer, a.transpose(*range(2, a.ndim), *range(min(a.ndim, 2))[::-1]))


def unswapped(layer: Any, a: Array) -> Array:
    """The way back from swapped."""
    rank = a.ndim - 2
    turned = isinstance(layer, Conv) and layer.flip
    return (a[(slice(None, None, -1),) * rank] if turned else a).transpose(rank + 1, rank, *range(rank))


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


def out_first(layer: Any, a: Array) -> Array:
    """(in1, in2, out) as (out, in1, in2)."""
    return np.moveaxis(a, -1, 0)


def rows(layer: Any, a: Array) -> Array:
    """As it is; numbaflux's row of padding is zeros always."""
    at = layer.padding_idx
    zero = at is None or a.shape != layer.weight.shape or not a[at].any()
    expect(zero, "Embedding", f"row {at} of the weight, for padding,", "zeros", "others")
    return a


def third(i: int) -> Callable[..., Array]:
    """Of (3 out, in), or (3 out,), the part i as (in, out)."""
    return lambda layer, a: np.split(a, 3)[i].T if len(a) % 3 == 0 else a


def transposed(layer: Any, a: Array) -> Array:
    """(in, out) as (out, in), a bias as it is: the way back from third, of one part."""
    return a.T


def heads_last(layer: Any, a: Array) -> Array:
    """(in, heads, size) as (in, heads size), (heads, size) as (heads size,)."""
    return a.reshape(*a.shape[:-2], -1)


def heads_first(layer: Any, a: Array) -> Array:
    """(heads, size, out) as (heads size, out)."""
    return a.reshape(-1, a.shape[-1])


def added(layer: Any, a: Array, b: Array) -> Array:
    """Two biases as one."""
    return a + b if a.shape == b.shape else UNFIT


def one_bias(cell: Any) -> Callable[..., Array]:
    """The biases of x and h as one, for a GRU without state_bias: of gate n, h's is multiplied by r."""

    def make(layer: Any, a: Array, b: Array) -> Array:
        if a.shape != cell.bias.shape or b.shape != a.shape:
            return UNFIT
        zero = not b[2 * cell.n_out :].any()
        expect(zero, type(layer).__name__, "the state's bias of gate n", "zeros", "others", "state_bias=True")
        return a + b

    return make


def reset_first(layer: Any, a: Array) -> Array:
    """Gates z, r, n of the last axis as r, z, n."""
    if a.shape[-1] % 3:
        return UNFIT
    z, r, n = np.split(a, 3, -1)
    return np.concatenate((r, z, n), -1)


def of_two(make: Callable[..., Array]) -> Callable[..., Array]:
    """make(layer, bias of x, bias of h), of (2, 3 out) with gates z, r, n."""
    return lambda layer, a: make(layer, *map(partial(reset_first, layer), a)) if a.ndim == 2 and len(a) == 2 else UNFIT


def _named(**names: str) -> Rows:
    return {field: Row((name,), same, same) for field, name in names.items()}


_AFFINE = _named(weight="weight", bias="bias")
_TRACKED = _AFFINE | _named(mean="running_mean", var="running_var")
_TURNED = _AFFINE | {"weight": Row(("weight",), swapped, unswapped)}
_PROJECTIONS = "q_proj k_proj v_proj".split()
_PACKED = {
    f"{p}.{f}": Row((f"in_proj_{f}",), third(i), transposed) for i, p in enumerate(_PROJECTIONS) for f in _AFFINE
}


def _torch_cell(cell: Any, tail: str = "") -> Rows:
    """Of a cell, or of one of a layer, whose names have a tail."""
    weights = {w: Row((f"weight_{part}{tail}",), swapped, unswapped) for w, part in (("Wi", "ih"), ("Wh", "hh"))}
    x, h = f"bias_ih{tail}", f"bias_hh{tail}"
    if getattr(cell, "state_bias", None) is not None:
        return weights | _named(bias=x, state_bias=h)
    return weights | {"bias": Row((x, h), one_bias(cell) if isinstance(cell, GRUCell) else added, same)}


def _torch_cells(layer: Any) -> Rows:
    ways = 1 + layer.bidirectional
    return {
        f"cells.{i}.{field}": row
        for i, cell in enumerate(layer.cells)
        for field, row in _torch_cell(cell, f"_l{i // ways}{'_reverse' * (i % ways)}").items()
    }


TORCH: Table = {
    Dense: _TURNED,
    Conv: _TURNED,
    ConvTranspose: _TURNED,
    Bilinear: _AFFINE | {"weight": Row(("weight",), out_last, out_first)},
    Embedding: {"weight": Row(("weight",), rows, same)},
    EmbeddingBag: _named(weight="weight"),
    MultiHeadAttention: _PACKED
    | {f"out_proj.{f}": row._replace(names=(f"out_proj.{f}",)) for f, row in _TURNED.items()},
    BatchNorm: _TRACKED,
    InstanceNorm: _TRACKED,
    GroupNorm: _AFFINE,
    LayerNorm: _AFFINE,
    RMSNorm: _named(weight="weight"),
    **dict.fromkeys((RNNCell, LSTMCell, GRUCell), _torch_cell),
    **dict.fromkeys((RNN, LSTM, GRU), _torch_cells),
}
TORCH_UNUSED = r"(.*\.)?num_batches_tracked"  # a count that only momentum=None reads


def _placed(*fields: str, **made: Callable[..., Array]) -> Rows:
    """Fields in the order of Keras's variables."""
    return {field: Row((), made.get(field, same)) for field in fields}


def _inner(ours: str, theirs: str, weight: Callable[..., Array], bias: Callable[..., Array]) -> Rows:
    """Of a Dense inside of a layer."""
    return {f"{ours}.weight": Row((f"{theirs}.0",), weight), f"{ours}.bias": Row((f"{theirs}.1",), bias)}


def _keras_cell(cell: Any, place: str = "") -> Rows:
    """Of a cell at a place. Biases of a GRU are one array; that of a GRUv3 (reset_after=False) is of one row."""
    turned = reset_first if isinstance(cell, GRUCell | GRUv3Cell) else same
    rows = {field: Row((f"{place}{i}",), turned) for i, field in enumerate(("Wi", "Wh", "bias"))}
    if not isinstance(cell, GRUCell):
        return rows
    names = rows["bias"].names
    if cell.state_bias is None:
        return rows | {"bias": Row(names, of_two(one_bias(cell)))}
    rows["bias"] = Row(names, of_two(lambda layer, x, h: x))
    return rows | {"state_bias": Row(names, of_two(lambda layer, x, h: UNFIT if cell.bias is None else h))}


def _keras_cells(layer: Any) -> Rows:
    ways, count = ("forward_layer.", "backward_layer.") if layer.bidirectional else ("",), len(layer.cells)
    expect(count == len(ways), type(layer).__name__, "layers", "1, as in Keras", str(count // len(ways)),
           "a Chain of several", ShapeError)  # fmt: skip
    return {
        f"cells.{i}.{field}": row
        for i, (cell, way) in enumerate(zip(layer.cells, ways, strict=True))
        for field, row in _keras_cell(cell, f"{way}cell.").items()
    }


_KERAS_AFFINE = _placed("weight", "bias")
KERAS: Table = {
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
    **dict.fromkeys((RNNCell, LSTMCell, GRUCell, GRUv3Cell), _keras_cell),
    **dict.fromkeys((RNN, LSTM, GRU, GRUv3), _keras_cells),
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
    **dict.fromkeys((RNNCell, RNN), "simple_rnn|bidirectional"),
    **dict.fromkeys((LSTMCell, LSTM), "lstm|bidirectional"),
    **dict.fromkeys((GRUCell, GRU, GRUv3Cell, GRUv3), "gru|bidirectional"),
    Recurrence: "forward_layer|backward_layer",  # half of a layer is nobody's: a Recurrence's arrays are its cell's
}
KERAS_UNUSED = r"optimizer\..*|(.*\.)?seed_generator\..*"  # of training, and of random numbers
