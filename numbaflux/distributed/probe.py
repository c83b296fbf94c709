"""What MPI is here and what it can do, for `numbaflux doctor`: library, ranks, threads, fault tolerance, speed."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ABIS = ("mpich", "openmpi", "impi", "mpiabi")  # of the modules in mpi4py's wheels: MPI.mpich.cpython-311-x86_64...so
LEVELS = ("SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE")
SIZES = {"4 KB": (4096, 200), "1 MB": (1 << 20, 30), "64 MB": (64 << 20, 5)}  # of an allreduce: bytes, repeats
ALONE = 60  # seconds that MPI may take to start without a launcher


@dataclass(frozen=True)
class Found:
    """What a rank knows of MPI. path: the library's file; nodes: of all ranks; local_rank, local_size: on its node;
    threads: the level; ulfm: whether the library has the calls by which survivors of a lost rank go on; gpus: whether
    it reaches the memory of GPUs."""

    library: str
    abi: str
    path: str
    rank: int
    size: int
    nodes: int
    local_rank: int
    local_size: int
    threads: str
    ulfm: bool
    gpus: bool = False


def version(package: str = "mpi4py") -> str:
    """That of a package; empty where it is not installed.

    >>> version("numpy") == np.__version__, version("no such package")
    (True, '')
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def found() -> Found:
    """Starts MPI in this process; by all ranks. Raises ImportError or RuntimeError where it cannot."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    nodes = np.array([node.Get_rank() == 0], np.int64)
    world.Allreduce(MPI.IN_PLACE, nodes)
    kind = Path(MPI.__file__).name.split(".")[1]
    return Found(
        library=" ".join(MPI.Get_library_version().strip("\0 \n").splitlines()[0].split()),
        abi=kind if kind in ABIS else "that of the MPI it was built with",
        path=_loaded(),
        rank=world.Get_rank(),
        size=world.Get_size(),
        nodes=int(nodes[0]),
        local_rank=node.Get_rank(),
        local_size=node.Get_size(),
        threads={getattr(MPI, f"THREAD_{name}"): name for name in LEVELS}[MPI.Query_thread()],
        ulfm=survives(MPI),
        gpus=reaches_gpus(),
    )


def found_alone() -> Found:
    """The same without a launcher: in a child, as some libraries end a process in which they cannot start."""
    command = [sys.executable, "-m", "numbaflux.distributed.probe"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ALONE, check=False)  # noqa: S603  # this Python, words of ours
    if done.returncode:
        last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise RuntimeError(f"exit code {done.returncode}: {last[:200]}")
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def survives(MPI: Any) -> bool:
    """Whether the library has the calls by which survivors of a lost rank go on."""
    comm = MPI.COMM_SELF.Dup()  # its own: revoking what ranks share has crashed Open MPI
    try:
        comm.Revoke()
    except RuntimeError:  # a library without fault tolerance refuses its first call
        comm.Free()
        return False
    return True


def reaches_gpus(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether MPI, which has been started, says that it reaches the memory of NVIDIA's GPUs ("CUDA-aware"): by the call
    of Open MPI and MPICH, or by the variable without which Cray MPICH does not. NUMBAFLUX_CUDA_AWARE=0 or 1 says
    otherwise.

    >>> reaches_gpus({"NUMBAFLUX_CUDA_AWARE": "1"})
    True
    """
    told = environment.get("NUMBAFLUX_CUDA_AWARE", "")
    if told:
        return told != "0"
    try:
        asked = ctypes.CDLL(_loaded()).MPIX_Query_cuda_support
    except (OSError, AttributeError):
        return environment.get("MPICH_GPU_SUPPORT_ENABLED") == "1"
    return bool(asked()) or environment.get("MPICH_GPU_SUPPORT_ENABLED") == "1"


def _loaded() -> str:
    """The file of the MPI library in this process."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return ""
    files = [line.split(maxsplit=5)[5] for line in lines if "/" in line]
    return next((file for file in files if Path(file).name.startswith("libmpi")), "")


def allreduce() -> list[tuple[str, float, float]]:
    """(size, microseconds, GB/s) of sums of float32 in place: the slowest rank's median. By all ranks."""
    from mpi4py import MPI

    world, rows = MPI.COMM_WORLD, []
    for name, (size, repeats) in SIZES.items():
        data, times = np.zeros(size // 4, np.float32), []
        for _ in range(repeats + 2):
            world.Barrier()
            start = time.perf_counter()
            world.Allreduce(MPI.IN_PLACE, data)
            times.append(time.perf_counter() - start)
        slowest = np.array([np.median(times[2:])])  # the first ones make connections
        world.Allreduce(MPI.IN_PLACE, slowest, MPI.MAX)
        rows.append((name, 1e6 * float(slowest[0]), size / 1e9 / float(slowest[0])))
    return rows


def anywhere(flag: bool) -> bool:
    """Whether it is so in any rank. By all ranks."""
    from mpi4py import MPI

    some = np.array([flag], np.int64)
    MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, some, MPI.MAX)
    return bool(some[0])


if __name__ == "__main__":
    print(json.dumps(asdict(found())))
