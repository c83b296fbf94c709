"""Memory of training: of the process, and of the plan."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.cases import TRAINING
from benchmarks.peers.ours import step_of
from benchmarks.timed import NETWORKS, Timed, on_threads


class Import:
    """Bytes of a process that imported the library and made nothing: what the others begin with."""

    def peakmem_import(self) -> None:
        on_threads(1)


class Training:
    """Bytes of a process after three steps and those of their plan."""

    params = list(NETWORKS)
    param_names = ("network",)
    unit = "bytes"
    timeout = Timed.timeout

    def peakmem_steps(self, name: str) -> None:
        self.run(name)

    def track_plan(self, name: str) -> int:
        return self.run(name).memory

    def run(self, name: str) -> Any:
        on_threads(1)
        step, x, y = step_of(TRAINING[name])
        for _ in range(3):
            step(x, y)
        return step
