"""A peer's process, which answers each line it is given with a line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from signal import SIGCONT, SIGSTOP
from typing import IO, Any

WORKER = "benchmarks.peers.worker"


class Failed(Exception):
    """A process that ended: the last line it wrote to standard error."""


class Peer:
    """A process of a worker, on as many cores as threads (else all): begin a case, then rounds. It is stopped while it
    is not asked, as threads that wait for work would take time from whose turn it is.
    """

    def __init__(
        self, name: str, threads: int | None = None, worker: str = WORKER, settings: dict[str, str] | None = None
    ):
        self.name, self.times = name, list[float]()
        self.first = self.loss = self.memory = 0.0
        command = [sys.executable, "-m", worker, name]
        self.errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in close()
        pipe, environment = subprocess.PIPE, os.environ | (settings or {})
        # Some libraries can be told their threads; all look, some while they are imported, at what they may run on.
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip

    def ask(self, line: object) -> Any:
        self.process.send_signal(SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # it has ended, and there is no answer
            self.process.stdin.write(f"{line}\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        answer = self.process.stdout.readline()  # type: ignore[union-attr]
        if not answer:
            code = self.process.wait()
            self.errors.seek(0)
            written = self.errors.read().split("\n")
            raise Failed(next((text for text in reversed(written) if text.strip()), f"ended with code {code}"))
        self.process.send_signal(SIGSTOP)
        return json.loads(answer)

    def begin(self, case: str) -> None:
        """Make the call of a case, ready to be repeated."""
        answer = self.ask(case)
        self.loss, self.first, self.memory, self.times = answer["value"], answer["first"], answer["memory"], []

    def round(self, seconds: float) -> None:
        self.times.append(self.ask(seconds))

    def close(self) -> None:
        self.process.send_signal(SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # it has ended
            self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()
        self.errors.close()

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    def differs(self, ours: Peer, tolerance: float = 1e-3) -> bool:
        """Whether it has done other work than we did: another loss after the same steps."""
        return not abs(self.loss - ours.loss) <= tolerance * max(abs(ours.loss), 0.05)
