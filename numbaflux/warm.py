"""Compiles every built-in kernel into the cache, in several processes: what a site or an image does once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from . import digests
from .build import What
from .lowering import Build, argument
from .native import named, native, runner_entries
from .ops import REGISTRY
from .optim import (
    RULES,
    AccumGrad,
    ClipGlobalNorm,
    ClipGrad,
    Descent,
    MixedPrecision,
    OptimiserChain,
    RMSProp,
    WeightDecay,
    setup,
)
from .run import outputs

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
CHAIN = MixedPrecision(OptimiserChain(AccumGrad(2), ClipGlobalNorm(), ClipGrad(), WeightDecay(), Descent()))
OPTIMISERS = (*(rule() for rule in RULES), RMSProp(centred=True), CHAIN)  # together they use each kernel


def entries() -> dict[str, What]:
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
        for rule in OPTIMISERS:
            builds.append(Build())
            setup(rule, {"p": np.zeros(1, dtype)}).lower(builds[-1])
    asked = {(e.kernel, e.signature) for b in builds for e in b.entries}
    asked |= {("check.finite", ("i8:1", f"f{d.itemsize}:1")) for d in FLOATS}
    asked |= {("check.finite_all", ("i8:1", f"f{d.itemsize}:1", "i")) for d in FLOATS}
    asked |= {("check.flags", ("i8:1", "i8:1", "i")), ("random.advance", ("u8:1", "i")), digests.KERNEL}
    return dict(named(*pair) for pair in asked) | runner_entries()


def warm() -> Iterator[tuple[str, float]]:
    """Compile what is missing; yields the name of each entry and the seconds since the start as it comes."""
    start = time.perf_counter()
    store = native().store
    missing = {name: what for name, what in entries().items() if store.read(name) is None}
    for name, _ in native().objects(missing):
        yield name, time.perf_counter() - start
