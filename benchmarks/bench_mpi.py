"""Training steps on two ranks of this machine."""

from __future__ import annotations

import importlib.util
from statistics import median

from asv_runner.benchmarks.mark import SkipNotImplemented

from benchmarks.ranks.cases import CASES
from benchmarks.ranks.launch import MPIEXEC, asked
from benchmarks.timed import Timed


class Ranks:
    """Seconds of a step whose batch two ranks of one thread share: the first rank's median."""

    params = list(CASES)
    param_names = ("case",)
    unit = "s"
    timeout = Timed.timeout

    def setup(self, case: str) -> None:
        if not MPIEXEC.exists() or importlib.util.find_spec("mpi4py") is None:
            raise SkipNotImplemented("mpi4py and MPICH are not installed beside this Python")

    def track_step(self, case: str) -> float:
        return median(asked(2, 1, "step", case=case)["us"]) / 1e6
