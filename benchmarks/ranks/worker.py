"""A rank, or one process alone, that measures: worker.py WHAT JSON. WHAT is one of the functions below, JSON its
arguments; rank 0 prints what it returns as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np

import numbaflux as nf
from benchmarks.peers.ours import step_of
from benchmarks.ranks.cases import Spread, case_of
from benchmarks.ranks.timeline import Watch, spans

WARM = 2  # turns before those that count
LEAST = 3  # turns that are timed


def shared(world: Any, case: Spread, alone: bool = False, **options: Any) -> tuple[Any, tuple[np.ndarray, ...]]:
    """A step, and this rank's share of the batch. alone: ranks train each for itself, as one process does. options: of
    DistributedOptimizer, beside the case's own."""
    rule: Any = nf.Adam(case.training.rate)
    if world.size > 1 and not alone:
        rule = nf.DistributedOptimizer(rule, world, **case.options | options)
    elif case.accumulate > 1:
        rule = nf.OptimiserChain(nf.AccumGrad(case.accumulate), rule)
    step, *batch = step_of(case.training, rule)
    each = case.training.batch // world.size
    mine = slice(world.rank * each, (world.rank + 1) * each)
    return step, tuple(np.ascontiguousarray(a[mine]) for a in batch)


def clocked(call: Callable[[], object]) -> float:
    """Microseconds."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e6


def turns(world: Any, call: Callable[[], object], seconds: float) -> list[float]:
    """Microseconds of as many calls, on all ranks alike, as fit into so many seconds."""
    first = median(clocked(call) for _ in range(WARM))
    longest = world.gather([first])[:, 0].max()
    count = max(LEAST, int(seconds * 1e6 / longest))
    world.barrier()
    return [clocked(call) for _ in range(count)]


def step(world: Any, case: str, batch: int = 0, seconds: float = 0.5, **options: Any) -> dict[str, Any]:
    """The loss of the first step, and microseconds of steps; where gradients are added up, of as many steps as belong
    to one update, on average."""
    spread = case_of(case, batch)
    train, share = shared(world, spread, **options)
    loss = float(train(*share))
    several = spread.accumulate
    for _ in range(several - 1):
        train(*share)
    times = turns(world, lambda: [train(*share) for _ in range(several)], seconds)
    return {"loss": loss, "us": [us / several for us in times]}


def sums(world: Any, sizes: list[int], seconds: float = 0.3) -> dict[str, Any]:
    """Median microseconds of a meeting, and of sums of so many bytes."""
    meeting = median(turns(world, lambda: world.meet("a benchmark"), seconds))
    vectors = [np.zeros(size // 4, np.float32) for size in sizes]
    return {"meet": meeting, "sums": [median(turns(world, partial(world.sum, v), seconds)) for v in vectors]}


def hidden(world: Any, case: str, batch: int = 0, rounds: int = 5, calls: int = 3, **options: Any) -> dict[str, Any]:
    """Microseconds on the slowest rank, in turns, of a step of ranks that train each for itself, of one that they make
    together, of summing as many gradients with nothing beside it; the spans of a step."""
    spread = case_of(case, batch)
    (alone, share), (train, _) = (shared(world, spread, alone, overlap=True, **options) for alone in (True, False))
    rule = train.opt_state.spread
    pieces = [np.zeros_like(v.grads[start:end]) for v, start, end in rule.stretches()]
    ways = {
        "alone": lambda: alone(*share),
        "together": lambda: train(*share),
        "transfer": lambda: [world.sum(piece) for piece in pieces],
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(1 + rounds):
        for way, call in ways.items():
            world.barrier()
            found = world.gather([clocked(call) for _ in range(calls)]).max(0)
            times[way] += found.tolist() if turn else []
    return {"us": times, "bytes": sum(piece.nbytes for piece in pieces), "spans": spans(world, Watch(train, share), 9)}


def main() -> None:
    measure = {f.__name__: f for f in (step, sums, hidden)}[sys.argv[1]]
    with nf.distributed.init() as world:
        found = measure(world, **json.loads(sys.argv[2]))
        if world.rank == 0:
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
