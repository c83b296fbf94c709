"""Gradients summed while the backward pass still runs: a thread of its own waits for the other ranks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

Task = Callable[[], None]
PARTS, LEAST = 16, 2**18  # of gradients that are summed while others are made: buckets, and bytes of one


class Courier:
    """Runs a turn's tasks on its thread in their order, each when it has been released: so all ranks communicate in
    one order, whatever order their plans release them in. After an error what follows is left out.

    >>> courier, done = Courier(), []
    >>> courier.begin([lambda: done.append("first"), lambda: done.append("second")])
    >>> courier.release(1)
    >>> courier.release(0)
    >>> courier.finish()
    >>> done
    ['first', 'second']
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "numbaflux-ranks")
        self.tasks: list[Task] = []
        self.ready = set[int]()
        self.sent: list[Future[None]] = []

    def begin(self, tasks: list[Task]) -> None:
        """The tasks of a turn."""
        self.tasks, self.ready, self.sent = tasks, set(), []

    def release(self, number: int) -> None:
        """Let a task be done once those before it are."""
        self.ready.add(number)
        while len(self.sent) in self.ready:
            self.sent.append(self.thread.submit(self._next, self.tasks[len(self.sent)], self.sent[-1:]))

    @staticmethod
    def _next(task: Task, before: list[Future[None]]) -> None:
        for one in before:
            one.result()
        task()

    def finish(self) -> None:
        """Wait until all tasks are done; raises what the first that failed raised."""
        for one in self.sent:
            one.result()


def bucket(size: int, most: int, overlap: bool) -> int:
    """Bytes that are summed at a time, of gradients of that size: with overlap only the last of them should be left
    when the backward pass ends, and be little.

    >>> bucket(2**26, 2**23, False), bucket(2**26, 2**23, True), bucket(2**24, 2**23, True), bucket(2**19, 2**23, True)
    (8388608, 4194304, 1048576, 262144)
    """
    return min(most, max(LEAST, -(-size // PARTS))) if overlap else most
