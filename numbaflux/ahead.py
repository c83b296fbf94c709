"""Batches for a GPU: the next one is made and copied while the one before is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np


class Sent:
    """A step's plan on a GPU, and the batch that is on its way there.

    made: new arrays for what the plan gives; meanwhile: what is called while it is at work.
    """

    def __init__(self, plan: Any, made: Callable[[], list[np.ndarray]], meanwhile: list[Callable[[], None]]) -> None:
        self.plan, self.made, self.meanwhile = plan, made, meanwhile
        self.outs: list[np.ndarray] | None = None  # of the batch on its way

    def send(self, arrays: Sequence[np.ndarray]) -> None:
        """Begin to take a batch there."""
        outs = self.made()
        self.plan.upload(*arrays, *outs)
        self.outs = outs

    def _taken(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Where results go of the batch that was sent, which it is now if it was not."""
        if self.outs is None:
            self.send(arrays)
        outs, self.outs = self.outs, None
        return outs  # type: ignore[return-value]

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the plan, and meanwhile what there is to do here; what it gives."""
        outs = self._taken(arrays)
        self.plan.launch()
        try:
            self._do()
        finally:
            self.plan.finish()
        return outs

    def queue(self, arrays: Sequence[np.ndarray]) -> None:
        """Begin to run the plan, which nobody waits for, and do what there is to do here."""
        self._taken(arrays)
        self.plan.queue()
        self._do()

    def _do(self) -> None:
        for call in self.meanwhile:
            call()


class Stopped(NamedTuple):
    """What ended the batches: no error at their end."""

    error: BaseException


class Ahead:
    """The batches of a loader for a step on a GPU: while it works on one, the next is made and begins its way there."""

    def __init__(self, step: Any, batches: Iterator[Any]) -> None:
        self.step, self.batches = step, batches
        self.found: list[Any] = []  # the next one, or the error that came instead
        step.meanwhile[:] = [self.fetch]

    def fetch(self) -> None:
        if self.found:  # while an earlier part of the step's batch was at work
            return
        try:
            part = next(self.batches)
            self.step.ahead(part if isinstance(part, tuple) else (part,))
            self.found.append(part)
        except BaseException as error:  # Ctrl-C too: when the step that is at work is done
            self.found.append(Stopped(error))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.found:
            self.fetch()
        part = self.found.pop()
        if isinstance(part, Stopped):
            raise part.error
        return part
