"""A training step of each layer alone, on one thread: the rows that are set beside PyTorch's, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numbaflux as nf
from benchmarks.layers.ours import step
from benchmarks.layers.rows import ROWS, SIZES
from benchmarks.timed import Timed, on_threads


@cache
def ready(name: str, size: str) -> Callable[[], object]:
    nf.seed(0)
    call = step(ROWS[name], size, {})
    call()
    return call


class Layers(Timed):
    """Seconds of a step forward, backward and down the gradient."""

    params = (list(ROWS), list(SIZES))
    param_names = ("layer", "size")

    def setup(self, name: str, size: str) -> None:
        on_threads(1)
        self.call = ready(name, size)

    def time_step(self, name: str, size: str) -> None:
        self.call()
