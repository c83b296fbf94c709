"""What a run of a user's function does beside its result: whether it trains, what it draws, which buffers it changes.

Mode follows the call: inside a gradient or a compiled step functions train, else they do not. What is drawn and changed
takes effect once the call has gone well.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import numpy as np

from .op import PlanError, ShapeError, Spec, expect
from .rng import Generator
from .trace import Value

_current: ContextVar[Session | None] = ContextVar("session", default=None)


class Session:
    """One run: `with Session(training=True) as session: f(x)`, then `session.commit()`. Inside another it is a part
    of that.

    planned: the run makes a plan, so what it draws and changes happens at each call of the plan.
    """

    def __init__(self, training: bool, planned: bool = False) -> None:
        self.outer = outer = _current.get()
        self.training = training
        self.planned: bool = planned or (outer is not None and outer.planned)
        self.changes: dict[int, tuple[np.ndarray, Any]] = dict(outer.changes) if outer else {}
        self.draws: dict[int, tuple[Generator, int]] = dict(outer.draws) if outer else {}

    def __enter__(self) -> Session:
        self._before = _current.set(self)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        _current.reset(self._before)
        if self.outer is not None and kind is None:
            self.outer.changes.update(self.changes)
            self.outer.draws.update(self.draws)

    def commit(self) -> None:
        """Let changes and draws take effect; inside another session that one will."""
        if self.outer is not None:
            return
        for array, value in self.changes.values():
            array[...] = value.array if isinstance(value, Value) else value
        for generator, count in self.draws.values():
            generator.advance(count)


def training(active: bool | None = None) -> bool:
    """Whether the function that asks is being trained; active is what a layer was told, if it was.

    >>> training(), training(True)
    (False, True)
    """
    session = _current.get()
    return (session is not None and session.training) if active is None else active


def changes() -> dict[int, tuple[np.ndarray, Any]]:
    """The record of what this run changes so far: by the id of a buffer, its array and what it will hold."""
    session = _current.get()
    return session.changes if session else {}


def draw(rng: Generator) -> tuple[Any, int]:
    """(words, offset) of one draw, for a random operation: seed and counter in memory, and what to add to the counter.

    >>> words, offset = draw(Generator(7))
    >>> words.tolist(), offset
    ([7, 0], 0)
    """
    session = _current.get()
    words = rng.words.copy()
    if session is None:
        rng.advance(1)
        return words, 0
    count = session.draws[id(rng)][1] if id(rng) in session.draws else 0
    session.draws[id(rng)] = rng, count + 1
    if session.planned:
        return Value(Spec((2,), words.dtype), memory=rng.words), count
    words[1] += np.uint64(count)
    return words, 0


def current(buffer: Any) -> Any:
    """What a buffer holds for the function that asks: its array, or what an earlier part of the same call made of it;
    in a plan what it will hold then."""
    session = _current.get()
    found = session.changes.get(id(_array(buffer))) if session else None
    if found is not None:
        return found[1]
    later = session is not None and session.planned and isinstance(buffer, np.ndarray)
    return Value(Spec(buffer.shape, buffer.dtype), memory=buffer) if later else buffer


def assign(buffer: Any, value: Any) -> None:
    """Let a buffer of a layer hold a value of its shape and dtype, once the call has gone well.

    >>> mean = np.zeros(2, np.float32)
    >>> assign(mean, np.ones(2, np.float32))
    >>> mean.tolist()
    [1.0, 1.0]
    """
    array, session = _array(buffer), _current.get()
    expect(isinstance(array, np.ndarray), "assign", "buffer", "of a model that the compiled function holds",
           "one of its arguments", "nf.compile(model)", PlanError)  # fmt: skip
    fits = np.shape(value) == array.shape and getattr(value, "dtype", None) == array.dtype
    expect(fits, "assign", "value", f"{array.dtype} of shape {array.shape}",
           f"{getattr(value, 'dtype', type(value).__name__)} of shape {np.shape(value)}", error=ShapeError)  # fmt: skip
    if session is None:
        array[...] = value.array if isinstance(value, Value) else value
    else:
        session.changes[id(array)] = array, value


def _array(buffer: Any) -> np.ndarray:
    """The array itself, also where a plan sees it as a leaf."""
    return buffer.memory if isinstance(buffer, Value) else buffer
