"""How normalisation becomes entries: partial sums of tiles, what joins them, and one pass over x."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from ..lowering import SMALL, Array, Buf, Build, Int, Num, cut, elements_block, elementwise, image_block, leading, whole
from .ranks import sum_over_ranks

DOUBLE = np.dtype(np.float64)  # of partial sums


class Tiling(TypedDict):
    rows: int
    block: int


@dataclass(frozen=True)
class View:
    """x as (outer, k, c), with statistics for each of outer; the rows of a tiling, how many make a tile."""

    outer: int
    k: int
    c: int
    groups: int
    rows: int
    block: int

    @staticmethod
    def of(x: Buf, stats: Buf) -> View:
        """Rows are those of elementwise entries nearby, so that they can stand in one group; a large image has many."""
        lead = len(stats.shape) - 2
        outer, k, c = math.prod(x.shape[:lead]), math.prod(x.shape[lead:-1]), x.shape[-1]
        rows = min(leading(x.shape), outer if k == 1 else outer * k)
        size = x.size // rows
        block = max(image_block(rows, size * x.dtype.itemsize), min(rows, -(-SMALL // size)))
        return View(outer, k, c, stats.shape[-1], rows, block)

    @property
    def by_rows(self) -> bool:
        """Whether moments are those of neighbours in memory."""
        return self.k == 1 and self.groups < self.c

    @property
    def batch(self) -> bool:
        """Whether all rows have the same statistics: then there is a partial sum a tile, else one a row or sample."""
        return self.outer == 1

    @property
    def slots(self) -> int:
        return -(-self.rows // self.block) if self.batch else max(self.rows, self.outer)

    @property
    def positions(self) -> int:
        """How many of k a slot sums over."""
        return self.k // self.rows * self.block if self.batch else self.outer * self.k // self.slots

    @property
    def tiling(self) -> Tiling:
        return {"rows": self.rows, "block": self.block}

    @property
    def joining(self) -> Tiling:
        """The tiling of what stands between partial sums and the pass over x."""
        rows = min(self.rows, self.outer)
        return {"rows": rows, "block": min(rows, self.block)}

    def matrix(self, x: Buf, write: bool = False) -> Array:
        return cut(x, self.outer * self.k, self.c, write=write)

    def factors(self, b: Build, x: Buf, count: int) -> tuple[Buf, Array]:
        """Memory for count numbers a channel, and as what a pass over x sees it."""
        f = b.temp((1 if self.batch else self.slots, count, self.c), x.dtype)
        return f, whole(f) if self.batch else cut(f, *f.shape)


def _into(slots: Buf) -> Array:
    """Slots as what a tile adds to: its own."""
    return Array(slots, (1, *slots.shape[1:]), per_tile=math.prod(slots.shape[1:]), write=True)


def _affine(x: Buf, *given: Buf | None) -> list[Array]:
    """Arrays by channel that may be left out."""
    return [Array(x.part(0, 0), (0,)) if g is None else whole(g) for g in given]


def moments_lower(b: Build, out: Buf, x: Buf, lead: int, groups: int) -> None:
    v = View.of(x, out)
    stats = cut(out, v.outer, 2, groups, write=True)
    if v.by_rows:
        b.add("norm.row_moments", stats, v.matrix(x), **v.tiling)
        return
    slots, joined = b.temp((v.slots, 2, v.c), DOUBLE), b.temp((v.outer, 2, v.c), DOUBLE)
    into = _into(slots) if v.batch else cut(slots, *slots.shape, write=True)
    b.add("norm.moments", into, v.matrix(x), **v.tiling, fixed=v.batch)
    b.add("norm.join_slots", stats, cut(joined, *joined.shape, write=True), cut(slots, *slots.shape),
          Int(v.positions), Int(v.k), **v.joining)  # fmt: skip


def _factors(b: Build, v: View, x: Buf, stats: Buf, w: Buf | None, bias: Buf | None, eps: float) -> Array:
    """An entry that makes mean, scale and shift of each channel."""
    f, seen = v.factors(b, x, 3)
    b.add("norm.factors", cut(f, *f.shape, write=True), cut(stats, v.outer, 2, v.groups), *_affine(x, w, bias),
          Num(eps, x.dtype), **v.joining)  # fmt: skip
    return seen


def norm_lower(
    b: Build, out: Buf, x: Buf, stats: Buf, w: Buf | None, bias: Buf | None, eps: float, world: Any = None
) -> None:  # fmt: skip
    v = View.of(x, stats)
    if v.by_rows:
        b.add("norm.rows", v.matrix(out, True), v.matrix(x), cut(stats, v.outer, 2, v.groups), *_affine(x, w, bias),
              Num(eps, x.dtype), **v.tiling)  # fmt: skip
    else:
        f = _factors(b, v, x, stats, w, bias, eps)
        b.add("norm.apply", v.matrix(out, True), v.matrix(x), f, Num(-math.inf, x.dtype), **v.tiling)


def fixed_lower(
    b: Build, out: Buf, x: Buf, mean: Buf, var: Buf, w: Buf | None, bias: Buf | None, eps: float
) -> None:  # fmt: skip
    stats, c = b.temp((2, x.shape[-1]), x.dtype), x.shape[-1]
    for i, given in enumerate((mean, var)):
        b.add("elementwise.copy", whole(stats.part(i * c, c), write=True), whole(given), rows=1, block=1)
    norm_lower(b, out, x, stats, w, bias, eps)


def track_lower(
    b: Build, outs: tuple[Buf, Buf], mean: Buf, var: Buf, stats: Buf, momentum: float, count: int
) -> None:  # fmt: skip
    n, c = math.prod(stats.shape[:-2]), mean.size
    total = b.temp((2, c), stats.dtype)
    b.add("reduce.sum", whole(total, 1, 2 * c, write=True), whole(stats, 1, n, 2 * c), Num(1.0 / n, stats.dtype),
          rows=1, block=1)  # fmt: skip
    for i, (out, old, scale) in enumerate(zip(outs, (mean, var), (1.0, count / (count - 1)), strict=True)):
        kept, new = b.temp((c,), out.dtype), b.temp((c,), out.dtype)
        elementwise(b, "elementwise.affine", kept, old, numbers=[Num(v, out.dtype) for v in (1 - momentum, -0.0)])
        elementwise(b, "elementwise.affine", new, total.part(i * c, c),
                    numbers=[Num(v, out.dtype) for v in (momentum * scale, -0.0)])  # fmt: skip
        elementwise(b, "elementwise.add", out, kept, new)


def grad_lower(
    b: Build, outs: tuple[Buf, Buf], x: Buf, stats: Buf, w: Buf | None, dy: Buf, eps: float, world: Any = None
) -> None:  # fmt: skip
    v, (dx, sums) = View.of(x, stats), outs
    if v.by_rows:
        _row_grad(b, v, dx, sums, x, stats, w, dy, eps)
    else:
        _channel_grad(b, v, dx, sums, x, stats, w, dy, eps, world)


def _row_grad(
    b: Build, v: View, dx: Buf, sums: Buf, x: Buf, stats: Buf, w: Buf | None, dy: Buf, eps: float
) -> None:  # fmt: skip
    """The sums over rows are those of a batch whose x is normalised already."""
    moments, number = cut(stats, v.outer, 2, v.groups), Num(eps, x.dtype)
    b.add("norm.row_grad", v.matrix(dx, True), v.matrix(x), v.matrix(dy), moments, *_affine(x, w), number, **v.tiling)
    hat, f = b.temp(x.shape, x.dtype), b.temp((1, 3, v.c), x.dtype)
    slots = b.temp((-(-v.rows // v.block), 2, v.c), DOUBLE)
    b.add("norm.rows", v.matrix(hat, True), v.matrix(x), moments, *_affine(x, None, None), number, **v.tiling)
    for value, part in ((0.0, f.part(0, v.c)), (1.0, f.part(v.c, 2 * v.c))):
        b.add("elementwise.fill", whole(part, write=True), Num(value, x.dtype), rows=1, block=1)
    b.add("norm.sums", _into(slots), v.matrix(hat), v.matrix(dy), whole(f), **v.tiling, fixed=True)
    _sum_of(b, sums, slots)


def _channel_grad(
    b: Build, v: View, dx: Buf, sums: Buf, x: Buf, stats: Buf, w: Buf | None, dy: Buf, eps: float, world: Any
) -> None:  # fmt: skip
    """With a world the sums are this rank's own, the gradient of x is by those of all."""
    slots, totals = b.temp((v.slots, 2, v.c), DOUBLE), b.temp((v.outer, 2, v.c), DOUBLE)
    f = _factors(b, v, x, stats, None, None, eps)
    into = _into(slots) if v.batch else cut(slots, *slots.shape, write=True)
    b.add("norm.sums", into, v.matrix(x), v.matrix(dy), f, **v.tiling, fixed=v.batch)
    made, f = v.factors(b, x, 4)
    own, k = totals, v.k
    if world is not None:
        own, slots, k = slots, _over_ranks(b, slots, world, x.shape[0]), v.k * world.size
    b.add("norm.grad_factors", cut(made, *made.shape, write=True), cut(totals, *totals.shape, write=True),
          cut(slots, *slots.shape), cut(stats, v.outer, 2, v.groups), *_affine(x, w), Num(eps, x.dtype), Int(k),
          **v.joining)  # fmt: skip
    b.add("norm.grad_apply", v.matrix(dx, True), v.matrix(x), v.matrix(dy), f, **v.tiling)
    _sum_of(b, sums, own)


def _over_ranks(b: Build, slots: Buf, world: Any, rows: int) -> Buf:
    """The sum of the slots of all ranks, as one slot."""
    total = b.temp((1, *slots.shape[1:]), DOUBLE)
    _sum_of(b, total, slots)
    sum_over_ranks(b, total, world, rows)
    return total


def _sum_of(b: Build, out: Buf, parts: Buf) -> None:
    """The parts along their first axis as one, in out's type."""
    total, size, count = b.temp(out.shape, DOUBLE), out.size, parts.shape[0]
    tiling: Tiling = {"rows": size, "block": elements_block(size, count)}
    b.add("reduce.sum_slots", cut(total, size, write=True), whole(parts, count, size), Int(0, 1), **tiling)
    b.add("elementwise.cast", cut(out, size, write=True), cut(total, size), **tiling)
