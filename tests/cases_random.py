"""The cases of random operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.case import FLAT, Input, normal, rows


def seeds(rng: Any, shape: tuple[int, ...]) -> Any:
    """A seed and a count of draws, of any bits."""
    return rng.integers(0, 2**64, shape, np.uint64)


def _table(*numbers: dict[str, Any]) -> list[Any]:
    return [
        ((Input(s, normal), Input((2,), seeds)), numbers[i % len(numbers)] | {"offset": i * 2**33 % 5})
        for i, s in enumerate(FLAT)
    ]


RANDOM = (
    rows("dropout", *_table({"p": 0.5}, {"p": 0.1}, {"p": 0.999}, {"p": 1.0}, {"p": 0.0}), ulp=1.5),
    rows("uniform", *_table({"low": 0.0, "high": 1.0}, {"low": -3.0, "high": 0.5}, {"low": 2.0, "high": 2.0}),
         ulp=1, size=lambda xs, at: np.full(xs[0].shape, abs(at["low"]) + abs(at["high"]), np.longdouble)),
)  # fmt: skip
