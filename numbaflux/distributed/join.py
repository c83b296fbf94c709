"""Sums of flat gradients over ranks: whole, in 16 bits on the wire, or by a tree whose bits do not depend on ranks."""

from __future__ import annotations

import numpy as np

from .world import World

WIRES = ("float16", "bfloat16")
HALF = 2**22  # elements of a 16-bit message: what is taken at a time


def pack(x: np.ndarray, wire: str) -> np.ndarray:
    """float32 as the 16 bits that travel: rounded to nearest, ties to even.

    >>> pack(np.array([1.0, -2.0], np.float32), "bfloat16").tolist() == [0x3F80, 0xC000]
    True
    """
    if wire == "float16":
        with np.errstate(over="ignore"):  # what is too large is infinite, and found by the step's checks
            return x.astype(np.float16).view(np.uint16)
    bits = x.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(x), np.uint32(0x7FC0), rounded).astype(np.uint16)


def unpack(bits: np.ndarray, wire: str) -> np.ndarray:
    """The float32 that 16 bits stand for."""
    if wire == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def sum_packed(world: World, vector: np.ndarray, wire: str) -> None:
    """As world.sum for float32, with 16 bits an element on the wire: each rank adds one share of the vector, in
    float32 and in the order of ranks, and all take the sums rounded once, so that all have the same bits."""
    for start in range(0, vector.size, HALF):
        part = vector[start : start + HALF]
        each = -(-part.size // world.size)
        padded = np.zeros(each * world.size, np.float32)
        padded[: part.size] = part
        mine = pack(padded, wire)
        theirs = np.empty_like(mine)
        world.exchange(mine, theirs)
        total = unpack(theirs[:each], wire)
        for rank in range(1, world.size):
            total += unpack(theirs[rank * each : (rank + 1) * each], wire)
        world.collect(pack(total, wire), mine)
        part[...] = unpack(mine, wire)[: part.size]


class Tree:
    """Sums of vectors that come one after another, two and two: ((0 + 1) + (2 + 3)) + ..., whoever adds which.

    >>> tree = Tree()
    >>> for n in (1.0, 2.0, 3.0, 4.0):
    ...     tree.add([np.array([n])])
    >>> tree.total()[0].tolist()
    [10.0]
    """

    def __init__(self) -> None:
        self.sums: list[tuple[int, list[np.ndarray]]] = []  # how many are in each, largest first
        self.free: list[list[np.ndarray]] = []  # memory to use again

    def add(self, vectors: list[np.ndarray]) -> None:
        """The next one; vectors are copied."""
        kept = self.free.pop() if self.free else [np.empty_like(v) for v in vectors]
        for k, v in zip(kept, vectors, strict=True):
            k[...] = v
        count = 1
        while self.sums and self.sums[-1][0] == count:
            _, before = self.sums.pop()
            for b, k in zip(before, kept, strict=True):
                b += k
            self.free.append(kept)
            count, kept = 2 * count, before
        self.sums.append((count, kept))

    def clear(self) -> None:
        """Forget what was added, of a step that failed."""
        self.free += [found for _, found in self.sums]
        self.sums = []

    def total(self) -> list[np.ndarray]:
        """The sum of a power of two of vectors; then the tree is empty, and this memory is used again."""
        [(_, found)] = self.sums
        self.clear()
        return found


def sum_by_tree(world: World, vector: np.ndarray) -> None:
    """As world.sum for a power of two of ranks: neighbours first, then pairs of these, on all ranks alike."""
    other = np.empty_like(vector)
    distance = 1
    while distance < world.size:
        world.swap(vector, other, world.rank ^ distance)
        vector += other  # a + b has the bits of b + a
        distance *= 2
