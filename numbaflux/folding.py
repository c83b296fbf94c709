"""Patches of series, images and volumes as rows, and rows added back to where they came from."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import functions as F
from .op import DTypeError, ShapeError, expect
from .ops import move as M
from .ops.window import SPATIAL, Axis, Pads, Sizes, axes, pads, sizes
from .padding import pad_zeros
from .trace import apply
from .windows import space


class Patches(NamedTuple):
    """Where windows lie: the sizes of x, the zeros around it, and the elements of each patch, (patches, taps), counted
    over the padded x."""

    size: Sizes
    pad: Pads
    taps: np.ndarray

    @property
    def padded(self) -> Sizes:
        return tuple(n + low + high for n, (low, high) in zip(self.size, self.pad, strict=True))


def _patches(where: str, size: Sizes, k: Any, stride: Any, pad: Any, dilation: Any) -> Patches:
    rank = len(size)
    window, far = sizes(where, "k", k, rank), sizes(where, "dilation", dilation, rank)
    around = pads(where, pad, window, far)
    own = axes(where, size, window, sizes(where, "stride", stride, rank), around, far)[SPATIAL - rank :]
    made = Patches(size, around, np.zeros((1, 1), np.int64))
    index = made.taps
    for a, n in zip(own, made.padded, strict=True):
        index = (index[:, None, :, None] * n + _along(a)[:, None, :]).reshape(len(index) * a.out, -1)
    return made._replace(taps=index)


def _along(a: Axis) -> np.ndarray:
    """(windows, taps): the elements of each window along an axis, counted from the first of the padding."""
    return np.arange(a.out)[:, None] * a.stride + np.arange(a.window) * a.dilation


def unfold(x: Any, k: Any, stride: Any = 1, pad: Any = 0, dilation: Any = 1) -> Any:
    """The patches that a window sees in x (n, spatial axes, c): (n, patches, prod(k) * c), one after another.

    k, stride, pad, dilation as for nf.conv. A patch has its first axis slowest and channels fastest, as weights of Conv
    have, so that unfold(x, k) @ w.reshape(-1, out) is conv(x, w). Raises ShapeError, DTypeError, RangeError.

    >>> unfold(np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1), 2).tolist()
    [[[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]]
    """
    size = space("unfold", x)
    patches = _patches("unfold", size, k, stride, pad, dilation)
    n, c = x.shape[0], x.shape[-1]
    x = pad_zeros(x, tuple(i for pair in patches.pad for i in pair))
    rows = F.transpose(F.reshape(x, (n, math.prod(patches.padded), c)), (1, 0, 2))
    y = apply(M.TAKE, rows, patches.taps)  # patches, taps, n, c
    return F.reshape(F.transpose(y, (2, 0, 1, 3)), (n, len(patches.taps), patches.taps.shape[1] * c))


def fold(y: Any, size: Any, k: Any, stride: Any = 1, pad: Any = 0, dilation: Any = 1) -> Any:
    """The gradient of unfold as an operation: patches y (n, patches, prod(k) * c) added up to (n, spatial axes, c).

    size: the spatial sizes of the result, an integer or one an axis; other arguments as for unfold, whose patches of an
    array of that size y has. Raises ShapeError, DTypeError, RangeError.

    >>> patches = unfold(np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1), 2)
    >>> fold(patches, (4,), 2).ravel().tolist()
    [1.0, 4.0, 6.0, 4.0]
    """
    good = hasattr(y, "shape") and hasattr(y, "dtype") and y.dtype.kind == "f"
    expect(good, "fold", "y", "an array of float32 or float64", str(getattr(y, "dtype", type(y).__name__)),
           error=DTypeError)  # fmt: skip
    expect(y.ndim == 3, "fold", "y", "of shape (n, patches, taps * channels)", str(tuple(y.shape)), error=ShapeError)
    rank = len(size) if isinstance(size, tuple | list) else 1
    expect(1 <= rank <= SPATIAL, "fold", "size", f"of 1 to {SPATIAL} axes", repr(size))
    patches = _patches("fold", sizes("fold", "size", size, rank), k, stride, pad, dilation)
    n, many, features = y.shape
    count, taps = patches.taps.shape
    fits = many == count and features % taps == 0
    expect(fits, "fold", "y", f"of shape (n, {count}, {taps} * channels)", str(tuple(y.shape)), error=ShapeError)
    rows = F.transpose(F.reshape(y, (n, count, taps, features // taps)), (1, 2, 0, 3))
    x = apply(M.SCATTER_ADD, rows, patches.taps, rows=math.prod(patches.padded))
    x = F.reshape(F.transpose(x, (1, 0, 2)), (n, *patches.padded, features // taps))
    inner = tuple(slice(low, low + m) for m, (low, _) in zip(patches.size, patches.pad, strict=True))
    return F.getitem(x, (slice(None), *inner))
