"""nf.train: epochs of steps over the data, with validation, metrics, callbacks; Ctrl-C keeps the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from .compiled import compile as planned
from .data import DataLoader
from .events import Event, Listeners, Position, States, generators, restore, states
from .grad import withgradient
from .history import FIXED, History
from .op import DTypeError, NonFiniteError, PlanError, RangeError, ShapeError, expect
from .optim import OptState, update
from .progress import reporter
from .ranges import check
from .resume import Run
from .session import Session
from .tree import PARAM, leaves

Metric = Callable[[Any, Any], Any]
BATCH = 1024  # samples at once where validation is arrays and the training data names no size


def train(
    loss: Callable[..., Any], model: Any, data: Iterable[Any], opt_state: OptState, epochs: int = 10,
    validation: Any = None, callbacks: Sequence[Any] = (), metrics: Sequence[Metric] = (),
    progress: bool = True, compile: bool = True, resume: Run | None = None,
) -> History:  # fmt: skip
    """Train the model in place, epochs times over the data; returns the history.

    loss(model, *batch) -> scalar or (scalar, anything). data: a DataLoader, or anything that gives batches anew each
    time it is iterated; a batch that is a tuple is splatted into loss, anything else is passed whole.
    validation: a DataLoader, or an array, tuple or dict of arrays; its loss is taken after each epoch.
    metrics: functions metric(model(x), y) -> number, of all validation data, whose batches are then tuples (x, y, ...).
    callbacks: functions of an Event, called after each epoch, or objects with any of the methods on_start, on_batch,
    on_epoch and on_end (nf.callbacks); on_end is called however training ends.
    progress: a bar on a terminal, else a line an epoch, both on stderr. compile=False: the same numbers, step by step
    in Python, where loss may branch on values.
    resume: what nf.load_checkpoint gave, with its model and opt_state: go on from there to epoch number epochs, bit
    for bit as if training had never stopped, given the same data.
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
    _check_arguments(loss, data, opt_state, epochs)
    _check_resume(resume, model, opt_state)
    listeners = Listeners(callbacks)
    step = planned(loss, model, opt_state) if compile else _eager_step(loss, model, opt_state)
    evaluate = Evaluation(loss, model, validation, metrics, data, compile)
    training = Training(step, evaluate, model, data, opt_state, listeners, resume)
    return training.run(epochs, reporter(progress, epochs, data, training.position.batches))


def _check_arguments(loss: Any, data: Any, opt_state: Any, epochs: Any) -> None:
    expect(callable(loss), "train", "loss", "a function loss(model, *batch)", type(loss).__name__, error=DTypeError)
    arrays = isinstance(data, np.ndarray | dict) or isinstance(data, tuple) and any(hasattr(d, "shape") for d in data)
    batches, got = hasattr(data, "__iter__") and not arrays, f"{type(data).__name__}{' of arrays' if arrays else ''}"
    expect(batches, "train", "data", "batches", got, "nf.DataLoader(data, batchsize=...)", DTypeError)
    made, got = isinstance(opt_state, OptState), type(opt_state).__name__
    expect(made, "train", "opt_state", "what nf.setup returned for the model", got, error=DTypeError)
    check("train.epochs", epochs)


def _check_resume(resume: Any, model: Any, opt_state: OptState) -> None:
    if resume is None:
        return
    cure, got = "nf.load_checkpoint(path)", type(resume).__name__
    expect(isinstance(resume, Run), "train", "resume", "what nf.load_checkpoint returned", got, cure, DTypeError)
    expect(model is resume.model, "train", "model", "resume.model", "another", error=PlanError)
    expect(opt_state is resume.opt_state, "train", "opt_state", "resume.opt_state", "another", error=PlanError)
    got = f"one of {opt_state.step} steps where the file has {resume.step}"
    expect(opt_state.step == resume.step, "train", "resume", "as it was loaded", got, "load it again", PlanError)


class Training:
    """Epochs of steps, and whoever is told of them."""

    def __init__(
        self, step: Callable[..., Any], evaluate: Evaluation, model: Any, data: Iterable[Any], opt_state: OptState,
        listeners: Listeners, resume: Run | None,
    ) -> None:  # fmt: skip
        self.step, self.evaluate, self.listeners = step, evaluate, listeners
        self.model, self.data, self.opt_state = model, data, opt_state
        self.columns = ("epoch", "loss", *evaluate.columns, "seconds", "samples_per_second")
        self.generators = generators(data, evaluate.data)
        self.history, self.position, self.stopped = History(), Position(), False
        if resume is not None:
            self.history, self.position = History(resume.history), resume.position
            restore(self.generators, resume.rng)

    def run(self, epochs: int, report: Any) -> History:
        try:
            self.listeners.start(self.event(self.position.epoch))
            while self.position.epoch < epochs and not self.stopped:
                self.epoch(report)
        except KeyboardInterrupt:
            self.history.interrupted = True
        finally:
            try:
                self.listeners.end(self.event(self.position.epoch))
            finally:
                report.close(self.history)
        return self.history

    def event(self, epoch: int, batch: int = 0, loss: float | None = None) -> Event:
        return Event(
            epoch, batch, self.position.batches, loss, self.history, self.columns, self.model, self.opt_state,
            self.position, self.generators, self.stop,
        )  # fmt: skip

    def stop(self) -> None:
        self.stopped = True

    def epoch(self, report: Any) -> None:
        """An epoch, with what follows its steps."""
        row, batches = self.steps(report)
        found = self.evaluate()
        last = {name: row.pop(name) for name in ("seconds", "samples_per_second")}
        self.history.append(row | found | last)  # in the order in which it is read
        self.position = Position(row["epoch"], batches)
        report.epoch(self.history[-1])
        self.listeners.epoch(self.event(row["epoch"], loss=row["loss"]))

    def steps(self, report: Any) -> tuple[dict[str, Any], int]:
        """A step for each batch; the epoch's row, and how many steps there were in all."""
        at, step, tell = self.position, self.step, self.listeners.batch
        epoch, batch, samples, total = at.epoch + 1, at.batch, at.sample, at.total
        begun, stream = self.begin()
        start = time.perf_counter() - at.seconds
        for batch, part in enumerate(stream, at.batch + 1):
            try:
                value = _loss(step(*part) if isinstance(part, tuple) else step(part))
            except NonFiniteError as error:
                error.args = (f"train: epoch {epoch}, batch {batch}: {error}",)
                raise
            size = _size(part)
            samples += size
            total += size * value
            report.batch(epoch, total / samples)
            if tell is not None:
                seconds, batches = time.perf_counter() - start, at.batches - at.batch + batch
                self.position = Position(at.epoch, batches, batch, samples, total, seconds, begun)
                tell(self.event(epoch, batch, value))
                if self.stopped:
                    break
        cure = (
            "" if epoch == 1 else "it must give its batches anew each time it is iterated, which a generator does not"
        )
        expect(batch > 0, "train", "data", "of one batch or more", f"none in epoch {epoch}", cure, ShapeError)
        seconds = time.perf_counter() - start
        row = {"epoch": epoch, "loss": total / samples, "seconds": seconds, "samples_per_second": samples / seconds}
        return row, at.batches - at.batch + batch

    def begin(self) -> tuple[States, Iterator[Any]]:
        """Where the generators stood when the epoch began, and its batches, without those done before a resume."""
        done = self.position.batch
        if not done:
            return states(self.generators), iter(self.data)
        now, begun = states(self.generators), self.position.begun
        restore(self.generators, begun)
        stream = iter(self.data)
        passed = sum(1 for _ in islice(stream, done))
        expect(passed == done, "train", "data", f"of {done} batches or more, as resume says", passed, error=ShapeError)
        restore(self.generators, now)
        return begun, stream


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
        with Session(training=True) as session:
            value, grads = withgradient(lambda m: loss(m, *batch), model)
        must = "must be finite, got NaN or Inf; nothing was changed"
        if not np.isfinite(_loss(value)):
            raise NonFiniteError(f"step: loss {must}")
        frozen = {path for s in opt_state.segments if s.frozen for path in (s.path, *s.ties)}
        for leaf in leaves(grads):
            if leaf.kind == PARAM and leaf.path not in frozen and not np.isfinite(leaf.array).all():
                raise NonFiniteError(f"step: gradient of {leaf.path} {must}")
        update(opt_state, model, grads)
        session.commit()
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
        self.columns = ("validation_loss", *self.metrics) if given else ()
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


def _name(metric: Any) -> str:
    """A function's name, with the arguments that functools.partial gave it: top_k_accuracy(k=3)."""
    if isinstance(metric, partial):
        return f"{_name(metric.func)}({', '.join(f'{k}={v}' for k, v in metric.keywords.items())})"
    return getattr(metric, "__name__", None) or type(metric).__name__


def _named(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics by their functions' names."""
    named: dict[str, Metric] = {}
    good, got = isinstance(metrics, list | tuple), type(metrics).__name__
    expect(good, "train", "metrics", "a list or tuple of functions", got, "metrics=[...]", DTypeError)
    for metric in metrics:
        expect(callable(metric), "train", "metrics", "functions (output, y) -> number", repr(metric), error=DTypeError)
        name = _name(metric)
        free = name not in named and name not in FIXED
        expect(free, "train", "metrics", "functions of different names", f"a second {name}",
               "def a function of another name", RangeError)  # fmt: skip
        named[name] = metric
    return named


def _number(name: str, value: Any) -> float:
    good = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiub"
    expect(good, "train", f"metric {name}", "a function that returns a number", type(value).__name__, error=DTypeError)
    return float(value)
