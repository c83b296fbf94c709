"""Callbacks that watch one number of the history: the best so far, and for how many epochs nothing was better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..events import Event
from ..models import load_state, state
from ..op import DTypeError, expect
from ..optim import adjust
from ..ranges import check


class Best:
    """The best of a number so far. What falls is better in mode "min", what rises in mode "max".

    min_delta: by how much something must be better to count; threshold: by how much of the best.
    """

    def __init__(
        self, owner: str, monitor: str, mode: str | None, min_delta: float = 0.0, threshold: float = 0.0
    ) -> None:
        expect(isinstance(monitor, str), owner, "monitor", "a name", repr(monitor), error=DTypeError)
        known = mode in ("min", "max") or mode is None and monitor.endswith("loss")
        cure = "" if mode else f"nothing tells whether {monitor} is to fall or to rise"
        expect(known, owner, "mode", "'min' or 'max'", repr(mode), cure)
        self.owner, self.monitor, self.min_delta, self.threshold = owner, monitor, min_delta, threshold
        self.sign = -1.0 if mode == "max" else 1.0
        self.start()

    def start(self) -> None:
        """Nothing was seen."""
        self.value, self.epoch = self.sign * math.inf, 0

    def known(self, event: Event) -> None:
        """Raise unless the history will hold the number."""
        known, cure = self.monitor in event.columns, "pass validation= and metrics= to train"
        expect(known, self.owner, "monitor", f"one of {', '.join(event.columns)}", repr(self.monitor), cure)

    def better(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of the history has a better number than those before; NaN is never better."""
        value = row.get(self.monitor, math.nan)
        best = self.sign * self.value
        share = self.threshold * self.value if self.epoch and self.threshold else 0.0  # PyTorch's, of negatives too
        if not self.sign * value < best - self.min_delta - share:
            return False
        self.value, self.epoch = value, row["epoch"]
        return True


@dataclass(eq=False)
class EarlyStopping:
    """Stops training when a number of the history has not become better for some epochs in a row.

    monitor: loss, validation_loss or a metric's name; patience: epochs without anything better, 1 or more;
    min_delta: by how much something must be better to count; mode: "min" or "max", which a loss needs not be told.
    restore_best: when training ends, give the model the arrays it had after the best epoch that this callback has
    seen; that costs a copy of them. best_epoch: that of the best number so far.

    >>> import numpy as np, numbaflux as nf
    >>> model = nf.Dense(1, 1)
    >>> data, opt_state = [np.ones((4, 1), np.float32)], nf.setup(nf.Descent(0.0), model)
    >>> stopping = EarlyStopping("loss", patience=2)
    >>> history = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, opt_state, epochs=9, callbacks=[stopping],
    ...                    progress=False)
    >>> len(history), stopping.best_epoch
    (3, 1)
    """

    monitor: str = "validation_loss"
    patience: int = 10
    min_delta: float = 0.0
    mode: str | None = None
    restore_best: bool = False
    _best: Best = field(init=False, repr=False)
    _waited: int = field(default=0, init=False, repr=False)
    _arrays: dict[str, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check("EarlyStopping.patience", self.patience)
        check("EarlyStopping.min_delta", self.min_delta)
        self._best = Best("EarlyStopping", self.monitor, self.mode, self.min_delta)

    @property
    def best_epoch(self) -> int:
        return self._best.epoch

    def on_start(self, event: Event) -> None:
        self._best.known(event)
        self._best.start()
        self._waited, self._arrays = 0, None
        for row in event.history:
            self._see(row)
        self._stop(event)

    def _see(self, row: Mapping[str, Any]) -> bool:
        better = self._best.better(row)
        self._waited = 0 if better else self._waited + 1
        return better

    def on_epoch(self, event: Event) -> None:
        if self._see(event.history[-1]) and self.restore_best:
            self._arrays = state(event.model)
        self._stop(event)

    def _stop(self, event: Event) -> None:
        if self._waited >= self.patience:
            event.stop()

    def on_end(self, event: Event) -> None:
        if self._arrays is not None:
            load_state(event.model, self._arrays)
            self._arrays = None


@dataclass(eq=False)
class Plateau:
    """Multiplies a rule's eta by a factor when a number of the history has not become better for some epochs in a row.

    monitor, patience, min_delta, mode: as in EarlyStopping; factor: in (0, 1); cooldown: epochs after a change that do
    not count; min_eta: eta stays at or above it; threshold: by how much of the best so far something must be better.
    It is ReduceLROnPlateau of Keras, and of PyTorch, whose patience is one less: it allows so many bad epochs.

    >>> import numpy as np, numbaflux as nf
    >>> model = nf.Dense(1, 1)
    >>> data, opt_state = [np.zeros((4, 1), np.float32)], nf.setup(nf.Descent(0.1), model)
    >>> _ = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, opt_state, epochs=4, progress=False,
    ...              callbacks=[Plateau("loss", factor=0.5, patience=2)])
    >>> opt_state.rule
    Descent(eta=0.05)
    """

    monitor: str = "validation_loss"
    factor: float = 0.1
    patience: int = 5
    cooldown: int = 0
    min_eta: float = 0.0
    min_delta: float = 0.0
    mode: str | None = None
    threshold: float = 0.0
    _best: Best = field(init=False, repr=False)
    _waited: int = field(default=0, init=False, repr=False)
    _cooling: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("factor", "patience", "cooldown", "min_eta", "min_delta", "threshold"):
            check(f"Plateau.{name}", getattr(self, name))
        self._best = Best("Plateau", self.monitor, self.mode, self.min_delta, self.threshold)

    def on_start(self, event: Event) -> None:
        self._best.known(event)
        rule = event.opt_state.rule
        good = any("eta" in member.adjustable for member in rule.members) and "eta" not in rule.scheduled
        expect(good, "Plateau", "the rule", "one with an eta that can be adjusted", repr(rule))
        self._best.start()
        self._waited = self._cooling = 0
        for row in event.history:
            self._due(row)

    def _due(self, row: Mapping[str, Any]) -> bool:
        """Whether eta is to change after this row."""
        if self._best.better(row):
            self._waited = 0
        elif not self._cooling:
            self._waited += 1
        self._cooling = max(0, self._cooling - 1)
        if self._waited < self.patience:
            return False
        self._waited, self._cooling = 0, self.cooldown
        return True

    def on_epoch(self, event: Event) -> None:
        if self._due(event.history[-1]):
            rule: Any = event.opt_state.rule
            adjust(event.opt_state, eta=min(rule.eta, max(rule.eta * self.factor, self.min_eta)))
