"""Checkpoint: the training in a file, every so often or whenever it is better than before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import hdf5, resume
from ..events import Event, states
from ..op import RangeError, expect
from ..ranges import check
from .monitor import Best


@dataclass(eq=False)
class Checkpoint:
    """Writes the training to a file that nf.load_checkpoint reads: model, optimiser state, history, generators.

    path: may name numbers of the history, "run-{epoch:03}-{loss:.2f}.h5", then there is a file for each time; else one
    file, replaced in one step when the new one is whole on the disk.
    every: epochs between; by="batch": batches, where {batches} counts all of them, and a resumed training goes on
    inside of its epoch. best: a number of the history; only what makes it better than before is written. mode: "min"
    or "max", which a loss needs not be told. keep: how many of the files, the latest, stay; None: all.
    metadata: a dict of plain JSON, saved along.
    What cannot be saved is refused before the first step, as by nf.save. OSError: the disk; training ends, and the last
    file is still whole.

    >>> import os, tempfile, numpy as np, numbaflux as nf
    >>> folder = tempfile.mkdtemp()
    >>> model, data = nf.Dense(1, 1), [np.ones((4, 1), np.float32)]
    >>> _ = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, nf.setup(nf.Adam(), model), epochs=5, progress=False,
    ...              callbacks=[Checkpoint(os.path.join(folder, "run-{epoch}.h5"), every=2, keep=1)])
    >>> os.listdir(folder)
    ['run-4.h5']
    >>> nf.load_checkpoint(os.path.join(folder, "run-4.h5")).epoch
    4
    """

    path: str | os.PathLike[str]
    every: int = 1
    best: str | None = None
    mode: str | None = None
    keep: int | None = None
    by: str = "epoch"
    metadata: Mapping[str, Any] | None = None
    _best: Best | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.path = os.fspath(self.path)
        check("Checkpoint.every", self.every)
        if self.keep is not None:
            check("Checkpoint.keep", self.keep)
            expect("{" in self.path, "Checkpoint", "path", "one with {epoch} where keep is given", repr(self.path))
        expect(self.by in ("epoch", "batch"), "Checkpoint", "by", "'epoch' or 'batch'", repr(self.by))
        alone = self.best is None or self.by == "epoch"
        expect(alone, "Checkpoint", "best", "None where by='batch'", repr(self.best), "the history has a row an epoch")
        alone = self.mode is None or self.best is not None
        expect(alone, "Checkpoint", "mode", "None where best is not given", repr(self.mode))
        self._best = None if self.best is None else Best("Checkpoint", self.best, self.mode)
        self._written: list[str] = []
        if self.by == "batch":
            self.on_batch = self._on_batch
        else:
            self.on_epoch = self._on_epoch

    def on_start(self, event: Event) -> None:
        """Refuse what would fail later, and find the files of the epochs before a resume."""
        example = dict.fromkeys(event.columns, 0.0) | {"epoch": 0}
        folder = os.path.dirname(self._name(example, 0)) or "."
        good = os.path.isdir(folder) and os.access(folder, os.W_OK)
        expect(good, "Checkpoint", "path", "in a folder that can be written to", repr(self.path))
        hdf5.check(*self._prepared(event))
        self._written = []
        if self._best is not None:
            self._best.known(event)
            self._best.start()
        if self.by == "epoch":
            self._written = list(dict.fromkeys(self._name(row, 0) for row in event.history if self._due(row)))

    def _name(self, row: Mapping[str, Any], batches: int) -> str:
        """The file for a row of the history, or for so many batches."""
        known = row if self.by == "epoch" else {"batches": batches, "epoch": row["epoch"]}
        try:
            return os.fspath(self.path).format(**known)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            names = ", ".join(f"{{{name}}}" for name in known)
            raise RangeError(f"Checkpoint: path must be with {names} alone, got {self.path!r} ({error!r})") from None

    def _prepared(self, event: Event) -> Any:
        rng = states(event.generators)
        return resume.prepare(event.model, event.opt_state, event.position, rng, event.history, self.metadata)

    def _due(self, row: Mapping[str, Any]) -> bool:
        return row["epoch"] % self.every == 0 and (self._best is None or self._best.better(row))

    def _on_epoch(self, event: Event) -> None:
        if self._due(event.history[-1]):
            self._write(event, event.history[-1])

    def _on_batch(self, event: Event) -> None:
        if event.batches % self.every == 0:
            self._write(event, {"epoch": event.epoch})

    def _write(self, event: Event, row: Mapping[str, Any]) -> None:
        name = self._name(row, event.batches)
        resume.write(name, *self._prepared(event))
        self._written = [*(path for path in self._written if path != name), name]
        for path in self._written[: -self.keep] if self.keep else ():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            self._written.remove(path)
