"""What a rank's step takes without others, measured on one thread: when its loss and each of its buckets are ready."""

from __future__ import annotations

from itertools import accumulate
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.cases import Training
from benchmarks.peers.ours import step_of
from benchmarks.ranks.model import Compute
from benchmarks.threads import measured
from numbaflux.distributed.overlap import bucket
from numbaflux.lowering import Array, Buf
from numbaflux.plan import Plan

BUCKET = 8 * 2**20  # that of DistributedOptimizer


def compute_of(training: Training, rounds: int) -> Compute:
    """Of a training step on its whole batch."""
    step, *batch = step_of(training)
    plan, group_ns, python = measured(step, batch, rounds)
    program, _ = step.program(batch)
    [v] = step.opt_state.vectors.values()
    each = bucket(v.grads.nbytes, BUCKET, True)
    ends = range(v.grads.nbytes, 0, -each)
    stretches = [(max(0, end - each), end) for end in ends]
    made = compute_from(plan, group_ns, python, program.loss, v.bufs["grads"], stretches)
    return Compute(made.loss, made.ready, made.back, made.update, spread_of(step, batch, rounds))


def compute_from(
    plan: Plan, group_ns: list[float], python: float, loss: Buf, grads: Buf, stretches: list[tuple[int, int]]
) -> Compute:
    """Groups one after another, wave by wave; what Python does comes first."""
    waves = np.zeros(plan.waves)
    for g, ns in zip(plan.groups, group_ns, strict=True):
        waves[g.wave] += ns / 1e9
    ends = [python / 1e9 + end for end in accumulate(waves.tolist())]
    known = ends[last_write(plan, loss, 0, loss.nbytes)]
    ready = [ends[last_write(plan, grads, *stretch)] for stretch in stretches]
    back = max(known, *ready)
    tasks = tuple((at, float(end - start)) for at, (start, end) in zip(ready, stretches, strict=True))
    return Compute(known, tasks, back, ends[-1] - back)


def last_write(plan: Plan, buf: Buf, start: int, end: int) -> int:
    """The last wave before any update that writes into so many bytes of a buffer; the first where none does."""
    begin, stop = buf.offset + start, buf.offset + end

    def writes(a: Array) -> bool:
        return a.write and a.buf.storage is buf.storage and a.buf.offset < stop and begin < a.buf.offset + a.buf.nbytes

    before = [g for g in plan.groups if not g.entries[0].commits]
    return max((g.wave for g in before if any(writes(a) for e in g.entries for a in e.arrays)), default=0)


def spread_of(step: Any, batch: Any, rounds: int) -> float:
    """Deviation of a step's time over its median, by the slower half of the middle 68 %: rare disturbances of this
    machine say nothing of others."""
    from benchmarks.ranks.worker import clocked

    times = [clocked(lambda: step(*batch)) for _ in range(max(20, 2 * rounds))]
    return float(np.quantile(times, 0.84) / median(times) - 1)
