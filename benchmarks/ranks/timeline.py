"""When a rank computes and when it talks: what the plan records of a step, and the courier's tasks."""

from __future__ import annotations

from functools import partial
from time import monotonic_ns
from typing import Any

import numpy as np

COLUMNS = ("rank", "kind", "start", "end")  # microseconds from the first rank's start
KINDS = ("forward", "backward", "update", "meeting", "sum of gradients")
FORWARD, BACKWARD, UPDATE, MEETING, SUM = range(len(KINDS))


class Watch:
    """Steps of a compiled training step, with the spans of its waves and of its courier's tasks."""

    def __init__(self, step: Any, batch: tuple[np.ndarray, ...]) -> None:
        step(*batch)
        self.step, self.batch, self.instance = step, batch, step.program(batch)[0].instance
        self.records, places = self.instance.record()
        plan = self.instance.plan
        self.wave_of = np.array([g.wave for g in plan.groups for _ in g.entries], np.int64)[places[:, 0]]
        self.talks: list[tuple[int, int, int]] = []
        self.known = 0  # when the courier was told of the loss: the backward pass begins
        self.courier = step.opt_state.spread.courier
        self.begin = self.courier.begin
        self.courier.begin = self._begin

    def _begin(self, tasks: list[Any]) -> None:
        self.known = monotonic_ns()
        kinds = [MEETING] + [SUM] * (len(tasks) - 1)
        self.begin([partial(self._timed, *pair) for pair in zip(kinds, tasks, strict=True)])

    def _timed(self, kind: int, task: Any) -> None:
        start = monotonic_ns()
        task()
        self.talks.append((kind, start, monotonic_ns()))

    def call(self) -> list[tuple[int, int, int]]:
        """Spans of one step, by the clock of time.monotonic_ns."""
        self.talks.clear()
        self.step(*self.batch)
        found = []
        for wave in dict.fromkeys(self.wave_of.tolist()):
            own = self.records[self.wave_of == wave]
            start, end = int(own[:, 0].min()), int(own[:, 1].max())
            found.append((self._part(start), start, end))
        return found + self.talks

    def _part(self, start: int) -> int:
        """Of the step that a wave belongs to."""
        if start < self.known:
            return FORWARD
        return BACKWARD if start < max(end for _, _, end in self.talks) else UPDATE


def spans(world: Any, watch: Watch, count: int) -> list[list[float]]:
    """Rows of COLUMNS of the step of median length among some, of all ranks."""
    calls = []
    for _ in range(count):
        world.barrier()
        found = watch.call()
        calls.append((max(end for *_, end in found) - min(start for _, start, _ in found), found))
    order = np.argsort(world.gather([long for long, _ in calls])[0], kind="stable")
    own = np.array([(world.rank, *span) for span in calls[int(order[(count - 1) // 2])][1]], np.int64)
    rows = world.rows(own)
    rows[:, 2:] -= rows[:, 2].min()
    return [[*row[:2], row[2] / 1e3, row[3] / 1e3] for row in rows.tolist()]


def draw(rows: list[list[float]]) -> Any:
    """Two lines a rank: what it computes, what it has under way."""
    from numbaflux.plots import COLOURS, GRID, figure

    ranks = 1 + int(max(row[0] for row in rows))
    fig = figure(9, 1.2 + 0.8 * ranks)
    axes = fig.subplots()
    for kind, name in enumerate(KINDS):
        talk = kind in (MEETING, SUM)
        some = [(2 * row[0] + talk, row[2] / 1e3, (row[3] - row[2]) / 1e3) for row in rows if row[1] == kind]
        lines, starts, lengths = zip(*some, strict=True) if some else ((), (), ())
        axes.barh(lines, lengths, 0.8, starts, color=COLOURS[kind], label=name, edgecolor="white", linewidth=0.4)
    labels = [f"rank {rank} {what}" for rank in range(ranks) for what in ("computes", "talks")]
    axes.set_yticks(range(2 * ranks), labels)
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds")
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(KINDS), frameon=False)
    return fig
