"""Sums, maxima and repetition along axes start..stop: shape (outer, k, inner) each; other axes by reshape and
permute."""

from __future__ import annotations

import math
from typing import Any

from ..lowering import Array, Buf, Build, Num, cut, elements_block, image_block, leading, whole
from ..op import DTypeError, Op, ShapeError, Spec, example, expect
from .elementwise import AFFINE, FILL, MUL


def _parts(shape: tuple[int, ...], start: int, stop: int) -> tuple[int, int, int]:
    return math.prod(shape[:start]), math.prod(shape[start:stop]), math.prod(shape[stop:])


def _reduced(name: str) -> Any:
    def shape(x: Spec, start: int, stop: int, **attrs: Any) -> Spec:
        expect(x.dtype.kind == "f", name, "x", "an array of float32 or float64", str(x.dtype),
               "x.astype(np.float32)", DTypeError)  # fmt: skip
        empty = name == "max" and math.prod(x.shape[start:stop]) == 0
        expect(not empty, name, "x", "of at least one element along the axis", f"shape {x.shape}", error=ShapeError)
        return Spec(x.shape[:start] + x.shape[stop:], x.dtype)

    return shape


def reduce_lower(kernel: str, b: Build, out: Buf, x: Buf, start: int, stop: int, **numbers: float) -> None:
    """Each outer index on its own; where there is one, partial results over blocks of k, joined in their order."""
    outer, k, inner = _parts(x.shape, start, stop)
    extra = [Num(v, x.dtype) for v in numbers.values()]
    if outer > 1 or k <= 32:
        block = elements_block(outer, k * inner)
        b.add(f"reduce.{kernel}", cut(out, outer, inner, write=True), cut(x, outer, k, inner), *extra,
              rows=outer, block=block)  # fmt: skip
        return
    rows = x.shape[start] if x.shape[start] > 32 else k
    block = image_block(rows, x.nbytes // rows)
    tiles = -(-rows // block)
    slots = out if tiles == 1 else b.temp((tiles, inner), x.dtype)
    one = Array(slots, (inner,), per_tile=inner, write=True)
    b.add(f"rows.{kernel}", one, cut(x, k, inner), *extra, rows=rows, block=block, fixed=True)
    if tiles > 1:
        ones = [Num(1.0, x.dtype) for _ in extra]
        b.add(
            f"reduce.{kernel}", whole(out, 1, inner, write=True), whole(slots, 1, tiles, inner), *ones, rows=1, block=1
        )


def _sum_grad(c: Any, dy: Any) -> Any:
    sizes = c.x.shape[c.attrs["start"] : c.attrs["stop"]]
    dy = dy if c.attrs["scale"] == 1.0 else c.apply(AFFINE, dy, scale=c.attrs["scale"], shift=-0.0)
    return c.apply(BROADCAST, dy, start=c.attrs["start"], sizes=sizes)


SUM = Op(
    "sum",
    _reduced("sum"),
    lambda *a, **k: reduce_lower("sum", *a, **k),
    (_sum_grad,),
    examples=(
        example("f", (3, 4), start=1, stop=2, scale=1.0),
        example("f", (100, 3), start=0, stop=1, scale=1.0),
    ),
)


def _broadcast_shape(x: Spec, start: int, sizes: tuple[int, ...]) -> Spec:
    return Spec(x.shape[:start] + sizes + x.shape[start:], x.dtype)


def _broadcast_lower(b: Build, out: Buf, x: Buf, start: int, sizes: tuple[int, ...]) -> None:
    outer, k, inner = _parts(out.shape, start, start + len(sizes))
    if outer == 1:
        rows = k if inner > 1 else leading(out.shape)
        b.add("rows.broadcast", cut(out, k, inner, write=True), whole(x, inner),
              rows=rows, block=elements_block(rows, out.size // max(rows, 1)))  # fmt: skip
    else:
        b.add("reduce.broadcast", cut(out, outer, k, inner, write=True), cut(x, outer, inner),
              rows=outer, block=elements_block(outer, k * inner))  # fmt: skip


def _broadcast_grad(c: Any, dy: Any) -> Any:
    start = c.attrs["start"]
    return c.apply(SUM, dy, start=start, stop=start + len(c.attrs["sizes"]), scale=1.0)


# axes of the given sizes put in at start: every element repeated
BROADCAST = Op(
    "broadcast",
    _broadcast_shape,
    _broadcast_lower,
    (_broadcast_grad,),
    examples=(example("f", (3,), start=0, sizes=(4,)), example("f", (3,), start=1, sizes=(4,))),
)


def _max_grad(c: Any, dy: Any) -> Any:
    return c.apply(MAX_GRAD, c.x, c.y, dy, start=c.attrs["start"], stop=c.attrs["stop"])


def _max_grad_dy(c: Any, g: Any) -> Any:
    """What stood at the place of the maximum."""
    at = {"start": c.attrs["start"], "stop": c.attrs["stop"]}
    mask = c.apply(MAX_GRAD, *c.inputs[:2], c.apply(FILL, c.inputs[2], value=1.0), **at)
    return c.apply(SUM, c.apply(MUL, g, mask), scale=1.0, **at)


def _max_grad_lower(b: Build, out: Buf, x: Buf, y: Buf, dy: Buf, start: int, stop: int) -> None:
    outer, k, inner = _parts(x.shape, start, stop)
    b.add("reduce.max_grad", cut(out, outer, k, inner, write=True), cut(x, outer, k, inner), cut(y, outer, inner),
          cut(dy, outer, inner), rows=outer, block=elements_block(outer, k * inner))  # fmt: skip


MAX = Op(
    "max",
    _reduced("max"),
    lambda *a, **k: reduce_lower("max", *a, **k),
    (_max_grad,),
    examples=(example("f", (3, 4), start=1, stop=2), example("f", (100, 3), start=0, stop=1)),
)
# dy at the first maximum, 0 elsewhere
MAX_GRAD = Op(
    "max_grad",
    lambda x, y, dy, start, stop: x,
    _max_grad_lower,
    (None, None, _max_grad_dy),
    examples=(example("fff", (3, 4), (3,), (3,), start=1, stop=2),),
)

OPS = (SUM, BROADCAST, MAX, MAX_GRAD)
