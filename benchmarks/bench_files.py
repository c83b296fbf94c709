"""Models to files and back; asv runs each benchmark in a folder of its own, which it removes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numbaflux as nf
from benchmarks.timed import Timed

MODELS: dict[str, Callable[[], nf.Chain]] = {
    "10 thousand weights": lambda: nf.Chain(nf.Dense(100, 100)),
    "1 million weights": lambda: nf.Chain(nf.Dense(1000, 1000)),
    "10 million weights": lambda: nf.Chain(nf.Dense(3200, 3200)),
    "100 layers": lambda: nf.Chain(*(nf.Dense(10, 10, nf.tanh) for _ in range(100))),
}


@cache
def ready(name: str) -> tuple[nf.Chain, Path]:
    """A model, and its file."""
    nf.seed(0)
    model, file = MODELS[name](), Path(f"{name}.h5").absolute()
    nf.save(file, model)
    nf.load(file)
    return model, file


class Files(Timed):
    """Seconds to save and to load, and bytes of the file."""

    params = list(MODELS)
    param_names = ("model",)
    unit = "bytes"

    def setup(self, name: str) -> None:
        self.model, self.file = ready(name)

    def time_save(self, name: str) -> None:
        nf.save(self.file, self.model)

    def time_load(self, name: str) -> None:
        nf.load(self.file)

    def time_load_into(self, name: str) -> None:
        nf.load_into(self.model, self.file)

    def track_size(self, name: str) -> int:
        return self.file.stat().st_size
