"""Rows by index: gathered from an array, or scattered to where they meet."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from . import functions as F
from .managed import beside
from .op import DTypeError, ShapeError, expect
from .ops import move as M
from .ops import scatter as S
from .ops.window import Sizes, sizes
from .trace import Value, apply


def _indices(where: str, idx: Any) -> list[Any]:
    """Each array of idx, as int64; all of one shape."""
    many = idx if isinstance(idx, tuple) else (idx,)
    expect(bool(many), where, "idx", "an array of integers, or a tuple of them", "()", error=ShapeError)
    arrays = [i if isinstance(i, Value) else np.asarray(i) for i in many]
    for i in arrays:
        expect(i.dtype.kind in "iu", where, "idx", "of integers", str(i.dtype), "np.nonzero(mask) for a mask",
               DTypeError)  # fmt: skip
        expect(i.shape == arrays[0].shape, where, "idx", f"of arrays of one shape, {arrays[0].shape}", str(i.shape),
               error=ShapeError)  # fmt: skip
    return [F.astype(i, np.int64) if isinstance(i, Value) else i.astype(np.int64) for i in arrays]


def joined(where: str, index: list[Any], spans: Sizes) -> tuple[Any, str]:
    """One index into all rows of axes of these sizes, and how to say that one is out of range."""
    what = f"{where}: idx must be in " + ", ".join(f"0..{n - 1}" for n in spans)
    if len(index) == 1:
        return index[0], what
    if not any(isinstance(i, Value) for i in index):
        outside = np.any([(i < 0) | (i >= n) for i, n in zip(index, spans, strict=True)], 0)
        wrong = [tuple(int(i.flat[at]) for i in index) for at in np.flatnonzero(outside)[:1]]
        expect(not wrong, where, "idx", what.partition("must be ")[2], repr(wrong[0] if wrong else ""))
        return np.ravel_multi_index(tuple(index), spans), what
    # float64 has every index of an array that memory can hold.
    flat, beyond = beside(index[0], np.zeros(index[0].shape)), -1.0
    for i, n in zip(index, spans, strict=True):
        place = F.astype(i, np.float64)
        flat = F.add(F.mul(flat, n), place)
        beyond = F.maximum(F.maximum(F.negative(place), F.sub(place, n - 1)), beyond)
    return F.astype(F.where(F.greater(beyond, 0.0), -1.0, flat), np.int64), what


def gather(x: Any, idx: Any) -> Any:
    """Rows of x by idx, integers of any shape: result[k...] = x[idx[k...]], of shape idx.shape + x.shape[1:].

    A tuple of arrays of integers of one shape indexes as many leading axes of x. Indices start at 0; the gradient of a
    row is the sum of those of all its places. Raises RangeError for an index out of range, also a negative one, and
    ShapeError, DTypeError.

    >>> x = np.arange(6, dtype=np.float32).reshape(3, 2)
    >>> gather(x, np.array([2, 0, 2])).tolist()
    [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    >>> gather(x, (np.array([2, 0]), np.array([1, 1]))).tolist()
    [5.0, 1.0]
    """
    expect(hasattr(x, "shape") and hasattr(x, "dtype"), "gather", "x", "an array", type(x).__name__, error=DTypeError)
    index = _indices("gather", idx)
    spans, features = tuple(x.shape[: len(index)]), tuple(x.shape[len(index) :])
    good = len(spans) == len(index) and math.prod(spans) > 0
    expect(good, "gather", "x", f"of {len(index)} axes or more, not empty, as idx says", str(tuple(x.shape)),
           error=ShapeError)  # fmt: skip
    flat, what = joined("gather", index, spans)
    return apply(M.TAKE, F.reshape(x, (math.prod(spans), *features)), flat, what=what)


# ------------------------------------------------------------------------------------------------------------- scatter


def _sum(src: Any, index: Any, to: dict[str, Any]) -> Any:
    return apply(M.SCATTER_ADD, src, index, **to)


def _largest(src: Any, index: Any, to: dict[str, Any]) -> Any:
    return apply(S.SCATTER_MAX, src, index, **to)


def _smallest(src: Any, index: Any, to: dict[str, Any]) -> Any:
    return F.negative(_largest(F.negative(src), index, to))


def _mean(src: Any, index: Any, to: dict[str, Any]) -> Any:
    """0 where nothing is."""
    count = F.maximum(_sum(beside(src, np.ones(index.shape, src.dtype)), index, to), 1.0)
    return F.div(_sum(src, index, to), F.reshape(count, (to["rows"],) + (1,) * (src.ndim - index.ndim)))


def _product(src: Any, index: Any, to: dict[str, Any]) -> Any:
    """The product of what is not 0, times that of the zeros z as a polynomial of them: 1 without any, their sum where
    there is one, (sum(z)**2 - sum(z**2)) / 2 where there are two. So first and second derivatives are right there too;
    of more zeros they are 0."""
    is_zero = F.equal(src, 0.0)
    zeros = F.where(is_zero, src, 0.0)
    count, first, second = (_sum(z, index, to) for z in (F.astype(is_zero, src.dtype), zeros, F.square(zeros)))
    pairs = F.mul(F.sub(F.square(first), second), 0.5)
    few = F.where(F.equal(count, 1.0), first, F.where(F.equal(count, 2.0), pairs, 0.0))
    others = apply(S.SCATTER_PRODUCT, F.where(is_zero, 1.0, src), index, **to)
    return F.mul(others, F.where(F.equal(count, 0.0), 1.0, few))


# Of an operation: what becomes of the rows that meet, how it is joined with init, init unless told (None: as it is).
Way = tuple[Callable[[Any, Any, dict[str, Any]], Any], Callable[[Any, Any], Any], float | None]
WAYS: dict[str, Way] = {
    "+": (_sum, F.add, None),
    "-": (_sum, lambda total, init: F.sub(init, total), 0.0),
    "*": (_product, F.mul, None),
    "/": (_product, lambda total, init: F.div(init, total), 1.0),
    "max": (_largest, F.maximum, None),
    "min": (_smallest, F.minimum, None),
    "mean": (_mean, F.add, None),
}
NAMES = {
    "add": "+", "sub": "-", "subtract": "-", "mul": "*", "multiply": "*", "div": "/", "divide": "/", "truediv": "/",
    "maximum": "max", "minimum": "min",
}  # fmt: skip


def _size(src: Any, index: list[Any], dstsize: Any) -> Sizes:
    """The shape of the result."""
    features = tuple(src.shape[index[0].ndim :])
    if dstsize is None:
        known = not any(isinstance(i, Value) for i in index) and index[0].size > 0
        expect(known, "scatter", "dstsize", "given where idx is traced or empty", "None")
        return tuple(max(int(i.max()) + 1, 0) for i in index) + features
    rank = len(index) + len(features)
    shape = sizes("scatter", "dstsize", dstsize, rank, 0)
    expect(isinstance(dstsize, tuple | list) and shape[len(index) :] == features, "scatter", "dstsize",
           f"{len(index)} sizes, and {features} of src behind them", repr(dstsize), error=ShapeError)  # fmt: skip
    return shape


def scatter(op: Any, src: Any, idx: Any, init: float | None = None, dstsize: Any = None) -> Any:
    """Rows of src where idx sends them, those that meet joined by op: result[idx[k...]] = op(result[...], src[k...]).

    op: "+", "-", "*", "/", "max", "min" or "mean", or a function of such a name (nf.add, np.maximum). src: of shape
    idx.shape + features. idx: integers from 0, of any shape, or a tuple of arrays of one shape, one for each leading
    axis of the result. init: the number that each element of the result starts as; unless told 0, for "*" and "/" 1,
    for "max" and "min" -inf and inf; a mean is added to it. dstsize: the shape of the result; unless told as large as
    idx asks. The gradient of a maximum goes to equals in equal parts. Raises RangeError for an index out of range or
    another op, and ShapeError, DTypeError.

    >>> src = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    >>> scatter("+", src, np.array([0, 2, 0])).tolist()
    [[6.0, 8.0], [0.0, 0.0], [3.0, 4.0]]
    >>> scatter("max", src, np.array([0, 1, 0]), init=4).tolist()
    [[5.0, 6.0], [4.0, 4.0]]
    """
    name = op if isinstance(op, str) else getattr(op, "__name__", repr(op))
    name = NAMES.get(name, name)
    expect(name in WAYS, "scatter", "op", f"one of {', '.join(WAYS)}", repr(op))
    good = hasattr(src, "shape") and hasattr(src, "dtype") and src.dtype.kind == "f"
    expect(good, "scatter", "src", "an array of float32 or float64", str(getattr(src, "dtype", type(src).__name__)),
           error=DTypeError)  # fmt: skip
    number = init is None or isinstance(init, Real) and not isinstance(init, bool)
    expect(number, "scatter", "init", "a number", repr(init), error=DTypeError)
    index = _indices("scatter", idx)
    lead = tuple(index[0].shape)
    expect(tuple(src.shape[: len(lead)]) == lead, "scatter", "src", f"of shape {lead} as idx, and features",
           str(tuple(src.shape)), error=ShapeError)  # fmt: skip
    shape = _size(src, index, dstsize)
    spans, features = shape[: len(index)], shape[len(index) :]
    flat, what = joined("scatter", index, spans)
    fold, join, start = WAYS[name]
    y = fold(src, flat, {"rows": math.prod(spans), "what": what})
    start = start if init is None else float(init)
    return F.reshape(y if start is None else join(y, start), (*spans, *features))
