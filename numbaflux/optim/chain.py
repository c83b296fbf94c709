"""What changes gradients before a rule sees them, and OptimiserChain, which puts it there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..lowering import cut, whole
from ..op import DTypeError, expect
from .rules import HYPER, Record, Rule, kind
from .vectors import FLOAT64, Segment, Stage, Vectors

Place = tuple[Vectors, Segment]


class Transform(Record):
    """What changes gradients: a member of a chain before its rule."""


class Decay(Transform):
    """What adds a penalty's gradient."""

    kernel = "optim.decay"

    def lower(self, stage: Stage) -> None:
        stage.passes(self.kernel, ("scratch",), ("params",))


@dataclass(frozen=True)
class WeightDecay(Decay):
    """g += decay p, the gradient of decay / 2 times the sum of squares.

    Before Adam it goes through the moments as any gradient does; nf.AdamW decays the weights themselves.

    >>> import numbaflux as nf
    >>> nf.OptimiserChain(nf.WeightDecay(1e-4), nf.Momentum(0.1))
    OptimiserChain(WeightDecay(decay=0.0001), Momentum(eta=0.1, rho=0.9))
    """

    decay: float = 5e-4


@dataclass(frozen=True)
class SignDecay(Decay):
    """g += decay sign(p), the gradient of decay times the sum of absolute values.

    >>> SignDecay()
    SignDecay(decay=0.001)
    """

    decay: float = 1e-3

    def memory(self) -> dict[str, float]:
        return {"sign_decay": float(self.decay)}


@dataclass(frozen=True)
class ClipGrad(Transform):
    """Each element of g within -delta and delta.

    >>> ClipGrad(1)
    ClipGrad(delta=1)
    """

    delta: float = 10.0
    kernel = "optim.clip"

    def lower(self, stage: Stage) -> None:
        always_one = whole(stage.numbers.part(HYPER.index("factor"), 1))
        for v in stage.vectors:
            for start, end in v.runs():
                part = v.bufs["scratch"].part(start, end - start)
                stage.over(end - start, self.kernel, cut(part, write=True), always_one, whole(stage.numbers))


class Norm(Transform):
    """What makes gradients shorter where their norm is above omega."""

    kernel = "optim.clip"

    @abstractmethod
    def groups(self, places: list[Place]) -> list[list[Place]]:
        """What has one norm together."""

    def lower(self, stage: Stage) -> None:
        places = [(v, s) for v in stage.vectors for s in v.segments if not s.frozen]
        for group in self.groups(places):
            parts = [v.bufs["scratch"].part(s.start, s.size) for v, s in group]
            factor = stage.build.temp((1,), FLOAT64)
            stage.once("optim.join", whole(factor, write=True), whole(stage.norm(parts)), whole(stage.numbers))
            for part in parts:
                stage.over(part.size, self.kernel, cut(part, write=True), whole(factor), whole(stage.numbers))


@dataclass(frozen=True)
class ClipNorm(Norm):
    """Each parameter's g with a p-norm of at most omega: g times omega / norm where that is above.

    As in Flux.jl, each array by itself; ClipGlobalNorm takes all of them together, as PyTorch does.

    >>> ClipNorm(1.0)
    ClipNorm(omega=1.0, p=2.0)
    """

    omega: float = 10.0
    p: float = 2.0

    def groups(self, places: list[Place]) -> list[list[Place]]:
        return [[place] for place in places]


@dataclass(frozen=True)
class ClipGlobalNorm(Norm):
    """All gradients, of what is not frozen, times omega / norm where their norm together is above omega.

    >>> ClipGlobalNorm()
    ClipGlobalNorm(omega=1.0)
    """

    omega: float = 1.0
    flags = {"p": 2.0}

    def groups(self, places: list[Place]) -> list[list[Place]]:
        return [places] if places else []


@dataclass(frozen=True)
class AccumGrad(Transform):
    """The mean of n gradients: the members after it, and the parameters, wait for each n-th step.

    opt_state.step counts the changes of parameters. A new n counts from the next n gradients on.

    >>> import numpy as np, numbaflux as nf
    >>> model = {"w": np.zeros(1)}
    >>> state = nf.setup(nf.OptimiserChain(nf.AccumGrad(2), nf.Descent(1.0)), model)
    >>> for g in (1.0, 2.0, 5.0, 6.0):
    ...     nf.update(state, model, {"w": np.array([g])})
    ...     print(model["w"])
    [0.]
    [-1.5]
    [-1.5]
    [-7.]
    """

    n: int
    states = ("sum",)
    kernel = "optim.gate"

    def lower(self, stage: Stage) -> None:
        pair = stage.build.temp((2,), FLOAT64)
        written = stage.later, pair, stage.numbers
        stage.once(self.kernel, *(whole(b, write=True) for b in written))
        [total] = stage.states(self.states)
        for v in stage.vectors:
            for start, end in v.runs():
                mean, g = (v.bufs[name].part(start, end - start) for name in (total, "scratch"))
                stage.blend(mean, g, pair)
        stage.passes("elementwise.copy", ("scratch",), (total,), numbers=False)


class Compound(Rule):
    """A rule made of several records, its members, whose numbers are its own."""

    def __post_init__(self) -> None:
        pass  # its members have checked their numbers

    def __getattr__(self, name: str) -> Any:
        """A number of the last member that has it."""
        made = all(f.name in self.__dict__ for f in fields(self))  # type: ignore[arg-type]  # not while it is copied
        for member in reversed(self.members if made else ()):
            if name in member.adjustable:
                return getattr(member, name)
        raise AttributeError(f"{type(self).__name__}: no member has {name}")


@dataclass(frozen=True, init=False, repr=False)
class OptimiserChain(Compound):
    """Transformations of gradients in their order, and a rule at the end, as one rule.

    Its members' numbers are its own: chain.eta, nf.adjust(opt_state, eta=...). Gradients are changed in a copy:
    step.gradients() shows them as they were.

    >>> import numbaflux as nf
    >>> chain = nf.OptimiserChain(nf.ClipGlobalNorm(1.0), nf.WeightDecay(1e-4), nf.Descent(0.1))
    >>> chain
    OptimiserChain(ClipGlobalNorm(omega=1.0), WeightDecay(decay=0.0001), Descent(eta=0.1))
    >>> chain.eta
    0.1
    """

    rules: tuple[Record, ...]

    def __init__(self, *rules: Record) -> None:
        object.__setattr__(self, "rules", rules)
        one = bool(rules) and isinstance(rules[-1], Rule) and not isinstance(rules[-1], Compound)
        good = one and all(isinstance(r, Transform) for r in rules[:-1])
        got = f"({', '.join(map(kind, rules))})"
        expected = "what changes gradients, such as nf.ClipNorm(), and one rule at the end, such as nf.Adam()"
        expect(good, "OptimiserChain", "rules", expected, got, error=DTypeError)

    @property
    def members(self) -> tuple[Record, ...]:
        return self.rules

    def of(self, members: Sequence[Record]) -> Rule:
        return OptimiserChain(*members)

    def __repr__(self) -> str:
        return f"OptimiserChain({', '.join(map(repr, self.rules))})"


TRANSFORMS = (WeightDecay, SignDecay, ClipGrad, ClipNorm, ClipGlobalNorm, AccumGrad)
