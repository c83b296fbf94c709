"""A plan bound to memory: the arena, the table of rows and the head that the runner reads; running it."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from .interpreter import array_at, interpret
from .kernels import table as T
from .lowering import Array, Block, Buf, Entry, Int, Num, Storage
from .memory import Arena, Fence, address_of, aligned, before_fence, fenced
from .native import WORD, native, pool
from .schedule import Group, Host

STAGED = 16 * 1024  # bytes up to which an argument is copied
SLICE = 1e8  # nanoseconds of work, roughly, after which a call returns to Python, so that Ctrl-C is seen


class Wave(NamedTuple):
    """What runs between two waits: its number in the plan, rows of the table, nanoseconds of work, whether it changes
    things for good."""

    number: int
    rows: list[tuple[int, ...]]
    work: float
    commits: bool


class Instance:
    """A plan bound to memory of its own: the arena, the table of rows, the head that the runner reads."""

    def __init__(self, plan: Any, workers: int) -> None:
        self.plan, self.workers = plan, workers
        self.fence = fenced()
        kind = Fence if self.fence else Arena
        self.memory = kind(plan.offsets, plan.arena, plan.private, plan.own, workers)
        self.patches: list[tuple[int, int, int]] = []
        self.rows: list[np.ndarray] = []
        self.first: dict[int, np.ndarray] = {}  # each entry's row for worker 0
        self.arguments = (WORD * (1 + max(plan.given, default=0)))()
        staged = {n: self._stage(s) for n, s in plan.given.items() if self.fence or s.nbytes <= STAGED}
        self.small = [(n, place) for n, place in staged.items() if n not in plan.written]
        self.back = [(n, place) for n, place in staged.items() if n in plan.written]
        self.large = [n for n in plan.given if n not in staged]
        self._fill()
        self.status = (WORD * 2).from_address(self.memory.address(plan.build.status.storage, 0))
        self.where = self.head.ctypes.data
        self.count = WORD.from_address(self.where + 8 * T.WORKERS)
        self.calls = [self.caller(first, last) for first, last in self.cuts]

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
                    self.first.setdefault(id(e), self.rows[-1])
                table[worker, i] = self.rows[-1].ctypes.data
        cut = self._waves()
        self.cuts, self.hosts = self._cuts(cut)
        groups = np.array([row for w in cut for row in w.rows], np.int64).reshape(-1, T.GROUP_WORDS)
        waves = np.cumsum([0, *(len(w.rows) for w in cut)], dtype=np.int64)
        patches = np.array(self.patches, np.int64).reshape(-1, T.PATCH_WORDS)
        counters = aligned(8 * T.LINE * len(cut) * (workers + 1)).view(np.int64)
        addresses = np.array(plan.calls, np.int64)
        head = self.head = np.zeros(T.HEAD, np.int64)
        self.kept = table, groups, waves, patches, counters, addresses
        for word, array in (
            (T.WAVES, waves), (T.GROUPS, groups), (T.CALLS, addresses), (T.ROWS, table), (T.COUNTERS, counters),
            (T.PATCH, patches),
        ):  # fmt: skip
            head[word] = array.ctypes.data
        head[T.STATUS] = self.memory.address(plan.build.status.storage, 0)
        head[T.ENTRIES], head[T.WORKERS], head[T.ONE] = len(plan.entries), workers, 1
        head[T.PATCHES], head[T.ARGUMENTS] = len(patches), ctypes.addressof(self.arguments)
        if workers > 1:
            head[T.REGION], head[T.PARALLEL_FOR] = native().runner[1], pool().parallel_for

    def _waves(self) -> list[Wave]:
        """The plan's waves; one that takes long as several, each with some tiles of every group."""
        waves, entry, records = [], 0, 0
        for number, some in itertools.groupby(self.plan.groups, key=lambda g: g.wave):
            groups = [(g, entry := entry + len(g.entries)) for g in some]
            work = sum(e.work for g, _ in groups for e in g.entries) / self.workers
            commits = any(e.commits for g, _ in groups for e in g.entries)
            whole = commits or not native().works  # the interpreter takes waves as the plan has them
            count = 1 if whole else min(max(g.tiles for g, _ in groups), math.ceil(work / SLICE) or 1)
            for i in range(count):
                rows: list[tuple[int, ...]] = []
                for g, end in groups:
                    first, last = g.tiles * i // count, g.tiles * (i + 1) // count
                    if last > first:
                        before = sum(r[2] for r in rows)
                        rows.append((end - len(g.entries), end, last - first, before, first, records))
                        records += (last - first) * len(g.entries)
                waves.append(Wave(number, rows, work / count, commits))
        return waves

    def _row(self, e: Entry, group: Group, worker: int) -> np.ndarray:
        """The words of one entry's arguments (kernels/table.py says which)."""
        size = sum(3 + len(a.shape) if isinstance(a, Array) else 2 for a in e.args)
        row = np.zeros(size, np.int64)
        block = group.block if group.tiles > 1 else e.rows
        at = 0
        for a in e.args:
            if isinstance(a, Array):
                words = self._array(a, e.rows, block, worker, row.ctypes.data + 8 * at)
            else:
                words = number_words(a, block)
            row[at : at + len(words)] = words
            at += len(words)
        return row

    def _array(self, a: Array, rows: int, block: int, worker: int, word: int) -> list[int]:
        s, plan = a.buf.storage, self.plan
        if s.kind == "argument":
            self.patches.append((word, s.number, a.buf.offset))
            start = 0
        elif s.kind == "array":
            start = s.array.ctypes.data
        else:
            start = self.memory.address(s, worker)
        return array_words(a, rows, block, start, id(s) not in plan.private)

    def _cuts(self, waves: list[Wave]) -> tuple[list[tuple[int, int]], list[list[Host]]]:
        """The waves of each native call, all in one unless the work takes long; and what Python does before each, the
        last time after them all. Never a cut between two that change something for good, unless Python has its turn
        there: Ctrl-C must not leave half an update."""
        turns = sorted(self.plan.hosts, key=lambda turn: turn[0])
        hosts: list[list[Host]] = [[]]
        cuts, start, work = [], 0, 0.0
        for i, wave in enumerate(waves):
            due = [host for at, host in turns if at <= wave.number]
            turns = turns[len(due) :]
            if due or (work > SLICE and not waves[i - 1].commits):
                cuts.append((start, i))
                hosts.append(due)
                start, work = i, 0.0
            work += wave.work
        return [*cuts, (start, len(waves))], [*hosts, [host for _, host in turns]]

    def _stage(self, s: Storage) -> np.ndarray:
        """A place of its own for a small argument: a copy costs less than asking for an address."""
        raw = before_fence(s.nbytes) if self.fence else aligned(s.nbytes)
        place = raw.view(s.spec.dtype).reshape(s.spec.shape)
        self.arguments[s.number] = place.ctypes.data
        return place

    def record(self) -> tuple[np.ndarray, np.ndarray]:
        """From now on each call writes when each tile of each entry ran: rows (start, end, worker), by the clock of
        time.monotonic_ns. And what the rows are of: (number of the entry, tile)."""
        places = [np.empty((0, 2), np.int64)]
        for first, last, tiles, _, start, _ in self.kept[1].tolist():
            grid = np.meshgrid(np.arange(first, last), np.arange(start, start + tiles))
            places.append(np.stack(grid, -1).reshape(-1, 2))
        found = np.concatenate(places)
        self.records = np.zeros((len(found), T.RECORD_WORDS), np.int64)
        self.head[T.RECORDS] = self.records.ctypes.data
        return self.records, found

    def view(self, buf: Buf) -> np.ndarray:
        """A kept buffer of the arena as an array."""
        return array_at(self.memory.address(buf.storage, 0) + buf.offset, buf.shape, buf.dtype)

    def caller(self, first: int, last: int) -> Callable[[], None]:
        """What runs some of the waves. Its words are made once: to make them takes as long as a short call."""
        if not native().works:
            return partial(self._interpret, first, last)
        alone = self.workers > 1 and pool().layer == "workqueue"
        return partial(self._exclusive if alone else native().runner[0], *map(WORD, (self.where, first, last)))

    def run(self, *arrays: np.ndarray | None) -> None:
        """One native call (a few for long plans); nothing is allocated."""
        for number, place in self.small:
            place[...] = arrays[number]
        for number in self.large:
            self.arguments[number] = address_of(arrays[number])
        if self.fence:
            self.memory.begin()
        workers = 1
        if self.workers > 1:
            workers = self.count.value = self.plan.pace.workers(self.workers)
            start = perf_counter_ns()
        for i, call in enumerate(self.calls):  # zip(strict=) takes as long as a short call
            for host in self.hosts[i]:
                host(self)
            call()
        for host in self.hosts[-1]:
            host(self)
        if workers > 1:
            self.plan.pace.took(perf_counter_ns() - start)
        for number, place in self.back:
            arrays[number][...] = place
        if self.status[0]:
            error, self.status[0] = self.error(), 0
            if error is not None:  # below 0: Python has left out the rest on purpose
                raise error

    def error(self) -> Exception | None:
        """What the check that failed says; None where none did."""
        number, detail = self.status
        return self.plan.checks[number - 1].check(detail) if number > 0 else None

    @staticmethod
    def _exclusive(*words: Any) -> None:
        """One region at a time: the workqueue layer ends the process where two threads enter it."""
        with pool().exclusive:
            native().runner[0](*words)

    def _interpret(self, first: int, last: int) -> None:
        """What the native runner does, without it."""
        if first == 0:
            self.status[0] = min(self.status[0], 0)
            for word, number, offset in self.patches:
                WORD.from_address(word).value = self.arguments[number] + offset
        interpret(self.plan.groups, first, last, self.first, self.status)


def array_words(a: Array, rows: int, block: int, start: int, shared: bool = True) -> list[int]:
    """The words of an array whose storage begins at `start`; of memory that each worker has for itself, tiles begin
    where it begins."""
    move = (a.stride(rows) * block + a.per_tile) * a.buf.dtype.itemsize if shared else 0
    return [start + a.buf.offset, move, a.shape[0] if a.shape else 1, a.lead(rows, block), *a.shape[1:]]


def number_words(a: Int | Block | Num, block: int) -> list[int]:
    """The words of an argument that is no array."""
    if isinstance(a, Int):
        return [a.start, a.per_row * block]
    if isinstance(a, Block):
        return [block, 0]
    return [int(np.array(a.value, a.dtype).view(np.int32 if a.dtype.itemsize == 4 else np.int64)[()])]
