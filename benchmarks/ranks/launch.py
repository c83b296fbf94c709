"""Starts what worker.py measures: in one process, on ranks of this machine, on one rank on each of two hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.written import ROOT

MPIEXEC = Path(sys.executable).with_name("mpiexec")
# The tree comes last: asv has installed another commit of the library.
PROGRAM = f"import sys; sys.path.append({str(ROOT)!r}); from benchmarks.ranks.worker import main; main()"
LIMIT = 300  # seconds of a run
Ask = Callable[..., Any]  # ask(what, **arguments): the answer of rank 0


def asked(ranks: int, threads: int, what: str, **arguments: Any) -> Any:
    """The answer of so many ranks of so many threads each. Of one, no launcher; ranks share out cores by themselves."""
    command = [sys.executable, "-c", PROGRAM, what, json.dumps(arguments)]
    if ranks > 1:
        command = [str(MPIEXEC), "-n", str(ranks), *command]
    environment = os.environ | ({"NUMBA_NUM_THREADS": str(threads)} if ranks == 1 else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{what} {arguments} on {ranks} ranks: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


@contextmanager
def two_hosts(rate: str) -> Iterator[Ask]:
    """Two ranks of one thread, each on a host of its own, with a cable of that rate between them. Raises SystemExit
    where such hosts cannot be made."""
    import pytest

    from tests.mpi import hosts

    def ask(what: str, **arguments: Any) -> Any:
        program = ROOT / "benchmarks" / "ranks" / "worker.py"
        done = made.mpi.run(program, 2, what, json.dumps(arguments), seconds=LIMIT, NUMBA_NUM_THREADS="1")
        if done.rc:
            raise RuntimeError(f"{what} {arguments}: exit code {done.rc}\n{done.err}")
        return json.loads(done.out)

    try:
        with tempfile.TemporaryDirectory() as folder, hosts.two_hosts(Path(folder)) as made, made.slowed(rate):
            yield ask
    except pytest.skip.Exception as reason:
        raise SystemExit(f"two hosts: {reason}") from reason
