"""Rules around a rule: what follows its step, and numbers that change from step to step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..op import DTypeError, expect
from ..ranges import check
from .chain import Compound
from .curves import Given, as_schedule
from .rules import HYPER, Record, Rule, kind
from .vectors import Stage

FORMATS = {  # digits of the significand, exponent of the least normal number, the largest number
    "float16": (11, -14, 65504.0),
    "bfloat16": (8, -126, (2 - 2**-7) * 2.0**127),
}
WIDE = 53  # digits of a float64
Made = TypeVar("Made", bound=Rule)


def changed(rule: Made, **numbers: float) -> Made:
    """The rule with other numbers, in each member that has them."""
    members = [
        replace(m, **{k: v for k, v in numbers.items() if k in m.adjustable})  # type: ignore[type-var]
        for m in rule.members
    ]
    return rule.of(members)  # type: ignore[return-value]


class Follower(Record):
    """What follows a rule: it finds the parameters as the rule leaves them."""

    def lower(self, stage: Stage) -> None:
        self.follow(stage)
        stage.tick()

    @abstractmethod
    def follow(self, stage: Stage) -> None:
        """The entries between a rule's and the count."""


@dataclass(frozen=True)
class Average(Follower):
    """mean = decay mean + (1 - decay) p, from 0, of frozen parameters too."""

    decay: float
    states = ("mean",)
    kernel = "optim.blend"
    fixed = ("decay",)  # mean is corrected by the decay of all steps

    def __post_init__(self) -> None:
        check("EMA.decay", self.decay)

    def memory(self) -> dict[str, float]:
        return {"keep": float(self.decay), "give": 1.0 - self.decay, "beta1": float(self.decay)}

    def follow(self, stage: Stage) -> None:
        for v in stage.vectors:
            first, last = v.own
            mean, p = (v.bufs[name].part(first, last - first) for name in (*stage.states(self.states), "params"))
            stage.blend(mean, p, stage.numbers.part(HYPER.index("keep"), 2))


@dataclass(frozen=True)
class Rounded(Follower):
    """p and rest are p + rest in a shorter format, and what is left of it."""

    dtype: str
    states = ("rest",)
    kernel = "optim.rounded"
    fixed = ("dtype",)

    def numbers(self) -> dict[str, float]:
        return {}

    def memory(self) -> dict[str, float]:
        digits, least, largest = FORMATS[self.dtype]
        step = 2.0 ** (least - digits + 1)  # between the numbers below the least normal one
        grid = 1.5 * 2.0 ** (WIDE - 1) * step
        return {"drop": float(WIDE - digits), "least_normal": 2.0**least, "grid": grid, "largest": largest}

    def follow(self, stage: Stage) -> None:
        stage.passes(self.kernel, ("params", *stage.states(self.states)))


class Around(Compound):
    """A rule around a rule."""

    rule: Rule

    def __post_init__(self) -> None:
        name = type(self).__name__
        good = isinstance(self.rule, Rule) and not isinstance(self.rule, Scheduler)
        cure = f"nf.Scheduler(nf.{name}(...), ...)" if isinstance(self.rule, Scheduler) else ""
        expect(good, name, "rule", "a rule such as nf.Adam()", kind(self.rule), cure, DTypeError)

    @property
    @abstractmethod
    def follower(self) -> Follower:
        """What follows the rule."""

    @property
    def members(self) -> tuple[Record, ...]:
        return *self.rule.members, self.follower

    def of(self, members: Sequence[Record]) -> Rule:
        return replace(self, rule=self.rule.of(members[:-1]))  # type: ignore[type-var]


@dataclass(frozen=True)
class EMA(Around):
    """A rule, and the exponential moving average of the weights that it makes: nf.ema(opt_state, model) has them.

    mean = decay mean + (1 - decay) p after each step, from 0, and divided by 1 - decay**t when it is read, as Adam's
    means are; so the first average is the first step's weights. Training itself goes on with the weights as they are.

    >>> import numpy as np, numbaflux as nf
    >>> model = {"w": np.zeros(1)}
    >>> state = nf.setup(EMA(nf.Descent(1.0), decay=0.5), model)
    >>> for g in (-1.0, -3.0):
    ...     nf.update(state, model, {"w": np.array([g])})
    >>> model["w"], nf.ema(state, model)["w"]
    (array([4.]), array([3.]))
    """

    rule: Rule
    decay: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        check("EMA.decay", self.decay)

    @property
    def follower(self) -> Follower:
        return Average(self.decay)


@dataclass(frozen=True)
class MixedPrecision(Around):
    """A rule for weights that are to be stored as float16 or bfloat16: after each step they are numbers of that format.

    The model's arrays stay float32, and so does the arithmetic. What rounding takes away, to the nearest number, ties
    to even, is kept in a vector beside the weights, and the next step starts from both: small steps add up, as with
    weights in float32 of which the model holds a copy. What is trained, validated and saved is thus exactly what
    `weight.astype(np.float16)` stores. Weights beyond the largest float16, 65504, stay there. All weights that are not
    frozen are rounded, from the first step on.

    >>> import numpy as np, numbaflux as nf
    >>> model = {"w": np.ones(1, np.float32)}
    >>> state = nf.setup(MixedPrecision(nf.Descent(1.0), "float16"), model)
    >>> for _ in range(3):
    ...     nf.update(state, model, {"w": np.full(1, 2.0**-12, np.float32)})
    >>> float(model["w"][0]) == 1 - 2.0**-11, 1 - 3 * 2.0**-12
    (False, 0.999267578125)
    """

    rule: Rule
    dtype: str = "float16"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = isinstance(self.dtype, str) and self.dtype in FORMATS
        expect(known, "MixedPrecision", "dtype", " or ".join(map(repr, FORMATS)), repr(self.dtype))

    @property
    def follower(self) -> Follower:
        return Rounded(self.dtype)


@dataclass(frozen=True, init=False, repr=False)
class Scheduler(Compound):
    """A rule whose numbers follow schedules: step t is made with schedule(t), t = 1, 2, ...

    Schedules are those of nf.schedules, numbers, or any functions of t, which then cannot be saved. What is scheduled
    cannot be adjusted. nf.Schedule does the same as a callback of nf.train, by epochs unless told.

    >>> import numpy as np, numbaflux as nf
    >>> model = {"w": np.zeros(1)}
    >>> state = nf.setup(Scheduler(nf.Descent(), eta=nf.schedules.Exp(1.0, 0.5)), model)
    >>> for _ in range(2):
    ...     nf.update(state, model, {"w": np.ones(1)})
    ...     print(model["w"], state.rule.eta)
    [-1.] 0.5
    [-1.5] 0.25
    """

    rule: Rule
    schedules: tuple[tuple[str, Given], ...]

    def __init__(self, rule: Rule, **schedules: Given) -> None:
        good = isinstance(rule, Rule) and not isinstance(rule, Scheduler)
        expect(good, "Scheduler", "rule", "a rule such as nf.Adam()", kind(rule), error=DTypeError)
        known = sorted({name for member in rule.members for name in member.adjustable})
        for name, schedule in schedules.items():
            expect(name in known, "Scheduler", "schedules", f"of {known}", repr(name))
            as_schedule(schedule, "Scheduler", name)
        object.__setattr__(self, "rule", rule)
        object.__setattr__(self, "schedules", tuple(schedules.items()))
        object.__setattr__(self, "rule", self.at(1))

    @classmethod
    def from_fields(cls, rule: Rule, schedules: tuple[tuple[str, Given], ...]) -> Scheduler:
        """The same again, from what fields hold."""
        return cls(rule, **dict(schedules))

    @property
    def scheduled(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.schedules)

    @property
    def members(self) -> tuple[Record, ...]:
        return self.rule.members

    def at(self, t: int) -> Rule:
        """The rule of step t."""
        return changed(self.rule, **{name: as_schedule(s, "Scheduler", name)(t) for name, s in self.schedules})

    def of(self, members: Sequence[Record]) -> Rule:
        made = object.__new__(Scheduler)
        object.__setattr__(made, "rule", self.rule.of(members))
        object.__setattr__(made, "schedules", self.schedules)
        return made

    def __repr__(self) -> str:
        return f"Scheduler({', '.join([repr(self.rule), *(f'{k}={v!r}' for k, v in self.schedules)])})"


AROUND = (EMA, MixedPrecision, Scheduler)
