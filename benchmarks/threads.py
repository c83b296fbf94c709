"""What more threads and a second socket should give: a model of a plan, checked here at 1 and 2 threads:
python -m benchmarks.threads [CASE ...] [--rounds N] [--socket GB/s] [--link GB/s] [--groups] [--write].

CASE: a training step of benchmarks.peers, or SERIES:POINT of benchmarks.growth.

The model. A call is Python's part, the start of a region, then waves one after another. A wave takes the longest of
its tiles shared out as the runner does, and of its bytes through the memory; what a worker touches comes from other
workers' caches; then they wait for each other. Measured on one thread: each group's time, Python's part, the memory's
speed. Measured on two, by plans that do nothing else: start, wait, bytes from worker to worker, the memory's speed.
Assumed: see Machine.
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, groupby
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

import numbaflux as nf
from benchmarks.growth.series import SERIES
from benchmarks.growth.written import PAGE, save
from benchmarks.peers.cases import TRAINING, Training
from benchmarks.peers.machine import told
from benchmarks.peers.ours import step_of
from benchmarks.written import ROOT, fill
from numbaflux.instance import Instance
from numbaflux.kernels import table as T
from numbaflux.lowering import Array, Build, as_buf, cut, whole
from numbaflux.native import native, pool
from numbaflux.plan import Plan

CASES = ("mlp_small_b256", "mlp_mnist_b128", "simplechains_mlp", "lenet_b128", "lenet_b2048", "cnn_cifar_b64",
         "lstm_s64_b32")  # fmt: skip
LARGER = ((8, 1), (32, 1), (64, 1), (64, 2), (128, 2))  # threads, sockets
WAVES = 64  # of the plan that only waits
BYTES = 64 * 2**20  # of an array far larger than the caches
HANDED = 2048  # numbers of an array that two workers hand each other
CROSS = 3.0  # a cache line from the other socket, over one from another core


class Share(NamedTuple):
    """Nanoseconds of a call: what perfect sharing takes, and what comes on top of it."""

    even: float
    uneven: float
    memory: float
    handed: float
    waits: float
    python: float

    @property
    def total(self) -> float:
        return sum(self)


@dataclass(frozen=True)
class Machine:
    """Nanoseconds, and bytes a nanosecond.

    Assumed for n threads: a region starts them in log2(n) steps; waiting grows by n, since each worker asks every
    other's counter for tiles; all that a worker touches in a wave, its part of what is cut and all of what is not, was
    last touched by another, up to what its own cache would have kept; memory is as fast as n threads ask, up to the
    socket, and plans within the last cache do not ask it. On two sockets, half of what a wave touches was written on
    the other: it comes over the link, both ways at once, and lines between workers take CROSS times as long.
    """

    start: float  # a region on two threads
    wait: float  # a wave on two threads
    handed: float  # bytes of a worker's that another touched last
    one: float  # memory's speed for one thread
    two: float  # for two
    socket: float  # for all of a socket
    link: float  # between sockets, each way
    own: float  # bytes of a core's own cache
    cache: float  # of a socket's last level

    def memory(self, workers: int, sockets: int) -> float:
        if workers == 1:
            return self.one
        return min(workers * self.two / 2, sockets * max(self.socket, self.two))

    def bound(self, nbytes: float, workers: int, sockets: int, inside: bool) -> float:
        """The least time in which a wave's bytes move. inside: the plan lives in the cache."""
        far = nbytes / 4 / self.link if sockets > 1 else 0.0
        return max(far, 0.0 if inside else nbytes / self.memory(workers, sockets))

    def waits(self, waves: int, workers: int) -> float:
        return self.start * math.log2(workers) + waves * self.wait * workers / 2


class Wave(NamedTuple):
    """The nanoseconds of each tile on one thread; the bytes of what is cut into tiles, and of what each tile sees
    whole."""

    tiles: list[float]
    cut: float
    whole: float


@dataclass(frozen=True)
class Work:
    """A plan: its waves, the bytes of its memory, Python's nanoseconds a call, whether it never uses threads."""

    waves: list[Wave]
    nbytes: float
    python: float
    serial: bool

    def share(self, machine: Machine, workers: int, sockets: int = 1) -> Share:
        """Where the time of a call goes."""
        even = sum(sum(wave.tiles) for wave in self.waves)
        if workers == 1 or self.serial:
            return Share(even, 0.0, 0.0, 0.0, 0.0, self.python)
        inside = self.nbytes <= sockets * machine.cache
        spans = [makespan(wave.tiles, workers) for wave in self.waves]
        bounds = [machine.bound(wave.cut + wave.whole, workers, sockets, inside) for wave in self.waves]
        memory = sum(max(0.0, b - s) for b, s in zip(bounds, spans, strict=True))
        across = CROSS if sockets > 1 else 1.0
        handed = min(machine.own, sum(wave.cut / workers + wave.whole for wave in self.waves)) / machine.handed
        waits = machine.waits(len(self.waves), workers)
        uneven = sum(spans) - even / workers
        return Share(even / workers, uneven, memory, across * handed, across * waits, self.python)


def makespan(tiles: Sequence[float], workers: int) -> float:
    """When the last tile ends, where each worker takes those of its own share in order, then the others'.

    >>> makespan([1.0, 1.0, 1.0], 2), makespan([3.0, 1.0, 1.0, 1.0], 2)
    (2.0, 3.0)
    """
    ends = [len(tiles) * (share + 1) // workers for share in range(workers)]
    at = [len(tiles) * share // workers for share in range(workers)]
    free = [(0.0, worker) for worker in range(workers)]
    last = 0.0
    while free:
        now, worker = heapq.heappop(free)
        shares = ((worker + other) % workers for other in range(workers))
        share = next((s for s in shares if at[s] < ends[s]), None)
        if share is not None:
            last = max(last, now + tiles[at[share]])
            heapq.heappush(free, (now + tiles[at[share]], worker))
            at[share] += 1
    return last


# ---------------------------------------------------------------- measured: a plan


def work_of(plan: Plan, group_ns: Sequence[float], python: float) -> Work:
    """The model's view of a plan whose groups take so long."""
    waves = []
    for _, some in groupby(zip(plan.groups, group_ns, strict=True), key=lambda pair: pair[0].wave):
        pairs = list(some)
        tiles = [ns * min(g.block, g.rows - t * g.block) / g.rows for g, ns in pairs for t in range(g.tiles)]
        arrays = [a for g, _ in pairs for e in g.entries for a in e.arrays]
        parts = [[a for a in arrays if bool(a.cut or a.per_row or a.per_tile) == cut] for cut in (True, False)]
        waves.append(Wave(tiles, *(touched(plan, part) for part in parts)))
    return Work(waves, touched(plan, [a for e in plan.entries for a in e.arrays]), python, plan.serial)


def touched(plan: Plan, arrays: Sequence[Array]) -> float:
    """Bytes of some arrays, each place once, without what a worker has of its own."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for a in (a for a in arrays if id(a.buf.storage) not in plan.private):
        length = min(a.buf.nbytes, a.buf.storage.nbytes - a.buf.offset)
        spans.setdefault(id(a.buf.storage), []).append((a.buf.offset, a.buf.offset + length))
    total = 0
    for found in spans.values():
        found.sort()
        reach = [0, *accumulate((end for _, end in found), max)]
        total += sum(max(0, end - max(start, before)) for (start, end), before in zip(found, reach, strict=False))
    return float(total)


def group_times(instance: Instance, rounds: int) -> list[float]:
    """Median nanoseconds of each group of a plan on one thread, while whole steps run."""
    table = instance.kept[1]
    alone = np.arange(len(table) + 1, dtype=np.int64)  # each group as a wave of its own
    head = instance.head.copy()
    head[T.WAVES] = alone.ctypes.data
    starts = accumulate((len(g.entries) for g in instance.plan.groups), initial=0)
    group = {start: i for i, start in enumerate(starts)}
    call, where = native().runner[0], head.ctypes.data
    times: list[list[float]] = [[] for _ in instance.plan.groups]
    empty = timed(lambda: call(where, len(table), len(table)), 1, rounds, min)
    for _ in range(rounds):
        taken = [0.0] * len(times)
        for row in range(len(table)):
            start = perf_counter_ns()
            call(where, row, row + 1)
            taken[group[int(table[row, 0])]] += max(0.0, perf_counter_ns() - start - empty)
        for found, ns in zip(times, taken, strict=True):
            found.append(ns)
    return [median(found) for found in times]


def timed(call: Callable[[], object], n: int, rounds: int, middle: Callable[[list[float]], float] = median) -> float:
    """Nanoseconds of a call on n threads."""
    times = []
    with nf.threads(n):
        call()
        for _ in range(rounds):
            start = perf_counter_ns()
            call()
            times.append(float(perf_counter_ns() - start))
    return middle(times)


def measured(step: Any, batch: Sequence[np.ndarray], rounds: int) -> tuple[Plan, list[float], float]:
    """A step's plan, the time of each of its groups, and Python's part of a call."""
    with nf.threads(1):
        step(*batch)
        program, _ = step.program(batch)
        instance = program.instance
        groups = group_times(instance, rounds)
    calls, instance.calls = instance.calls, [instance.caller(0, 0)]
    try:
        return program.plan, groups, timed(lambda: step(*batch), 1, rounds)
    finally:
        instance.calls = calls


# ---------------------------------------------------------------- measured: the machine


def waiting(waves: int) -> Plan:
    """A plan of waves that do nothing: each copies two numbers, in two tiles that read both of the wave before."""
    build, x = Build(), as_buf(np.zeros(2, np.float32))
    for i in range(waves):
        y = build.temp((2,), np.dtype(np.float32)) if i < waves - 1 else as_buf(np.zeros(2, np.float32))
        build.add(
            "elementwise.copy", cut(y, 2, write=True), whole(x), rows=2, block=1, work=1e7, commits=i == waves - 1
        )
        x = y
    return Plan(build)


def handing(over: bool) -> Plan:
    """A plan of waves that copy one array into another and back, in two tiles; over: each tile reads what the other one
    wrote, else its own."""
    build, half = Build(), HANDED // 2
    x, y = (as_buf(np.zeros(HANDED, np.float32)) for _ in range(2))
    for _ in range(WAVES):
        read = Array(x.part(half), (half,), per_row=-half) if over else Array(x, (half,), per_row=half)
        write = Array(y, (half,), per_row=half, write=True)
        build.add("elementwise.copy", write, read, rows=2, block=1, work=1e7, commits=True)
        x, y = y, x
    return Plan(build)


def moving() -> Plan:
    """A plan that copies an array far larger than the caches."""
    x, y = (as_buf(np.zeros(BYTES // 4, np.float32)) for _ in range(2))
    build = Build()
    build.add("elementwise.copy", cut(y, y.size, write=True), cut(x, x.size), rows=256, block=1, work=1e8, commits=True)
    return Plan(build)


def cache_size(level: int, else_mib: float) -> float:
    """Bytes of a cache of this machine's first core."""
    path = Path(f"/sys/devices/system/cpu/cpu0/cache/index{level}/size")
    return 1024.0 * int(path.read_text().strip().removesuffix("K")) if path.exists() else else_mib * 2**20


def calibrated(rounds: int, socket: float, link: float) -> Machine:
    """This machine, from the least times: what is asked for is the cost of threads where nobody disturbs them."""
    if pool().limit < 2:
        raise SystemExit("benchmarks.threads needs two CPUs")
    plans = waiting(1), waiting(WAVES), handing(False), handing(True)
    short, long, near, far = ([timed(p.run, n, 50 * rounds, min) for n in (1, 2)] for p in plans)
    copy = moving()
    one, two = (2 * BYTES / timed(copy.run, n, rounds, min) for n in (1, 2))
    wait = (long[1] - short[1] - (long[0] - short[0]) / 2) / (WAVES - 1)
    extra = max(1.0, far[1] - near[1]) / WAVES
    start, handed = max(0.0, short[1] - short[0]), 4 * HANDED / extra  # a worker reads half of one, writes half of one
    own, cache = cache_size(2, 1), cache_size(3, 32)
    return Machine(start, max(0.0, wait), handed, one, two, socket, link, own, cache)


# ---------------------------------------------------------------- shown


def case_of(name: str) -> Training:
    """A training step by its name."""
    series, _, point = name.partition(":")
    return SERIES[series].case(int(point)) if point else TRAINING[name]


def report(name: str, machine: Machine, rounds: int, groups: bool) -> dict[str, Any]:
    """Print what a case takes and should take; the same as a record."""
    step, *batch = step_of(case_of(name))
    plan, group_ns, python = measured(step, batch, rounds)
    work = work_of(plan, group_ns, python)
    tiles = [g.tiles for g in plan.groups]
    print(f"{name}: {len(tiles)} groups in {plan.waves} waves, {min(tiles)} to {max(tiles)} tiles, "
          f"{work.nbytes / 1e6:.1f} MB{', on one thread always' * work.serial}")  # fmt: skip
    for g, ns in zip(plan.groups, group_ns, strict=True) if groups else ():
        kernels = ", ".join(f"{k} x {len(list(v))}" for k, v in groupby(str(e.kernel) for e in g.entries))
        print(f"  wave {g.wave:>3}{ns / 1e3:>11.1f} us {g.tiles:>4} tiles, {g.block} of {g.rows} rows: {kernels}")
    print(f"{'threads':>8}{'us':>11}{'measured':>11}{'model/m.':>9}{'faster':>8}"
          + "".join(f"{field:>10}" for field in Share._fields))  # fmt: skip
    found = []
    for n, sockets in ((1, 1), (2, 1), *LARGER):
        share = work.share(machine, n, sockets)
        took = timed(lambda: step(*batch), n, rounds) if n <= 2 else 0.0
        faster = work.share(machine, 1).total / share.total
        label = f"{sockets} x {n // sockets}" if sockets > 1 else str(n)
        check = f"{took / 1e3:>11.1f}{share.total / took:>9.2f}" if took else f"{'':>20}"
        parts = "".join(f"{ns / 1e3:>10.1f}" for ns in share)
        print(f"{label:>8}{share.total / 1e3:>11.1f}{check}{faster:>8.2f}{parts}", flush=True)
        found.append({"threads": label, "us": share.total / 1e3, "measured": took / 1e3, "faster": faster})
    return {"waves": plan.waves, "rows": found}


def markdown(records: dict[str, Any]) -> str:
    """The records as one table: model over measured at 1 and 2 threads, then how much faster than one thread."""
    first = next(iter(records.values()))
    labels = [row["threads"] for row in first["rows"]]
    lines = [told(first["machine"]), ""]
    lines.append(f"| case | model over measured at {' and '.join(labels[:2])} | {' | '.join(labels[1:])} |")
    lines.append("|---" * (len(labels) + 1) + "|")
    for name, record in records.items():
        checks = ", ".join(f"{row['us'] / row['measured']:.2f}" for row in record["rows"][:2])
        faster = " | ".join(f"{row['faster']:.2f}" for row in record["rows"][1:])
        lines.append(f"| {name} | {checks} | {faster} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", default=CASES, help=f"({', '.join(CASES)})")
    parser.add_argument("--rounds", type=int, default=21, help="of each median (21)")
    parser.add_argument("--socket", type=float, default=100.0, help="GB/s of a socket's memory, assumed (100)")
    parser.add_argument("--link", type=float, default=30.0, help="GB/s each way between sockets, assumed (30)")
    parser.add_argument("--groups", action="store_true", help="print each group of the plans")
    parser.add_argument("--write", action="store_true", help="benchmarks/results/threads.json, docs/growth.md")
    options = parser.parse_args()
    machine = calibrated(options.rounds, options.socket, options.link)
    print(", ".join(f"{f.name} {getattr(machine, f.name):.4g}" for f in fields(machine)), "(ns, bytes a ns, bytes)")
    records = {name: report(name, machine, options.rounds, options.groups) for name in options.cases}
    if options.write:
        fill(ROOT / PAGE, "threads", f"\n{markdown(save(ROOT, 'threads.json', records))}\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
