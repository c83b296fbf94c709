"""Whether threads pay at the moment: where other programs want the cores, a short call waits for a worker that has
none."""

from __future__ import annotations

import math

SHORT = 5e6  # nanoseconds of work up to which a call may lose more by waiting than it gains
LATE = 4.0  # times its work on one thread: a call that took so long had to wait
TWICE = 2  # late calls in a row before threads rest
FIRST, MOST = 100, 10_000  # calls on one thread, then threads are tried again; doubled each time up to the most


class Pace:
    """Of one plan: lets it run on one thread for a while after it was late. Results do not depend on it.

    >>> pace = Pace(work=1e5)
    >>> pace.limit = 4e5
    >>> for took in (2e4, 9e9, 9e9):
    ...     pace.took(took)
    >>> pace.workers(2), pace.rest
    (1, 99)
    """

    def __init__(self, work: float) -> None:
        self.limit = LATE * work if work < SHORT else math.inf
        self.late = self.rest = 0
        self.pause = FIRST

    def workers(self, most: int) -> int:
        """Threads for the next call."""
        if self.rest:
            self.rest -= 1
            return 1
        return most

    def took(self, nanoseconds: float) -> None:
        """Tell how long a call on several threads took."""
        if nanoseconds <= self.limit:
            self.late, self.pause = 0, FIRST
            return
        self.late += 1
        if self.late == TWICE:
            self.late, self.rest, self.pause = 0, self.pause, min(2 * self.pause, MOST)
