"""Signals that ask a training to stop: they only set a flag; at the end of a step the ranks agree, save and leave."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from .callbacks.checkpoint import Checkpoint
from .events import Event
from .op import PlanError, expect

AGAIN = 75  # the exit code of a training that was saved to go on: EX_TEMPFAIL of sysexits.h, which Slurm can requeue by
ASKING = (signal.SIGUSR1, signal.SIGTERM)
CURE = "callbacks=[nf.Checkpoint(path)] would have saved it, and resume='auto' goes on from there"


class Preempted(Exception):
    """Out of the loop, at the end of a step; nf.train raises SystemExit in its stead."""


class Signals:
    """Inside a with statement, in the main thread, SIGUSR1 and SIGTERM do nothing but set `caught`, to the first one.

    >>> with Signals(None) as signals:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     signal.raise_signal(signal.SIGUSR1)
    >>> signal.Signals(signals.caught).name, signal.getsignal(signal.SIGTERM) == signals.catch
    ('SIGTERM', False)
    """

    def __init__(self, world: Any) -> None:
        self.world, self.caught = world, 0
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # the one thread that may set handlers
            # None: a handler of C, which could not be put back.
            known = {one: signal.getsignal(one) for one in ASKING}
            self.before = {one: signal.signal(one, self.catch) for one, now in known.items() if now is not None}
        return self

    def catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = self.caught or number

    def __exit__(self, *_: object) -> None:
        for one, handler in self.before.items():
            signal.signal(one, handler)

    def asked(self) -> bool:
        """Whether a signal came to any rank; each must ask."""
        return bool(self.caught) if self.world is None else self.world.any(self.caught > 0)

    def first(self) -> int:
        """The number of the signal, on ranks too that it did not come to."""
        return self.caught if self.world is None else int(self.world.gather([self.caught]).max())


def savers(callbacks: Sequence[Any], world: Any) -> list[Checkpoint]:
    """The Checkpoints among callbacks, those first that save the latest rather than the best; as many on each rank."""
    found = [one for one in callbacks if isinstance(one, Checkpoint)]
    if world is not None:
        counts = world.gather([len(found)])[:, 0].astype(int).tolist()
        cure = "pass nf.Checkpoint on all: rank 0 alone writes, but all count what it writes"
        expect(len(set(counts)) == 1, "train", "callbacks", "with as many Checkpoints on each rank", counts, cure,
               PlanError)  # fmt: skip
    return sorted(found, key=lambda one: one.best is not None)


def leave(saver: Checkpoint | None, event: Event, signals: Signals) -> tuple[str, int]:
    """Save the training where it stands; what to say, and the exit code: AGAIN where it was saved."""
    number = signals.first()
    name = event.history.signal = signal.Signals(number).name
    file, code, told = "", 128 + number, f"nothing was saved ({CURE})"
    if saver is not None:
        file = saver.stop(event)
        told = "the checkpoint could not be written"
    if file:
        code, told = AGAIN, f"checkpoint {file}"
    where = f"epoch {event.epoch}" + (f", batch {event.batch}" if event.batch else "")
    return f"train: stopped by {name} after {where}; {told}; exit code {code}", code


def answer(leaving: tuple[str, int] | None, signals: Signals) -> None:
    """End the process as leave said; hand on a signal that came when training was over."""
    if leaving is not None:
        line, code = leaving
        if signals.world is None or signals.world.rank == 0:
            print(line, file=sys.stderr, flush=True)
        if signals.world is not None and signals.world.size > 1 and signals.before:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # srun -K1 sends it to ranks that leave after the first one
        raise SystemExit(code)
    if signals.caught:
        signal.raise_signal(signals.caught)
