"""The range of every public number, once: it validates, documents and is fuzzed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .op import DTypeError, expect


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; open_low, open_high: without that end; whole: integers."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    whole: bool = False

    def __str__(self) -> str:
        left, right = "(" if self.open_low else "[", ")" if self.open_high or math.isinf(self.high) else "]"
        return f"{'an integer' if self.whole else 'a number'} in {left}{self.low:g}, {self.high:g}{right}"

    def __contains__(self, x: float) -> bool:
        above = x > self.low if self.open_low else x >= self.low
        return above and (x < self.high if self.open_high or math.isinf(self.high) else x <= self.high)


RATE = Range(0, math.inf)
SHARE = Range(0, 1, open_high=True)
COUNT = Range(1, math.inf, whole=True)
RANGES: dict[str, Range] = {
    "Descent.eta": RATE,
    "Momentum.eta": RATE,
    "Momentum.rho": SHARE,
    "Adam.eta": RATE,
    "Adam.beta1": SHARE,
    "Adam.beta2": SHARE,
    "Adam.eps": RATE,
    "AdamW.eta": RATE,
    "AdamW.beta1": SHARE,
    "AdamW.beta2": SHARE,
    "AdamW.eps": RATE,
    "AdamW.decay": RATE,
    "Dense.n_in": COUNT,
    "Dense.n_out": COUNT,
    "train.epochs": Range(0, math.inf, whole=True),
    "seed.n": Range(0, 2**64 - 1, whole=True),
}


def check(name: str, value: Any) -> Any:
    """The value, if it is in the range of `Owner.argument`.

    >>> check("Adam.beta1", 1.0)
    Traceback (most recent call last):
    numbaflux.op.RangeError: Adam: beta1 must be a number in [0, 1), got 1.0
    """
    where, _, argument = name.partition(".")
    span = RANGES[name]
    kind = int if span.whole else int | float
    number = hasattr(value, "__index__") if span.whole else hasattr(value, "__float__") and not isinstance(value, str)
    good = number and not isinstance(value, bool) and getattr(value, "ndim", 0) == 0
    expect(good, where, argument, str(span), value, error=DTypeError)
    expect((int if kind is int else float)(value) in span, where, argument, str(span), value)
    return value
