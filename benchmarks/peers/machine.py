"""What a run depends on beside the programs: the machine, versions, the time."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numbaflux

PACKAGES = ("numba", "numpy", "torch", "jax", "equinox", "optax", "onnxruntime")
NAMES = {"torch": "PyTorch", "jax": "JAX", "onnxruntime": "ONNX Runtime", "numpy": "NumPy"}  # as they spell themselves


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "numbaflux": numbaflux.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def described(threads: int) -> dict[str, Any]:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "date": datetime.now().isoformat(" ", "minutes"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "gigabytes": round(gigabytes),
        "system": f"{platform.system()} {platform.release()}",
        "threads": threads,
        "versions": versions(),
    }


def told(machine: dict[str, Any]) -> str:
    """What described found: machine, versions and day, as one sentence each."""
    versions = ", ".join(f"{NAMES.get(name, name)} {version}" for name, version in machine["versions"].items())
    place = f"{machine['processor']}, {machine['cores']} cores, {machine['gigabytes']} GB, {machine['system']}"
    return f"Measured on {machine['date']} with {machine['threads']} threads on {place}. {versions}."
