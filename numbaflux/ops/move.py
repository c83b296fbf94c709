"""Operations that move elements: shapes, axes, slices, concatenation, rows by index, dtype. Numbers are never
changed but by cast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..lowering import SMALL, Array, Buf, Build, Int, cut, elements_block, elementwise, whole
from ..op import DTypeError, Op, RangeError, ShapeError, Spec, example, expect

Shape = tuple[int, ...]
TILES = 16  # of a table's gradient, at most


def _alias(b: Build, out: Buf, x: Buf, **attrs: Any) -> None:
    b.alias(out, x)


def _reshape(x: Spec, shape: Shape) -> Spec:
    expect(math.prod(shape) == math.prod(x.shape), "reshape", "shape", f"of {math.prod(x.shape)} elements as {x.shape}",
           str(shape), error=ShapeError)  # fmt: skip
    return Spec(shape, x.dtype)


RESHAPE: Op = Op(
    "reshape",
    _reshape,
    _alias,
    (lambda c, dy: c.apply(RESHAPE, dy, shape=tuple(c.x.shape)),),
    examples=(example("f", (2, 3), shape=(6,)),),
)
COPY = Op("copy", lambda x: x, _alias, (lambda c, dy: dy,), examples=(example("f", (3,)),))
STOP = Op("stop_gradient", lambda x: x, _alias, (None,), examples=(example("f", (3,)),))
CAST: Op = Op(
    "cast",
    lambda x, dtype: Spec(x.shape, np.dtype(dtype)),
    lambda b, out, x, dtype: elementwise(b, "elementwise.cast", out, x),
    (lambda c, dy: c.apply(CAST, dy, dtype=str(c.x.dtype)) if c.x.dtype.kind == "f" else None,),
    examples=(
        example("f", (3,), dtype="float32"),
        example("f", (3,), dtype="float64"),
        example("i", (3,), dtype="float32"),
        example("b", (3,), dtype="float32"),
    ),
)


def _permute_lower(b: Build, out: Buf, x: Buf, axes: Shape) -> None:
    """As five axes or fewer: neighbours that stay neighbours are one."""
    strides = [math.prod(x.shape[a + 1 :]) for a in axes]
    merged: list[list[int]] = []
    for extent, stride in zip(out.shape, strides, strict=True):
        if extent == 1:
            continue
        if merged and merged[-1][1] == stride * extent:
            merged[-1] = [merged[-1][0] * extent, stride]
        else:
            merged.append([extent, stride])
    expect(len(merged) <= 5, "transpose", "axes", "at most 5 once neighbours are joined", str(axes), error=ShapeError)
    merged = merged or [[1, 1]]  # the kernel looks for an axis whose elements are neighbours
    merged += [[1, 0]] * (5 - len(merged))
    rows = merged[0][0]
    source = Array(x, (x.size,), per_row=merged[0][1])
    b.add("move.permute", cut(out, *(e for e, _ in merged), write=True), source, *(Int(s) for _, s in merged),
          rows=rows, block=elements_block(rows, out.size // max(rows, 1)), work=2.0 * out.size)  # fmt: skip


PERMUTE: Op = Op(
    "transpose",
    lambda x, axes: Spec(tuple(x.shape[a] for a in axes), x.dtype),
    _permute_lower,
    (lambda c, dy: c.apply(PERMUTE, dy, axes=tuple(int(i) for i in np.argsort(c.attrs["axes"]))),),
    examples=(example("f", (2, 3), axes=(1, 0)),),
)


def _along(kernel: str) -> Any:
    """The entry of slice and of place: rows of one axis, start, start + step, ..."""

    def lower(b: Build, out: Buf, x: Buf, axis: int, start: int, step: int, size: int) -> None:
        outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        b.add(kernel, cut(out, outer, size, inner, write=True), cut(x, outer, x.shape[axis], inner), Int(start),
              Int(step), rows=outer, block=elements_block(outer, size * inner))  # fmt: skip

    return lower


def _back(op: Callable[[], Op]) -> Any:
    """Slice and place are each other's gradients."""

    def rule(c: Any, dy: Any) -> Any:
        a = c.attrs
        return c.apply(op(), dy, axis=a["axis"], start=a["start"], step=a["step"], size=c.x.shape[a["axis"]])

    return rule


def _with_axis(x: Spec, axis: int, size: int) -> Spec:
    return Spec(x.shape[:axis] + (size,) + x.shape[axis + 1 :], x.dtype)


def _within(name: str, count: int, extent: int, start: int, step: int) -> None:
    """start, start + step, ... are places along an axis of that extent: kernels do not look."""
    last = start + max(count - 1, 0) * step
    good = count == 0 or (0 <= start < extent and 0 <= last < extent)
    expect(good, name, "start, step and size", f"of elements 0..{extent - 1}", (start, step, count), error=ShapeError)


def _slice_shape(x: Spec, axis: int, start: int, step: int, size: int) -> Spec:
    _within("slice", size, x.shape[axis], start, step)
    return _with_axis(x, axis, size)


def _place_shape(x: Spec, axis: int, start: int, step: int, size: int) -> Spec:
    _within("place", x.shape[axis], size, start, step)
    return _with_axis(x, axis, size)


# x[start], x[start + step], ... : size elements along an axis
SLICE: Op = Op(
    "slice",
    _slice_shape,
    _along("move.extract"),
    (_back(lambda: PLACE),),
    examples=(example("f", (4, 5), axis=1, start=1, step=2, size=2),),
)
# zeros of the given size along an axis, with x at start, start + step, ...
PLACE: Op = Op(
    "place",
    _place_shape,
    _along("move.place"),
    (_back(lambda: SLICE),),
    examples=(example("f", (4, 2), axis=1, start=1, step=2, size=5),),
)


def _concat_shape(*xs: Spec | None, axis: int) -> Spec:
    given = [x for x in xs if x is not None]
    first = given[0]
    for x in given[1:]:
        expect(x.dtype == first.dtype, "concatenate", "arrays", f"all {first.dtype}", str(x.dtype), error=DTypeError)
        fits = len(x.shape) == len(first.shape) and _with_axis(x, axis, 0) == _with_axis(first, axis, 0)
        expect(fits, "concatenate", "arrays", f"as {first.shape} but along axis {axis}", str(x.shape), error=ShapeError)
    return _with_axis(first, axis, sum(x.shape[axis] for x in given))


def _concat_lower(b: Build, out: Buf, *xs: Buf, axis: int) -> None:
    """One entry an array: each fills its own columns of every outer row."""
    outer, inner = math.prod(out.shape[:axis]), math.prod(out.shape[axis + 1 :])
    width, at = out.shape[axis] * inner, 0
    for x in xs:
        k = x.shape[axis] * inner
        if outer == 1:
            elementwise(b, "elementwise.copy", out.part(at, k), x.part(0, k))
        else:
            b.add("move.insert", cut(out, outer, width, write=True), cut(x, outer, k), Int(at),
                  rows=outer, block=elements_block(outer, width))  # fmt: skip
        at += k


class _Parts(tuple):
    """Gradient rules of an operation with any number of inputs: rule i gives back the i-th part."""

    def __getitem__(self, i: Any) -> Any:
        def rule(c: Any, dy: Any) -> Any:
            axis = c.attrs["axis"]
            start = sum(x.shape[axis] for x in c.inputs[:i])
            return c.apply(SLICE, dy, axis=axis, start=start, step=1, size=c.inputs[i].shape[axis])

        return rule


CONCAT = Op(
    "concatenate",
    _concat_shape,
    _concat_lower,
    _Parts(),
    examples=(example("ff", (2, 3), (4, 3), axis=0), example("ff", (2, 3), (2, 4), axis=1)),
)


def _take_shape(table: Spec, index: Spec, what: str = "") -> Spec:
    expect(index.dtype == np.int64, "take", "index", "an array of integers", str(index.dtype), error=DTypeError)
    expect(bool(table.shape) and table.shape[0] > 0, "take", "x", "of at least one row", f"shape {table.shape}",
           error=ShapeError)  # fmt: skip
    return Spec(index.shape + table.shape[1:], table.dtype)


def _take_lower(b: Build, out: Buf, table: Buf, index: Buf, what: str = "") -> None:
    rows, n, c = table.shape[0], index.size, math.prod(table.shape[1:])
    check_index(b, index, rows, what or f"take: index must be in 0..{rows - 1}")
    b.add("move.gather", cut(out, n, c, write=True), whole(table, rows, c), cut(index, n),
          rows=n, block=elements_block(n, c))  # fmt: skip


def check_index(b: Build, index: Buf, size: int, what: str) -> None:
    """An entry that stops the plan where an index is not in 0..size - 1; what: that it must, in the user's words."""

    def error(position: int) -> Exception:
        return RangeError(f"{what}, got another at position {position}")

    b.check("check.indices", whole(index, index.size), Int(size), error=error)


def _take_grad(c: Any, dy: Any) -> Any:
    return c.apply(SCATTER_ADD, dy, c.inputs[1], rows=c.x.shape[0], **c.attrs)


# rows of the table by index; what: how the user's words say that indices are out of range
TAKE = Op("take", _take_shape, _take_lower, (_take_grad, None), examples=(example("fi", (4, 3), (2,)),))


def scattered(x: Spec, index: Spec, rows: int, what: str = "") -> Spec:
    return Spec((rows, *x.shape[len(index.shape) :]), x.dtype)


def scatter_lower(kernel: str, *numbers: Int) -> Callable[..., None]:
    """The entry of what goes from rows of x to the rows of a table that index names. Tiles are blocks of the table's
    rows: each goes through all of index, and takes what is its own in order. So few tiles that this is little beside
    the rows that are filled and added."""

    def lower(b: Build, out: Buf, x: Buf, index: Buf, rows: int, what: str = "") -> None:
        n, c = index.size, math.prod(out.shape[1:])
        check_index(b, index, rows, what or f"scatter: index must be in 0..{rows - 1}")
        tiles = max(1, min(TILES, rows, (rows + n) * c // (4 * n + SMALL)))
        b.add(kernel, cut(out, rows, c, write=True), whole(x, n, c), whole(index, n), Int(0, 1), *numbers,
              rows=rows, block=-(-rows // tiles), work=0.3 * (rows + n) * c + n)  # fmt: skip

    return lower


def _scatter_add_grad(c: Any, g: Any) -> Any:
    return c.apply(TAKE, g, c.inputs[1], what=c.attrs.get("what", ""))


# rows of zeros, dy added to the rows that index names
SCATTER_ADD = Op(
    "scatter_add",
    scattered,
    scatter_lower("move.scatter_add"),
    (_scatter_add_grad, None),
    examples=(example("fi", (2, 3), (2,), rows=4),),
)

OPS = (RESHAPE, COPY, STOP, CAST, PERMUTE, SLICE, PLACE, CONCAT, TAKE, SCATTER_ADD)
