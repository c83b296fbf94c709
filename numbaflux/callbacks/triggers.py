"""When to do something: not too often, after so many times in a row, when a score no longer falls; as in Flux.jl."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable
from typing import Any

from ..events import Event
from ..op import DTypeError, expect
from ..ranges import check


class Throttled:
    """What throttle returns: f, called at most once in a while."""

    def __init__(self, f: Callable[..., Any], seconds: float, leading: bool, trailing: bool) -> None:
        self.f, self.seconds, self.leading, self.trailing = f, seconds, leading, trailing
        self.result: Any = None
        self._next: float | None = None  # when f may run again
        self._waiting: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        now = time.monotonic()
        if self._next is None and not self.leading:
            self._next = now + self.seconds
        elif self._next is None or now >= self._next:
            self._next, self._waiting = now + self.seconds, None
            self.result = self.f(*args, **options)
            return self.result
        if self.trailing:
            self._waiting = args, options
        return self.result

    def flush(self) -> None:
        """Run f with the last arguments, if they still wait."""
        if self._waiting is not None:
            (args, options), self._waiting = self._waiting, None
            self.result = self.f(*args, **options)

    def on_batch(self, event: Event) -> None:
        self(event)

    def on_end(self, event: Event) -> None:
        self.flush()

    def __repr__(self) -> str:
        name = getattr(self.f, "__name__", repr(self.f))
        return f"throttle({name}, {self.seconds}, leading={self.leading}, trailing={self.trailing})"


def throttle(f: Callable[..., Any], seconds: float, leading: bool = True, trailing: bool = False) -> Throttled:
    """f that runs at most once in so many seconds and otherwise returns its last result.

    leading: whether the first call runs it, else the first one after that time. trailing: whether the last call that
    did not run it is kept, for flush(). Nothing runs by itself: no thread is behind it. Among the callbacks of nf.train
    it is called with the event of each batch, and flushed at the end.

    >>> report = throttle(lambda event: print(f"epoch {event.epoch}, batch {event.batch}: {event.loss:.1f}"), 60)
    >>> import numpy as np, numbaflux as nf
    >>> model, data = nf.Dense(1, 1), [np.zeros((4, 1), np.float32)] * 3
    >>> _ = nf.train(lambda m, x: (m(x) ** 2).mean(), model, data, nf.setup(nf.Adam(), model), epochs=2,
    ...              callbacks=[report], progress=False)
    epoch 1, batch 1: 0.0
    """
    expect(callable(f), "throttle", "f", "a function", repr(f), error=DTypeError)
    for name, value in (("leading", leading), ("trailing", trailing)):
        expect(isinstance(value, bool), "throttle", name, "True or False", repr(value), error=DTypeError)
    return Throttled(f, check("throttle.seconds", seconds), leading, trailing)


def patience(predicate: Callable[..., Any], wait: int) -> Callable[..., bool]:
    """A function that is true once the predicate, called with its arguments, was true so many times in a row.

    >>> tired = patience(lambda x: x > 0, 2)
    >>> [tired(x) for x in (1, -1, 1, 1, 1)]
    [False, False, False, True, True]
    """
    expect(callable(predicate), "patience", "predicate", "a function", repr(predicate), error=DTypeError)
    check("patience.wait", wait)
    count = 0

    def trigger(*args: Any, **options: Any) -> bool:
        nonlocal count
        count = count + 1 if predicate(*args, **options) else 0
        return count >= wait

    return trigger


def early_stopping(
    f: Callable[..., Any], delay: int, distance: Callable[[Any, Any], Any] = operator.sub, init_score: float = math.inf,
    min_dist: float = 0.0,
) -> Callable[..., bool]:  # fmt: skip
    """A function that is true once f, called with its arguments, has not fallen so many times in a row.

    It has fallen where distance(best, f(...)) >= min_dist; best is what was best so far, at first init_score.

    >>> stop = early_stopping(lambda loss: loss, 2)
    >>> [stop(loss) for loss in (3, 2, 2.5, 2.2, 1)]
    [False, False, False, True, False]
    """
    expect(callable(f), "early_stopping", "f", "a function", repr(f), error=DTypeError)
    best: Any = init_score

    def worse(*args: Any, **options: Any) -> bool:
        nonlocal best
        score = f(*args, **options)
        gain = distance(best, score)
        best = score if gain >= 0 else best
        return not gain >= min_dist  # so that NaN is worse

    return patience(worse, delay)


def plateau(
    f: Callable[..., Any], width: int, distance: Callable[[Any, Any], Any] = operator.sub, init_score: float = math.inf,
    min_dist: float = 1e-6,
) -> Callable[..., bool]:  # fmt: skip
    """A function that is true once f, called with its arguments, has changed by less than min_dist so many times in a
    row; the first call is compared with init_score.

    >>> flat = plateau(lambda loss: loss, 2)
    >>> [flat(loss) for loss in (3, 2, 2, 2, 1)]
    [False, False, False, True, False]
    """
    expect(callable(f), "plateau", "f", "a function", repr(f), error=DTypeError)
    last: Any = init_score

    def still(*args: Any, **options: Any) -> bool:
        nonlocal last
        before, last = last, f(*args, **options)
        return bool(abs(distance(before, last)) < min_dist)

    return patience(still, width)
