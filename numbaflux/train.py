"""nf.train: epochs of steps over the data, with validation, metrics, callbacks; Ctrl-C keeps the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from .callbacks.checkpoint import Checkpoint
from .compiled import compile as planned
from .data import DataLoader
from .debug import cause
from .devices import moved
from .events import Event, Listeners, Position, States, generators, restore, states
from .grad import withgradient
from .history import FIXED, History
from .looks import Sums, looks, loss_of, size_of
from .managed import common, gpu_of
from .newest import newest
from .onehot import OneHot
from .op import DTypeError, NonFiniteError, PlanError, RangeError, RankLostError, ShapeError, expect
from .optim import OptState, update
from .preemption import Preempted, Signals, answer, leave, savers
from .progress import reporter
from .ranges import check
from .resume import Run
from .session import Session
from .tree import BUFFER, PARAM, arrays, leaves

Metric = Callable[[Any, Any], Any]
BATCH = 1024  # samples at once where validation is arrays and the training data names no size


def train(
    loss: Callable[..., Any], model: Any, data: Iterable[Any], opt_state: OptState, epochs: int = 10,
    validation: Any = None, callbacks: Sequence[Any] = (), metrics: Sequence[Metric] = (),
    progress: bool = True, compile: bool = True, resume: Run | str | None = None,
    log_every: int | None = None,
) -> History:  # fmt: skip
    """Train the model in place, epochs times over the data; returns the history.

    loss(model, *batch) -> scalar or (scalar, anything). data: a DataLoader, or anything that gives batches anew each
    time it is iterated; a batch that is a tuple is splatted into loss, anything else is passed whole.
    validation: a DataLoader, or an array, tuple or dict of arrays; its loss is taken after each epoch.
    In a world (nf.DistributedOptimizer) each rank calls train with batches of its own, such as a DataLoader with world=
    gives. Validation arrays are the same on all ranks, and each takes its part, as of a DataLoader with world=; of
    anything else each has its own. Rows of the history are of all ranks together, and the same on each; functions as
    callbacks are called on all, files and progress are written by the first. Raises RankError on all ranks unless each
    has as many batches.
    metrics: functions metric(model(x), y) -> number, of all validation data, whose batches are then tuples (x, y, ...).
    callbacks: functions of an Event, called after each epoch, or objects with any of the methods on_start, on_batch,
    on_epoch and on_end (nf.callbacks); on_end is called however training ends.
    progress: a bar on a terminal, else a line an epoch, both on stderr. compile=False: the same numbers, step by step
    in Python, where loss may branch on values.
    resume: "auto": go on to epoch number epochs from the newest whole file of the Checkpoints among callbacks, if there
    is one, bit for bit as if training had never stopped; model and opt_state get its content, and must be made as then,
    as must data. Files that are torn or nothing of ours are skipped with a line on stderr. Or what nf.load_checkpoint
    gave, with its model and opt_state.
    Ctrl-C ends the training: the model is as after the last whole step, and the history says so.
    SIGUSR1 and SIGTERM (a batch system's time limit) end it after the step, in the main thread: a Checkpoint writes the
    training as it stands, callbacks are told of the end, and SystemExit(75) is raised; without a Checkpoint, or where
    the disk fails, the exit code is 128 and the signal's number. A line on stderr says so.
    log_every: steps from one look at their losses to the next: those that the bar shows the mean of, and those of a GPU
    that are queued before anyone waits for them. Unless told 1 on a CPU, 50 on a GPU. History and bits do not depend on
    it; callbacks with on_batch are told of each step, whose end they wait for.
    On a GPU, where the model is there (nf.gpu): batches are taken there, and of a DataLoader with prefetch the next one
    while a step is at work; then steps are queued (docs/gpu.md). Nothing but losses comes back of them, with what tells
    whether all went well: a step that raises is the same, and named the same, as if it had been waited for.
    Raises NonFiniteError where a loss or gradient is not finite; the parameters are those from before that step, and
    the error names the layer and operation where the first such value came up, as nf.debug.first_nonfinite finds it.

    >>> import numbaflux as nf
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(64, 1)
    >>> model = nf.Dense(1, 1)
    >>> data = nf.DataLoader((x, 3 * x + 1), batchsize=16)
    >>> history = nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, data, nf.setup(nf.Descent(0.5), model),
    ...                    epochs=30, progress=False)
    >>> len(history), history[-1]["loss"] < 1e-3
    (30, True)
    """
    _check_arguments(loss, data, opt_state, epochs, log_every)
    listeners = Listeners(callbacks, opt_state.world)
    saving = savers(callbacks, opt_state.world)
    run = _found(resume, saving, model, opt_state, data)
    step = planned(loss, model, opt_state) if compile else _eager_step(loss, model, opt_state)
    why = partial(cause, loss, model, world=opt_state.world)
    evaluate = Evaluation(loss, model, validation, metrics, data, compile, opt_state.world)
    training = Training(step, why, evaluate, model, data, opt_state, listeners, saving, run, log_every)
    first = opt_state.world is None or opt_state.world.rank == 0
    return training.run(epochs, reporter(progress and first, epochs, data, training.position.batches))


def _check_arguments(loss: Any, data: Any, opt_state: Any, epochs: Any, log_every: Any) -> None:
    expect(callable(loss), "train", "loss", "a function loss(model, *batch)", type(loss).__name__, error=DTypeError)
    arrays = isinstance(data, np.ndarray | dict) or isinstance(data, tuple) and any(hasattr(d, "shape") for d in data)
    batches, got = hasattr(data, "__iter__") and not arrays, f"{type(data).__name__}{' of arrays' if arrays else ''}"
    expect(batches, "train", "data", "batches", got, "nf.DataLoader(data, batchsize=...)", DTypeError)
    made, got = isinstance(opt_state, OptState), type(opt_state).__name__
    expect(made, "train", "opt_state", "what nf.setup returned for the model", got, error=DTypeError)
    _check_world("data", data, opt_state.world)
    check("train.epochs", epochs)
    if log_every is not None:
        check("train.log_every", log_every)


def _check_world(name: str, data: Any, world: Any) -> None:
    """A loader's ranks must be those of the optimiser: else each would train on its part alone."""
    own = data.world if isinstance(data, DataLoader) else None
    cure = "nf.setup(nf.DistributedOptimizer(rule, world), model)"
    expect(own is None or own is world, "train", name, f"a loader of the world of opt_state, {world}", str(own), cure,
           PlanError)  # fmt: skip


def _found(resume: Any, saving: Sequence[Checkpoint], model: Any, opt_state: OptState, data: Any) -> Run | None:
    """What to go on from."""
    if resume is None:
        return None
    if isinstance(resume, str) and resume == "auto":
        return newest(saving, model, opt_state, data)
    made, cure = "'auto' or what nf.load_checkpoint returned", "nf.load_checkpoint(path)"
    got = repr(resume) if isinstance(resume, str) else type(resume).__name__
    expect(isinstance(resume, Run), "train", "resume", made, got, cure, DTypeError)
    expect(model is resume.model, "train", "model", "resume.model", "another", error=PlanError)
    expect(opt_state is resume.opt_state, "train", "opt_state", "resume.opt_state", "another", error=PlanError)
    got = f"one of {opt_state.step} steps where the file has {resume.step}"
    expect(opt_state.step == resume.step, "train", "resume", "as it was loaded", got, "load it again", PlanError)
    return resume


class Training:
    """Epochs of steps, and whoever is told of them."""

    def __init__(
        self, step: Callable[..., Any], cause: Callable[..., str], evaluate: Evaluation, model: Any,
        data: Iterable[Any], opt_state: OptState, listeners: Listeners, savers: Sequence[Checkpoint],
        resume: Run | None, log_every: int | None,
    ) -> None:  # fmt: skip
        self.step, self.cause, self.evaluate, self.listeners = step, cause, evaluate, listeners
        self.model, self.data, self.opt_state, self.log_every = model, data, opt_state, log_every
        self.saver, self.signals = next(iter(savers), None), Signals(opt_state.world)
        self.columns = ("epoch", "loss", *evaluate.columns, "seconds", "samples_per_second")
        self.generators = generators(data, evaluate.data)
        self.history, self.position, self.stopped = History(), Position(), False
        if resume is not None:
            self.history, self.position = History(resume.history), resume.position
            restore(self.generators, resume.rng)
            if opt_state.world is not None and opt_state.world.rank > 0:
                self.position = self.position._replace(sample=0, total=0.0)  # which the first rank counts

    def run(self, epochs: int, report: Any) -> History:
        leaving = None
        with self.signals:
            try:
                self.listeners.start(self.event(self.position.epoch))
                while self.position.epoch < epochs and not self.stopped:
                    try:
                        self.epoch(report)
                    except RankLostError:
                        self.go_on()
            except KeyboardInterrupt:
                self.history.interrupted = True
            except Preempted:
                at = self.position
                leaving = leave(self.saver, self.event(at.epoch + (at.batch > 0), at.batch), self.signals)
            finally:
                try:
                    self.listeners.end(self.event(self.position.epoch))
                finally:
                    report.close(self.history)
        answer(leaving, self.signals)
        return self.history

    def event(self, epoch: int, batch: int = 0, loss: float | None = None) -> Event:
        return Event(
            epoch, batch, self.position.batches, loss, self.history, self.columns, self.model, self.data,
            self.opt_state, self.position, self.generators, self.stop,
        )  # fmt: skip

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        """Without the ranks that died: parameters are those of the last whole step on all others, from where these do
        the epoch's remaining batches, with larger shares of them."""
        world, at = self.opt_state.world, self.position
        before = world.size
        world.shrink()
        self.opt_state.spread.fit()  # type: ignore[union-attr]
        self.position = at._replace(sample=at.sample * before // world.size, total=at.total * before / world.size)

    def epoch(self, report: Any) -> None:
        """An epoch, with what follows its steps."""
        row, batches = self.steps(report)
        if self.signals.world is not None:  # running statistics are of one rank's batches: the first one's count
            for array in arrays(self.model, BUFFER).values():
                self.signals.world.broadcast(array)
        found = self.evaluate()
        last = {name: row.pop(name) for name in ("seconds", "samples_per_second")}
        self.history.append(row | found | last)  # in the order in which it is read
        self.position = Position(row["epoch"], batches)
        report.epoch(self.history[-1])
        self.listeners.epoch(self.event(row["epoch"], loss=row["loss"]))
        if not self.stopped and self.signals.asked():
            raise Preempted

    def steps(self, report: Any) -> tuple[dict[str, Any], int]:
        """A step for each batch; the epoch's row, and how many steps there were in all."""
        at, tell, signals = self.position, self.listeners.batch, self.signals
        epoch, batch, sums, alone = at.epoch + 1, at.batch, Sums(at.sample, at.total), signals.world is None
        begun, stream = self.begin()
        kept = tell is not None or (not alone and signals.world.survive)
        every = 1 if kept else self.log_every
        take, stream = looks(self.step, self.cause, stream, self.data, self.opt_state, every)
        start = time.perf_counter() - at.seconds

        def now() -> Position:
            return at.after(batch, sums.samples, sums.total, time.perf_counter() - start, begun)

        try:
            for batch, part in enumerate(stream, at.batch + 1):
                taken = take((epoch, batch), part)
                sums.add(taken)
                report.batch(epoch, sums.mean)
                if kept:
                    self.position = now()
                if tell is not None:
                    tell(self.event(epoch, batch, taken[-1][1]))
                    if self.stopped:
                        break
                if (signals.caught if alone else signals.asked()) and not self.opt_state.waiting:
                    sums.add(take.rest())
                    self.position = now()
                    raise Preempted
        finally:
            sums.add(take.end())  # also after Ctrl-C: the model is as after the last whole step
        if self.opt_state.spread is not None:
            self.opt_state.spread.flush()
        cure = (
            "" if epoch == 1 else "it must give its batches anew each time it is iterated, which a generator does not"
        )
        done = now().ended(signals.world)
        expect(batch > 0, "train", "data", "of one batch or more", f"none in epoch {epoch}", cure, ShapeError)
        row = {"epoch": epoch, "loss": done.total / done.sample, "seconds": done.seconds}
        return row | {"samples_per_second": done.sample / done.seconds}, done.batches

    def begin(self) -> tuple[States, Iterator[Any]]:
        """Where the generators stood when the epoch began, and its batches, without those done before a resume."""
        done = self.position.batch
        if not done:
            return states(self.generators), iter(self.data)
        now, begun = states(self.generators), self.position.begun
        restore(self.generators, begun)
        stream = iter(self.data)
        sizes = [size_of(part) for part in islice(stream, done)]
        expect(len(sizes) == done, "train", "data", f"of {done} batches or more, as resume says", len(sizes),
               error=ShapeError)  # fmt: skip
        if not isinstance(self.data, Sized) or done < len(self.data):  # the last is cut by the number of ranks
            rest = self.position._replace(sample=sum(sizes) - self.position.sample).over(self.signals.world).sample
            wanted = f"of as many samples in its first {done} batches as resume says"
            expect(rest == 0, "train", "data", wanted, f"{rest:+} samples", "the batchsize of before", ShapeError)
        restore(self.generators, now)
        return begun, stream


def _eager_step(loss: Callable[..., Any], model: Any, opt_state: OptState) -> Callable[..., Any]:
    """What a compiled step does, one operation after another."""

    gpu = gpu_of(next(iter(opt_state.vectors.values())).params)

    def step(*batch: Any) -> Any:
        batch = moved(batch, gpu)
        with Session(training=True) as session:
            value, grads = withgradient(lambda m: loss(m, *batch), model)
        must = "must be finite, got NaN or Inf; nothing was changed"
        if not np.isfinite(loss_of(value)):
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
        self, loss: Callable[..., Any], model: Any, data: Any, metrics: Sequence[Metric], training: Any, compile: bool,
        world: Any,
    ) -> None:  # fmt: skip
        self.metrics, self.world = _named(metrics), world
        given = data is not None
        expect(given or not metrics, "train", "validation", "given where there are metrics", "None", error=DTypeError)
        if isinstance(data, np.ndarray | tuple | dict):
            # In batches as large as those of training, so that losses which sum over a batch compare.
            share = getattr(training, "share", getattr(training, "batchsize", BATCH))  # of one rank
            size, dtype = share * (1 if world is None else world.size), getattr(training, "dtype", None)
            data = DataLoader(data, batchsize=size, dtype=dtype, world=world)
        good = not given or hasattr(data, "__iter__")
        expect(good, "train", "validation", "a DataLoader or arrays", type(data).__name__, error=DTypeError)
        _check_world("validation", data, world)
        self.data = data
        self.columns = ("validation_loss", *self.metrics) if given else ()
        gpu = common("train", arrays(model).items())
        self.loss = planned(lambda *batch: loss(model, *batch)) if compile else lambda *b: loss(model, *moved(b, gpu))
        self.model = planned(model) if compile and metrics else lambda x: model(moved(x, gpu))

    def __call__(self) -> dict[str, float]:
        if self.data is None:
            return {}
        samples, total = 0, 0.0
        outputs, targets = [], []
        spread = isinstance(self.data, DataLoader) and self.world is not None
        for batch in self.data.stretch() if spread else self.data:
            size = size_of(batch)
            samples += size
            total += size * loss_of(self.loss(*batch) if isinstance(batch, tuple) else self.loss(batch))
            if self.metrics:
                pair = isinstance(batch, tuple) and len(batch) >= 2
                expect(pair, "train", "validation", "of batches (x, y) where there are metrics", type(batch).__name__,
                       error=DTypeError)  # fmt: skip
                outputs.append(self.model(batch[0]))
                targets.append(batch[1])
        each = [[samples, total]] if self.world is None else self.world.meet("the end of validation", [samples, total])
        least, (samples, total) = np.min(each, axis=0)[0], np.sum(each, axis=0).tolist()
        expect(least > 0, "train", "validation", "of one sample or more", "none", error=ShapeError)
        row = {"validation_loss": total / samples}
        if self.metrics:
            output, y = (_rows(np.concatenate(parts), self.world) for parts in (outputs, targets))
            row |= {name: _number(name, metric(output, y)) for name, metric in self.metrics.items()}
        return row


def _rows(own: Any, world: Any) -> Any:
    """Those of all ranks, in the order of ranks."""
    if world is None:
        return own
    return own.like(world.rows(own.indices)) if isinstance(own, OneHot) else world.rows(own)


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
