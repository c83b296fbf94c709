"""The flat vectors of a model's parameters, their segments, and the passes of an update over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from ..lowering import Array, Buf, Build, as_buf, cut, elements_block, whole

FLOAT64 = np.dtype(np.float64)
ALIGN = 16  # elements: each segment starts on a cache line of its own


@dataclass
class Segment:
    """One parameter's place in the vectors. ties: other paths of the same array."""

    path: str
    start: int
    shape: tuple[int, ...]
    frozen: bool = False
    ties: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def of(self, vector: np.ndarray) -> np.ndarray:
        return vector[self.start : self.start + self.size].reshape(self.shape)


@dataclass
class Vectors:
    """The flat vectors of one dtype. scratch: the gradients as a chain's members leave them; empty for a rule alone."""

    params: np.ndarray
    grads: np.ndarray
    scratch: np.ndarray
    states: dict[str, np.ndarray]
    segments: list[Segment]
    own: tuple[int, int]  # the stretch that this process updates, and has states of
    bufs: dict[str, Buf] = field(default_factory=dict)
    starts: dict[int, Segment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.starts = {s.start: s for s in self.segments}
        known = {"params": self.params, "grads": self.grads, "scratch": self.scratch}
        self.bufs = {name: as_buf(v) for name, v in known.items()}
        for name, v in self.states.items():  # elements count from the start of the whole vector
            self.bufs[name] = replace(as_buf(v), offset=-self.own[0] * v.itemsize)

    def buf(self, name: str, s: Segment) -> Buf:
        return self.bufs[name].part(s.start, *s.shape)

    def runs(self, wanted: Callable[[Segment], bool] = lambda s: True) -> Iterator[tuple[int, int]]:
        """Stretches of wanted segments that are not frozen, within its own."""
        first, last = self.own
        for _, run in groupby(self.segments, key=lambda s: not s.frozen and wanted(s)):
            some = list(run)
            start, end = max(first, some[0].start), min(last, some[-1].start + up(some[-1].size))
            if end > start and not some[0].frozen and wanted(some[0]):
                yield start, end


def up(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


@dataclass
class Stage:
    """Where one member of a chain, or a rule alone, adds its entries of an update.

    numbers: its own in memory; later: those of the members after it; gradient: the vector in which it finds the
    gradients; prefix: of its states' names.
    """

    build: Build
    vectors: list[Vectors]
    numbers: Buf
    later: Buf
    gradient: str
    prefix: str

    def passes(
        self, kernel: str, written: tuple[str, ...], read: tuple[str, ...] = (), numbers: bool = True,
        wanted: Callable[[Segment], bool] = lambda s: True,
    ) -> None:  # fmt: skip
        """kernel(*written, *read, numbers) over each stretch of wanted segments that is not frozen."""
        for v in self.vectors:
            for start, end in v.runs(wanted):
                size = end - start
                out, given = ([v.bufs[name].part(start, size) for name in names] for names in (written, read))
                self.over(size, kernel, *(cut(b, write=True) for b in out), *map(cut, given),
                          *([whole(self.numbers)] if numbers else []))  # fmt: skip

    def over(self, size: int, kernel: str, *args: Any, fixed: bool = False) -> None:
        """An entry over that many elements, in the part of the step that changes what lasts."""
        self.build.add(kernel, *args, rows=size, block=elements_block(size, 1), fixed=fixed, work=0.8 * size,
                       commits=True)  # fmt: skip

    def once(self, kernel: str, *args: Any) -> None:
        """An entry of one tile."""
        self.build.add(kernel, *args, rows=1, block=1, commits=True)

    def tick(self) -> None:
        """The step is counted."""
        self.once("optim.tick", whole(self.numbers, write=True))

    def blend(self, y: Buf, x: Buf, pair: Buf) -> None:
        """y = pair[0] y + pair[1] x"""
        self.over(y.size, "optim.blend", cut(y, write=True), cut(x), whole(pair), whole(self.numbers))

    def norm(self, parts: list[Buf]) -> Buf:
        """Slots, one a tile, of the norm of all parts together: of sums over tiles, taken in the order of the tiles,
        relative to each tile's largest element: so its bits do not depend on threads, and no power overflows."""
        counts = [-(-part.size // elements_block(part.size, 1)) for part in parts]
        slots, at = self.build.temp((sum(counts), 2), FLOAT64), 0
        for part, count in zip(parts, counts, strict=True):
            slot = Array(slots.part(2 * at, 2 * count), (2,), per_tile=2, write=True)
            self.over(part.size, "optim.norm", slot, cut(part), whole(self.numbers), fixed=True)
            at += count
        return slots

    def trust(self, over: Buf, under: Buf, numbers: Buf) -> Buf:
        """What a step keeps, and the rate times the ratio of two norms, as blend takes them."""
        pair = self.build.temp((2,), FLOAT64)
        self.once("optim.trust", whole(pair, write=True), whole(over), whole(under), whole(numbers))
        return pair

    def states(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.prefix + name for name in names)
