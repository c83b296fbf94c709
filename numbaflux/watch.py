"""Calls of a plan, and when all that happens in them happened: each tile on a CPU, each launch on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from time import monotonic_ns
from typing import Any

import numpy as np

from .instance import Instance
from .managed import name_of as device_of
from .own import name_of

Spans = list[tuple[int, int]]  # (start, end) in nanoseconds


class Watch:
    """Of a plan's instance on the CPU. What is watched: entries, their kernels, tiles and waves; places, the (entry,
    tile) of each record; lines, the names of those who work."""

    gpu = False

    def __init__(self, instance: Instance) -> None:
        plan = instance.plan
        self.entries = plan.entries
        self.kernels = [name_of(e.kernel) for e in self.entries]
        self.tiles = [g.tiles for g in plan.groups for _ in g.entries]
        self.waves = [g.wave for g in plan.groups for _ in g.entries]
        self.lines = [f"worker {i}" for i in range(instance.workers)]
        self.device = "cpu"
        self.records, self.places = instance.record()
        self.stays: Spans = []
        instance.calls = [partial(self._timed, call) for call in instance.calls]

    def _timed(self, call: Callable[[], None]) -> None:
        start = monotonic_ns()
        call()
        self.stays.append((start, monotonic_ns()))

    def call(self, f: Callable[[], Any]) -> tuple[Spans, np.ndarray]:
        """Of one call: the spans of all of it and of each stay in native code; the records (start, end, worker)."""
        self.stays.clear()
        start = monotonic_ns()
        f()
        end = monotonic_ns()
        return [(start, end), *self.stays], self.records.copy()


class GPUWatch:
    """The same of a plan on a GPU that has not run yet: a wave is what runs between two of Python's turns, each launch
    one tile. The GPU's clock starts where it was asked to begin, so that spans lie inside of the call."""

    gpu = True

    def __init__(self, bound: Any) -> None:
        self.bound = bound
        self.marks = bound.mark()
        self.entries = bound.launches.entries
        self.kernels = [name_of(one.kernel) for one in bound.found]
        self.tiles = [-(-e.rows // e.block) for e in self.entries]
        self.waves = [number for number, part in enumerate(self.marks) for _ in part[1:]]
        self.lines = [device_of(bound.gpu)]
        self.device = self.lines[0]
        self.places = np.array([(i, 0) for i in range(len(self.entries))], np.int64).reshape(-1, 2)

    def call(self, f: Callable[[], Any]) -> tuple[Spans, np.ndarray]:
        """Of one call: the spans of all of it and of each stay on the GPU; the records (start, end, 0)."""
        self.bound.begun.clear()
        start = monotonic_ns()
        f()
        end = monotonic_ns()
        stays: Spans = []
        records: list[tuple[int, int, int]] = []
        for begin, marks in zip(self.bound.begun, self.marks, strict=True):
            times = [begin + round(1e9 * self.bound.gpu.seconds(marks[0], mark)) for mark in marks]
            records += [(a, b, 0) for a, b in pairwise(times)]
            stays += [(times[0], times[-1])] if times else []
        return [(start, end), *stays], np.array(records, np.int64).reshape(-1, 3)
