"""Schedule: a number of the rule as a function of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..events import Event
from ..op import DTypeError, expect
from ..optim import adjust


@dataclass(eq=False)
class Schedule:
    """Sets a number of the rule to schedule(t) before each epoch, or each batch; t counts them from 1.

    schedule: any function t -> number; name: of the number, eta unless told; by: "epoch" or "batch". A training that
    is resumed goes on counting.

    >>> import numpy as np, numbaflux as nf
    >>> model = nf.Dense(1, 1)
    >>> data, opt_state, seen = [np.ones((4, 1), np.float32)], nf.setup(nf.Adam(), model), []
    >>> def note(event):
    ...     seen.append(event.opt_state.rule.eta)
    >>> _ = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, opt_state, epochs=3, progress=False,
    ...              callbacks=[note, Schedule(lambda t: 0.1 / t)])
    >>> seen == [0.1, 0.1 / 2, 0.1 / 3]
    True
    """

    schedule: Callable[[int], float]
    name: str = "eta"
    by: str = "epoch"

    def __post_init__(self) -> None:
        called, got = callable(self.schedule), repr(self.schedule)
        expect(called, "Schedule", "schedule", "a function t -> number", got, error=DTypeError)
        expect(self.by in ("epoch", "batch"), "Schedule", "by", "'epoch' or 'batch'", repr(self.by))
        if self.by == "epoch":
            self.on_epoch = lambda event: self._set(event, event.epoch + 1)
        else:
            self.on_batch = lambda event: self._set(event, event.batches + 1)

    def on_start(self, event: Event) -> None:
        self._set(event, 1 + (event.epoch if self.by == "epoch" else event.batches))

    def _set(self, event: Event, t: int) -> None:
        value = self.schedule(t)
        number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu"
        expect(number, "Schedule", f"schedule({t})", "a number", repr(value), error=DTypeError)
        adjust(event.opt_state, **{self.name: float(value)})
