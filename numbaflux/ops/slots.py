"""Sums that tiles make for themselves, each in a place of its own, and their sum in order."""

from __future__ import annotations

from ..lowering import Array, Buf, Build, Int, cut, elements_block, whole


def slots(b: Build, out: Buf, tiles: int) -> Buf:
    """A place for each tile's part of out."""
    return out if tiles == 1 else b.temp((tiles, out.size), out.dtype)


def own(s: Buf, size: int) -> Array:
    """The place of a tile, as what its entry writes."""
    return Array(s, (size,), per_tile=size, write=True)


def join(b: Build, out: Buf, s: Buf, at: int = 0) -> None:
    """out = the sum of all places, or of what each has from `at` on."""
    if s is out:
        return
    o = out.shape[-1]
    rows, tiles = out.size // o, s.shape[0]
    b.add("reduce.sum_slots", cut(out, out.size, write=True), whole(s, *s.shape), Int(at, o),
          rows=rows, block=elements_block(rows, o * tiles))  # fmt: skip
