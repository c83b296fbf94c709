"""How convolutions are cut into tiles: by samples, or, of few large images, by lines."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..lowering import CPU, Array, Block, Buf, Int, Target, cut, image_block, whole

FEW = 16  # samples below which the tiles are lines of images
TILES = 64  # about how many tiles of lines
LARGE = 2**30  # bytes of a GPU's tile: few tiles, since several blocks of threads share one


def per_sample(x: Buf) -> int:
    """Bytes of a sample."""
    return math.prod(x.shape[1:]) * x.dtype.itemsize


@dataclass(frozen=True)
class Tiling:
    """Blocks of samples, or, of few large images, of output lines: arguments of an entry, and how arrays are cut."""

    n: int
    lines: int  # of a sample
    by_lines: bool
    block: int

    @classmethod
    def of(cls, n: int, lines: int, nbytes: int, target: Target = CPU) -> Tiling:
        if target.rows:
            return cls(n, lines, False, max(1, min(n, LARGE // max(nbytes, 1))))
        if n < FEW and lines > 1:
            return cls(n, lines, True, -(-n * lines // TILES))
        return cls(n, lines, False, image_block(n, nbytes))

    @property
    def rows(self) -> int:
        return self.n * self.lines if self.by_lines else self.n

    @property
    def each(self) -> int:
        """Lines of a row."""
        return 1 if self.by_lines else self.lines

    @property
    def tiles(self) -> int:
        return -(-self.rows // self.block)

    def array(self, x: Buf) -> Array:
        return whole(x, x.size) if self.by_lines else cut(x, x.size)

    def made(self, x: Buf) -> Array:
        """What the entry writes: (pixels, channels)."""
        o = x.shape[-1]
        return whole(x, x.size // o, o, write=True) if self.by_lines else cut(x, x.size // o, o, write=True)

    def numbers(self) -> tuple[Int | Block, ...]:
        """The tile's first line, its rows, and the rows from there on."""
        return Int(0, 1 if self.by_lines else 0), Block(), Int(self.rows, -1)
