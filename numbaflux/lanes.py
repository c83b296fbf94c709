"""Sixteen samples side by side: a second form of a buffer, (n / 16, features, 16), in which vectors are full whatever
the number of channels. Operations that gain by it ask for it; what no operation reads in the plain form is not made.
"""

from __future__ import annotations

import math
from typing import Any

from . import lowering
from .kernels.table import IMAGES
from .lowering import CACHE, Array, Buf, Build, Int, Num, cut, up

CHANNELS = 16  # up to which plain vectors of channels are not full
TILES, LARGEST = 64, 1024  # about so many tiles, since sums of gradients have a place for each; samples of one


def worth(n: int, channels: int, nbytes: int) -> bool:
    """Whether images in lanes pay: few channels, samples for whole vectors, tiles that stay in the core's cache."""
    return n >= IMAGES and channels <= CHANNELS and IMAGES * nbytes <= 4 * CACHE


def features(x: Buf) -> int:
    return math.prod(x.shape[1:])


def _key(x: Buf) -> tuple[int, int]:
    return id(x.storage), x.offset


def has(b: Build, *xs: Buf) -> bool:
    """Whether buffers exist in lanes already."""
    return all(_key(x) in b.lanes for x in xs)


def as_lanes(x: Buf, write: bool = False, shape: tuple[int, ...] = ()) -> Array:
    """A buffer in lanes as an argument cut by samples: flat, or with its leading size the blocks times shape[0]."""
    blocks = x.shape[0]
    sizes = (blocks * shape[0], *shape[1:]) if shape else (x.size,)
    return Array(x, sizes, cut=True, write=write, lanes=IMAGES)


def tile(n: int) -> int:
    """How many of n samples make a tile: one block, as small as it gets, since a block is work enough for a thread.

    >>> [tile(n) for n in (16, 1024, 1025, 10_000, 10**6)]
    [16, 16, 32, 160, 1024]
    """
    return min(LARGEST, up(-(-n // TILES), IMAGES))


def add(b: Build, kernel: str, *args: Any, n: int, work: float) -> None:
    """An entry over n samples in blocks of 16."""
    b.add(kernel, *args, rows=n, block=tile(n), fixed=True, work=work)


def temp(b: Build, n: int, size: int, like: Buf) -> Buf:
    """Memory for n samples of size features."""
    return b.temp((up(n, IMAGES) // IMAGES, size, IMAGES), like.dtype)


def read(b: Build, x: Buf) -> Buf:
    """x (n, ...) in lanes; made once."""
    if not has(b, x):
        n, size = x.shape[0], features(x)
        b.lanes[_key(x)] = t = temp(b, n, size, x)
        add(b, "lanes.to_lanes", as_lanes(t, write=True), cut(x, x.size), Int(size), n=n, work=0.3 * x.size)
    return b.lanes[_key(x)]


def written(b: Build, out: Buf, t: Buf) -> None:
    """out (n, ...) is what t holds in lanes; the plain form is made for those who ask for it."""
    b.lanes[_key(out)] = t
    n, size = out.shape[0], features(out)
    add(b, "lanes.from_lanes", cut(out, out.size, write=True), as_lanes(t), Int(size), n=n, work=0.3 * out.size)


def elementwise(b: Build, kernel: Any, out: Buf, *ins: Buf, numbers: Any = (), cost: float = 0.5) -> None:
    """A kernel over elements: in lanes where all inputs are there already, else over the plain arrays."""
    if len(out.shape) < 2 or not has(b, *ins) or any(x.shape != out.shape for x in ins):
        lowering.elementwise(b, kernel, out, *ins, numbers=numbers, cost=cost)
        return
    n = out.shape[0]
    t = temp(b, n, features(out), out)
    arrays = [as_lanes(t, write=True), *(as_lanes(b.lanes[_key(x)]) for x in ins)]
    given: list[Int | Num] = list(numbers)
    add(b, kernel, *arrays, *given, n=n, work=cost * t.size)
    written(b, out, t)
