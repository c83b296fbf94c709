"""The range of every public number, once: it validates, documents and is fuzzed."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from numbers import Integral, Real
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
        return f"{'an integer' if self.whole else 'a number'} in {left}{_end(self.low)}, {_end(self.high)}{right}"

    def __contains__(self, x: float) -> bool:
        above = x > self.low if self.open_low else x >= self.low
        return above and (x < self.high if self.open_high or math.isinf(self.high) else x <= self.high)


def _end(x: float) -> str:
    power = math.log2(abs(x)) if math.isfinite(x) and abs(x) > 2**31 else 0.5
    return f"{x:g}" if power % 1 else f"{'-' if x < 0 else ''}2**{power:g}"


RATE = Range(0, math.inf)
SHARE = Range(0, 1, open_high=True)
COUNT = Range(1, math.inf, whole=True)
WORD = Range(0, 2**64, open_high=True, whole=True)
SIGNED = Range(-(2**63), 2**63, open_high=True, whole=True)
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
    "DataLoader.batchsize": COUNT,
    "train.epochs": Range(0, math.inf, whole=True),
    "Generator.seed": WORD,
    "Generator.counter": WORD,
    "child.index": WORD,
    "integers.low": SIGNED,
    "integers.high": SIGNED,
    "normal.std": RATE,
    "permutation.n": Range(0, 2**63, open_high=True, whole=True),
}


def check(name: str, value: Any) -> Any:
    """The value, if it is in the range of `Owner.argument`.

    >>> check("Adam.beta1", 1.0)
    Traceback (most recent call last):
    numbaflux.op.RangeError: Adam: beta1 must be a number in [0, 1), got 1.0
    """
    where, _, argument = name.partition(".")
    span = RANGES[name]
    good = isinstance(value, Integral if span.whole else Real) and not isinstance(value, bool)
    expect(good, where, argument, str(span), repr(value), error=DTypeError)
    inside = value in span and (span.whole or abs(value) <= sys.float_info.max)
    expect(inside, where, argument, str(span), repr(value))
    return value
