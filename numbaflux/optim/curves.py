"""Schedules by a formula: decays and cycles. (schedules.py tells of all.)"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import accumulate
from numbers import Real
from typing import Any

from ..op import DTypeError, expect
from ..ranges import check

Given = Callable[[float], float] | float


class Curve(ABC):
    """What schedules share: the check of their numbers, and of t."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if f.type == "Given":
                as_schedule(value, type(self).__name__, f.name)
            elif f.type == "bool":
                expect(isinstance(value, bool), type(self).__name__, f.name, "True or False", value, error=DTypeError)
            elif f.type in ("float", "int") or (f.type == "float | None" and value is not None):
                check(f"schedules.{f.name}", value)

    def __call__(self, t: float) -> float:
        """The number at t, 1 or later; inf where it is too large."""
        check("schedules.t", t)
        try:
            return float(self.at(t))
        except OverflowError:
            return math.inf

    @abstractmethod
    def at(self, t: float) -> float:
        """The formula."""


def as_schedule(given: Any, where: str, argument: str) -> Callable[[float], float]:
    """A number as a schedule that stays at it."""
    number = isinstance(given, Real) and not isinstance(given, bool)
    expect(number or callable(given), where, argument, "a number or a schedule", repr(given), error=DTypeError)
    return given if callable(given) else Constant(given)


@dataclass(frozen=True)
class Constant(Curve):
    """Always value.

    >>> Constant(0.1)(1000)
    0.1
    """

    value: float

    def at(self, t: float) -> float:
        return self.value


# ---------------------------------------------------------------------------------------------------------------- decay


@dataclass(frozen=True)
class Step(Curve):
    """start decay**k, k being how many of the sizes, one after another, lie before t. One size repeats for ever.

    >>> [Step(0.1, 0.5, 2)(t) for t in (1, 2, 3, 5)]
    [0.1, 0.1, 0.05, 0.025]
    >>> [Step(0.1, 0.5, (1, 3))(t) for t in (1, 2, 4, 5, 99)]
    [0.1, 0.05, 0.05, 0.025, 0.025]
    """

    start: float
    decay: float
    step_sizes: int | tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        several = isinstance(self.step_sizes, tuple | list)
        object.__setattr__(self, "step_sizes", tuple(self.step_sizes) if several else self.step_sizes)  # type: ignore[arg-type]
        for size in self.step_sizes if isinstance(self.step_sizes, tuple) else (self.step_sizes,):
            check("schedules.step_sizes", size)

    def at(self, t: float) -> float:
        if isinstance(self.step_sizes, tuple):
            return self.start * self.decay ** sum(t > end for end in accumulate(self.step_sizes))
        return self.start * self.decay ** ((t - 1) // self.step_sizes)


@dataclass(frozen=True)
class Exp(Curve):
    """start decay**(t - 1).

    >>> Exp(0.1, 0.5)(3)
    0.025
    """

    start: float
    decay: float

    def at(self, t: float) -> float:
        return self.start * self.decay ** (t - 1)


@dataclass(frozen=True)
class Poly(Curve):
    """start (1 - (t - 1) / max_iter)**degree, and 0 from there on.

    >>> [Poly(0.1, 2, 4)(t) for t in (1, 3, 5, 6)]
    [0.1, 0.025, 0.0, 0.0]
    """

    start: float
    degree: float
    max_iter: int

    def at(self, t: float) -> float:
        return self.start * (1 - (t - 1) / self.max_iter) ** self.degree if t <= self.max_iter else 0.0


@dataclass(frozen=True)
class Inv(Curve):
    """start / (1 + (t - 1) decay)**degree.

    >>> Inv(0.1, 0.5, 2)(3)
    0.025
    """

    start: float
    decay: float
    degree: float

    def at(self, t: float) -> float:
        return self.start * (1 + (t - 1) * self.decay) ** -self.degree


@dataclass(frozen=True)
class Linear(Curve):
    """From start at t = 1 straight to end at t = steps + 1, where it stays.

    >>> [Linear(0.0, 1.0, 4)(t) for t in (1, 2, 5, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """

    start: float
    end: float
    steps: int

    def at(self, t: float) -> float:
        share = min((t - 1) / self.steps, 1.0)
        return (1 - share) * self.start + share * self.end


# --------------------------------------------------------------------------------------------------------------- cycles


@dataclass(frozen=True)
class Cycle(Curve):
    """low + |l1 - l0| fade(t) shape(phase) with phase = (t - 1) / period: from the lower of l0 and l1 to the higher."""

    l0: float
    l1: float
    period: int

    @abstractmethod
    def shape(self, phase: float) -> float:
        """From 0 to 1, while the phase goes from one integer to the next."""

    def fade(self, t: float) -> float:
        return 1.0

    def at(self, t: float) -> float:
        return min(self.l0, self.l1) + abs(self.l1 - self.l0) * self.fade(t) * self.shape((t - 1) / self.period)


@dataclass(frozen=True)
class Halved(Cycle):
    """Each cycle half as high as the one before: fade(t) = 2**-floor(phase)."""

    def fade(self, t: float) -> float:
        return 0.5 ** ((t - 1) // self.period)


@dataclass(frozen=True)
class Decayed(Cycle):
    """fade(t) = decay**(t - 1)."""

    decay: float

    def fade(self, t: float) -> float:
        return self.decay ** (t - 1)


@dataclass(frozen=True)
class Triangle(Cycle):
    """Smith 2017: straight up to the higher of l0 and l1 at half a period, and down: 2 / pi |asin(sin(pi phase))|.

    >>> [Triangle(0.0, 1.0, 4)(t) for t in (1, 2, 3, 4, 5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def shape(self, phase: float) -> float:
        return 1 - abs(2 * (phase % 1) - 1)


@dataclass(frozen=True)
class TriangleDecay2(Halved, Triangle):
    """Triangle, each cycle half as high as the one before.

    >>> [TriangleDecay2(0.0, 1.0, 4)(t) for t in (3, 7)]
    [1.0, 0.5]
    """


@dataclass(frozen=True)
class TriangleExp(Decayed, Triangle):
    """Triangle times decay**(t - 1).

    >>> TriangleExp(0.0, 1.0, 4, 0.5)(3)
    0.25
    """


@dataclass(frozen=True)
class Sin(Cycle):
    """|sin(pi phase)|: the higher of l0 and l1 at half a period.

    >>> [Sin(0.0, 1.0, 2)(t) for t in (1, 2)]
    [0.0, 1.0]
    """

    def shape(self, phase: float) -> float:
        return abs(math.sin(math.pi * phase))


@dataclass(frozen=True)
class SinDecay2(Halved, Sin):
    """Sin, each cycle half as high as the one before.

    >>> SinDecay2(0.0, 1.0, 2)(4)
    0.5
    """


@dataclass(frozen=True)
class SinExp(Decayed, Sin):
    """Sin times decay**(t - 1).

    >>> SinExp(0.0, 1.0, 2, 0.5)(2)
    0.5
    """


@dataclass(frozen=True)
class CosAnneal(Cycle):
    """(1 + cos(pi phase)) / 2, Loshchilov and Hutter 2017: from the higher of l0 and l1 down to the lower in a period.

    restart=True starts each period at the top; False goes up again in the next, as a cosine does.

    >>> [round(CosAnneal(0.0, 1.0, 2)(t), 3) for t in (1, 2, 3)]
    [1.0, 0.5, 1.0]
    >>> [round(CosAnneal(0.0, 1.0, 2, restart=False)(t), 3) for t in (1, 2, 3, 4)]
    [1.0, 0.5, 0.0, 0.5]
    """

    restart: bool = True

    def shape(self, phase: float) -> float:
        return (1 + math.cos(math.pi * (phase % 1 if self.restart else phase))) / 2


@dataclass(frozen=True)
class OneCycle(Curve):
    """Smith and Topin 2018: up from startval to maxval in ceil(nsteps percent_start) steps, down to endval in the rest.

    Both ways by half a cosine; after nsteps it stays at endval. startval is maxval / 25 unless given, endval
    maxval / 100 000.

    >>> [round(OneCycle(8, 1.0)(t), 5) for t in (1, 2, 3, 6, 9)]
    [0.04, 0.52, 1.0, 0.50001, 1e-05]
    """

    nsteps: int
    maxval: float
    startval: float | None = None
    endval: float | None = None
    percent_start: float = 0.25

    def at(self, t: float) -> float:
        low = self.maxval / 25 if self.startval is None else self.startval
        end = self.maxval / 1e5 if self.endval is None else self.endval
        warmup = math.ceil(self.nsteps * self.percent_start)
        if t <= warmup:
            share = (1 - math.cos(math.pi * (t - 1) / warmup)) / 2
            return low + (self.maxval - low) * share
        share = (1 + math.cos(math.pi * min((t - 1 - warmup) / max(self.nsteps - warmup, 1), 1))) / 2
        return end + (self.maxval - end) * share
