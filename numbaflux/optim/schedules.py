"""Schedules: numbers that change with the step (or epoch) t = 1, 2, ...: schedule(t) -> float.

nf.adjust(opt_state, eta=schedule(t)) applies one. Names and formulas are those of Flux.jl's ParameterSchedulers. Where
one is built of others, numbers and any functions of t will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

from ..op import DTypeError, expect
from ..ranges import check
from .curves import (
    Constant,
    CosAnneal,
    Curve,
    Exp,
    Given,
    Inv,
    Linear,
    OneCycle,
    Poly,
    Sin,
    SinDecay2,
    SinExp,
    Step,
    Triangle,
    TriangleDecay2,
    TriangleExp,
    as_schedule,
)

# fmt: off
__all__ = [
    "ComposedSchedule", "Constant", "CosAnneal", "Curve", "Exp", "Interpolator", "Inv", "Linear", "Loop", "OneCycle",
    "Poly", "Reversed", "Sequence", "Shifted", "Shortened", "Sin", "SinDecay2", "SinExp", "Stateful", "Step",
    "Symmetric", "Triangle", "TriangleDecay2", "TriangleExp", "Warmup", "reverse", "symmetric",
]
# fmt: on


@dataclass(frozen=True, init=False, repr=False)
class Sequence(Curve):
    """Sequence((schedule, n), ...): each for n steps, its t from 1; the last one goes on.

    >>> [Sequence((0.1, 2), (Exp(1.0, 0.5), 3))(t) for t in (1, 2, 3, 4)]
    [0.1, 0.1, 1.0, 0.5]
    """

    parts: tuple[tuple[Given, int], ...]

    def __init__(self, *parts: tuple[Given, int]) -> None:
        good = bool(parts) and all(isinstance(part, tuple | list) and len(part) == 2 for part in parts)
        expect(good, "Sequence", "parts", "pairs (schedule, steps)", repr(parts), error=DTypeError)
        for schedule, steps in parts:
            as_schedule(schedule, "Sequence", "parts")
            check("schedules.steps", steps)
        object.__setattr__(self, "parts", tuple(map(tuple, parts)))

    @classmethod
    def from_fields(cls, parts: tuple[tuple[Given, int], ...]) -> Sequence:
        """The same again, from what fields hold."""
        return cls(*parts)

    def at(self, t: float) -> float:
        i = 0
        while i < len(self.parts) - 1 and t > self.parts[i][1]:
            t -= self.parts[i][1]
            i += 1
        return as_schedule(self.parts[i][0], "Sequence", "parts")(t)

    def __repr__(self) -> str:
        return f"Sequence({', '.join(map(repr, self.parts))})"


@dataclass(frozen=True)
class Warmup(Curve):
    """Straight from start at t = 1 to what the schedule begins with, steps later; then the schedule, its t from 1.

    >>> [Warmup(Exp(1.0, 0.5), 2)(t) for t in (1, 2, 3, 4)]
    [0.0, 0.5, 1.0, 0.5]
    """

    schedule: Given
    steps: int
    start: float = 0.0

    def at(self, t: float) -> float:
        schedule = as_schedule(self.schedule, "Warmup", "schedule")
        return Linear(self.start, schedule(1), self.steps)(t) if t <= self.steps else schedule(t - self.steps)


@dataclass(frozen=True)
class Loop(Curve):
    """The first period steps of a schedule, over and over.

    >>> [Loop(Exp(1.0, 0.5), 2)(t) for t in (1, 2, 3, 4)]
    [1.0, 0.5, 1.0, 0.5]
    """

    schedule: Given
    period: int

    def at(self, t: float) -> float:
        return as_schedule(self.schedule, "Loop", "schedule")((t - 1) % self.period + 1)


@dataclass(frozen=True)
class Interpolator(Curve):
    """schedule(ceil_fn(t / rate)): a schedule of epochs asked at each batch, rate being the batches of an epoch.

    >>> [Interpolator(Exp(1.0, 0.5), 3)(t) for t in (1, 3, 4)]
    [1.0, 1.0, 0.5]
    """

    schedule: Given
    rate: float
    ceil_fn: Callable[[float], float] = math.ceil

    def __post_init__(self) -> None:
        super().__post_init__()
        good = callable(self.ceil_fn)
        expect(good, "Interpolator", "ceil_fn", "a function", repr(self.ceil_fn), error=DTypeError)

    def at(self, t: float) -> float:
        return as_schedule(self.schedule, "Interpolator", "schedule")(self.ceil_fn(t / self.rate))


@dataclass(frozen=True)
class Shifted(Curve):
    """The schedule from its t = offset on: schedule(t + offset - 1).

    >>> Shifted(Exp(1.0, 0.5), 3)(1)
    0.25
    """

    schedule: Given
    offset: int

    def at(self, t: float) -> float:
        return as_schedule(self.schedule, "Shifted", "schedule")(t + self.offset - 1)


@dataclass(frozen=True)
class Shortened(Curve):
    """The first nsteps of a schedule: len() many, which can be iterated; from the last one on it stays.

    >>> list(Shortened(Exp(1.0, 0.5), 3)), Shortened(Exp(1.0, 0.5), 3)(9)
    ([1.0, 0.5, 0.25], 0.25)
    """

    schedule: Given
    nsteps: int

    def __len__(self) -> int:
        return self.nsteps

    def __iter__(self) -> Iterator[float]:
        return (self(t) for t in range(1, self.nsteps + 1))

    def at(self, t: float) -> float:
        return as_schedule(self.schedule, "Shortened", "schedule")(min(t, self.nsteps))


@dataclass(frozen=True)
class Reversed(Curve):
    """schedule(period - t), down to schedule(1), where it stays: what reverse makes.

    >>> [Reversed(Exp(1.0, 0.5), 4)(t) for t in (1, 2, 3, 4)]
    [0.25, 0.5, 1.0, 1.0]
    """

    schedule: Given
    period: int

    def at(self, t: float) -> float:
        return as_schedule(self.schedule, type(self).__name__, "schedule")(max(self.period - t, 1))


@dataclass(frozen=True)
class Symmetric(Reversed):
    """The schedule until half of the period, from there on the same backwards: what symmetric makes.

    >>> [Symmetric(Exp(1.0, 0.5), 6)(t) for t in (1, 2, 3, 4, 5)]
    [1.0, 0.5, 0.25, 0.5, 1.0]
    """

    def at(self, t: float) -> float:
        return super().at(t if t >= self.period / 2 else self.period - t)


def reverse(schedule: Given, period: int) -> Reversed:
    """A schedule backwards: reverse(schedule, period)(t) = schedule(period - t) for t < period.

    >>> reverse(Linear(0.0, 1.0, 4), 6)(1)
    1.0
    """
    return Reversed(schedule, period)


def symmetric(schedule: Given, period: int) -> Symmetric:
    """A schedule there and back: schedule(t) for t < period / 2, schedule(period - t) after.

    >>> symmetric(Linear(0.0, 1.0, 4), 10)(8)
    0.25
    """
    return Symmetric(schedule, period)


@dataclass(frozen=True, init=False, repr=False)
class ComposedSchedule(Curve):
    """A schedule whose numbers follow schedules: ComposedSchedule(Triangle(0.0, 1.0, 4), l1=Exp(1.0, 0.9)).

    >>> [ComposedSchedule(Triangle(0.0, 1.0, 4), l1=Step(1.0, 0.5, 4))(t) for t in (3, 7)]
    [1.0, 0.5]
    """

    schedule: Curve
    parameters: tuple[tuple[str, Given], ...]

    def __init__(self, schedule: Curve, **parameters: Given) -> None:
        good = isinstance(schedule, Curve)
        expect(good, "ComposedSchedule", "schedule", "one of nf.schedules", repr(schedule), error=DTypeError)
        known = [f.name for f in fields(schedule)]  # type: ignore[arg-type]
        for name, given in parameters.items():
            expect(name in known, "ComposedSchedule", "parameters", f"of {known}", repr(name))
            as_schedule(given, "ComposedSchedule", name)
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "parameters", tuple(parameters.items()))

    @classmethod
    def from_fields(cls, schedule: Curve, parameters: tuple[tuple[str, Given], ...]) -> ComposedSchedule:
        """The same again, from what fields hold."""
        return cls(schedule, **dict(parameters))

    def at(self, t: float) -> float:
        numbers = {name: as_schedule(given, "ComposedSchedule", name)(t) for name, given in self.parameters}
        return replace(self.schedule, **numbers)(t)  # type: ignore[type-var]

    def __repr__(self) -> str:
        return f"ComposedSchedule({', '.join([repr(self.schedule), *(f'{k}={v!r}' for k, v in self.parameters)])})"


class Stateful:
    """A schedule with a t of its own: next(stateful) is the number at t, and moves on.

    advance(t) says whether to move on; always unless given.

    >>> rates = Stateful(Exp(1.0, 0.5))
    >>> next(rates), next(rates), rates
    (1.0, 0.5, Stateful(Exp(start=1.0, decay=0.5), t=3))
    >>> rates.reset()
    >>> next(rates)
    1.0
    """

    def __init__(self, schedule: Given, advance: Callable[[int], bool] = lambda t: True) -> None:
        self.schedule = as_schedule(schedule, "Stateful", "schedule")
        expect(callable(advance), "Stateful", "advance", "a function of t", repr(advance), error=DTypeError)
        self.advance, self.t = advance, 1

    def __iter__(self) -> Stateful:
        return self

    def __next__(self) -> float:
        value = self.schedule(self.t)
        self.t += bool(self.advance(self.t))
        return value

    def reset(self) -> None:
        """Back to t = 1."""
        self.t = 1

    def __repr__(self) -> str:
        return f"Stateful({self.schedule}, t={self.t})"


CURVES = (
    ComposedSchedule, Constant, CosAnneal, Exp, Interpolator, Inv, Linear, Loop, OneCycle, Poly, Reversed, Sequence,
    Shifted, Shortened, Sin, SinDecay2, SinExp, Step, Symmetric, Triangle, TriangleDecay2, TriangleExp, Warmup,
)  # fmt: skip
