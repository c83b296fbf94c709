"""The history as a file that grows with it: CSV, or a JSON object a line."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TextIO

from ..events import Event
from ..history import History


class Log(ABC):
    """A text file that holds the rows of the history, each from the end of its epoch on."""

    file: TextIO
    columns: list[str]
    first_rank_only = True  # in a world one process writes

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def head(self) -> str:
        """What stands before the rows."""
        return ""

    @abstractmethod
    def line(self, row: Mapping[str, Any]) -> str:
        """A row as text."""

    def on_start(self, event: Event) -> None:
        self.columns = []
        self.file = open(self.path, "a", encoding="utf-8", newline="")  # fails now, and leaves an old file for now

    def on_epoch(self, event: Event) -> None:
        rows: History | list[dict[str, Any]] = event.history[-1:]
        if self.columns != event.history.columns:  # the first row, or one with another number: all is written again
            self.columns, rows = event.history.columns, event.history
            self.file.truncate(0)
            self.file.write(self.head())
        self.file.write("".join(map(self.line, rows)))
        self.file.flush()

    def on_end(self, event: Event) -> None:
        self.file.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"


class CSVLog(Log):
    """Writes the history as CSV while training goes on: a line of names, then a row an epoch.

    The file is that of this training, from its first epoch; one that is there is replaced at the end of the first.
    Raises OSError at the start where it cannot be written.

    >>> import os, tempfile, numpy as np, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "log.csv")
    >>> model, data = nf.Dense(1, 1), [np.zeros((4, 1), np.float32)]
    >>> _ = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, nf.setup(nf.Adam(), model), epochs=2,
    ...              callbacks=[CSVLog(path)], progress=False)
    >>> open(path).read().splitlines()[0]
    'epoch,loss,seconds,samples_per_second'
    """

    def head(self) -> str:
        return self._text(self.columns)

    def line(self, row: Mapping[str, Any]) -> str:
        return self._text([row.get(name, "") for name in self.columns])

    @staticmethod
    def _text(cells: list[Any]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(cells)
        return out.getvalue()


class JSONLog(Log):
    """Writes the history as JSON while training goes on: an object an epoch, each on a line; NaN and Inf are null.

    The file is that of this training, from its first epoch; one that is there is replaced at the end of the first.
    Raises OSError at the start where it cannot be written.

    >>> import json, os, tempfile, numpy as np, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "log.jsonl")
    >>> model, data = nf.Dense(1, 1), [np.zeros((4, 1), np.float32)]
    >>> _ = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, nf.setup(nf.Adam(), model), epochs=2,
    ...              callbacks=[JSONLog(path)], progress=False)
    >>> [json.loads(line)["epoch"] for line in open(path)]
    [1, 2]
    """

    def line(self, row: Mapping[str, Any]) -> str:
        plain = {name: x if isinstance(x, int) else float(x) for name, x in row.items()}
        return json.dumps({name: x if math.isfinite(x) else None for name, x in plain.items()}) + "\n"
