"""History: what training reports, a row an epoch, as a list of dicts that shows itself as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import plots
from .op import RangeError, expect

if TYPE_CHECKING:
    from .plots import Figure

FIXED = ("epoch", "loss", "validation_loss", "seconds", "samples_per_second")  # the other columns are metrics
ENDS = 8  # rows shown at either end of a long history


class History(list[dict[str, Any]]):
    """Rows of plain numbers: epoch, loss, validation_loss, the metrics by name, seconds, samples_per_second.

    loss is the mean over the epoch's samples while the model changed; seconds are those of its steps, without
    validation. A callback may add numbers to the last row.
    interrupted: whether Ctrl-C ended the training; signal: the name of the signal that did ("SIGUSR1"), or "".

    >>> history = History([{"epoch": 1, "loss": 0.5, "seconds": 0.1}, {"epoch": 2, "loss": 0.25, "seconds": 0.1}])
    >>> history
    epoch    loss  seconds
        1     0.5      0.1
        2    0.25      0.1
    >>> history[-1]["loss"], history.column("loss")
    (0.25, [0.5, 0.25])
    """

    def __init__(self, rows: Sequence[dict[str, Any]] = (), interrupted: bool = False) -> None:
        super().__init__(rows)
        self.interrupted, self.signal = interrupted, ""

    @property
    def columns(self) -> list[str]:
        """The names of all that rows hold, in order.

        >>> History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4, "eta": 0.1}]).columns
        ['epoch', 'loss', 'eta']
        """
        return list(dict.fromkeys(name for row in self for name in row))

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics.

        >>> History([{"epoch": 1, "loss": 0.5, "accuracy": 0.9}]).metrics
        ['accuracy']
        """
        return [name for name in self.columns if name not in FIXED]

    def column(self, name: str) -> list[Any]:
        """One number of every epoch, NaN where a row lacks it; raises RangeError for a name that no row has."""
        known = self.columns
        expect(not self or name in known, "history", "column", f"one of {known}", repr(name), error=RangeError)
        return [row.get(name, math.nan) for row in self]

    def plot(self, log: bool = True) -> Figure:
        """The learning curves as a Matplotlib figure: losses, and a panel of the metrics if there are any.

        log: losses on a logarithmic scale, where all of them are positive. `.savefig("curves.png")` writes the figure,
        a notebook shows it; no display is needed. Raises RangeError for a history without epochs.

        >>> figure = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]).plot()
        >>> len(figure.axes)
        1
        """
        expect(bool(self), "history", "plot", "asked for after an epoch or more", "none", error=RangeError)
        return plots.learning_curves(self, log)

    def __repr__(self) -> str:
        if not self:
            lines = ["History of no epochs"]
        else:
            names = self.columns
            rows = [names, *([shown(row[name]) if name in row else "" for name in names] for row in self)]
            if len(self) > 2 * ENDS:
                rows[1 + ENDS : -ENDS] = [["..."] * len(names)]
            widths = [max(7 if i else 5, *map(len, column)) for i, column in enumerate(zip(*rows, strict=True))]
            lines = ["  ".join(text.rjust(w) for text, w in zip(row, widths, strict=True)) for row in rows]
        ended = "interrupted" if self.interrupted else f"stopped by {self.signal}" if self.signal else ""
        return "\n".join([*lines, f"{ended} in epoch {len(self) + 1}"] if ended else lines)


def shown(value: Any) -> str:
    """A number of a row, in few digits.

    >>> shown(12), shown(0.123456), shown(123456.7)
    ('12', '0.1235', '123457')
    """
    return str(value) if isinstance(value, int) else f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
