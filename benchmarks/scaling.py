"""One thread against two, in turn, in one process: python -m benchmarks.scaling [--rounds N].

Beside a dense layer stands what the machine allows: the register tile on data that stay in the caches of each core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import numbaflux as nf
from benchmarks.peers.probe import probe


def turns(call: Callable[[], object], rounds: int) -> dict[int, float]:
    """Median milliseconds on 1 and on 2 threads; the first turn of each does not count."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds + 1):
        for threads, found in times.items():
            nf.set_num_threads(threads)
            start = time.perf_counter()
            call()
            found.append((time.perf_counter() - start) * 1e3)
    return {threads: statistics.median(found[1:]) for threads, found in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="turns of each number of threads (25)")
    options = parser.parse_args()
    x = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    predict = nf.compile(nf.Dense(1024, 1024, rng=0))
    for name, call in (("dense 1024", lambda: predict(x)), ("tile alone", probe()[0])):
        ms = turns(call, options.rounds)
        print(f"{name}: {ms[1]:.2f} ms on 1 thread, {ms[2]:.2f} ms on 2, ratio {ms[1] / ms[2]:.2f}")
    results = []
    for threads in (1, 2):
        nf.set_num_threads(threads)
        results.append(predict(x).tobytes())
    print(f"same bits: {results[0] == results[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
