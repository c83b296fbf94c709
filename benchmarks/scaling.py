"""One thread against two, in turn, in one process: python -m benchmarks.scaling [--rounds N].

A dense layer, training steps of convolutional networks, one volume as a batch of its own; beside them what the machine
allows: the register tile on data that stay in the caches of each core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import numbaflux as nf
from benchmarks.peers.cases import TRAINING
from benchmarks.peers.probe import probe
from benchmarks.peers.worker import make

CALLS = 3  # that are timed in a turn


def turns(call: Callable[[], object], rounds: int) -> dict[int, float]:
    """Median milliseconds on 1 and on 2 threads. A turn's first call does not count: for another number of threads
    a plan takes its memory anew."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for threads, found in times.items():
            with nf.threads(threads):
                call()
                for _ in range(CALLS):
                    start = time.perf_counter()
                    call()
                    found.append((time.perf_counter() - start) * 1e3)
    return {threads: statistics.median(found) for threads, found in times.items()}


def dense() -> Callable[[], object]:
    x = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    predict = nf.compile(nf.Dense(1024, 1024, rng=0))
    return lambda: predict(x)


def volume() -> Callable[[], object]:
    """A training step of a three-dimensional network at batch 1."""
    nf.seed(0)
    layers = [nf.Conv((3, 3, 3), i, o, nf.relu, pad="same") for i, o in ((1, 16), (16, 32), (32, 1))]
    model = nf.Chain(*layers)
    step = nf.compile(lambda m, x: nf.losses.mse(m(x), x), model, nf.setup(nf.Adam(1e-3), model))
    x = np.random.default_rng(0).standard_normal((1, 32, 32, 32, 1)).astype(np.float32)
    return lambda: step(x)


CASES: dict[str, Callable[[], Callable[[], object]]] = {
    "dense 1024": dense,
    "lenet_b2048": lambda: make("numbaflux", TRAINING["lenet_b2048"]),
    "cnn_cifar_b64": lambda: make("numbaflux", TRAINING["cnn_cifar_b64"]),
    "volume b1": volume,
    "tile alone": probe,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each number of threads (15)")
    options = parser.parse_args()
    for name, maker in CASES.items():
        ms = turns(maker(), options.rounds)
        print(f"{name}: {ms[1]:.2f} ms on 1 thread, {ms[2]:.2f} ms on 2, ratio {ms[1] / ms[2]:.2f}", flush=True)
    results = []
    for threads in (1, 2):
        with nf.threads(threads):
            results.append(np.asarray(dense()()).tobytes())
    print(f"same bits: {results[0] == results[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
