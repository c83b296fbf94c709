"""Convolutions (cross-correlations) of any rank up to 3, and what is the gradient of what: three operations, one
another's gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import lanes
from ..kernels.table import IMAGES
from ..lowering import Block, Buf, Build, Int, cut, elements_block, image_block, up, whole
from ..op import DTypeError, Op, ShapeError, Spec, example, expect
from .dense import SLOTS, SPEED, Product, in_panels, lower_product, nothing
from .reduce import BROADCAST, SUM, reduce_lower
from .slots import join, own, slots
from .spans import Spans, forward_spans, phases, sizes_of
from .tiling import FEW, TILES, Tiling, per_sample
from .window import SPATIAL, Axis, Pads, Sizes, axes, spatial

_SHOWN = {"stride": (1, 1), "pad": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
ROWS = 96  # rows of a large gradient of weights a tile: what is read of x and dy serves all of them


def padded(b: Build, x: Buf, before: int, behind: int) -> Buf:
    """x with columns of zeros along its last spatial axis."""
    if before == behind == 0:
        return x
    *outer, w, c = x.shape
    wide, n, lines = w + before + behind, x.shape[0], math.prod(outer)
    out = b.temp((*outer, wide, c), x.dtype)
    rows = lines if n < FEW else n
    block = elements_block(rows, out.size // max(rows, 1)) if n < FEW else image_block(n, per_sample(out))
    b.add("move.place", cut(out, lines, wide, c, write=True), cut(x, lines, w, c), Int(before), Int(1),
          rows=rows, block=block)  # fmt: skip
    return out


def padded_lanes(b: Build, t: Buf, n: int, spans: Spans, c: int, before: int, behind: int) -> Buf:
    """The same in lanes."""
    if before == behind == 0:
        return t
    lines, w = spans[0].size * spans[1].size, spans[2].size
    wide, inner = w + before + behind, c * IMAGES
    out = lanes.temp(b, n, lines * wide * c, t)
    target, source = lanes.as_lanes(out, True, (lines, wide, inner)), lanes.as_lanes(t, False, (lines, w, inner))
    lanes.add(b, "move.place", target, source, Int(before), Int(1), n=n, work=0.3 * out.size)
    return out


def in_lanes(b: Build, x_shape: Sizes, w_shape: Sizes, groups: int, found: Sequence[Axis], itemsize: int) -> bool:
    """Whether a convolution of these sizes, and its gradients with it, runs on images in lanes."""
    c, o = x_shape[-1], w_shape[-1]
    large = max(math.prod(x_shape[1:]), math.prod(a.out for a in found) * o)
    return b.target.lanes and groups == 1 and lanes.worth(x_shape[0], max(c, o), large * itemsize)


@dataclass(frozen=True)
class Part:
    """What one entry of a convolution computes: some places of y, with its weights (taps, c / groups, o)."""

    spans: Spans
    w: Buf

    def work(self, n: int) -> float:
        return n * math.prod(s.out for s in self.spans) * self.w.size / SPEED + 30


def correlate(b: Build, out: Buf, x: Buf, bias: Buf | None, parts: Sequence[Part], groups: int, side: bool) -> None:
    """The entries of a convolution; side: on images in lanes, whose kernel mostly needs no padding in memory."""
    pad = max(p.spans[2].before for p in parts), max(p.spans[2].behind for p in parts)
    if not b.target.pads or (side and all(p.spans[2].up == p.spans[2].tap == 1 for p in parts)):
        pad = 0, 0
    (_correlate_lanes if side else _correlate)(b, out, x, bias, parts, groups, pad)


def _correlate_lanes(b: Build, out: Buf, x: Buf, bias: Buf | None, parts: Sequence[Part], groups: int,
                     pad: tuple[int, int]) -> None:  # fmt: skip
    n, c, o = x.shape[0], x.shape[-1], out.shape[-1]
    source = padded_lanes(b, lanes.read(b, x), n, parts[0].spans, c, *pad)
    y = lanes.temp(b, n, lanes.features(out), out)
    for part in parts:
        given = whole(bias, o) if bias else nothing(part.w)
        sizes = sizes_of((*part.spans[:2], part.spans[2].padded(*pad)), c, o, groups, 1)
        lanes.add(b, "conv.conv_images", lanes.as_lanes(y, write=True), lanes.as_lanes(source),
                  whole(part.w, part.w.size), given, sizes, Block(), Int(n, -1), n=n, work=part.work(n))  # fmt: skip
    lanes.written(b, out, y)


def _correlate(b: Build, out: Buf, x: Buf, bias: Buf | None, parts: Sequence[Part], groups: int,
               pad: tuple[int, int]) -> None:  # fmt: skip
    n, c, o = x.shape[0], x.shape[-1], out.shape[-1]
    source = padded(b, x, *pad)
    for part in parts:
        given = whole(bias, o) if bias else nothing(part.w)
        lines = part.spans[0].out * part.spans[1].out
        large = max(per_sample(x), per_sample(out))
        tiling = Tiling.of(n, lines, large, b.target)
        sizes = sizes_of((*part.spans[:2], part.spans[2].padded(*pad)), c, o, groups, tiling.each)
        packed = b.target.panels and groups == 1 and part.w.size > 0
        w = in_panels(b, Product(o, o, part.w.size // o, 0, 0, o, 1), part.w) if packed else part.w
        kernel, last = ("depthwise.conv", ()) if _each(c, o, groups) else ("conv.conv", (Int(int(packed)),))
        b.add(kernel, tiling.made(out), tiling.array(source), whole(w, w.size), given, sizes,
              *tiling.numbers(), *last, rows=tiling.rows, block=tiling.block, work=part.work(n))  # fmt: skip


def _each(c: int, o: int, groups: int) -> bool:
    """Whether each channel is by itself."""
    return groups == c == o > 1


def _plain(found: Sequence[Axis], groups: int) -> bool:
    """Whether a convolution is a product of matrices: one tap, one group, every element."""
    return groups == 1 and all(a == Axis(a.size, 1) for a in found)


def _check(name: str, x: Spec, w: Spec, other: Sequence[tuple[str, Spec]], given: str) -> None:
    """w of x's rank and dtype; x, or what stands for it, is named by given."""
    spatial(name, x)
    rank = len(x.shape)
    expect(len(w.shape) == rank, name, "w", f"of {rank} axes (window, in // groups, out)", str(w.shape),
           error=ShapeError)  # fmt: skip
    expect(0 not in w.shape, name, "w", "not empty", str(w.shape), error=ShapeError)
    for argument, a in (("w", w), *other):
        expect(a.dtype == x.dtype, name, argument, f"of {x.dtype} as {given}", str(a.dtype),
               "x.astype(np.float32) or nf.f64(model)", DTypeError)  # fmt: skip


def _bias_fits(name: str, bias: Spec | None, o: int) -> None:
    expect(bias is None or bias.shape == (o,), name, "b", f"of shape ({o},)", str(bias and bias.shape),
           error=ShapeError)  # fmt: skip


def _conv_shape(x: Spec, w: Spec, b: Spec | None, stride: Sizes, pad: Pads, dilation: Sizes, groups: int) -> Spec:
    _check("conv", x, w, [("b", b)] if b else [], "x")
    c, o = w.shape[-2] * groups, w.shape[-1]
    expect(x.shape[-1] == c, "conv", "x", f"of {c} channels", f"shape {x.shape}", error=ShapeError)
    expect(o % groups == 0, "conv", "w", f"with a multiple of {groups} output channels", str(w.shape), error=ShapeError)
    _bias_fits("conv", b, o)
    found = axes("conv", x.shape[1:-1], w.shape[:-2], stride, pad, dilation)
    return Spec((x.shape[0], *(a.out for a in found[SPATIAL - len(stride) :]), o), x.dtype)


def _conv_lower(b: Build, out: Buf, x: Buf, w: Buf, bias: Buf | None, stride: Sizes, pad: Pads, dilation: Sizes,
                groups: int) -> None:  # fmt: skip
    found = axes("conv", x.shape[1:-1], w.shape[:-2], stride, pad, dilation)
    if _plain(found, groups):
        k, n = w.shape[-2:]
        lower_product(b, Product(x.size // k, n, k, k, 1, n, 1), out, x, w, bias)
        return
    side = in_lanes(b, x.shape, w.shape, groups, found, x.dtype.itemsize)
    correlate(b, out, x, bias, [Part(forward_spans(found), w)], groups, side)


def _window(c: Any) -> dict[str, Any]:
    return {name: c.attrs[name] for name in ("stride", "pad", "dilation", "groups")}


def _grad_of_weights(c: Any, dy: Any, op: Op) -> Any:
    return c.apply(op, c.x, dy, window=tuple(c.inputs[1].shape[:-2]), **_window(c))


def _grads_w_b(c: Any, dy: Any) -> Any:
    """Both, where both are wanted: what makes the gradient of w reads dy anyway."""
    return c.once(lambda: _grad_of_weights(c, dy, CONV_GRAD_WB))


def _grad_w_rule(c: Any, dy: Any) -> Any:
    return _grads_w_b(c, dy)[0] if 2 in c.wanted else _grad_of_weights(c, dy, CONV_GRAD_W)


def _grad_b_rule(c: Any, dy: Any) -> Any:
    return _grads_w_b(c, dy)[1] if 1 in c.wanted else c.apply(SUM, dy, start=0, stop=len(dy.shape) - 1, scale=1.0)


# y[n, i, :] = b + sum over taps t of x[n, i stride + t dilation - pad, :] w[t], in any number of spatial axes
CONV: Op = Op(
    "conv",
    _conv_shape,
    _conv_lower,
    (
        lambda c, dy: c.apply(CONV_GRAD_X, dy, c.inputs[1], None, size=tuple(c.x.shape[1:-1]), **_window(c)),
        _grad_w_rule,
        _grad_b_rule,
    ),
    examples=(
        example("fff", (2, 4, 4, 3), (3, 3, 3, 5), (5,), **_SHOWN),
        example("fff", (16, 4, 4, 3), (3, 3, 3, 5), (5,), **_SHOWN),
        example("fff", (2, 4, 4, 3), (3, 3, 1, 3), (3,), **_SHOWN | {"groups": 3}),
    ),
)


def _grad_x_shape(dy: Spec, w: Spec, b: Spec | None, size: Sizes, stride: Sizes, pad: Pads, dilation: Sizes,
                  groups: int) -> Spec:  # fmt: skip
    name = "conv_transpose"
    _check(name, dy, w, [("b", b)] if b else [], "x")
    o, c = w.shape[-1], w.shape[-2] * groups
    expect(dy.shape[-1] == o, name, "x", f"of {o} channels", f"shape {dy.shape}", error=ShapeError)
    _bias_fits(name, b, c)
    found = axes(name, size, w.shape[:-2], stride, pad, dilation)[SPATIAL - len(stride) :]
    out = tuple(a.out for a in found)
    expect(dy.shape[1:-1] == out, name, "x", f"of spatial sizes {out}", f"shape {dy.shape}", error=ShapeError)
    return Spec((dy.shape[0], *size, c), dy.dtype)


def _flipped(b: Build, w: Buf, spans: Spans, c: int, o: int, groups: int) -> Buf:
    """The weights of one phase, (taps, o / groups, c)."""
    taps = math.prod(s.taps for s in spans)
    f = b.temp((taps, o // groups, c), w.dtype)
    b.add("conv.flip", cut(f, f.size, write=True), whole(w, w.size), sizes_of(spans, o, c, groups, 1), Int(0, 1),
          rows=taps, block=elements_block(taps, o // groups * c), work=0.5 * f.size)  # fmt: skip
    return f


def _grad_x_lower(b: Build, out: Buf, dy: Buf, w: Buf, bias: Buf | None, size: Sizes, stride: Sizes, pad: Pads,
                  dilation: Sizes, groups: int) -> None:  # fmt: skip
    found = axes("conv_transpose", size, w.shape[:-2], stride, pad, dilation)
    c, o = out.shape[-1], dy.shape[-1]
    if _plain(found, groups):
        lower_product(b, Product(dy.size // o, c, o, o, 1, 1, o), out, dy, w, bias)
        return
    side = in_lanes(b, out.shape, w.shape, groups, found, out.dtype.itemsize)
    parts = []
    for d, weights_d in phases(found[0]):
        for h, weights_h in phases(found[1]):
            for v, weights_w in phases(found[2]):
                flipped = _flipped(b, w, (weights_d, weights_h, weights_w), c, o, groups)
                parts.append(Part((d, h, v), flipped))
    correlate(b, out, dy, bias, parts, groups, side)


# the transposed convolution: dx of CONV, and an operation of its own; size: the spatial sizes of the result
CONV_GRAD_X: Op = Op(
    "conv_grad_x",
    _grad_x_shape,
    _grad_x_lower,
    (
        lambda c, g: c.apply(CONV, g, c.inputs[1], None, **_window(c)),
        lambda c, g: c.apply(CONV_GRAD_W, g, c.x, window=tuple(c.inputs[1].shape[:-2]), **_window(c)),
        lambda c, g: c.apply(SUM, g, start=0, stop=len(g.shape) - 1, scale=1.0),
    ),
    examples=(
        example("fff", (2, 4, 4, 5), (3, 3, 3, 5), (3,), size=(4, 4), **_SHOWN),
        example("fff", (16, 4, 4, 5), (3, 3, 3, 5), (3,), size=(4, 4), **_SHOWN),
    ),
)


def _grad_w_shape(x: Spec, dy: Spec, window: Sizes, groups: int, **attrs: Any) -> Spec:
    return Spec((*window, x.shape[-1] // groups, dy.shape[-1]), x.dtype)


def _grad_wb_shape(x: Spec, dy: Spec, window: Sizes, groups: int, **attrs: Any) -> tuple[Spec, Spec]:
    return _grad_w_shape(x, dy, window, groups), Spec(dy.shape[-1:], dy.dtype)


def _grad_w_lower(b: Build, out: Buf, x: Buf, dy: Buf, window: Sizes, stride: Sizes, pad: Pads, dilation: Sizes,
                  groups: int, db: Buf | None = None) -> None:  # fmt: skip
    """db: where the sum of dy goes, if it is wanted too."""
    found = axes("conv", x.shape[1:-1], window, stride, pad, dilation)
    c, o = x.shape[-1], dy.shape[-1]
    if _plain(found, groups):
        lower_product(b, Product(c, o, x.size // c, 1, c, o, 1), out, x, dy)
    elif in_lanes(b, x.shape, out.shape, groups, found, x.dtype.itemsize):
        _grad_w_lanes(b, out, db, x, dy, forward_spans(found))
        return
    else:
        _grad_w(b, out, x, dy, forward_spans(found), groups)
    if db is not None:
        reduce_lower("sum", b, db, dy, 0, len(dy.shape) - 1, scale=1.0)


def _grad_wb_lower(b: Build, outs: tuple[Buf, Buf], x: Buf, dy: Buf, **attrs: Any) -> None:
    _grad_w_lower(b, outs[0], x, dy, **attrs, db=outs[1])


def _grad_w_lanes(b: Build, out: Buf, db: Buf | None, x: Buf, dy: Buf, spans: Spans) -> None:
    """Each tile of images adds up in a place of its own, db behind dw."""
    n, c, o = x.shape[0], x.shape[-1], dy.shape[-1]
    pads, tiles = (spans[2].before, spans[2].behind), -(-n // lanes.tile(n))
    each = out.size + (0 if db is None else o)
    places = slots(b, out, tiles) if db is None else b.temp((tiles, each), out.dtype)
    source = padded_lanes(b, lanes.read(b, x), n, spans, c, *pads)
    sizes = sizes_of((*spans[:2], spans[2].padded(*pads)), c, o, 1, 1)
    lanes.add(b, "conv.conv_images_grad_w", own(places, each),
              lanes.as_lanes(source), lanes.as_lanes(lanes.read(b, dy)), sizes, Block(), Int(n, -1),
              n=n, work=dy.size * out.size / o / SPEED + 30)  # fmt: skip
    join(b, out, places)
    if db is not None:
        join(b, db, places, out.size)


def _grad_w(b: Build, out: Buf, x: Buf, dy: Buf, spans: Spans, groups: int) -> None:
    """In places of their own too, where these take less memory than x and dy; else each tile has rows of its own."""
    n, c, o = x.shape[0], x.shape[-1], dy.shape[-1]
    pads = (spans[2].before, spans[2].behind) if b.target.pads else (0, 0)
    source = padded(b, x, *pads)
    tiling = Tiling.of(n, spans[0].out * spans[1].out, max(per_sample(x), per_sample(dy)))
    sizes = sizes_of((*spans[:2], spans[2].padded(*pads)), c, o, groups, tiling.each)
    rows, work = out.size // o, dy.size * out.size / o / SPEED + 30
    each = _each(c, o, groups)
    if each or tiling.tiles == 1 or tiling.tiles * out.size * SLOTS <= x.size + dy.size:
        places = slots(b, out, tiling.tiles)
        kernel, part = ("depthwise.conv_grad_w", ()) if each else ("conv.conv_grad_w", (Int(0), Int(rows)))
        b.add(kernel, own(places, out.size), tiling.array(source),
              tiling.array(dy), sizes, *part, *tiling.numbers(),
              rows=tiling.rows, block=tiling.block, fixed=True, work=work)  # fmt: skip
        join(b, out, places)
    else:
        every = Int(tiling.rows)
        block = min(rows, max(ROWS, up(-(-rows // TILES), 8)))
        b.add("conv.conv_grad_w", cut(out, out.size, write=True), whole(source, source.size), whole(dy, dy.size), sizes,
              Int(0, 1), Block(), Int(0), every, every, rows=rows, block=block, work=work)  # fmt: skip


def _grad_wb_x(c: Any, g: Any, gb: Any) -> Any:
    if g is None:
        return None
    return c.apply(CONV_GRAD_X, c.inputs[1], g, None, size=tuple(c.x.shape[1:-1]), **_window(c))


def _grad_wb_dy(c: Any, g: Any, gb: Any) -> Any:
    if g is None:
        return c.apply(BROADCAST, gb, start=0, sizes=tuple(c.inputs[1].shape[:-1]))
    return c.apply(CONV, c.x, g, gb, **_window(c))


# dw: of CONV for x and dy
CONV_GRAD_W: Op = Op(
    "conv_grad_w",
    _grad_w_shape,
    _grad_w_lower,
    (
        lambda c, g: c.apply(CONV_GRAD_X, c.inputs[1], g, None, size=tuple(c.x.shape[1:-1]), **_window(c)),
        lambda c, g: c.apply(CONV, c.x, g, None, **_window(c)),
    ),
    examples=(
        example("ff", (2, 4, 4, 3), (2, 4, 4, 5), window=(3, 3), **_SHOWN),
        example("ff", (64, 4, 4, 3), (64, 4, 4, 5), window=(3, 3), **_SHOWN),
        example("ff", (2, 4, 4, 3), (2, 4, 4, 3), window=(3, 3), **_SHOWN | {"groups": 3}),
    ),
)

# dw and db: of CONV with a bias, for x and dy
CONV_GRAD_WB: Op = Op(
    "conv_grad_wb",
    _grad_wb_shape,
    _grad_wb_lower,
    (
        _grad_wb_x,
        _grad_wb_dy,
    ),
    examples=(example("ff", (64, 4, 4, 3), (64, 4, 4, 5), window=(3, 3), **_SHOWN),),
)

OPS = (CONV, CONV_GRAD_X, CONV_GRAD_W, CONV_GRAD_WB)
