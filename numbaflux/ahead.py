"""Batches for a GPU: the next one is made and copied while the one before is at work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


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
