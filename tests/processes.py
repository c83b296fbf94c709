"""Processes by the folder they were started for: found and killed wherever they went and whoever adopted them."""

import contextlib
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.sources import ROOT

# Variables that a launcher sets: those of one around the tests would reach the programs inside.
# Unbuffered, each word of a print goes out alone, and lines of two ranks mix.
OUTER = (
    "PMI",
    "OMPI_",
    "PRTE_",
    "HYDRA_",
    "HYDI_",
    "MPI_LOCAL",
    "MPI4PY_",
    "SLURM",
    "SBATCH_",
    "SRUN_",
    "PYTHONUNBUFFERED",
)
# Where a launcher says which rank a process is: MPICH's, also under srun, and Open MPI's.
RANK = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """For a program that belongs to the folder: this Python first, the tree importable, no launcher's variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OUTER)}
    ours = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))),
        "TMPDIR": str(folder),
    }
    return inherited | ours | more


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it ended, or is somebody else's
        return b""


def belonging(folder: Path) -> list[int]:
    """Every process but this one that names the folder in its command line or environment, or writes a file there."""
    named = re.compile(re.escape(os.fsencode(folder)) + rb"(?![\w.-])")
    others = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
    return sorted(pid for pid in others if any(named.search(words) for words in _words(pid)))


def _words(pid: int) -> Iterator[bytes]:
    """Its command line, its environment (some daemons write their titles over both), the files it writes."""
    yield _read(pid, "cmdline")
    yield _read(pid, "environ")
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if link.lstat().st_mode & stat.S_IWUSR:
                yield os.fsencode(link.readlink())


def variables(pid: int) -> dict[str, str]:
    """The environment a process was started with."""
    pairs = (pair.partition("=") for pair in os.fsdecode(_read(pid, "environ")).split("\0"))
    return {name: value for name, _, value in pairs if name}


def ranks(pids: Iterable[int]) -> dict[int, int]:
    """Rank -> process, for the ranks among these; what a rank itself started does not count."""
    known = {}
    for pid in pids:
        told = variables(pid)
        if name := next((name for name in RANK if name in told), None):
            known[pid] = int(told[name])
    return {rank: pid for pid, rank in known.items() if _parent(pid) not in known}


def _parent(pid: int) -> int:
    found = re.search(rb"^PPid:\s*(\d+)", _read(pid, "status"), re.MULTILINE)
    return int(found[1]) if found else 0


def kill(folder: Path, seconds: float = 10) -> None:
    """Kill what belongs to the folder, until nothing does."""
    limit = time.monotonic() + seconds
    empty = 0
    while empty < 2:  # twice: one that starts another program just then is seen only the second time
        pids = belonging(folder)
        empty = 0 if pids else empty + 1
        assert time.monotonic() < limit, f"will not end: {[_read(pid, 'cmdline') for pid in pids]}"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
