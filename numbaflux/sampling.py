"""Images and volumes read at places between their elements: by a grid, or turned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import functions as F
from .managed import beside
from .op import DTypeError, ShapeError, expect
from .ops import move as M
from .padding import pad_zeros
from .ranges import check
from .trace import apply
from .windows import space

MODES = ("zeros", "border")
METHODS = ("bilinear", "nearest")


def _within(place: Any, low: float, high: float) -> Any:
    """No further out than low and high, where no gradient goes any more; NaN stays."""
    return F.where(F.less_equal(place, low), low, F.where(F.greater_equal(place, high), high, place))


def _rows(x: Any, places: Sequence[Any]) -> Any:
    """Rows of x (n, spatial axes, c) by whole numbers as float64, one array (n, ...) an axis."""
    n, *size, c = x.shape
    flat: Any = beside(x, np.arange(n, dtype=np.float64)).reshape((n,) + (1,) * (places[0].ndim - 1))
    for place, m in zip(places, size, strict=True):
        flat = F.add(F.mul(flat, m), place)
    return apply(M.TAKE, F.reshape(x, (n * math.prod(size), c)), F.astype(flat, np.int64))


def _between(x: Any, places: Sequence[Any]) -> Any:
    """On straight lines between the neighbours of each place, one array (n, ...) an axis, that lies not further than 1
    outside of x, where zeros are."""
    x = pad_zeros(x, (1, 2) * len(places))  # a neighbour more behind: at the last place it counts 0
    lows, shares = [], []
    for place in places:
        place = F.add(place, 1.0)
        known = F.stop_gradient(F.where(F.equal(place, place), place, 0.0))
        whole = F.astype(known, np.int64)
        share = F.sub(place, F.astype(whole, place.dtype))
        lows.append(F.astype(whole, np.float64))
        shares.append((F.sub(1.0, share), share))
    total = None
    for corner in itertools.product((0, 1), repeat=len(places)):
        weight = shares[0][corner[0]]
        for share, side in zip(shares[1:], corner[1:], strict=True):
            weight = F.mul(weight, share[side])
        rows = _rows(x, [F.add(low, float(side)) for low, side in zip(lows, corner, strict=True)])
        part = F.mul(rows, F.expand_dims(weight, weight.ndim))
        total = part if total is None else F.add(total, part)
    return total


def grid_sample(x: Any, grid: Any, padding_mode: str = "zeros") -> Any:
    """x at the places of a grid, between neighbours on straight lines: images (n, h, w, c), volumes (n, d, h, w, c).

    grid: (n, oh, ow, 2) or (n, od, oh, ow, 3), of x's dtype: along width, height (and depth), from -1, the first
    element, to 1, the last (PyTorch: align_corners=True). Result: (n, oh, ow, c). Outside are zeros ("zeros"), or what
    is nearest ("border"). A place that is NaN gives NaN. Raises ShapeError, DTypeError, RangeError.
    Source: Jaderberg et al. 2015.

    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(1, 2, 2, 1)
    >>> grid = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 0.5]], np.float32).reshape(1, 1, 3, 2)
    >>> grid_sample(x, grid).ravel().tolist()
    [1.0, 2.5, 3.5]
    """
    size = space("grid_sample", x)
    rank = len(size)
    expect(rank > 1 and min(size) > 0, "grid_sample", "x", "of shape (n, h, w, c) or (n, d, h, w, c), not empty",
           str(tuple(x.shape)), error=ShapeError)  # fmt: skip
    known = isinstance(padding_mode, str) and padding_mode in MODES
    expect(known, "grid_sample", "padding_mode", f"one of {', '.join(MODES)}", repr(padding_mode))
    expect(hasattr(grid, "dtype") and grid.dtype == x.dtype, "grid_sample", "grid", f"an array of {x.dtype} as x",
           str(getattr(grid, "dtype", type(grid).__name__)), error=DTypeError)  # fmt: skip
    good = grid.ndim == rank + 2 and grid.shape[0] == x.shape[0] and grid.shape[-1] == rank
    expect(good, "grid_sample", "grid", f"of shape ({x.shape[0]}, {rank} axes, {rank})", str(tuple(grid.shape)),
           error=ShapeError)  # fmt: skip
    places = []
    for axis, n in enumerate(size):
        place = F.mul(F.add(F.getitem(grid, (..., rank - 1 - axis)), 1.0), (n - 1) / 2)
        places.append(_within(place, -1.0, n) if padding_mode == "zeros" else _within(place, 0.0, n - 1))
    return _between(x, places)


def imrotate(x: Any, angle: float, method: str = "bilinear", midpoint: tuple[float, float] | None = None) -> Any:
    """Images x (n, h, w, c) turned by an angle in radians, clockwise as they are shown, rows downwards.

    method: "bilinear", between neighbours on straight lines, or "nearest". midpoint: the row and column that stay,
    counted from 0; unless told the element (h // 2, w // 2). What comes from outside is 0. The gradient is that of x.
    Raises ShapeError, DTypeError, RangeError.

    >>> x = np.zeros((1, 3, 3, 1), np.float32)
    >>> x[0, 0, 1] = 1
    >>> imrotate(x, np.pi / 2, "nearest")[0, :, :, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    h, w = space("imrotate", x, 2)
    angle = float(check("imrotate.angle", angle))
    known = isinstance(method, str) and method in METHODS
    expect(known, "imrotate", "method", f"one of {', '.join(METHODS)}", repr(method))
    middle = (h // 2, w // 2) if midpoint is None else midpoint
    pair = isinstance(middle, tuple | list) and len(middle) == 2
    expect(pair, "imrotate", "midpoint", "a row and a column", repr(middle), error=ShapeError)
    row, column = (float(check("imrotate.midpoint", m)) for m in middle)
    down, right = np.arange(h)[:, None] - row, np.arange(w)[None] - column
    sin, cos = math.sin(angle), math.cos(angle)
    places = (cos * down - sin * right + row, sin * down + cos * right + column)
    inside = [np.clip(p, -1, n) for p, n in zip(places, (h, w), strict=True)]
    shape = (x.shape[0], h, w)
    if method == "nearest":
        return _rows(pad_zeros(x, 1), [beside(x, np.broadcast_to(np.rint(p) + 1, shape)) for p in inside])
    return _between(x, [beside(x, np.broadcast_to(p, shape).astype(x.dtype)) for p in inside])
