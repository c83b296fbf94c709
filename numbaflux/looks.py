"""The steps of a training, and when it looks at their losses: every so many steps, until when a GPU's are queued."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .ahead import Ahead
from .data import DataLoader
from .op import NonFiniteError
from .places import RECORDS
from .tree import leaves

EVERY = 50  # steps of a GPU that are queued unless told
HELD = 2**30  # bytes of batches that a queue keeps, in which to look for what was not finite

Taken = tuple[int, float]  # a step: samples of its batch, its loss
Cause = Callable[[tuple[Any, ...]], str]


class Sums:
    """Samples of an epoch so far, and the sum of their losses, in the order of steps."""

    def __init__(self, samples: int, total: float) -> None:
        self.samples, self.total = samples, total

    def add(self, taken: list[Taken]) -> None:
        for size, loss in taken:
            self.samples += size
            self.total += size * loss

    @property
    def mean(self) -> float | None:
        """None: no step was looked at yet."""
        return self.total / self.samples if self.samples else None


class Looks:
    """Steps that have ended when they return; their losses are told every so many steps."""

    def __init__(self, step: Any, cause: Cause, every: int) -> None:
        self.step, self.cause, self.every = step, cause, every
        self.untold: list[Taken] = []

    def __call__(self, where: tuple[int, int], part: Any) -> list[Taken]:
        """A step on a batch, of which epoch and which of it; the steps that are told of now."""
        taken = self._waited(where, part)
        if self.every == 1:
            return [taken]
        self.untold.append(taken)
        return self.rest() if len(self.untold) >= self.every else []

    def _waited(self, where: tuple[int, int], part: Any) -> Taken:
        args = _args(part)
        try:
            return size_of(part), loss_of(self.step(*args))
        except NonFiniteError as error:
            raise self._named(error, where, args) from None

    def _named(self, error: Exception, where: tuple[int, int], args: tuple[Any, ...]) -> Exception:
        """The error of a step; of a value that is not finite, where and why."""
        if isinstance(error, NonFiniteError):
            error.args = (f"train: epoch {where[0]}, batch {where[1]}: {error}{self.cause(args)}",)
        return error

    def rest(self) -> list[Taken]:
        """Steps that were not told of yet."""
        untold, self.untold = self.untold, []
        return untold

    def end(self) -> list[Taken]:
        """The same, at the end of an epoch or where something ends it: to the end also where Ctrl-C comes meanwhile."""
        try:
            return self.rest()
        except KeyboardInterrupt:
            self.rest()
            raise


class Queue(Looks):
    """Steps on a GPU, each behind the one before without anyone waiting for it. Where one fails, those behind it change
    nothing, and the look at them raises what it would have raised."""

    def __init__(self, step: Any, cause: Cause, every: int) -> None:
        super().__init__(step, cause, min(every, RECORDS))
        self.plan: Any = None  # whose queue it is
        self.parts: list[tuple[tuple[int, int], Any]] = []  # what is in it
        self.held = 0  # bytes of these

    def __call__(self, where: tuple[int, int], part: Any) -> list[Taken]:
        program, arrays = self.step.program(_args(part))
        if not program.plan.queues:  # Python has turns in the step, and waits there
            return [*self.rest(), self._waited(where, part)]
        other = self.plan is not None and (self.plan is not program.plan or self.plan.stale)
        before = self.rest() if other else []
        self.plan = program.plan
        self.parts.append((where, part))
        self.held += sum(a.nbytes for a in arrays)
        program.sent.queue(arrays)
        return before + (self.rest() if len(self.parts) >= self.every or self.held >= HELD else [])

    def rest(self) -> list[Taken]:
        """Wait for the queue."""
        if self.plan is None:
            return []
        (losses,), error = self.plan.drain() if self.plan.open else ([()], None)
        parts, self.plan, self.parts, self.held = self.parts, None, [], 0
        if error is not None:
            where, part = parts[len(losses)]
            raise self._named(error, where, _args(part))
        return [(size_of(part), float(loss)) for (_, part), loss in zip(parts, losses, strict=False)]


def looks(
    step: Any, cause: Cause, batches: Iterator[Any], data: Any, opt_state: Any, every: int | None
) -> tuple[Looks, Iterator[Any]]:
    """What takes the steps, and the batches for it: of a loader for a GPU the next one while a step is at work.

    Queued where nobody needs to know in between: batches come from a loader that goes ahead, no rank waits for another,
    and no number of the rule follows the count of steps.
    """
    ahead = getattr(step, "gpu", None) is not None and isinstance(data, DataLoader) and data.prefetch > 0
    stream = Ahead(step, batches) if ahead else batches
    if ahead and every != 1 and opt_state.spread is None and not opt_state.rule.scheduled:
        return Queue(step, cause, every or EVERY), stream
    return Looks(step, cause, every or 1), stream


def _args(part: Any) -> tuple[Any, ...]:
    return part if isinstance(part, tuple) else (part,)


def loss_of(result: Any) -> float:
    """The number of loss or (loss, aux)."""
    return float(result[0] if isinstance(result, tuple) else result)


def size_of(batch: Any) -> int:
    """Samples of a batch: the length of its first array that has one."""
    first = batch[0] if isinstance(batch, tuple) and batch else batch
    if type(first) is np.ndarray and first.ndim:  # nearly every batch, at a small part of the cost
        return len(first)
    return next((leaf.array.shape[0] for leaf in leaves(batch) if leaf.array.ndim), 1)
