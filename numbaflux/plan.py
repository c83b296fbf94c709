"""Entries -> groups and waves -> places in an arena: a plan, relative to the memory that its instances bring."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from .instance import Instance
from .lowering import LINE, Array, Build, Entry, Storage, up
from .native import native, pool
from .pace import Pace
from .schedule import Group, schedule, tilewise

SERIAL = 15e3  # nanoseconds that a second thread must take off a call, or it costs more than it gives


def place(lives: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets for (first use, last use, bytes) so that what lives at the same time does not overlap, and the sum.

    >>> place([(0, 1, 64), (1, 2, 64), (2, 3, 64)])
    ([0, 64, 0], 128)
    """
    offsets = [0] * len(lives)
    taken: list[int] = []
    for i in sorted(range(len(lives)), key=lambda i: -lives[i][2]):
        first, last, size = lives[i]
        at = 0
        for j in sorted((j for j in taken if lives[j][0] <= last and first <= lives[j][1]), key=lambda j: offsets[j]):
            if at + size <= offsets[j]:
                break
            at = max(at, offsets[j] + up(lives[j][2], LINE))
        offsets[i] = at
        taken.append(i)
    return offsets, up(max((o + life[2] for o, life in zip(offsets, lives, strict=True)), default=0), LINE)


class Plan:
    """What to run, relative to memory that instances bring: groups in waves, offsets in the arena and in a worker's
    own part."""

    def __init__(self, build: Build) -> None:
        self.needed = build.needed()
        scheduled = schedule(self.needed)
        self.groups = [g for g in scheduled if g.host is None]
        self.hosts = [(g.wave, g.host) for g in scheduled if g.host is not None]
        self.build = build
        self.entries = [e for g in self.groups for e in g.entries]
        used = [a for e in self.entries for a in e.arrays if a.buf.storage.kind == "argument"]
        self.given = {a.buf.storage.number: a.buf.storage for a in used}
        self.written = {a.buf.storage.number for a in used if a.write}
        self.checks = [e for e in build.entries if e.check is not None]
        self.work = sum(e.work for e in self.entries)
        tiles = Counter[int]()  # of each wave
        for g in self.groups:
            tiles[g.wave] += g.tiles
        self.serial = self._gain() <= SERIAL
        self.most = max(tiles.values(), default=1)  # more threads would find nothing to do
        self.pace = Pace(math.inf if self.hosts else self.work)  # waiting for others is not being late
        self.waves = 1 + max((g.wave for g in scheduled), default=-1)
        self.calls = native().find([(e.kernel, e.signature) for e in self.entries]) if native().works else []
        self.offsets: dict[int, int] = {}
        self.private: dict[int, int] = {}
        self._place(scheduled)
        self.idle: list[Instance] = []

    def _gain(self) -> float:
        """Nanoseconds of work that a second thread would take off: half of each wave, or what its largest tile
        leaves."""
        work, largest = defaultdict[int, float](float), defaultdict[int, float](float)
        for g in self.groups:
            nanoseconds = sum(e.work for e in g.entries)
            work[g.wave] += nanoseconds
            largest[g.wave] = max(largest[g.wave], nanoseconds / g.tiles)
        return sum(all_of - max(all_of / 2, largest[wave]) for wave, all_of in work.items())

    def workers(self) -> int:
        """How many threads a call of this plan uses."""
        return 1 if self.serial or not self.calls else min(pool().now(), self.most)

    def _place(self, groups: Sequence[Group]) -> None:
        """Lifetimes by wave; what lives in one group only, tile by tile, is one buffer a worker."""
        uses: dict[int, list[tuple[Group, Entry, Array, int]]] = {}
        storages: dict[int, Storage] = {id(self.build.status.storage): self.build.status.storage}
        position = 0
        for g in groups:
            for e in g.entries:
                position += 1
                for a in e.arrays:
                    storages[id(a.buf.storage)] = a.buf.storage
                    if 0 not in a.shape:  # nothing is read or written there: "no bias", say
                        uses.setdefault(id(a.buf.storage), []).append((g, e, a, position))
        shared: list[tuple[int, int, int, int]] = []
        own: list[tuple[int, int, int, int]] = []
        for key, s in storages.items():
            if s.kind != "temp":
                continue
            used = uses.get(key, [])
            group = used[0][0] if used else None
            if group and group.tiles > 1 and not s.keep and self._one_group(group, used):
                size = group.block * max(a.stride(group.rows) * a.buf.dtype.itemsize for _, _, a, _ in used)
                own.append((key, used[0][3], used[-1][3], size))
            else:
                first, last = (0, self.waves) if s.keep or not used else (used[0][0].wave, max(u[0].wave for u in used))
                shared.append((key, first, last, s.nbytes))
        offsets, self.arena = place([life[1:] for life in shared])
        self.offsets = {life[0]: at for life, at in zip(shared, offsets, strict=True)}
        offsets, self.own = place([life[1:] for life in own])
        self.private = {life[0]: at for life, at in zip(own, offsets, strict=True)}

    @staticmethod
    def _one_group(group: Group, used: list[tuple[Group, Entry, Array, int]]) -> bool:
        """Whether a buffer is written before it is read, tile by tile, in this group alone."""
        first = used[0][2]
        alone = all(g is group and tilewise(first, a, group.rows) for g, _, a, _ in used)
        return alone and first.write

    @property
    def memory(self) -> int:
        """Bytes that one instance takes at today's number of threads."""
        return self.arena + self.own * self.workers()

    def take(self) -> Instance:
        """An instance that nobody else runs, for as many threads as are set now."""
        workers = self.workers()
        while self.idle:
            try:
                instance = self.idle.pop()
            except IndexError:  # another thread was faster
                break
            if instance.workers == workers:
                return instance
        return Instance(self, workers)

    def run(self, *arrays: np.ndarray | None) -> None:
        """Run on these arguments, in the order of their numbers; raises the error of the first check that failed."""
        instance = self.take()
        try:
            instance.run(*arrays)
        finally:
            self.idle.append(instance)
