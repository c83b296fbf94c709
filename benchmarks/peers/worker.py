"""One peer in a process of its own: python -m benchmarks.peers.worker PEER. For each line on standard input
that names a case, makes its call and answers with what the first 20 calls were like; for each number, runs for that
many seconds and answers with microseconds a call. Answers are JSON.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.peers.cases import Call, Case, Program

STEPS = 20
MODULES = {
    "numbaflux": "ours",
    "torch": "with_torch",
    "jax": "with_jax",
    "onnxruntime": "with_onnx",
    "numpy": "with_numpy",
    "peak": "probe",
}


def make(peer: str, case: Case) -> Call:
    """The call that a peer repeats."""
    library, _, variant = peer.partition("-")
    module = import_module(f"benchmarks.peers.{MODULES[library]}")
    if isinstance(case, Program) and library != "peak":
        return case.makers[peer]()
    return module.make(case, variant)


def run(call: Call, seconds: float) -> float:
    """Median microseconds a call over blocks of about 10 ms."""
    start = time.perf_counter()
    call()
    block = max(1, int(0.01 / (time.perf_counter() - start)))
    times, end = list[float](), time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(block):
            call()
        times.append((time.perf_counter() - start) / block * 1e6)
    return statistics.median(times)


def value(result: object) -> float:
    """What peers are compared by: a loss, or the mean size of an array's elements, in whatever order they lie."""
    if result is None:
        return 0.0
    array = np.asarray(result)
    return float(array.item() if array.size == 1 else np.abs(array).mean(dtype=np.float64))


def memory(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


def begin(maker: Callable[[], Call]) -> tuple[Call, dict[str, float]]:
    """The call; the value of step 20, seconds of step 1, MiB that all this took at most."""
    with contextlib.suppress(OSError):  # where it may not be reset, the most that importing took counts as taken
        Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmHWM")
    call = maker()
    start = time.perf_counter()
    found = value(call())
    first = time.perf_counter() - start
    for _ in range(STEPS - 1):
        found = value(call())
    return call, {"value": found, "first": first, "memory": memory("VmHWM") - before}


def serve(make: Callable[[str], Call]) -> None:
    call: Call = object
    for line in map(str.strip, sys.stdin):
        if line[0].isdigit():
            answer: object = run(call, float(line))
        else:
            call, answer = begin(partial(make, line))
        print(json.dumps(answer), flush=True)


def main() -> None:
    peer = sys.argv[1]
    import_module(f"benchmarks.peers.{MODULES[peer.partition('-')[0]]}")
    from benchmarks.peers.catalogue import CASES

    serve(lambda name: make(peer, CASES[name]))


if __name__ == "__main__":
    main()
