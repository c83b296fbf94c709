"""The rules: plain records of numbers. What they do stands in kernels/cpu/optim.py; all of them stand in RULES."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from ..op import DTypeError, expect
from ..ranges import check

# Order of the numbers in memory (kernels/cpu/optim.py).
HYPER = ("step", "power1", "power2", "beta1", "beta2", "eta", "eps", "decay", "eta_decay")
START = {"step": 0.0, "power1": 1.0, "power2": 1.0}


class Rule:
    """What a rule has: names of its state vectors, its kernel, and its numbers by their place in memory."""

    states: ClassVar[tuple[str, ...]] = ()
    kernel: ClassVar[str]

    def __post_init__(self) -> None:
        for name, value in self.numbers().items():
            check(f"{type(self).__name__}.{name}", value)

    def numbers(self) -> dict[str, float]:
        """The numbers under their public names; a pair beta is beta1 and beta2."""
        out: dict[str, Any] = {}
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if f.name == "beta":
                pair = isinstance(value, tuple | list) and len(value) == 2
                expect(pair, type(self).__name__, "beta", "a pair of numbers", value, error=DTypeError)
                out["beta1"], out["beta2"] = value
            elif f.type == "bool":
                expect(isinstance(value, bool), type(self).__name__, f.name, "True or False", value, error=DTypeError)
            else:
                out[f.name] = value
        return out

    def memory(self) -> dict[str, float]:
        """The numbers under their names in memory."""
        return {("beta1" if k == "rho" else k): float(v) for k, v in self.numbers().items()}

    def hyper(self) -> np.ndarray:
        """The numbers as the kernel reads them, at step 0."""
        values = START | self.memory()
        return np.array([values.get(name, 0.0) for name in HYPER])


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
class Adam(Rule):
    """Kingma and Ba 2015: steps by the gradient's mean over the root of its mean square.

    >>> Adam(3e-4).beta
    (0.9, 0.999)
    """

    eta: float = 0.001
    beta: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    states = ("m", "v")
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


RULES = (Descent, Momentum, Adam, AdamW)
