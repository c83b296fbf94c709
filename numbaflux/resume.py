"""A training in a file: model, optimiser state, epoch, history, generators; what is loaded goes on bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import hdf5
from .checkpoint import (
    HISTORY,
    LAWFUL,
    MODEL,
    OPTIMISER,
    Builder,
    Functions,
    Path,
    architecture,
    below,
    lookup,
    metadata_of,
    naming,
    of_model,
)
from .checkpoint import prepare as prepare_model
from .events import Position, States, generators, restore, states
from .hdf5_json import parse_json
from .hdf5_objects import require
from .history import History
from .op import DTypeError, expect
from .optim import OptState
from .ranges import check
from .record import known
from .saved_rules import load_optimiser, optimiser

COUNTS = ("epoch", "batches", "batch", "sample")
SUMS = ("total", "seconds")
KEYS = {*COUNTS, *SUMS, "begun", "rng", "columns", "optimiser"}


@dataclass(frozen=True, eq=False)
class Run:
    """A training as load_checkpoint found it, to go on with: nf.train(..., resume=run) or a loop of your own.

    model, opt_state; step: its updates; position: where training stood; rng: (seed, counter) of its generators by
    name; history; metadata.

    >>> import os, tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
    >>> model = nf.Dense(2, 1)
    >>> nf.save_checkpoint(path, model, nf.setup(nf.Descent(0.1), model), epoch=3)
    >>> nf.load_checkpoint(path)
    Run(epoch 3, step 0, Dense of 3 parameters, Descent(eta=0.1))
    """

    model: Any
    opt_state: OptState
    step: int
    position: Position
    rng: States
    history: History
    metadata: dict[str, Any]

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return self.position.epoch

    @property
    def sample(self) -> int:
        """Samples done of the epoch after the whole ones."""
        return self.position.sample

    def restore_rng(self, data: Any = None, validation: Any = None) -> None:
        """Let the default generator, and those of the loaders, go on from where they stood (train does so itself).

        >>> import os, tempfile, numbaflux as nf
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> model, data = nf.Dense(2, 1), nf.DataLoader(np.arange(10), batchsize=10, shuffle=True, rng=0)
        >>> nf.save_checkpoint(path, model, nf.setup(nf.Adam(), model), data=data)
        >>> [first], run = list(data), nf.load_checkpoint(path)
        >>> run.restore_rng(data)
        >>> bool((next(iter(data)) == first).all())
        True
        """
        restore(generators(data, validation), self.rng)

    def __repr__(self) -> str:
        part = f", {self.sample} samples" if self.sample else ""
        size = sum(s.size for s in self.opt_state.segments)
        model = f"{type(self.model).__name__} of {size:_} parameters"
        return f"Run(epoch {self.epoch}{part}, step {self.step}, {model}, {self.opt_state.rule})"


# -------------------------------------------------------------------------------------------------------------- saving


def save_checkpoint(
    path: Path, model: Any, opt_state: OptState, epoch: int = 0, history: Sequence[Mapping[str, Any]] = (),
    data: Any = None, metadata: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write a training of your own loop, for load_checkpoint; nf.callbacks.Checkpoint writes those of nf.train.

    epoch: whole epochs done; history: rows of numbers by name; data: the loader, whose generator is saved beside the
    default one; metadata: a dict of plain JSON. Whole or not at all, readable by the user alone. Raises as nf.save.

    >>> import os, tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
    >>> model = nf.Dense(2, 1)
    >>> nf.save_checkpoint(path, model, nf.setup(nf.Adam(), model), epoch=1, metadata={"data": "made up"})
    >>> nf.load_checkpoint(path).metadata
    {'data': 'made up'}
    """
    position = Position(int(check("save_checkpoint.epoch", epoch)))
    write(path, *prepare(model, opt_state, position, states(generators(data)), history, metadata))


def prepare(
    model: Any, opt_state: OptState, position: Position, rng: States, history: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, Any] | None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:  # fmt: skip
    """The tensors and documents of a checkpoint's file; raises if there is something that cannot be saved."""
    own, documents = prepare_model(model, metadata)
    vectors, record = optimiser(opt_state, own)
    columns, table = _columns(history)
    tensors = {f"{MODEL}{name}": array for name, array in own.items()}
    tensors |= {f"{OPTIMISER}{name}": array for name, array in vectors.items()}
    tensors |= {HISTORY: table} if table.size else {}
    for name in tensors:
        lawful, parts = bool(LAWFUL.fullmatch(name)), name.count(".") + 1
        expect(lawful, "save", name, "a name of up to 16 parts", parts, "nest layers less deep")
    training = position._asdict() | {"rng": rng, "columns": columns, "optimiser": record}
    documents["training"] = json.dumps(training, ensure_ascii=False)
    parse_json(documents["training"], "save: the training")
    return tensors, documents


def write(path: Path, tensors: Mapping[str, np.ndarray], documents: Mapping[str, str]) -> None:
    hdf5.write(path, tensors, documents, mode=0o600)


def _columns(history: Sequence[Mapping[str, Any]]) -> tuple[list[str], np.ndarray]:
    """The names of a history's numbers, and the numbers (rows, names); NaN where a row lacks one."""
    names = list(dict.fromkeys(name for row in history for name in row))
    for row in history:
        for name, value in row.items():
            number = type(value) in (int, float) or isinstance(value, np.floating | np.integer)
            expect(number, "save", f"history: {name}", "a number", type(value).__name__, error=DTypeError)
    rows = [[row.get(name, math.nan) for name in names] for row in history]
    return names, np.array(rows, np.float64).reshape(len(rows), len(names))


# -------------------------------------------------------------------------------------------------------------- loading


def load_checkpoint(
    path: Path, layers: Iterable[type] = (), functions: Functions = (), *, sha256: str | None = None
) -> Run:
    """The training in a file that Checkpoint or save_checkpoint wrote, to go on with.

    layers, functions: your own that the model uses; these and sha256 as for nf.load. Nothing from the file is run. The
    generators stay as they are until train(resume=...) or run.restore_rng. Raises FileFormatError for a file that is
    not whole, not a checkpoint, or does not fit.

    >>> import os, tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
    >>> x = np.ones((8, 2), np.float32)
    >>> def loss(model, x):
    ...     return (model(x) ** 2).mean()
    >>> model, data = nf.Dense(2, 1), nf.DataLoader(x, batchsize=4, shuffle=True)
    >>> opt_state, save = nf.setup(nf.Adam(), model), nf.Checkpoint(path)
    >>> _ = nf.train(loss, model, data, opt_state, epochs=2, callbacks=[save], progress=False)
    >>> run = nf.load_checkpoint(path)
    >>> history = nf.train(loss, run.model, data, run.opt_state, epochs=4, resume=run, progress=False)
    >>> [row["epoch"] for row in history], run.opt_state.step
    ([1, 2, 3, 4], 8)
    """
    named = lookup(layers, functions)
    file = hdf5.read(path, sha256)
    with naming(path):
        tree = architecture(file)
        saved = saved_training(file)
        model = Builder(of_model(file), named).model(tree)
        opt_state = load_optimiser(saved.optimiser, model, below(file, OPTIMISER))
        metadata = metadata_of(file)
        opt_state.given = str(known(metadata).get("rule", opt_state.given))
        return Run(model, opt_state, opt_state.step, saved.position, saved.rng, saved.history, metadata)


class Saved(NamedTuple):
    """What a file says of a training beside its model; optimiser: not looked at yet."""

    position: Position
    rng: States
    history: History
    optimiser: Any


def is_checkpoint(file: hdf5.File) -> None:
    """Raise FileFormatError for a model's file."""
    require("training" in file.documents, "the file", "a checkpoint", "a model alone, for nf.load")


def saved_training(file: hdf5.File) -> Saved:
    """The training in a file, but for the model."""
    is_checkpoint(file)
    training = parse_json(file.documents["training"], "training")
    good = isinstance(training, dict) and set(training) == KEYS
    require(good, "training", ", ".join(sorted(KEYS)), training)
    history = _history(training["columns"], file.tensors.get(HISTORY))
    return Saved(_position(training), _states(training["rng"], "training: rng"), history, training["optimiser"])


def _position(training: Mapping[str, Any]) -> Position:
    for name in COUNTS:
        value = training[name]
        require(type(value) is int and 0 <= value < 2**63, f"training: {name}", "an integer in [0, 2**63)", value)
    for name in SUMS:
        require(type(training[name]) is float, f"training: {name}", "a number", training[name])
    numbers = {name: training[name] for name in (*COUNTS, *SUMS)}
    return Position(**numbers, begun=_states(training["begun"], "training: begun"))


def _states(node: Any, what: str) -> States:
    require(isinstance(node, dict), what, "(seed, counter) by name", node)
    for name, pair in node.items():
        good = isinstance(pair, list) and len(pair) == 2 and all(type(x) is int and 0 <= x < 2**64 for x in pair)
        require(good, f"{what}: {name[:40]}", "two integers in [0, 2**64)", pair)
    return {name: (pair[0], pair[1]) for name, pair in node.items()}


def _history(names: Any, table: np.ndarray | None) -> History:
    good = isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    require(good, "training: columns", "different names", names)
    if table is None:
        return History()
    fits = table.dtype == np.float64 and table.ndim == 2 and table.shape[1] == len(names)
    got = f"{table.dtype.name} {list(table.shape)}"
    require(fits, "tensor history", f"float64 [epochs, {len(names)}]", got)
    rows = [dict(zip(names, row, strict=True)) for row in table.tolist()]
    for row in rows:
        epoch = row.get("epoch", 0.0)
        require(math.isfinite(epoch) and epoch == int(epoch), "tensor history: epoch", "whole numbers", epoch)
        row |= {"epoch": int(epoch)} if "epoch" in row else {}
    return History(rows)
