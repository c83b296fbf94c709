"""A plan for a GPU: one launch an entry, all in one stream, over one arena of the GPU's memory.

The words of a launch are those of a row (kernels/table.py), behind the address of the status word, at which entries
look that change what outlives the run (0: the others do not). The entries stand in the order in which they were made,
so each launch finds what those before it have written; the tiles of one launch, and the blocks of one tile, run in any
order and at once. Where Python has its turn the list is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .instance import array_words, number_words
from .kernels.cuda.launch import MOST, THREADS, launch
from .lowering import Array, Block, Build, Entry, Int, Storage
from .op import PlanError, expect
from .own import Own, name_of
from .plan import place

TILES = 2**31 - 1  # that a grid may have
LARGEST = 2**32 - 1  # elements of a tile: kernels count them in 32 bits


class Launch(NamedTuple):
    """What runs an entry: the kernel by its name in kernels/cuda, codes of its arguments, threads of a block, the grid
    (tiles, blocks that share a tile), and the words, where addresses of arguments are still offsets. Where a user's
    kernel has a tile for each thread, the grid is that of their blocks, and the last word how many tiles there are."""

    kernel: str | Own
    codes: tuple[str, ...]
    threads: int
    grid: tuple[int, int]
    words: np.ndarray


class Patch(NamedTuple):
    """Where the address of an argument of the plan is added: which launch, which word, which argument."""

    launch: int
    word: int
    argument: int


class Turn(NamedTuple):
    """Python's turn: how many launches stand before it, and what it is."""

    launches: int
    entry: Entry


class Launches:
    """A plan's entries as launches, relative to an arena, which is all zero before the first run."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.entries: list[Entry] = []
        self.turns: list[Turn] = []
        for e in build.needed():
            if e.host is None:
                self.entries.append(e)
            else:
                self.turns.append(Turn(self._before(e), e))
        self.checks = [e for e in build.entries if e.check is not None]
        self.arena, self.offsets = self._place()

    def _before(self, e: Entry) -> int:
        """How many launches must be done when Python has its turn: up to the last one that it must find done, so that
        gradients of the last layers are on their way while those of the first are made. Turns stay in their order."""
        found = [i for i, other in enumerate(self.entries, 1) if other.number < e.after or _meet(e, other)]
        return max([*found, *(turn.launches for turn in self.turns)], default=0)

    def _place(self) -> tuple[int, dict[int, int]]:
        """Bytes of the arena, and where each storage of the plan's own begins in it: by its first and last launch."""
        last = len(self.entries)
        status = self.build.status.storage
        lives: dict[int, tuple[Storage, int, int]] = {id(status): (status, 0, last)}
        for i, e in enumerate(self.entries):
            for a in e.arrays:
                s = a.buf.storage
                if s.kind == "temp" and 0 not in a.shape:
                    first = lives[id(s)][1] if id(s) in lives else i
                    lives[id(s)] = (s, 0, last) if s.keep else (s, first, max(i, lives.get(id(s), (s, 0, 0))[2]))
        offsets, size = place([(first, end, s.nbytes) for s, first, end in lives.values()])
        return size, dict(zip(lives, offsets, strict=True))

    def bound(self, address: Callable[[Storage], int]) -> tuple[list[Launch], list[Patch]]:
        """The launches with the addresses that are known (of the arena and of arrays that stay), and what to add to
        their words at each call."""
        patches: list[Patch] = []
        status = address(self.build.status.storage)
        return [self._launch(i, e, status, address, patches) for i, e in enumerate(self.entries)], patches

    def _launch(
        self, number: int, e: Entry, status: int, address: Callable[[Storage], int], patches: list[Patch]
    ) -> Launch:
        tiles = -(-e.rows // e.block)
        block = e.block if tiles > 1 else e.rows
        words: list[int] = [status if e.commits else 0]
        for a in e.args:
            if isinstance(a, Array):
                s = a.buf.storage
                given = s.kind == "argument"
                if given:
                    patches.append(Patch(number, len(words), s.number))
                words += array_words(a, e.rows, block, 0 if given or 0 in a.shape else address(s))
            else:
                words += number_words(a, block)
        kernel, threads, grid = self._by(e, tiles, block)
        fits = grid[0] <= TILES and grid[1] <= MOST
        expect(fits, name_of(kernel), "grid", f"at most {TILES} x {MOST}", grid, error=PlanError)
        words += [tiles] * (isinstance(kernel, Own) and kernel.alone)
        return Launch(kernel, e.signature, threads, grid, np.array(words, np.int64))

    def _by(self, e: Entry, tiles: int, block: int) -> tuple[str | Own, int, tuple[int, int]]:
        """The kernel that runs an entry, threads of a block, the grid."""
        if isinstance(e.kernel, Own):
            return e.kernel, THREADS, (-(-tiles // THREADS) if e.kernel.alone else tiles, 1)
        sizes = [_size(a, e.rows, block) for a in e.args]
        chosen = launch(e.kernel, e.signature, sizes, self.build.target.products)
        return chosen.name, chosen.threads, (tiles, chosen.parts)


def _meet(one: Entry, two: Entry) -> bool:
    """Whether one of them writes what the other uses."""
    return any((a.write or b.write) and a.buf.meets(b.buf) for a in one.arrays for b in two.arrays)


def _size(a: object, rows: int, block: int) -> object:
    """The shape of an array at the first tile, which no other exceeds; the number that an argument is there."""
    if isinstance(a, Array):
        lead = a.lead(rows, block)
        shape = (min(lead, a.shape[0]) if lead else a.shape[0], *a.shape[1:]) if a.shape else (1,)
        expect(math.prod(shape) <= LARGEST, "gpu", "a tile", f"of at most {LARGEST} elements", shape, error=PlanError)
        return shape
    return a.start if isinstance(a, Int) else block if isinstance(a, Block) else 0.0
