"""What nf.train tells its callbacks, and which of them it tells what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from .history import History
from .op import DTypeError, RankError, expect
from .optim import OptState
from .rng import Generator, default

TOLD = ("on_start", "on_batch", "on_epoch", "on_end")
KIND = f"functions of an event, or objects with {', '.join(TOLD[:-1])} or {TOLD[-1]}"

States = dict[str, tuple[int, int]]  # (seed, counter) of generators, by name


class Position(NamedTuple):
    """Where a training stands: its whole epochs, its steps, and what is done of the epoch that follows the whole ones.

    total: the sum of losses of its samples so far; begun: the generators when it began. In a world each rank counts its
    own part of every batch (the first one also what was done before a resume), so that the sums are those of all.
    """

    epoch: int = 0
    batches: int = 0
    batch: int = 0
    sample: int = 0
    total: float = 0.0
    seconds: float = 0.0
    begun: States = {}

    def after(self, batch: int, sample: int, total: float, seconds: float, begun: States) -> Position:
        """The position after so many batches of the same epoch."""
        return Position(self.epoch, self.batches - self.batch + batch, batch, sample, total, seconds, begun)

    def over(self, world: Any) -> Position:
        """The position of all ranks together; each must ask."""
        if world is None:
            return self
        sample, total = world.gather([self.sample, self.total]).sum(0).tolist()
        return self._replace(sample=int(sample), total=total)

    def ended(self, world: Any) -> Position:
        """The same at the end of an epoch, to which each must have come with as many batches; the slowest's seconds."""
        if world is None:
            return self
        found = world.meet("the end of an epoch", [self.batch, self.sample, self.total, self.seconds])
        batches = found[:, 0].astype(int).tolist()
        other = next((rank for rank, count in enumerate(batches) if count != batches[0]), 0)
        got, cure = f"{batches[0]} on rank 0 and {batches[other]} on rank {other}", "nf.DataLoader(..., world=world)"
        expect(not other, "train", "batches of an epoch", "as many on all ranks", got, cure, RankError)
        _, sample, total, _ = found.sum(0).tolist()
        return self._replace(sample=int(sample), total=total, seconds=float(found[:, 3].max()))


class Event(NamedTuple):
    """What a callback is told.

    epoch: from 1 (in on_start and on_end the whole epochs so far). batch: of this epoch, from 1 (0 but in on_batch).
    batches: all steps of this training so far. loss: of the batch, or the mean of the epoch (None in on_start, on_end).
    history: the whole epochs so far. columns: the names of what a row of it holds. model, data, opt_state: as given to
    train. position: where training stands. generators: what training draws from, by name. stop(): train no further;
    asked for in on_batch, the epoch ends with that batch.
    """

    epoch: int
    batch: int
    batches: int
    loss: float | None
    history: History
    columns: tuple[str, ...]
    model: Any
    data: Any
    opt_state: OptState
    position: Position
    generators: dict[str, Generator]
    stop: Callable[[], None]


class Listeners:
    """The callbacks of a training, and what each wants to be told; plain functions are told of epochs.

    batch: tells of a batch; None where nobody listens, so that it costs nothing. world: of whose ranks each tells its
    own callbacks, but the first one alone those that say first_rank_only.
    """

    def __init__(self, callbacks: Sequence[Any], world: Any = None) -> None:
        good, got = isinstance(callbacks, list | tuple), type(callbacks).__name__
        expect(good, "train", "callbacks", f"a list or tuple of {KIND}", got, "callbacks=[...]", DTypeError)
        found = [(one, _methods(one)) for one in callbacks]
        first = world is None or world.rank == 0
        self.callbacks = [pair for pair in found if first or not getattr(pair[0], "first_rank_only", False)]
        self.begun: list[tuple[Any, dict[str, Any]]] = []
        self.batch = self._batch if any("on_batch" in methods for _, methods in self.callbacks) else None

    def start(self, event: Event) -> None:
        for one, methods in self.callbacks:
            _tell(one, methods, "on_start", event)
            self.begun.append((one, methods))

    def _batch(self, event: Event) -> None:
        for one, methods in self.callbacks:
            _tell(one, methods, "on_batch", event)

    def epoch(self, event: Event) -> None:
        for one, methods in self.callbacks:
            _tell(one, methods, "on_epoch", event)

    def end(self, event: Event) -> None:
        """Tell each that has begun, in order, whatever the others raise."""
        with ExitStack() as stack:
            for one, methods in reversed(self.begun):
                stack.callback(_tell, one, methods, "on_end", event)


def _methods(callback: Any) -> dict[str, Callable[[Event], Any]]:
    """How a callback is told of what."""
    a_class = isinstance(callback, type)
    name = callback.__name__ if a_class else type(callback).__name__
    expect(not a_class, "train", "callbacks", KIND, f"the class {name}", f"{name}(...)", DTypeError)
    found = {method: getattr(callback, method) for method in dir(callback) if method.startswith("on_")}
    for method, one in found.items():
        expect(method in TOLD, "train", f"methods of {name}", f"of {', '.join(TOLD)}", method, error=DTypeError)
        expect(callable(one), "train", f"{name}.{method}", "a method", repr(one), error=DTypeError)
    expect(bool(found) or callable(callback), "train", "callbacks", KIND, repr(callback), error=DTypeError)
    return found or {"on_epoch": callback}


def _tell(callback: Any, methods: dict[str, Callable[[Event], Any]], method: str, event: Event) -> None:
    if method in methods:
        try:
            methods[method](event)
        except Exception as error:
            where = f"epoch {event.epoch}" + (f", batch {event.batch}" if event.batch else "")
            error.add_note(f"train: raised by {method} of the callback {callback!r}, {where}")
            raise


# ---------------------------------------------------------------- generators


def generators(data: Any, validation: Any = None) -> dict[str, Generator]:
    """What a training draws from: the default generator, and those of its loaders that have one."""
    found = {"default": default()}
    for name, loader in (("data", data), ("validation", validation)):
        rng = getattr(loader, "rng", None)
        if isinstance(rng, Generator):
            found[name] = rng
    return found


def states(known: dict[str, Generator]) -> States:
    return {name: generator.state for name, generator in known.items()}


def restore(known: dict[str, Generator], saved: States) -> None:
    """Let generators go on from where those of the same names stood."""
    for name in known.keys() & saved.keys():
        known[name].state = saved[name]
