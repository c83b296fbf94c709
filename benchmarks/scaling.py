"""One thread against two, in turn, in one process: python -m benchmarks.scaling [--rounds N]. Results have the same
bits."""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np

import numbaflux as nf


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each number of threads (15)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1024, 1024)).astype(np.float32)
    predict = nf.compile(nf.Dense(1024, 1024, rng=0))
    times: dict[int, list[float]] = {1: [], 2: []}
    results = {}
    for _ in range(options.rounds + 1):
        for threads, found in times.items():
            nf.set_num_threads(threads)
            start = time.perf_counter()
            results[threads] = predict(x)
            found.append(time.perf_counter() - start)
    one, two = (statistics.median(found[1:]) for found in times.values())
    print(f"dense 1024: {one * 1e3:.2f} ms on 1 thread, {two * 1e3:.2f} ms on 2, ratio {one / two:.2f}")
    print(f"same bits: {results[1].tobytes() == results[2].tobytes()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
