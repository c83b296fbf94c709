"""Functions of arrays and Values that move elements: shapes, axes, broadcasting, concatenation, indexing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from .op import DTypeError, ShapeError, expect
from .ops import move as M
from .ops import reduce as R
from .trace import Value, apply

Axis = int | Sequence[int] | None


def astype(x: Any, dtype: Any) -> Any:
    """x in another dtype."""
    return x if x.dtype == np.dtype(dtype) else apply(M.CAST, x, dtype=str(np.dtype(dtype)))


def reshape(x: Any, *shape: Any) -> Any:
    """The elements of x in another shape; one size may be -1."""
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
    sizes = tuple(int(s) for s in sizes)
    if sizes.count(-1) == 1:
        known = -math.prod(sizes)
        expect(
            known > 0 and x.size % known == 0, "reshape", "shape", f"of {x.size} elements", str(sizes), error=ShapeError
        )
        sizes = tuple(x.size // known if s == -1 else s for s in sizes)
    return x if sizes == tuple(x.shape) else apply(M.RESHAPE, x, shape=sizes)


def flatten(x: Any) -> Any:
    """(n, ...) as (n, everything else).

    >>> flatten(np.ones((2, 3, 4), np.float32)).shape
    (2, 12)
    """
    ndim = getattr(x, "ndim", 0)
    expect(ndim > 0, "flatten", "x", "an array of one axis or more", f"{type(x).__name__} of {ndim}", error=ShapeError)
    return reshape(x, x.shape[0], math.prod(x.shape[1:]))


def axis_in(axis: int, ndim: int, where: str) -> int:
    expect(isinstance(axis, Integral), where, "axis", "an integer", type(axis).__name__, error=DTypeError)
    expect(-ndim <= axis < ndim, where, "axis", f"in {-ndim}..{ndim - 1}", axis, error=ShapeError)
    return axis % ndim


def transpose(x: Any, *axes: Any) -> Any:
    """x with its axes in another order; reversed unless told."""
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    order = tuple(range(x.ndim))[::-1] if order is None else tuple(axis_in(a, x.ndim, "transpose") for a in order)
    expect(sorted(order) == list(range(x.ndim)), "transpose", "axes", f"each of 0..{x.ndim - 1} once", str(order),
           error=ShapeError)  # fmt: skip
    return x if order == tuple(range(x.ndim)) else apply(M.PERMUTE, x, axes=order)


def swapaxes(x: Any, a: int, b: int) -> Any:
    """x with two axes exchanged."""
    order = list(range(x.ndim))
    a, b = axis_in(a, x.ndim, "swapaxes"), axis_in(b, x.ndim, "swapaxes")
    order[a], order[b] = b, a
    return transpose(x, tuple(order))


def expand_dims(x: Any, axis: int) -> Any:
    """x with an axis of one element put in."""
    at = axis_in(axis, x.ndim + 1, "expand_dims")
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Any, axis: Axis = None) -> Any:
    """x without axes of one element: all, or the ones named."""
    named = range(x.ndim) if axis is None else [axis_in(a, x.ndim, "squeeze") for a in np.atleast_1d(axis)]
    if axis is not None:
        expect(
            all(x.shape[a] == 1 for a in named),
            "squeeze",
            "axis",
            "of one element",
            f"shape {x.shape}",
            error=ShapeError,
        )
    return reshape(x, tuple(s for a, s in enumerate(x.shape) if s != 1 or a not in named))


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """x repeated along missing axes and axes of one element."""
    shape = tuple(shape)
    if tuple(x.shape) == shape:
        return x
    lead = len(shape) - x.ndim
    new = [i < lead or (x.shape[i - lead] == 1 and shape[i] != 1) for i in range(len(shape))]
    fits = lead >= 0 and all(n or x.shape[i - lead] == shape[i] for i, n in enumerate(new))
    expect(fits, "broadcast_to", "shape", f"one that {tuple(x.shape)} broadcasts to", str(shape), error=ShapeError)
    y = reshape(x, tuple(s for s, n in zip(shape, new, strict=True) if not n))
    for start, stop in runs([i for i, n in enumerate(new) if n]):
        y = apply(R.BROADCAST, y, start=start, sizes=shape[start:stop])
    return y


def runs(axes: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending axes as ranges start..stop."""
    runs: list[tuple[int, int]] = []
    for a in axes:
        if runs and runs[-1][1] == a:
            runs[-1] = (runs[-1][0], a + 1)
        else:
            runs.append((a, a + 1))
    return runs


def concatenate(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Arrays one after another along an axis.

    >>> concatenate([np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)]).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    arrays = list(arrays)
    expect(bool(arrays), "concatenate", "arrays", "at least one array", "none", error=ShapeError)
    return apply(M.CONCAT, *arrays, axis=axis_in(axis, arrays[0].ndim, "concatenate"))


def cat(*arrays: Any, axis: int = -1) -> Any:
    """The arguments side by side, along the last axis unless told: features, channels.

    >>> cat(np.zeros((1, 2), np.float32), np.ones((1, 1), np.float32)).tolist()
    [[0.0, 0.0, 1.0]]
    """
    return concatenate(arrays, axis)


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape as the elements of a new axis."""
    return concatenate([expand_dims(a, axis) for a in arrays], axis)


def take(x: Any, index: Any, axis: int = 0) -> Any:
    """Rows of x along an axis, by an array of integers (any shape); out of range raises.

    >>> take(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([2, 0])).tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """
    index = index if isinstance(index, Value) else np.asarray(index)
    expect(index.dtype.kind in "iu", "take", "index", "an array of integers", str(index.dtype),
           "nf.where(mask, x, 0) for a mask", DTypeError)  # fmt: skip
    index = index.astype(np.int64, copy=False) if isinstance(index, np.ndarray) else astype(index, np.int64)
    axis = axis_in(axis, x.ndim, "take")
    if axis == 0:
        return apply(M.TAKE, x, index)
    order = (axis, *(a for a in range(x.ndim) if a != axis))
    y = apply(M.TAKE, transpose(x, order), index)
    back = list(range(index.ndim, y.ndim))
    return transpose(y, (*back[:axis], *range(index.ndim), *back[axis:]))


def getitem(x: Any, key: Any) -> Any:
    """x[key]: integers, slices, ..., None, one array of integers."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(isinstance(k, np.ndarray | list | Value) for k in keys):
        at = next(i for i, k in enumerate(keys) if isinstance(k, np.ndarray | list | Value))
        plain = all(k == slice(None) for i, k in enumerate(keys) if i != at)
        expect(plain, "index", "key", "one array of integers among full slices", repr(key), error=ShapeError)
        return take(x, keys[at], at)
    used = len([k for k in keys if k is not None and k is not Ellipsis])
    expect(used <= x.ndim, "index", "key", f"of at most {x.ndim} axes", repr(key), error=ShapeError)
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    at = keys.index(Ellipsis)
    keys[at : at + 1] = [slice(None)] * (x.ndim - used)
    shape: list[int] = []
    axis, y = 0, x
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        start, step, size = _range(k, x.shape[axis])
        if (start, step, size) != (0, 1, x.shape[axis]):
            y = apply(M.SLICE, y, axis=axis, start=start, step=step, size=size)
        shape += [size] if isinstance(k, slice) else []
        axis += 1
    return reshape(y, tuple(shape))


def _range(k: Any, size: int) -> tuple[int, int, int]:
    if isinstance(k, slice):
        span = range(*k.indices(size))
        return (span[0] if span else 0), span.step, len(span)
    expect(
        isinstance(k, int | np.integer) and not isinstance(k, bool),
        "index",
        "key",
        "integers, slices, ... or None",
        repr(k),
        error=DTypeError,
    )
    if not -size <= k < size:
        raise IndexError(f"index: key must be in {-size}..{size - 1}, got {k}")
    return int(k) % size, 1, 1
