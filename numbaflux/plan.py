"""Groups and waves -> arena -> table: a plan, and its instances that run as one native call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from .kernels import table as T
from .lowering import Array, Block, Buf, Build, Entry, Int, Num, Storage, up
from .native import WORD, native, threads
from .op import PlanError
from .schedule import Group, schedule, tilewise

SERIAL = 30e3  # nanoseconds of work below which threads cost more than they give
STAGED = 16 * 1024  # bytes up to which an argument is copied
LINE = 64  # bytes: every buffer starts on a cache line
SLICE = 3e8  # nanoseconds of work after which a call returns to Python, so that Ctrl-C is seen


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
    """What to run, relative to memory that instances bring: groups in waves, offsets in the arena and in a worker's own part."""

    def __init__(self, build: Build) -> None:
        self.groups = schedule(build.entries)
        self.build = build
        self.entries = [e for g in self.groups for e in g.entries]
        used = [a for e in self.entries for a in e.arrays if a.buf.storage.kind == "argument"]
        self.given = {a.buf.storage.number: a.buf.storage for a in used}
        self.written = {a.buf.storage.number for a in used if a.write}
        self.checks = [e for e in build.entries if e.check is not None]
        self.work = sum(e.work for e in self.entries)
        self.serial = self.work < SERIAL or max((g.tiles for g in self.groups), default=1) == 1
        self.waves = 1 + max((g.wave for g in self.groups), default=-1)
        self.addresses = native().find([(e.kernel, e.signature) for e in self.entries])
        self.offsets: dict[int, int] = {}
        self.private: dict[int, int] = {}
        self._place()
        self.idle: list[Instance] = []

    def workers(self) -> int:
        """How many threads a call of this plan uses."""
        return 1 if self.serial else threads().now()

    def _place(self) -> None:
        """Lifetimes by wave; what lives in one group only, tile by tile, is one buffer a worker."""
        uses: dict[int, list[tuple[Group, Entry, Array, int]]] = {}
        storages: dict[int, Storage] = {id(self.build.status.storage): self.build.status.storage}
        position = 0
        for g in self.groups:
            for e in g.entries:
                position += 1
                for a in e.arrays:
                    storages[id(a.buf.storage)] = a.buf.storage
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
                always = s.keep or not used or s is self.build.status.storage
                first, last = (0, self.waves) if always else (used[0][0].wave, max(u[0].wave for u in used))
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


class Instance:
    """A plan bound to memory of its own: the arena, the table of rows, the head that the runner reads."""

    def __init__(self, plan: Plan, workers: int) -> None:
        self.plan, self.workers = plan, workers
        self.arena = aligned(plan.arena + workers * plan.own)
        self.base = self.arena.ctypes.data
        self.patches: list[tuple[int, int, int]] = []
        self.rows: list[np.ndarray] = []
        self.arguments = (WORD * (1 + max(plan.given, default=0)))()
        self.small = [(n, self._stage(s)) for n, s in plan.given.items() if s.nbytes <= STAGED and n not in plan.written]
        self.large = [n for n in plan.given if n not in {n for n, _ in self.small}]
        self._fill()
        self.status = (WORD * 2).from_address(self.base + plan.offsets[id(plan.build.status.storage)])
        self.call, _ = native().runner
        self.cuts = self._cuts()
        self.where = self.head.ctypes.data

    def _fill(self) -> None:
        """The arrays that the head points to, and the head."""
        plan, workers = self.plan, self.workers
        table = np.empty((workers, len(plan.entries)), np.int64)
        group_of = {id(e): g for g in plan.groups for e in g.entries}
        for i, e in enumerate(plan.entries):
            own = any(id(a.buf.storage) in plan.private for a in e.arrays)
            for worker in range(workers):
                if own or worker == 0:
                    self.rows.append(self._row(e, group_of[id(e)], worker))
                table[worker, i] = self.rows[-1].ctypes.data
        groups, waves = self._groups()
        patches = np.array(self.patches, np.int64).reshape(-1, T.PATCH_WORDS)
        counters = aligned(8 * T.LINE * plan.waves * (workers + 1)).view(np.int64)
        addresses = np.array(plan.addresses, np.int64)
        head = self.head = np.zeros(T.HEAD, np.int64)
        self.kept = table, groups, waves, patches, counters, addresses
        for word, array in (
            (T.WAVES, waves), (T.GROUPS, groups), (T.CALLS, addresses), (T.ROWS, table), (T.COUNTERS, counters),
            (T.PATCH, patches),
        ):  # fmt: skip
            head[word] = array.ctypes.data
        head[T.STATUS] = self.base + plan.offsets[id(plan.build.status.storage)]
        head[T.ENTRIES], head[T.WORKERS], head[T.ONE] = len(plan.entries), workers, 1
        head[T.PATCHES], head[T.ARGUMENTS] = len(patches), ctypes.addressof(self.arguments)
        head[T.REGION] = native().runner[1]
        head[T.PARALLEL_FOR] = threads().parallel_for if workers > 1 else 0

    def _groups(self) -> tuple[np.ndarray, np.ndarray]:
        rows, waves, entry, before = [], [], 0, 0
        for i, g in enumerate(self.plan.groups):
            if g.wave == len(waves):
                waves.append(i)
                before = 0
            rows.append((entry, entry + len(g.entries), g.tiles, before))
            entry, before = entry + len(g.entries), before + g.tiles
        groups = np.array(rows, np.int64).reshape(-1, T.GROUP_WORDS)
        return groups, np.array([*waves, len(rows)], np.int64)

    def _row(self, e: Entry, group: Group, worker: int) -> np.ndarray:
        """The words of one entry's arguments (kernels/table.py says which)."""
        size = sum(3 + len(a.shape) if isinstance(a, Array) else 2 for a in e.args)
        row = np.zeros(size, np.int64)
        block = group.block if group.tiles > 1 else e.rows
        at = 0
        for a in e.args:
            if isinstance(a, Array):
                words = self._array(a, e.rows, block, worker, row.ctypes.data + 8 * at)
            elif isinstance(a, Int):
                words = [a.start, a.per_row * block]
            elif isinstance(a, Block):
                words = [block, 0]
            else:
                words = [number_bits(a)]
            row[at : at + len(words)] = words
            at += len(words)
        return row

    def _array(self, a: Array, rows: int, block: int, worker: int, word: int) -> list[int]:
        s, plan = a.buf.storage, self.plan
        item = a.buf.dtype.itemsize
        move = (a.stride(rows) * block + a.per_tile) * item
        if s.kind == "argument":
            self.patches.append((word, s.number, a.buf.offset))
            start = 0
        elif s.kind == "array":
            start = s.array.ctypes.data
        elif id(s) in plan.private:
            start, move = self.base + plan.arena + worker * plan.own + plan.private[id(s)], 0
        else:
            start = self.base + plan.offsets[id(s)]
        start += a.buf.offset
        lead = a.shape[0] // rows * block if a.cut else 0
        return [start, move, a.shape[0] if a.shape else 1, lead, *a.shape[1:]]

    def _cuts(self) -> list[tuple[int, int]]:
        """The waves of each native call: all in one unless the work takes long."""
        cuts, start, work = [], 0, 0.0
        for wave in range(self.plan.waves):
            work += sum(e.work for g in self.plan.groups if g.wave == wave for e in g.entries) / self.workers
            if work > SLICE:
                cuts.append((start, wave + 1))
                start, work = wave + 1, 0.0
        return [*cuts, (start, self.plan.waves)] if start < self.plan.waves or not cuts else cuts

    def _stage(self, s: Storage) -> np.ndarray:
        """A place of its own for a small argument that is only read: a copy costs less than asking for an address."""
        place = aligned(s.nbytes).view(s.spec.dtype).reshape(s.spec.shape)  # type: ignore[union-attr]
        self.arguments[s.number] = place.ctypes.data
        return place

    def view(self, buf: Buf) -> np.ndarray:
        """A kept buffer of the arena as an array."""
        at = self.plan.offsets[id(buf.storage)] + buf.offset
        return self.arena[at : at + buf.nbytes].view(buf.dtype).reshape(buf.shape)

    def run(self, *arrays: np.ndarray | None) -> None:
        """One native call (a few for long plans); nothing is allocated."""
        for number, place in self.small:
            place[...] = arrays[number]
        for number in self.large:
            self.arguments[number] = arrays[number].ctypes.data  # type: ignore[union-attr]
        for first, last in self.cuts:
            self.call(self.where, first, last)
        if self.status[0]:
            raise self.plan.checks[self.status[0] - 1].check(self.status[1])  # type: ignore[misc]


def number_bits(a: Num) -> int:
    return int(np.array(a.value, a.dtype).view(np.int32 if a.dtype.itemsize == 4 else np.int64)[()])


def aligned(nbytes: int) -> np.ndarray:
    """Zeroed bytes that start on a cache line."""
    raw = np.zeros(nbytes + LINE, np.uint8)
    at = -raw.ctypes.data % LINE
    return raw[at : at + nbytes]


def as_buf(array: np.ndarray) -> Buf:
    """An array that the plan reads and writes where it is."""
    if not array.flags.c_contiguous:
        raise PlanError(f"plan: array must be C-contiguous, got strides {array.strides}")
    return Buf(Storage(array.nbytes, "array", array=array), array.shape, array.dtype)


