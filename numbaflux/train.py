"""nf.train: epochs of steps over the data, with validation, metrics, callbacks, progress; Ctrl-C keeps the model."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compiled import compile as planned
from .data import DataLoader
from .grad import withgradient
from .history import FIXED, History, shown
from .op import DTypeError, NonFiniteError, RangeError, ShapeError, expect
from .optim import OptState, update
from .ranges import check
from .tree import PARAM, leaves

Metric = Callable[[Any, Any], Any]
BATCH = 1024  # samples at once where validation is arrays and the training data names no size


@dataclass(frozen=True)
class Event:
    """What a callback is told at the end of each epoch.

    epoch: from 1; batches: all steps of this training so far; history: up to this epoch; stop(): train no further
    epoch.
    """

    epoch: int
    batches: int
    history: History
    model: Any
    opt_state: OptState
    stop: Callable[[], None]


def train(
    loss: Callable[..., Any], model: Any, data: Iterable[Any], opt_state: OptState, epochs: int = 10,
    validation: Any = None, callbacks: Sequence[Callable[[Event], Any]] = (), metrics: Sequence[Metric] = (),
    progress: bool = True, compile: bool = True,
) -> History:  # fmt: skip
    """Train the model in place, epochs times over the data; returns the history.

    loss(model, *batch) -> scalar or (scalar, anything). data: a DataLoader, or anything that gives batches anew each
    time it is iterated; a batch that is a tuple is splatted into loss, anything else is passed whole.
    validation: a DataLoader, or an array, tuple or dict of arrays; its loss is taken after each epoch.
    metrics: functions metric(model(x), y) -> number, of all validation data, whose batches are then tuples (x, y, ...).
    callbacks: functions of an Event, called after each epoch.
    progress: a bar on a terminal, else a line an epoch, both on stderr. compile=False: the same numbers, step by step
    in Python, where loss may branch on values.
    Ctrl-C ends the training: the model is as after the last whole step, and the history says so.
    Raises NonFiniteError where a loss or gradient is not finite; the parameters are those from before that step.

    >>> import numbaflux as nf
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(64, 1)
    >>> model = nf.Dense(1, 1)
    >>> data = nf.DataLoader((x, 3 * x + 1), batchsize=16)
    >>> history = nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, data, nf.setup(nf.Descent(0.5), model),
    ...                    epochs=30, progress=False)
    >>> len(history), history[-1]["loss"] < 1e-3
    (30, True)
    """
    _check_arguments(loss, data, opt_state, epochs, callbacks)
    step = planned(loss, model, opt_state) if compile else _eager_step(loss, model, opt_state)
    evaluate = Evaluation(loss, model, validation, metrics, data, compile)
    history, stopped, batches = History(), [], 0
    report = _reporter(progress, epochs, data)
    try:
        for epoch in range(1, epochs + 1):
            row, count = _epoch(step, data, epoch, report)
            batches += count
            history.append(_row(row, evaluate()))
            report.epoch(history[-1])
            event = Event(epoch, batches, history, model, opt_state, lambda: stopped.append(True))
            for callback in callbacks:
                callback(event)
            if stopped:
                break
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        report.close(history)
    return history


def _check_arguments(loss: Any, data: Any, opt_state: Any, epochs: Any, callbacks: Any) -> None:
    expect(callable(loss), "train", "loss", "a function loss(model, *batch)", type(loss).__name__, error=DTypeError)
    arrays = isinstance(data, np.ndarray | dict) or isinstance(data, tuple) and any(hasattr(d, "shape") for d in data)
    batches, got = hasattr(data, "__iter__") and not arrays, f"{type(data).__name__}{' of arrays' if arrays else ''}"
    expect(batches, "train", "data", "batches", got, "nf.DataLoader(data, batchsize=...)", DTypeError)
    made, got = isinstance(opt_state, OptState), type(opt_state).__name__
    expect(made, "train", "opt_state", "what nf.setup returned for the model", got, error=DTypeError)
    check("train.epochs", epochs)
    for callback in _several("callbacks", callbacks):
        expect(callable(callback), "train", "callbacks", "functions of an event", repr(callback), error=DTypeError)


def _several(name: str, functions: Any) -> Any:
    good = isinstance(functions, list | tuple)
    expect(good, "train", name, "a list or tuple of functions", type(functions).__name__, f"{name}=[...]", DTypeError)
    return functions


def _row(trained: dict[str, Any], found: dict[str, float]) -> dict[str, Any]:
    """A row of the history, its columns in the order in which they are read."""
    last = {name: trained.pop(name) for name in ("seconds", "samples_per_second")}
    return trained | found | last


def _epoch(step: Callable[..., Any], data: Iterable[Any], epoch: int, report: Any) -> tuple[dict[str, Any], int]:
    """A step for each batch; the epoch's row, and how many batches there were."""
    batch, samples, total, start = 0, 0, 0.0, time.perf_counter()
    for batch, part in enumerate(data, 1):
        try:
            value = _loss(step(*part) if isinstance(part, tuple) else step(part))
        except NonFiniteError as error:
            error.args = (f"train: epoch {epoch}, batch {batch}: {error}",)
            raise
        size = _size(part)
        samples += size
        total += size * value
        report.batch(epoch, total / samples)
    cure = "" if epoch == 1 else "it must give its batches anew each time it is iterated, which a generator does not"
    expect(batch > 0, "train", "data", "of one batch or more", f"none in epoch {epoch}", cure, ShapeError)
    seconds = time.perf_counter() - start
    rate = samples / seconds
    return {"epoch": epoch, "loss": total / samples, "seconds": seconds, "samples_per_second": rate}, batch


def _loss(result: Any) -> float:
    """The number of loss or (loss, aux)."""
    return float(result[0] if isinstance(result, tuple) else result)


def _size(batch: Any) -> int:
    """Samples of a batch: the length of its first array that has one."""
    first = batch[0] if isinstance(batch, tuple) and batch else batch
    if type(first) is np.ndarray and first.ndim:  # nearly every batch, at a small part of the cost
        return len(first)
    return next((leaf.array.shape[0] for leaf in leaves(batch) if leaf.array.ndim), 1)


def _eager_step(loss: Callable[..., Any], model: Any, opt_state: OptState) -> Callable[..., Any]:
    """What a compiled step does, one operation after another."""

    def step(*batch: Any) -> Any:
        value, grads = withgradient(lambda m: loss(m, *batch), model)
        must = "must be finite, got NaN or Inf; nothing was changed"
        if not np.isfinite(_loss(value)):
            raise NonFiniteError(f"step: loss {must}")
        frozen = {path for s in opt_state.segments if s.frozen for path in (s.path, *s.ties)}
        for leaf in leaves(grads):
            if leaf.kind == PARAM and leaf.path not in frozen and not np.isfinite(leaf.array).all():
                raise NonFiniteError(f"step: gradient of {leaf.path} {must}")
        update(opt_state, model, grads)
        return value

    return step


class Evaluation:
    """Loss and metrics of a model over the validation data, in inference; nothing where there is none."""

    def __init__(
        self, loss: Callable[..., Any], model: Any, data: Any, metrics: Sequence[Metric], training: Any, compile: bool
    ) -> None:
        self.metrics = _named(metrics)
        given = data is not None
        expect(given or not metrics, "train", "validation", "given where there are metrics", "None", error=DTypeError)
        if isinstance(data, np.ndarray | tuple | dict):
            # In batches as large as those of training, so that losses which sum over a batch compare.
            size, dtype = getattr(training, "batchsize", BATCH), getattr(training, "dtype", None)
            data = DataLoader(data, batchsize=size, dtype=dtype)
        good = not given or hasattr(data, "__iter__")
        expect(good, "train", "validation", "a DataLoader or arrays", type(data).__name__, error=DTypeError)
        self.data = data
        self.loss = planned(lambda *batch: loss(model, *batch)) if compile else lambda *batch: loss(model, *batch)
        self.model = planned(model) if compile and metrics else model

    def __call__(self) -> dict[str, float]:
        if self.data is None:
            return {}
        samples, total = 0, 0.0
        outputs, targets = [], []
        for batch in self.data:
            size = _size(batch)
            samples += size
            total += size * _loss(self.loss(*batch) if isinstance(batch, tuple) else self.loss(batch))
            if self.metrics:
                pair = isinstance(batch, tuple) and len(batch) >= 2
                expect(pair, "train", "validation", "of batches (x, y) where there are metrics", type(batch).__name__,
                       error=DTypeError)  # fmt: skip
                outputs.append(self.model(batch[0]))
                targets.append(batch[1])
        expect(samples > 0, "train", "validation", "of one sample or more", "none", error=ShapeError)
        row = {"validation_loss": total / samples}
        if self.metrics:
            output, y = np.concatenate(outputs), np.concatenate(targets)
            row |= {name: _number(name, metric(output, y)) for name, metric in self.metrics.items()}
        return row


def _named(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics by their functions' names."""
    named: dict[str, Metric] = {}
    for metric in _several("metrics", metrics):
        expect(callable(metric), "train", "metrics", "functions (output, y) -> number", repr(metric), error=DTypeError)
        name = getattr(metric, "__name__", None) or type(metric).__name__
        free = name not in named and name not in FIXED
        expect(free, "train", "metrics", "functions of different names", f"a second {name}",
               "def a function of another name", RangeError)  # fmt: skip
        named[name] = metric
    return named


def _number(name: str, value: Any) -> float:
    good = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiub"
    expect(good, "train", f"metric {name}", "a function that returns a number", type(value).__name__, error=DTypeError)
    return float(value)


# ---------------------------------------------------------------- progress


def _reporter(progress: bool, epochs: int, data: Any) -> Any:
    if not progress:
        return _Silence()
    return _Bar(epochs, data) if sys.stderr.isatty() else _Lines(epochs)


def _words(row: dict[str, Any]) -> str:
    """The losses and metrics of a row."""
    return "  ".join(f"{k} {shown(v)}" for k, v in row.items() if k in ("loss", "validation_loss") or k not in FIXED)


class _Silence:
    """Reports nothing."""

    def batch(self, epoch: int, loss: float) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        pass

    def close(self, history: History) -> None:
        pass


class _Lines(_Silence):
    """One line an epoch: what a batch job's log can hold."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, row: dict[str, Any]) -> None:
        speed = f"{shown(row['seconds'])} s  {row['samples_per_second']:.0f} samples/s"
        print(f"epoch {row['epoch']}/{self.epochs}  {_words(row)}  {speed}", file=sys.stderr, flush=True)

    def close(self, history: History) -> None:
        if history.interrupted:
            where = f"train: interrupted in epoch {len(history) + 1}"
            print(f"{where}; the model is as after the last whole step", file=sys.stderr, flush=True)


class _Bar(_Lines):
    """One bar over all batches of all epochs."""

    def __init__(self, epochs: int, data: Any) -> None:
        from tqdm import tqdm

        super().__init__(epochs)
        total = epochs * len(data) if hasattr(data, "__len__") else None
        self.bar = tqdm(total=total, unit=" batches", dynamic_ncols=True, file=sys.stderr)
        self.row: dict[str, Any] = {}

    def batch(self, epoch: int, loss: float) -> None:
        if self.bar.update():  # true when it was drawn, a few times a second: words cost more than a small step
            self.epoch(self.row | {"epoch": epoch, "loss": loss})

    def epoch(self, row: dict[str, Any]) -> None:
        self.row = row
        self.bar.set_description_str(f"epoch {row['epoch']}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(_words(row), refresh=False)

    def close(self, history: History) -> None:
        self.bar.close()
        super().close(history)
