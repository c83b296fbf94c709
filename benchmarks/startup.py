"""Seconds to a first result in fresh processes, kernels cached: python -m benchmarks.startup [--runs N].

import: numbaflux with NumPy; first call: model(x); first step: setup, compile and one training step of a new
architecture.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

CHILD = """
import json, time
start = time.perf_counter()
import numpy as np
import numbaflux as nf
imported = time.perf_counter()
model = nf.Chain(nf.Dense(8, WIDTH, nf.tanh), nf.Dense(WIDTH, 3))
x = np.ones((20, 8), np.float32)
model(x)
called = time.perf_counter()
state = nf.setup(nf.Adam(), model)
step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, state)
step(x, np.ones((20, 3), np.float32))
trained = time.perf_counter()
import sys
print(json.dumps([imported - start, called - imported, trained - called, "numba" in sys.modules]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="processes (7), after one to fill the cache")
    options = parser.parse_args()
    rows = []
    for run in range(options.runs + 1):
        child = CHILD.replace("WIDTH", str(16 + run))
        done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
    for name, times in zip(
        ("import", "first call", "first step"), zip(*(row[:3] for row in rows[1:]), strict=True), strict=True
    ):
        print(f"{name:<11} median {statistics.median(times):.3f} s  (least {min(times):.3f}, most {max(times):.3f})")
    print(f"numba imported: {any(row[3] for row in rows[1:])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
