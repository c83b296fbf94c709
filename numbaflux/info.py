"""What this machine and this installation are, as `numbaflux info` shows it; numba is not imported."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from . import __version__, device
from .build import features
from .native import native, pool
from .op import DeviceError
from .record import cpu, layer

MENDED = (2, 2, 0)  # the libhdf5 without the holes that were published of 2.0.0
VECTORS = (("avx512f", 512), ("avx2", 256))  # what kernels/jit.py chooses by, widest first; else 128 bits


def facts() -> dict[str, str]:
    """Name -> what is so, in the order in which they are shown.

    >>> " ".join(facts())
    'numbaflux python numba llvmlite numpy h5py cpu vectors threads gpus cache shared caches'
    """
    bits = vector_bits()
    store = native().store
    sizes = [file.stat().st_size for file in store.files()]
    cache = f"{store.folder}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"
    return {
        "numbaflux": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform()})",
        **{name: metadata.version(name) for name in ("numba", "llvmlite", "numpy")},
        "h5py": f"{metadata.version('h5py')}, {libhdf5(_hdf5_version())}",
        "cpu": f"{cpu()}, {pool().allowed} of {os.cpu_count()} CPUs for this process",
        "vectors": f"{bits} bits: {bits // 32} float32, {bits // 64} float64",
        "threads": f"{pool().count}, {layer()}",
        "gpus": gpus(),
        "cache": cache if store.folder else "none: no folder can be written, so kernels are compiled in each process",
        "shared caches": ", ".join(str(f) for f in store.folders if f != store.folder) or "none (NUMBAFLUX_CACHE_PATH)",
    }


def gpus() -> str:
    """The GPUs that can be used, or why there is none.

    >>> isinstance(gpus(), str)
    True
    """
    why = device.why_not()
    try:
        found = [] if why else [device.gpu(number) for number in range(device.count())]
        told = [f"{g.number}: {g.name}, capability {g.capability[0]}.{g.capability[1]}, {g.memory()[1] / 1e9:.0f} GB"
                for g in found]  # fmt: skip
    except DeviceError as error:  # one that others have for themselves, say
        told, why = [], str(error)
    return "; ".join(told) or why.replace("gpu: ", "none: ", 1)


def vector_bits() -> int:
    """The width of the vector registers that kernels use.

    >>> vector_bits() in (128, 256, 512)
    True
    """
    known = set(features().split(","))
    return next((bits for name, bits in VECTORS if f"+{name}" in known), 128)


def libhdf5(version: tuple[int, int, int]) -> str:
    """Which libhdf5 h5py works with, and a warning where it is one with known holes.

    >>> libhdf5((2, 2, 0))
    'libhdf5 2.2.0'
    """
    said = f"libhdf5 {'.'.join(map(str, version))}"
    if version >= MENDED:
        return said
    known = f"before {'.'.join(map(str, MENDED))} it has published holes"
    return f"{said}; WARNING: {known}: open no stranger's file with h5py (nf.load and nf.inspect read without it)"


def _hdf5_version() -> tuple[int, int, int]:
    import h5py  # reading needs none of it: what else of the library is imported stays without

    major, minor, patch = h5py.version.hdf5_version_tuple
    return major, minor, patch
