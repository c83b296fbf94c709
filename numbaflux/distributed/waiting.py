"""Waiting for other ranks: without a core for nothing, and not for ever; who is missing is named."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import numpy as np

SPIN = 2e-3  # seconds of asking again at once; then a core is left alone between two questions
BESIDE = 1e-4  # the same for a thread beside the one that began: that one needs the core
NAP, LATER, LONGEST = 5e-5, 0.05, 1e-3  # seconds between them: at first, more by so much of the wait, at most
EARS = 4  # ranks that are told who waits
HEARD = 1.0  # seconds in which all who wait have said so


class Watch:
    """Waits for requests of MPI. Who has waited a tenth of timeout says so to the first few ranks; of these the first
    that waits itself tells who is missing, and ends the job after timeout."""

    def __init__(self, comm: Any, MPI: Any, timeout: float) -> None:
        self.comm, self.MPI, self.timeout = comm, MPI, timeout
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.thread = threading.get_ident()
        self.count = 0  # waits so far: the same on all ranks that wait for each other

    def wait(self, request: Any, what: str) -> None:
        """Return when the request is done."""
        self.count += 1
        start = time.monotonic()
        spin = SPIN if threading.get_ident() == self.thread else BESIDE
        while not request.Test():
            waited = time.monotonic() - start
            if waited > spin:
                if waited > self.timeout / 10:
                    self._stalled(request, what, start)
                    return
                time.sleep(min(NAP + LATER * waited, LONGEST))

    def _stalled(self, request: Any, what: str, start: float) -> None:
        """Go on waiting, and find out for whom."""
        mine, said = np.array([self.count], np.int64), []
        for rank in range(min(EARS, self.size)):
            said.append(self.comm.Isend(mine, rank))
        heard, told, since = set[int](), False, time.monotonic()
        while not request.Test():
            time.sleep(LONGEST)
            heard |= self._listen()
            missing = sorted(set(range(self.size)) - heard)
            first = self.rank < EARS and self.rank == min(heard, default=self.size)
            waited = time.monotonic() - start
            if first and not told and missing and time.monotonic() - since > HEARD:
                told = True
                self._tell(f"{_named(missing)} of {self.size} for {waited:.0f} s: {what}")
            if waited > self.timeout + (0 if first else 5):
                who = _named(missing) if first and missing else "others"
                self._tell(f"{who} of {self.size} for {waited:.0f} s, which is too long: {what}; the job ends")
                self.comm.Abort(1)
        self.MPI.Request.Waitall(said)

    def _listen(self) -> set[int]:
        """Who says to wait for the same as this rank; what was said of earlier waits is forgotten."""
        found, status, count = set[int](), self.MPI.Status(), np.zeros(1, np.int64)
        while self.comm.Iprobe(self.MPI.ANY_SOURCE, self.MPI.ANY_TAG, status):
            self.comm.Recv(count, status.Get_source())
            if count[0] == self.count:
                found.add(status.Get_source())
        return found

    def _tell(self, words: str) -> None:
        print(f"numbaflux: rank {self.rank} (process {os.getpid()}) waits for {words}", file=sys.stderr, flush=True)


def _named(ranks: list[int]) -> str:
    """rank 3; ranks 1, 2 and 5 more.

    >>> _named([3]), _named(list(range(12)))
    ('rank 3', 'ranks 0, 1, 2, 3, 4, 5, 6, 7 and 4 more')
    """
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank{'s' * (len(ranks) > 1)} {shown}"
