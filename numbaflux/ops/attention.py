"""Attention of several heads, whose scores are never stored; only its second derivatives and that of a bias are made of
operations on all scores at once."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..kernels import attention as W
from ..lowering import Array, Buf, Build, Int, Num, as_buf, constant, cut, up, whole
from ..op import DTypeError, Op, ShapeError, Spec, example, expect
from .dense import BATCHED, SPEED
from .elementwise import ADD, AFFINE, EXP, FILL, MUL, NEG, SUB, WHERE
from .move import PERMUTE, RESHAPE
from .reduce import BROADCAST, SUM

TILES = 32  # how many there are at least where there is so much to do: what a tile packs, all its rows use
Shape = tuple[int, ...]


class Sizes(NamedTuple):
    """samples, heads, queries, keys; channels of a head of q and k, of v."""

    n: int
    heads: int
    queries: int
    keys: int
    depth: int
    width: int

    @staticmethod
    def of(q: Any, k: Any, v: Any, heads: int) -> Sizes:
        return Sizes(q.shape[0], heads, q.shape[1], k.shape[1], q.shape[2] // heads, v.shape[2] // heads)

    @property
    def scores(self) -> Shape:
        return self[:4]

    @property
    def scale(self) -> float:
        return 1.0 / math.sqrt(self.depth)


# ---------------------------------------------------------------- shapes


def check(where: str, q: Any, k: Any, v: Any, bias: Any, mask: Any, heads: int) -> Sizes:
    """Raise unless the arguments fit each other; bias and mask have four axes."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        expect(len(x.shape) == 3 and x.shape[2] > 0, where, name, "of shape (n, positions, channels)", str(x.shape),
               error=ShapeError)  # fmt: skip
        expect(x.dtype.kind == "f", where, name, "an array of float32 or float64", str(x.dtype), "x.astype(np.float32)",
               DTypeError)  # fmt: skip
        expect(x.dtype == q.dtype, where, name, f"of {q.dtype} as q", str(x.dtype),
               "x.astype(np.float32) or nf.f64(model)", DTypeError)  # fmt: skip
    n, _, c = q.shape
    fits = k.shape[0] == n and k.shape[2] == c
    expect(fits, where, "k", f"of shape ({n}, keys, {c})", str(k.shape), error=ShapeError)
    expect(k.shape[1] > 0, where, "k", "of at least one key", f"shape {k.shape}", error=ShapeError)
    expect(v.shape[:2] == k.shape[:2], where, "v", f"of shape {k.shape[:2]} + (channels,)", str(v.shape),
           error=ShapeError)  # fmt: skip
    divides = c % heads == 0 and v.shape[2] % heads == 0
    expect(divides, where, "nheads", f"a divisor of {c} and {v.shape[2]} channels", heads)
    sizes = Sizes.of(q, k, v, heads)
    for name, x in (("bias", bias), ("mask", mask)):
        good = x is None or len(x.shape) == 4 and all(a in (1, b) for a, b in zip(x.shape, sizes.scores, strict=True))
        expect(good, where, name, f"of a shape that broadcasts to {sizes.scores}", str(x and x.shape), error=ShapeError)
    good = mask is None or mask.dtype == bool
    expect(good, where, "mask", "an array of booleans, True where a key is seen", str(mask and mask.dtype),
           "mask.astype(bool)", DTypeError)  # fmt: skip
    good = bias is None or bias.dtype == q.dtype
    expect(good, where, "bias", f"of {q.dtype} as q", str(bias and bias.dtype), f"bias.astype(np.{q.dtype})",
           DTypeError)  # fmt: skip
    return sizes


def _shape(
    q: Spec, k: Spec, v: Spec, bias: Spec | None, mask: Spec | None, heads: int, causal: bool
) -> tuple[Spec, Spec]:
    s = check("dot_product_attention", q, k, v, bias, mask, heads)
    return Spec((s.n, s.queries, v.shape[2]), q.dtype), Spec((s.n, s.queries, heads), q.dtype)


def _grad_shape(
    q: Spec, k: Spec, v: Spec, bias: Spec | None, mask: Spec | None, lse: Spec, delta: Spec, dy: Spec,
    heads: int, causal: bool,
) -> tuple[Spec, Spec, Spec]:  # fmt: skip
    y, rows = _shape(q, k, v, bias, mask, heads, causal)
    for name, x, like in (("lse", lse, rows), ("delta", delta, rows), ("dy", dy, y)):
        expect(x == like, "attention_grad", name, f"{like.dtype} of shape {like.shape}", f"{x.dtype} of {x.shape}",
               error=ShapeError)  # fmt: skip
    return q, k, v


# ---------------------------------------------------------------- entries


def _steps(x: Buf | None) -> list[int]:
    """Elements from one sample, head, query, key to the next; 0 where there is one for all."""
    if x is None:
        return [0] * 4
    return [0 if size == 1 else math.prod(x.shape[a + 1 :]) for a, size in enumerate(x.shape)]


def _optional(x: Buf | None, dtype: Any) -> Array:
    return whole(as_buf(np.empty(0, dtype)), 0) if x is None else whole(x, x.size)


def _add(
    b: Build, kernel: str, outs: list[Array], ins: tuple[Buf, ...], bias: Buf | None, mask: Buf | None, s: Sizes,
    causal: bool, tile: int, which: int, scratch: int,
) -> None:  # fmt: skip
    """One entry: a tile is `tile` rows of a head of a sample, with memory of its own for some blocks of scores."""
    q, k, v, *others = ins
    words = [s.heads, s.queries, s.keys, s.depth, s.width, int(causal), tile, which, *_steps(bias), *_steps(mask)]
    tiles = s.n * s.heads * -(-(s.keys if which == 2 else s.queries) // tile)
    room = b.temp((tiles, 0 if b.target.positions else up(scratch, 16)), q.dtype)
    vectors = [whole(x, x.size) for x in others]
    work = (2 if which else 1) * math.prod(s.scores) * ((s.depth + s.width) / SPEED + 0.5) / (1 + causal)
    b.add(
        f"attention.{kernel}", *outs, cut(room, write=True), *(whole(x, x.size) for x in (q, k, v)),
        _optional(bias, q.dtype), _optional(mask, np.bool_), *vectors, Num(s.scale, q.dtype), Int(0, 1),
        whole(constant(words)), rows=tiles, block=1, fixed=True, work=work,
    )  # fmt: skip


def _tile(b: Build, s: Sizes, positions: int, block: int) -> int:
    """How many positions of a head of a sample make a tile: some blocks, or all."""
    if b.target.positions:
        return b.target.positions
    blocks = -(-positions // block)
    return block * max(1, min(blocks, s.n * s.heads * blocks // TILES))


def _lower(
    b: Build, outs: tuple[Buf, Buf], q: Buf, k: Buf, v: Buf, bias: Buf | None, mask: Buf | None, heads: int,
    causal: bool,
) -> None:  # fmt: skip
    s = Sizes.of(q, k, v, heads)
    tile = _tile(b, s, s.queries, W.ROWS)
    scratch = (s.depth + s.width + W.ROWS) * W.COLS + W.ROWS * s.depth + 2 * tile
    written = [whole(out, out.size, write=True) for out in outs]
    _add(b, "attention", written, (q, k, v), bias, mask, s, causal, tile, 0, scratch)


def _grad_lower(
    b: Build, outs: tuple[Buf, Buf, Buf], q: Buf, k: Buf, v: Buf, bias: Buf | None, mask: Buf | None, lse: Buf,
    delta: Buf, dy: Buf, heads: int, causal: bool,
) -> None:  # fmt: skip
    """All gradients of a head of a sample in one tile; where these are few, those of some queries, then of some keys,
    with scores made twice."""
    s = Sizes.of(q, k, v, heads)
    scratch = W.COLS * (2 * s.depth + s.width) + W.ROWS * (s.depth + s.width + 2 * W.COLS)
    split = [(_tile(b, s, s.queries, W.ROWS), 1), (_tile(b, s, s.keys, W.COLS), 2)]
    whole_heads = s.n * heads >= TILES // 2 and s.queries > 0 and not b.target.positions
    parts = [(s.queries, 3)] if whole_heads else split
    for tile, which in parts:
        made = (which & 1, which & 2, which & 2)
        written = [
            whole(out, out.size, write=True) if on else whole(out.part(0, 0), 0)
            for on, out in zip(made, outs, strict=True)
        ]
        _add(b, "attention_grad", written, (q, k, v, lse, delta, dy), bias, mask, s, causal, tile, which, scratch)


# ---------------------------------------------------------------- gradients, made of operations on all scores


class Scores:
    """p = exp(scores - lse), and products with it: arrays (n, positions, channels) become (n, heads, positions, c)."""

    def __init__(self, c: Any, lse: Any) -> None:
        self.c, (self.q, self.k, self.v, self.bias, self.mask) = c, c.inputs[:5]
        self.heads = c.attrs["heads"]
        self.sizes = s = Sizes.of(self.q, self.k, self.v, self.heads)
        x = self.scaled(self.outer(self.q, self.k))
        if self.bias is not None:
            x = c.apply(ADD, x, self.spread(self.bias))
        lowest = c.apply(FILL, x, value=-math.inf)
        if self.mask is not None:
            x = c.apply(WHERE, self.spread(self.mask), x, lowest)
        if c.attrs["causal"]:
            x = c.apply(WHERE, np.tri(s.queries, s.keys, dtype=bool)[None, None].repeat(s.n, 0).repeat(s.heads, 1), x,
                        lowest)  # fmt: skip
        self.p = c.apply(EXP, c.apply(SUB, x, self.along(lse)))

    def scaled(self, x: Any) -> Any:
        return self.c.apply(AFFINE, x, scale=self.sizes.scale, shift=-0.0)

    def split(self, x: Any) -> Any:
        x = self.c.apply(RESHAPE, x, shape=(*x.shape[:2], self.heads, x.shape[2] // self.heads))
        return self.c.apply(PERMUTE, x, axes=(0, 2, 1, 3))

    def joined(self, x: Any) -> Any:
        n, heads, count, width = x.shape
        return self.c.apply(RESHAPE, self.c.apply(PERMUTE, x, axes=(0, 2, 1, 3)), shape=(n, count, heads * width))

    def outer(self, a: Any, b: Any) -> Any:
        """Of each query in a and key in b the product: (n, heads, queries, keys)."""
        return self.c.apply(BATCHED, self.split(a), self.split(b), ta=False, tb=True)

    def over_keys(self, x: Any, b: Any) -> Any:
        """For each query the sum of b's rows, weighted by x (n, heads, queries, keys)."""
        return self.joined(self.c.apply(BATCHED, x, self.split(b), ta=False, tb=False))

    def over_queries(self, x: Any, a: Any) -> Any:
        return self.joined(self.c.apply(BATCHED, x, self.split(a), ta=True, tb=False))

    def along(self, rows: Any) -> Any:
        """A number of each row (n, queries, heads), on each of its scores."""
        rows = self.c.apply(PERMUTE, rows, axes=(0, 2, 1))
        return self.c.apply(BROADCAST, rows, start=3, sizes=(self.sizes.keys,))

    def row_sums(self, x: Any) -> Any:
        return self.c.apply(PERMUTE, self.c.apply(SUM, x, start=3, stop=4, scale=1.0), axes=(0, 2, 1))

    def spread(self, x: Any) -> Any:
        """Bias or mask on all scores."""
        for axis, size in enumerate(self.sizes.scores):
            if x.shape[axis] != size:
                x = self.c.apply(RESHAPE, x, shape=(*x.shape[:axis], *x.shape[axis + 1 :]))
                x = self.c.apply(BROADCAST, x, start=axis, sizes=(size,))
        return x

    def gathered(self, x: Any) -> Any:
        """The sum over what spread repeats: a gradient of the bias."""
        for axis, size in enumerate(self.bias.shape):
            if x.shape[axis] != size:
                x = self.c.apply(SUM, x, start=axis, stop=axis + 1, scale=1.0)
                x = self.c.apply(RESHAPE, x, shape=(*x.shape[:axis], 1, *x.shape[axis:]))
        return x

    def slopes(self, dy: Any, delta: Any) -> Any:
        """dy v' - delta."""
        return self.c.apply(SUB, self.outer(dy, self.v), self.along(delta))


class First:
    """What the gradients of attention share, from what comes to y and to lse; both may be missing."""

    def __init__(self, c: Any, dy: Any, dlse: Any) -> None:
        self.c, (y, self.lse) = c, c.outs
        self.dy = c.apply(FILL, y, value=0.0) if dy is None else dy
        products = c.apply(RESHAPE, c.apply(MUL, self.dy, y), shape=(*self.lse.shape, y.shape[2] // self.lse.shape[2]))
        sums = c.apply(SUM, products, start=3, stop=4, scale=1.0)
        self.delta = sums if dlse is None else c.apply(SUB, sums, dlse)
        self.grads: Any = None

    def of(self, i: int) -> Any:
        """The gradient of q, k or v: all three at once."""
        if self.grads is None:
            self.grads = self.c.apply(ATTENTION_GRAD, *self.c.inputs, self.lse, self.delta, self.dy, **self.c.attrs)
        return self.grads[i]

    def of_bias(self) -> Any:
        s = Scores(self.c, self.lse)
        return s.gathered(self.c.apply(MUL, s.p, s.slopes(self.dy, self.delta)))


def _first(i: int) -> Any:
    return lambda c, dy, dlse: c.once(lambda: First(c, dy, dlse)).of(i)


def _first_bias(c: Any, dy: Any, dlse: Any) -> Any:
    return c.once(lambda: First(c, dy, dlse)).of_bias()


class Second:
    """Of <gq, dq> + <gk, dk> + <gv, dv>, with ds = p (dy v' - delta): what comes to ds, to dy v' and to scores."""

    def __init__(self, c: Any, *given: Any) -> None:
        *_, lse, self.delta, self.dy = c.inputs
        self.c, self.s = c, Scores(c, lse)
        self.gq, self.gk, self.gv = [
            c.apply(FILL, x, value=0.0) if g is None else g for g, x in zip(given, c.inputs[:3], strict=True)
        ]
        s, slopes = self.s, self.s.slopes(self.dy, self.delta)
        self.ds = c.apply(MUL, s.p, slopes)
        to_ds = s.scaled(c.apply(ADD, s.outer(self.gq, s.k), s.outer(s.q, self.gk)))
        self.to_slopes = c.apply(MUL, to_ds, s.p)
        to_p = c.apply(ADD, c.apply(MUL, to_ds, slopes), s.outer(self.dy, self.gv))
        self.to_scores = c.apply(MUL, to_p, s.p)

    def of_q(self) -> Any:
        s = self.s
        parts = [s.scaled(s.over_keys(*pair)) for pair in ((self.ds, self.gk), (self.to_scores, s.k))]
        return self.c.apply(ADD, *parts)

    def of_k(self) -> Any:
        s = self.s
        parts = [s.scaled(s.over_queries(*pair)) for pair in ((self.ds, self.gq), (self.to_scores, s.q))]
        return self.c.apply(ADD, *parts)

    def of_v(self) -> Any:
        return self.s.over_queries(self.to_slopes, self.dy)

    def of_bias(self) -> Any:
        return self.s.gathered(self.to_scores)

    def of_lse(self) -> Any:
        return self.c.apply(NEG, self.s.row_sums(self.to_scores))

    def of_delta(self) -> Any:
        return self.c.apply(NEG, self.s.row_sums(self.to_slopes))

    def of_dy(self) -> Any:
        return self.c.apply(ADD, self.s.over_keys(self.s.p, self.gv), self.s.over_keys(self.to_slopes, self.s.v))


def _second(what: Any) -> Any:
    return lambda c, *given: what(c.once(lambda: Second(c, *given)))


# ---------------------------------------------------------------- records

SMALL, ROWS = ((2, 3, 4),) * 3, (2, 3, 2)
ATTRS: dict[str, Any] = {"heads": 2, "causal": False}
# softmax(q k' / sqrt(depth) + bias) v for each head, scores that mask leaves out at minus infinity; and the logarithm
# of each row's sum of powers
ATTENTION = Op(
    "attention",
    _shape,
    _lower,
    (_first(0), _first(1), _first(2), _first_bias, None),
    examples=(example("fffff", *SMALL, None, None, **ATTRS),),
)
# its gradients of q, k and v, from lse, delta = sum of dy y less what comes to lse, and dy
ATTENTION_GRAD: Op = Op(
    "attention_grad",
    _grad_shape,
    _grad_lower,
    (
        *map(_second, (Second.of_q, Second.of_k, Second.of_v, Second.of_bias)), None,
        *map(_second, (Second.of_lse, Second.of_delta, Second.of_dy)),
    ),
    examples=(example("ffffffff", *SMALL, None, None, ROWS, ROWS, (2, 3, 4), **ATTRS),),
)  # fmt: skip

OPS = (ATTENTION, ATTENTION_GRAD)
