"""Checkpoint: the training in a file, every so often or whenever it is better than before."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import hdf5, resume
from ..events import Event, states
from ..op import expect
from ..ranges import check
from ..record import RECORD, record
from .monitor import Best
from .pattern import Pattern


@dataclass(eq=False)
class Checkpoint:
    """Writes the training to a file that nf.load_checkpoint reads: model, optimiser state, history, generators.

    path: may name numbers of the history, "run-{epoch:03}-{loss:.2f}.h5", then there is a file for each time; else one
    file, replaced in one step when the new one is whole on the disk.
    every: epochs between; by="batch": batches, where {batches} counts all of them, and a resumed training goes on
    inside of its epoch. best: a number of the history; only what makes it better than before is written. mode: "min"
    or "max", which a loss needs not be told. keep: how many of the files, the latest, stay; None: all.
    A file holds what was done before its turn: callbacks that change the rule (Plateau) or the model stand before it.
    metadata: a dict of plain JSON, saved along; beside it stands the `record` of the run: versions, CPU, threads, seed,
    rule, digest of the data, number of ranks.
    A training that SIGUSR1 or SIGTERM stops is written as it stands: to the file, or, where its name takes numbers that
    are not known inside an epoch, or it is for the best, to one beside with `stopped` in its name, which goes with the
    next turn. nf.train(resume="auto") finds it.
    What cannot be saved is refused before the first step, as by nf.save. A disk that fails is told on stderr; training
    goes on, the last file is still whole, and the next turn tries again.

    >>> import os, tempfile, numpy as np, numbaflux as nf
    >>> folder = tempfile.mkdtemp()
    >>> model, data = nf.Dense(1, 1), [np.ones((4, 1), np.float32)]
    >>> _ = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, nf.setup(nf.Adam(), model), epochs=5, progress=False,
    ...              callbacks=[Checkpoint(os.path.join(folder, "run-{epoch}.h5"), every=2, keep=1)])
    >>> os.listdir(folder)
    ['run-4.h5']
    >>> other = nf.Dense(1, 1)
    >>> history = nf.train(lambda m, x: (m(x) ** 2).mean(), other, data, nf.setup(nf.Adam(), other), epochs=6,
    ...                    progress=False, callbacks=[Checkpoint(os.path.join(folder, "run-{epoch}.h5"))],
    ...                    resume="auto")
    >>> history.column("epoch"), sorted(os.listdir(folder))
    ([1, 2, 3, 4, 5, 6], ['run-4.h5', 'run-5.h5', 'run-6.h5'])
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
        taken = isinstance(self.metadata, Mapping) and RECORD in self.metadata
        expect(not taken, "Checkpoint", "metadata", f"without {RECORD!r}", "it", "that is where the run's record goes")
        self._best = None if self.best is None else Best("Checkpoint", self.best, self.mode)
        self.files = Pattern(self.path)
        self._written: list[str] = []
        if self.by == "batch":
            self.on_batch = self._on_batch
        else:
            self.on_epoch = self._on_epoch

    def on_start(self, event: Event) -> None:
        """Refuse what would fail later, and find the files of the epochs before a resume."""
        self._world, self._due_now = event.opt_state.world, False
        example = dict.fromkeys(event.columns, 0.0) | {"epoch": 0}
        folder = os.path.dirname(self._name(example, 0)) or "."
        good = not self._leads or os.path.isdir(folder) and os.access(folder, os.W_OK)
        expect(good, "Checkpoint", "path", "in a folder that can be written to", repr(self.path))
        self._aside = self.files.aside
        self._record = record(event.opt_state, event.data)
        hdf5.check(*self._content(event))
        self._last: tuple[int, int] | None = None
        if self._best is not None:
            self._best.known(event)
            self._best.start()
        if self.by == "epoch":
            self._written = list(dict.fromkeys(self._name(row, 0) for row in event.history if self._due(row)))
        else:
            past = {path: n for path, n in self.files.found().items() if 0 < n <= event.batches}
            self._written = sorted(past, key=past.__getitem__)

    @property
    def _leads(self) -> bool:
        """Whether this process writes: another rank may be the first one when some were lost."""
        return self._world is None or self._world.rank == 0

    def _name(self, row: Mapping[str, Any], batches: int) -> str:
        """The file for a row of the history, or for so many batches."""
        return self.files.name(row if self.by == "epoch" else {"batches": batches, "epoch": row["epoch"]})

    def _content(self, event: Event) -> Any:
        """What is to be written; all ranks make it together."""
        position, rng = event.position.over(event.opt_state.world), states(event.generators)
        tensors, documents = resume.prepare(event.model, event.opt_state, position, rng, event.history, self.metadata)
        documents["metadata"] = json.dumps({**(self.metadata or {}), RECORD: self._record}, ensure_ascii=False)
        return tensors, documents

    def _due(self, row: Mapping[str, Any]) -> bool:
        return row["epoch"] % self.every == 0 and (self._best is None or self._best.better(row))

    def _on_epoch(self, event: Event) -> None:
        row, before = event.history[-1], copy.copy(self._best)
        if self._due(row) and not self._write(event, self._name(row, event.batches)):
            self._best = before  # what was not written is to be beaten by nothing

    def _on_batch(self, event: Event) -> None:
        self._due_now = self._due_now or event.batches % self.every == 0
        if self._due_now and not event.opt_state.waiting:  # else after the update that gradients wait for
            self._due_now = False
            self._write(event, self._name({"epoch": event.epoch}, event.batches))

    def stop(self, event: Event) -> str:
        """Write the training as it stands, whether it is its turn or not; the file's name, or nothing where the disk
        failed."""
        if self._last == (event.position.epoch, event.position.batch) and self._best is None:
            name = self._written[-1]  # of this turn, again with what callbacks behind this one did
        elif self.by == "batch":
            name = self._name({"epoch": event.epoch}, event.batches)
        else:
            aside = self._best is not None or "{" in self.files.path
            name = self._aside if aside else self._name({}, 0)
        return self._write(event, name)

    def _write(self, event: Event, name: str) -> str:
        """Write a file; its name, or nothing where that failed, on all ranks alike."""
        content, world = self._content(event), event.opt_state.world
        failed = self._leads and not self._replaced(name, content)
        if world is not None and world.any(failed) or failed:
            return ""
        gone: list[str] = []
        if name != self._aside:
            self._last = event.position.epoch, event.position.batch
            self._written = [*(path for path in self._written if path != name), name]
            kept = len(self._written) if self.keep is None else self.keep
            gone = [self._aside, *self._written[:-kept]]
            del self._written[:-kept]
        for path in gone if self._leads else ():
            with contextlib.suppress(OSError):  # somebody else removed it, or the folder has become read-only
                os.unlink(path)
        return name

    def _replaced(self, name: str, content: Any) -> bool:
        """Whether the file could be written; says so where not."""
        try:
            resume.write(name, *content)
        except OSError as error:
            reason = f"[Errno {error.errno}] {error.strerror}"
            told = f"Checkpoint: {name} could not be written ({reason}); the last file stays, the next turn tries again"
            print(told, file=sys.stderr, flush=True)
            return False
        return True
