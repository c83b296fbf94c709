"""What comes before the second step: import, first call and first step of a fresh process, the plan of a new shape."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from itertools import cycle
from typing import Any

from benchmarks.peers.cases import TRAINING
from benchmarks.peers.ours import step_of
from benchmarks.timed import NETWORKS, Timed, on_threads

# Each program is all lines to its name.
LINES = {
    "NumPy": "import numpy as np",
    "import": "import numbaflux as nf; nf.set_num_threads(1)",
    "first operation": "nf.relu(np.ones(4, np.float32))",
    "first call": "model = nf.Chain(nf.Dense(8, 16, nf.tanh), nf.Dense(16, 3)); model(np.ones((20, 8), np.float32))",
    "first step": "step = nf.compile(lambda m, x: (m(x) ** 2).mean(), model, nf.setup(nf.Adam(), model)); "
    "step(np.ones((20, 8), np.float32))",
}


def run(name: str, **environment: str) -> None:
    """Run a program from the start of its process to the end."""
    program = "\n".join(list(LINES.values())[: list(LINES).index(name) + 1])
    subprocess.run([sys.executable, "-c", program], env=os.environ | environment, check=True)


@cache
def cached(name: str) -> None:
    """The kernels of a program are in the cache, its files in memory."""
    run(name)


class FreshProcess(Timed):
    """Seconds of a process that ends at a point, with its kernels cached; NumPy alone is what they all begin with."""

    params = list(LINES)
    param_names = ("to",)
    repeat = (2, 5, 3.0)

    def setup(self, name: str) -> None:
        cached(name)

    def time_process(self, name: str) -> None:
        run(name)


class EmptyCache(Timed):
    """Seconds to a first operation whose kernel, and what runs kernels, no cache holds."""

    repeat = (1, 1, 1.0)
    rounds = 1
    warmup_time = 0

    def time_first_operation(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run("first operation", NUMBAFLUX_CACHE_DIR=folder, NUMBAFLUX_CACHE_PATH="")


@cache
def ready(name: str) -> Any:
    """A step that was called once, its data, and numbers of samples that come by turns."""
    step, x, y = step_of(TRAINING[name])
    step(x, y)
    return step, x, y, cycle(range(1, len(x)))


class NewShape(Timed):
    """Seconds of a step whose number of samples has no plan yet: it is traced, planned and run."""

    params = list(NETWORKS)
    param_names = ("network",)
    repeat = (5, 30, 1.0)
    warmup_time = 0

    def setup(self, name: str) -> None:
        on_threads(1)
        self.step, x, y, sizes = ready(name)
        n = next(sizes)
        self.x, self.y = x[:n], y[:n]

    def time_step(self, name: str) -> None:
        self.step(self.x, self.y)
