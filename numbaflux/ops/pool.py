"""The maximum and the mean of windows over the spatial axes of (n, ..., c), and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import lanes
from ..kernels.table import IMAGES
from ..lowering import CACHE, SMALL, Array, Buf, Build, Int, Num, constant, cut, image_block, whole
from ..op import Op, ShapeError, Spec, example, expect
from .window import SPATIAL, Axis, Pads, Sizes, axes, spatial

FEW = 16  # samples below which tiles are lines of images, if these are large
TILES = 64  # about how many tiles of lines
COST = 3.0  # nanoseconds for 16 channels of an element of a window


def _axes(name: str, size: Sizes, window: Sizes, stride: Sizes, pad: Pads) -> tuple[Axis, ...]:
    return axes(name, size, window, stride, pad, (1,) * len(window))


def _shape(name: str) -> Callable[..., Spec]:
    def shape(x: Spec, window: Sizes, stride: Sizes, pad: Pads) -> Spec:
        size = spatial(name, x, len(window))
        expect(0 not in size, name, "x", "of at least one element along each spatial axis", f"shape {x.shape}",
               error=ShapeError)  # fmt: skip
        found = _axes(name, size, window, stride, pad)
        return Spec((x.shape[0], *(a.out for a in found[SPATIAL - len(size) :]), x.shape[-1]), x.dtype)

    return shape


def _line_block(rows: int, elements: int, itemsize: int) -> int:
    """How many of some lines make a tile: a part of their elements that is neither tiny nor larger than a cache."""
    part = min(max(SMALL, elements // TILES), CACHE // itemsize)
    return max(1, min(rows, part * rows // elements))


def _lines(x: Buf) -> tuple[int, ...]:
    """What kernels see: (lines of all images, columns, channels)."""
    return math.prod(x.shape[:-2]), *x.shape[-2:]


def _add(b: Build, kernel: str, found: Sequence[Axis], own: Sequence[Buf], seen: Sequence[Buf], *numbers: Num) -> None:
    """The entry kernel(*own, *seen, sizes, first line, *numbers). own: the result, and what is cut into the same lines;
    seen: that of which a line of the result needs several."""
    out = own[0]
    n, lines = out.shape[0], math.prod(out.shape[1:-2])
    sizes = whole(constant([(a.size, a.window, a.stride, a.low, a.out) for a in found]))
    work = COST * n * math.prod(a.out * a.window for a in found) * -(-out.shape[-1] // 16) + 30
    if lanes.has(b, seen[0]):
        _add_lanes(b, kernel, own, seen, (sizes, Int(0), *numbers), work)
        return
    large = max(x.size for x in (*own, *seen))
    by_lines = n < FEW and lines > 1 and large > SMALL
    rows = n * lines if by_lines else n
    size = out.dtype.itemsize
    block = _line_block(rows, large, size) if by_lines else image_block(n, large * size // max(n, 1))
    arrays = [cut(x, *_lines(x), write=x is out) for x in own]
    arrays += [whole(x, *_lines(x)) if by_lines else cut(x, *_lines(x)) for x in seen]
    b.add(kernel, *arrays, sizes, Int(0, int(by_lines)), *numbers, rows=rows, block=block, work=work)


def _add_lanes(
    b: Build, kernel: str, own: Sequence[Buf], seen: Sequence[Buf], rest: Sequence[Array | Int | Num], work: float
) -> None:
    """The same over blocks of images in lanes, which are images of as many times more channels."""
    out, n = own[0], own[0].shape[0]

    def array(t: Buf, x: Buf, write: bool = False) -> Array:
        shape = math.prod(x.shape[1:-2]), x.shape[-2], x.shape[-1] * IMAGES
        return lanes.as_lanes(t, write, shape)

    t = lanes.temp(b, n, lanes.features(out), out)
    read = [array(lanes.read(b, x), x) for x in (*own[1:], *seen)]
    lanes.add(b, kernel, array(t, out, True), *read, *rest, n=n, work=work)
    lanes.written(b, out, t)


def _max_lower(b: Build, out: Buf, x: Buf, **window: Any) -> None:
    _add(b, "pool.maxpool", _axes("maxpool", x.shape[1:-1], **window), [out], [x])


def _max_grad_lower(b: Build, out: Buf, x: Buf, y: Buf, dy: Buf, **window: Any) -> None:
    _add(b, "pool.maxpool_grad", _axes("maxpool", x.shape[1:-1], **window), [out], [x, y, dy])


def _max_pick_lower(b: Build, out: Buf, x: Buf, y: Buf, g: Buf, **window: Any) -> None:
    _add(b, "pool.maxpool_pick", _axes("maxpool", x.shape[1:-1], **window), [out, y], [x, g])


def _mean(b: Build, kernel: str, out: Buf, x: Buf, size: Sizes, window: Sizes, stride: Sizes, pad: Pads) -> None:
    scale = Num(1 / math.prod(window), x.dtype)
    _add(b, kernel, _axes("meanpool", size, window, stride, pad), [out], [x], scale)


def _mean_lower(b: Build, out: Buf, x: Buf, **window: Any) -> None:
    _mean(b, "pool.meanpool", out, x, x.shape[1:-1], **window)


def _mean_grad_lower(b: Build, out: Buf, dy: Buf, **window: Any) -> None:
    _mean(b, "pool.meanpool_grad", out, dy, **window)


SMALLEST: dict[str, Any] = {"window": (2,), "stride": (2,), "pad": ((0, 0),)}
LINE, THREE = (2, 4, 3), ((2, 4, 3), (2, 2, 3), (2, 2, 3))
# the largest of each window; zeros around x are never it
MAXPOOL: Op = Op(
    "maxpool",
    _shape("maxpool"),
    _max_lower,
    (lambda c, dy: c.apply(MAXPOOL_GRAD, c.x, c.y, dy, **c.attrs),),
    examples=(example("f", LINE, **SMALLEST),),
)
# from x, y = maxpool(x) and dy: dy where x has the first of the largest of a window, summed over windows
MAXPOOL_GRAD: Op = Op(
    "maxpool_grad",
    lambda x, y, dy, **window: x,
    _max_grad_lower,
    (None, None, lambda c, g: c.apply(MAXPOOL_PICK, *c.inputs[:2], g, **c.attrs)),
    examples=(example("fff", *THREE, **SMALLEST),),
)
# from x, y = maxpool(x) and g like x: g where x has the first of the largest of each window
MAXPOOL_PICK: Op = Op(
    "maxpool_pick",
    lambda x, y, g, **window: y,
    _max_pick_lower,
    (None, None, lambda c, dz: c.apply(MAXPOOL_GRAD, *c.inputs[:2], dz, **c.attrs)),
    examples=(example("fff", LINE, (2, 2, 3), LINE, **SMALLEST),),
)
# the mean of each window, zeros around x counted
MEANPOOL: Op = Op(
    "meanpool",
    _shape("meanpool"),
    _mean_lower,
    (lambda c, dy: c.apply(MEANPOOL_GRAD, dy, size=tuple(c.x.shape[1:-1]), **c.attrs),),
    examples=(example("f", LINE, **SMALLEST),),
)
# each dy spread over the elements of its window; size: the spatial sizes of x
MEANPOOL_GRAD: Op = Op(
    "meanpool_grad",
    lambda dy, size, **window: Spec((dy.shape[0], *size, dy.shape[-1]), dy.dtype),
    _mean_grad_lower,
    (lambda c, g: c.apply(MEANPOOL, g, **{name: c.attrs[name] for name in SMALLEST}),),
    examples=(example("f", (2, 2, 3), size=(4,), **SMALLEST),),
)

OPS = (MAXPOOL, MAXPOOL_GRAD, MAXPOOL_PICK, MEANPOOL, MEANPOOL_GRAD)
