"""The tests of kernels/cpu once more, on CUDA kernels in the simulator."""

import importlib.util
from collections.abc import Callable, Iterator
from itertools import cycle
from types import ModuleType
from typing import Any

import numpy as np

from numbaflux.kernels.cuda.launch import rule
from tests.cuda import simulator
from tests.entries import words_of
from tests.sources import ROOT

simulator.install()
CPU = "numbaflux.kernels.cpu."
_orders: Iterator[str] = cycle(simulator.ORDERS)


def call(kernel: str, *args: Any) -> None:
    """As tests/entries.py, by a GPU's threads, each time in another order."""
    given = [np.float64(a) if isinstance(a, float) else a for a in args]
    given = [a if isinstance(a, np.ndarray | np.floating) else np.int64(a) for a in given]
    codes = [words_of(a)[0] for a in given]
    simulator.run_entry(kernel, codes, given, next(_orders))


class Kernels:
    """Stands in for a module of kernels/cpu in a test: its kernels are those of kernels/cuda."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        thing, file = getattr(self.module, name), self.module.__name__.removeprefix(CPU)
        there = vars(importlib.import_module(f"numbaflux.kernels.cuda.{file}"))
        if any(name + variant in there for variant in rule(f"{file}.{name}").threads):
            return lambda *args: call(f"{file}.{name}", *args)
        return thing  # a number, or what is for tests alone


def again(path: str, leave: tuple[str, ...] = ()) -> dict[str, Callable[..., None]]:
    """The tests of a file, with kernels called by `call`; without those that are about the CPU's own."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_")[:-3] + "_again", ROOT / path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.call = call  # type: ignore[attr-defined]
    for name, thing in list(vars(module).items()):
        if isinstance(thing, ModuleType) and thing.__name__.startswith(CPU):
            setattr(module, name, Kernels(thing))
    found = {name: thing for name, thing in vars(module).items() if name.startswith("test_") and name not in leave}
    return found | {name: f for name, f in vars(module).items() if hasattr(f, "_pytestfixturefunction")}
