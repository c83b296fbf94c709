"""Arrays by order: the largest elements of rows, and places in sorted ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..op import DTypeError, ShapeError, expect
from ..ranges import check
from ..shapes import axis_in


def topk(x: ArrayLike, k: int, axis: int = -1, largest: bool = True) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """(values, indices) of the k largest elements along an axis, the largest first; or the smallest, smallest first.

    Both have k in place of that axis. Of equal elements the first comes first; NaN counts as larger than all.
    `np.take_along_axis(x, indices, axis)` gives the values again. Raises RangeError for a k above the axis, ShapeError
    for an axis that is not there, DTypeError for what has no order.

    >>> values, indices = topk(np.array([[1, 9, 5], [7, 2, 7]]), 2)
    >>> values.tolist(), indices.tolist()
    ([[9, 5], [7, 7]], [[1, 2], [0, 2]])
    """
    array = _ordered("topk", "x", x)
    at = axis_in(axis, array.ndim, "topk")
    n = array.shape[at]
    expect(check("topk.k", k) <= n, "topk", "k", f"at most the {n} elements along axis {axis}", k)
    # The largest are the end of the order; turned over before and after, so that the first of equals is first there.
    order = np.argsort(np.flip(array, at) if largest else array, axis=at, kind="stable")
    chosen = n - 1 - np.flip(order, at) if largest else order
    indices = chosen.take(np.arange(k), axis=at)
    return np.take_along_axis(array, indices, at), indices


def batched_searchsorted(a: ArrayLike, v: ArrayLike, side: str = "left") -> NDArray[np.int64]:
    """np.searchsorted row by row: where in the sorted rows a (..., m) the numbers v (..., k) would stand, (..., k).

    side: "left", the first place whose element is not below the number, or "right", the first one above it; one less is
    the last element that is not above it. One row a (m,) serves all of v. Raises ShapeError for other shapes.

    >>> batched_searchsorted([1, 3, 5, 7, 9], [4, 5, 8]).tolist()
    [2, 2, 4]
    >>> batched_searchsorted([[1, 3, 5], [10, 30, 50]], [[3, 6], [3, 60]], side="right").tolist()
    [[2, 3], [0, 3]]
    """
    expect(side in ("left", "right"), "batched_searchsorted", "side", "'left' or 'right'", repr(side))
    rows, numbers = (_ordered("batched_searchsorted", name, x) for name, x in (("a", a), ("v", v)))
    if rows.ndim == 1:
        return np.asarray(np.searchsorted(rows, numbers, side))  # type: ignore[call-overload]
    good = rows.ndim == numbers.ndim and rows.shape[:-1] == numbers.shape[:-1]
    expected = f"of shape {(*rows.shape[:-1], 'k')}".replace("'k'", "k")
    expect(good, "batched_searchsorted", "v", expected, f"shape {numbers.shape}", error=ShapeError)
    places = np.empty(numbers.shape, np.int64)
    for index in np.ndindex(*rows.shape[:-1]):
        places[index] = np.searchsorted(rows[index], numbers[index], side)  # type: ignore[call-overload]
    return places


def _ordered(where: str, name: str, x: Any) -> NDArray[Any]:
    array = np.asarray(x)
    expect(array.dtype.kind in "fiub", where, name, "an array of real numbers", str(array.dtype), error=DTypeError)
    expect(array.ndim > 0, where, name, "at least one-dimensional", "shape ()", error=ShapeError)
    return array
