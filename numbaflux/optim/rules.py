"""The rules that see an element at a time: plain records of numbers. What they do stands in kernels/cpu/optim.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

import numpy as np

from ..op import DTypeError, expect
from ..ranges import check
from .vectors import Stage

# Order of the numbers in memory (kernels/hyper.py).
HYPER = (
    "step", "power1", "power2", "beta1", "beta2", "wait", "eta", "eps", "decay", "eta_decay", "sign_decay", "take",
    "ahead", "belief", "rectify", "ell1", "ell2", "gamma1", "gamma2", "delta", "omega", "p", "factor", "n", "size",
    "rate", "keep", "give", "drop", "least_normal", "grid", "largest",
)  # fmt: skip
START = {"step": 0.0, "power1": 1.0, "power2": 1.0, "wait": 0.0, "size": 0.0}  # what steps change
NEUTRAL = {"delta": np.inf, "factor": 1.0}  # of those that a record does not have, what is not 0


class Record(ABC):
    """Numbers by their place in memory, the state vectors that go with them, and a kernel over stretches of these."""

    states: ClassVar[Any] = ()
    kernel: ClassVar[Any]
    flags: ClassVar[dict[str, float]] = {}  # numbers in memory that make the kernel this rule's
    fixed: ClassVar[tuple[str, ...]] = ()  # what nf.adjust cannot change

    def __post_init__(self) -> None:
        for name, value in self.numbers().items():
            check(f"{type(self).__name__}.{name}", value)

    @property
    def members(self) -> tuple[Record, ...]:
        """What it is made of: itself, but for a chain."""
        return (self,)

    @property
    def adjustable(self) -> set[str]:
        return {f.name for f in fields(self)} - {*self.fixed}  # type: ignore[arg-type]

    def numbers(self) -> dict[str, float]:
        """The numbers under their public names; a pair beta is beta1 and beta2."""
        out: dict[str, Any] = {}
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if f.type == "tuple[float, float]":
                pair = isinstance(value, tuple | list) and len(value) == 2
                expect(pair, type(self).__name__, f.name, "a pair of numbers", value, error=DTypeError)
                out[f"{f.name}1"], out[f"{f.name}2"] = value
            elif f.type == "bool":
                expect(isinstance(value, bool), type(self).__name__, f.name, "True or False", value, error=DTypeError)
            else:
                out[f.name] = value
        return out

    def memory(self) -> dict[str, float]:
        """The numbers under their names in memory."""
        numbers = {("beta1" if k == "rho" else k): float(v) for k, v in self.numbers().items()}
        return {"take": 1 - numbers.get("beta1", 0.0), **numbers, **self.flags}

    def hyper(self) -> np.ndarray:
        """The numbers as the kernel reads them, at step 0."""
        values = START | NEUTRAL | self.memory()
        return np.array([values.get(name, 0.0) for name in HYPER])

    def start(self, state: str) -> float:
        """What a state vector holds before the first step."""
        return 0.0

    @abstractmethod
    def lower(self, stage: Stage) -> None:
        """Add the entries of one update."""


def kind(given: Any) -> str:
    """What was given where a rule was asked for: a rule's class is no rule."""
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__


class Rule(Record):
    """What changes parameters, by their gradients."""

    scheduled: ClassVar[Any] = ()  # numbers that follow a schedule

    def of(self, members: Sequence[Record]) -> Rule:
        """The same rule of other members."""
        [one] = members
        return cast(Rule, one)

    def lower(self, stage: Stage) -> None:
        """The entries of one update: a pass over each stretch that is not frozen, then the count."""
        stage.passes(self.kernel, ("params", *stage.states(self.states)), (stage.gradient,))
        stage.tick()


@dataclass(frozen=True)
class Descent(Rule):
    """p -= eta g.

    >>> Descent(0.1)
    Descent(eta=0.1)
    """

    eta: float = 0.1
    kernel = "optim.descent"


@dataclass(frozen=True)
class Momentum(Rule):
    """v = rho v + eta g; p -= v (eta inside the velocity, as in Flux.jl).

    >>> Momentum().rho
    0.9
    """

    eta: float = 0.01
    rho: float = 0.9
    states = ("v",)
    kernel = "optim.momentum"


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v = rho v + eta g; p -= rho v + eta g: Sutskever et al. 2013, the velocity looked at one step ahead.

    eta stands inside the velocity, as in Momentum and Flux.jl, whose v has the other sign.

    >>> Nesterov(0.01)
    Nesterov(eta=0.01, rho=0.9)
    """

    eta: float = 0.001
    flags = {"ahead": 1.0}


@dataclass(frozen=True)
class RMSProp(Rule):
    """q = rho q + (1 - rho) g**2; p -= eta g / (sqrt(q) + eps): Hinton's lecture 6e, 2012.

    centred=True takes the variance instead, q less the square of the gradients' mean: Graves 2013.

    >>> RMSProp(centred=True).states
    ('q', 'mean')
    """

    eta: float = 0.001
    rho: float = 0.9
    eps: float = 1e-8
    centred: bool = False
    fixed = ("centred",)

    @property
    def states(self) -> tuple[str, ...]:
        return ("q", "mean") if self.centred else ("q",)

    @property
    def kernel(self) -> str:
        return "optim.rmsprop_centred" if self.centred else "optim.rmsprop"


@dataclass(frozen=True)
class Rprop(Rule):
    """p -= size sign(g): Riedmiller and Braun 1993, each element with a step size of its own, for whole-batch training.

    A size starts as eta (a later eta changes nothing), grows by ell[1] while the gradient keeps its sign, shrinks by
    ell[0] where it turns, which counts as a gradient of 0; it stays within gamma.

    >>> Rprop().gamma
    (1e-06, 50.0)
    """

    eta: float = 1e-3
    ell: tuple[float, float] = (0.5, 1.2)
    gamma: tuple[float, float] = (1e-6, 50.0)
    states = ("last", "size")
    kernel = "optim.rprop"
    fixed = ("eta",)

    def start(self, state: str) -> float:
        return self.eta if state == "size" else 0.0


@dataclass(frozen=True)
class Adam(Rule):
    """Kingma and Ba 2015: steps by the gradient's mean over the root of its mean square.

    >>> Adam(3e-4).beta
    (0.9, 0.999)
    """

    eta: float = 0.001
    beta: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    states: ClassVar[Any] = ("m", "v")
    kernel = "optim.adam"


@dataclass(frozen=True)
class AdamW(Rule):
    """Loshchilov and Hutter 2019: Adam with decay of the weights themselves.

    couple=True takes eta decay p a step, as PyTorch does; couple=False takes decay p whatever eta is.

    >>> AdamW(decay=0.01).couple
    True
    """

    eta: float = 0.001
    beta: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0
    eps: float = 1e-8
    couple: bool = True
    states = ("m", "v")
    kernel = "optim.adam"

    def memory(self) -> dict[str, float]:
        numbers = super().memory()
        if self.couple:
            numbers["eta_decay"] = numbers.pop("decay")
        return numbers


@dataclass(frozen=True)
class RAdam(Adam):
    """Liu et al. 2020: Adam whose step is rectified by how much the mean square can be trusted.

    In the first steps, until that length is above 4 (as in Flux.jl; PyTorch: 5), p -= eta m / (1 - beta[0]**t).

    >>> RAdam().eta
    0.001
    """

    kernel = "optim.adam_variant"
    flags = {"rectify": 1.0}


@dataclass(frozen=True)
class NAdam(Adam):
    """Dozat 2016: Adam with Nesterov's momentum, beta without a schedule, as in Flux.jl.

    p -= eta (beta[0] m / (1 - beta[0]**(t+1)) + (1 - beta[0]) g / (1 - beta[0]**t)) / (sqrt(w) + eps), with
    w = beta[1] v / (1 - beta[1]**t).

    >>> NAdam().eps
    1e-08
    """

    kernel = "optim.adam_variant"
    flags = {"ahead": 1.0}


@dataclass(frozen=True)
class AdaBelief(Adam):
    """Zhuang et al. 2020: Adam with (g - m)**2 + eps in place of g**2, how far the gradient is from what was expected.

    >>> AdaBelief().eps
    1e-16
    """

    eps: float = 1e-16
    kernel = "optim.adam_variant"
    flags = {"belief": 1.0}


@dataclass(frozen=True)
class AdaMax(Adam):
    """Kingma and Ba 2015, algorithm 2: Adam by the largest gradient, u = max(beta[1] u, |g|), in place of the root.

    >>> AdaMax().beta
    (0.9, 0.999)
    """

    states = ("m", "u")
    kernel = "optim.adamax"


@dataclass(frozen=True)
class AMSGrad(Adam):
    """Reddi, Kale and Kumar 2018: p -= eta m / (sqrt(most) + eps), most being the largest mean square so far.

    As in the paper and Flux.jl nothing is corrected for the first steps, and all states start at eps.

    >>> AMSGrad().states
    ('m', 'v', 'most')
    """

    states = ("m", "v", "most")
    kernel = "optim.amsgrad"

    def start(self, state: str) -> float:
        return self.eps


@dataclass(frozen=True)
class OAdam(Adam):
    """Daskalakis et al. 2018: optimistic Adam, for games: p -= 2 step - the step before.

    >>> OAdam().beta
    (0.5, 0.9)
    """

    beta: tuple[float, float] = (0.5, 0.9)
    states = ("m", "v", "term")
    kernel = "optim.oadam"


@dataclass(frozen=True)
class AdaGrad(Rule):
    """Duchi, Hazan and Singer 2011: acc += g**2, from eps; p -= eta g / (sqrt(acc) + eps).

    >>> AdaGrad()
    AdaGrad(eta=0.1, eps=1e-08)
    """

    eta: float = 0.1
    eps: float = 1e-8
    states = ("acc",)
    kernel = "optim.rmsprop"
    flags = {"beta1": 1.0, "take": 1.0}

    def start(self, state: str) -> float:
        return self.eps


@dataclass(frozen=True)
class AdaDelta(Rule):
    """Zeiler 2012: p -= d, d = g sqrt(delta + eps) / sqrt(acc + eps), acc and delta the mean squares of g and d.

    >>> AdaDelta(0.95)
    AdaDelta(rho=0.95, eps=1e-08)
    """

    rho: float = 0.9
    eps: float = 1e-8
    states = ("acc", "delta")
    kernel = "optim.adadelta"


@dataclass(frozen=True)
class Lion(Rule):
    """Chen et al. 2023: p -= eta (sign(beta[0] m + (1 - beta[0]) g) + decay p), then m = beta[1] m + (1 - beta[1]) g.

    As in the paper; Flux.jl weighs m and g the other way round in its m, so the second step differs.

    >>> Lion(1e-4).decay
    0.0
    """

    eta: float = 0.001
    beta: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0
    states = ("m",)
    kernel = "optim.lion"

    def memory(self) -> dict[str, float]:
        numbers = super().memory()
        return numbers | {"eta_decay": numbers.pop("decay")}


ELEMENTWISE = (
    Descent, Momentum, Nesterov, RMSProp, Rprop, Adam, AdamW, RAdam, NAdam, AdaBelief, AdaMax, AMSGrad, OAdam, AdaGrad,
    AdaDelta, Lion,
)  # fmt: skip
