"""Compiles every built-in kernel into the cache, in several processes: what a site or an image does once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from .lowering import Build, argument
from .native import Signature, key, native, threads
from .ops import REGISTRY
from .optim import RULES, setup
from .run import outputs

Wanted = dict[str, tuple[str, str, Signature]]
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def entries() -> Wanted:
    """Every entry that the registry's examples and the rules ask for, by its name in the cache."""
    builds = [Build()]
    for dtype in FLOATS:
        for op in REGISTRY:
            for shown in op.examples:
                specs, attrs = shown.specs(dtype), dict(shown.attrs)
                outs = [argument(s, i) for i, s in enumerate(outputs(op, specs, attrs))]
                ins = [None if s is None else argument(s, len(outs) + i) for i, s in enumerate(specs)]
                builds.append(Build())
                op.lower(builds[-1], outs[0] if len(outs) == 1 else outs, *ins, **attrs)
        for rule in RULES:
            builds.append(Build())
            setup(rule(), {"p": np.zeros(1, dtype)}).lower(builds[-1])
    asked = {(e.kernel, e.signature) for b in builds for e in b.entries}
    asked |= {("check.finite", ("i8:1", f"f{d.itemsize}:1")) for d in FLOATS}
    asked |= {("check.finite_one", ("i8:1", f"f{d.itemsize}:1", "i")) for d in FLOATS}
    asked |= {("check.flags", ("i8:1", "i8:1", "i"))}
    found: Wanted = {}
    for kernel, signature in asked:
        module, _, function = kernel.rpartition(".")
        found[key(f"cpu.{module}", function, signature)] = (f"cpu.{module}", function, signature)
    for function, arity in (("run", "3"), ("region", "4")):
        found[key("runner", function, ("c", arity))] = ("runner", function, ("c", arity))
    return found


def missing() -> Wanted:
    """Those that the cache does not hold yet."""
    store = native().store
    return {name: what for name, what in entries().items() if store.read(name) is None}


def warm(jobs: int | None = None) -> Iterator[tuple[str, float]]:
    """Compile what is missing; yields the name of each entry and the seconds since the start as it comes."""
    start = time.perf_counter()
    jobs = jobs or threads().allowed
    command = [sys.executable, "-m", "numbaflux.warm"]
    workers = [
        subprocess.Popen([*command, str(i), str(jobs)], stdout=subprocess.PIPE, text=True) for i in range(jobs)
    ]
    try:
        for worker in workers:
            for line in worker.stdout or ():
                yield line.strip(), time.perf_counter() - start
            if worker.wait() != 0:
                raise RuntimeError(f"cache warm: a compiling process ended with code {worker.returncode}")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def main() -> None:
    """One of several processes: every n-th of what is missing."""
    share, jobs = map(int, sys.argv[1:])
    for name, what in sorted(missing().items())[share::jobs]:
        native().compiled(name, what)
        print(name, flush=True)


if __name__ == "__main__":
    main()
