"""The record of a run, in each file that Checkpoint writes: versions, machine, seed, rule, data, ranks."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .data.digest import digest
from .native import pool
from .op import PlanError
from .optim import OptState
from .rng import default

RECORD = "record"  # its name in a file's metadata


def record(opt_state: OptState, data: Any) -> dict[str, Any]:
    """What a run is made of, in plain JSON.

    >>> import numpy as np
    >>> import numbaflux as nf
    >>> found = record(nf.setup(nf.Adam(), nf.Dense(2, 1)), nf.DataLoader(np.zeros((8, 2)), batchsize=4))
    >>> found["rule"], found["ranks"], found["data"]["is"]
    ('Adam(eta=0.001, beta=(0.9, 0.999), eps=1e-08)', 1, 'DataLoader((8, 2) float64; batchsize=4)')
    """
    own: Any = sys.modules[__package__]  # whose version is set when all parts of it are imported
    return {
        "numbaflux": own.__version__,
        **{name: metadata.version(name) for name in ("numba", "numpy")},
        "python": platform.python_version(),
        "cpu": cpu(),
        "threads": pool().count,
        "layer": layer() if pool().count > 1 else "one thread",
        "seed": default().state[0],
        "rule": opt_state.given,
        "data": digest(data),
        "ranks": 1 if opt_state.world is None else opt_state.world.size,
    }


def known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The record in the metadata of a file, or an empty one."""
    told = metadata.get(RECORD)
    return told if isinstance(told, dict) else {}


def cpu() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def layer() -> str:
    """The threading layer that plans will use: found by loading it."""
    found = pool()
    try:
        _ = found.parallel_for
    except PlanError as error:
        return f"no threading layer ({error})"
    return f"layer {found.layer}"
