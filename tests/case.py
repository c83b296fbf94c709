"""One call of an operation as a case of tests: what goes in, how inputs are drawn, how far rounding may take the
result."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numbaflux import Value, apply
from numbaflux.ops.norm import MOMENTS
from numbaflux.ops.recurrent import RECURRENT as STEPS
from tests.reference import oracle, recurrent

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Input(NamedTuple):
    """One argument of a case: its shape, and where its numbers come from."""

    shape: tuple[int, ...]
    draw: Draw


# ---------------------------------------------------------------- numbers


def normal(rng, shape):
    return rng.normal(size=shape)


def wide(rng, shape):
    return 20 * rng.normal(size=shape)


def positive(rng, shape):
    return rng.uniform(0.3, 3, shape)


def away(rng, shape):
    """Not near 0, where some functions have a kink or a pole."""
    return rng.uniform(0.1, 2, shape) * rng.choice([-1, 1], shape)


def apart(rng, shape):
    """No two numbers near each other."""
    n = int(np.prod(shape))
    return ((rng.permutation(n) - n // 2) / 64).reshape(shape)


def probability(rng, shape):
    return rng.uniform(0.01, 0.99, shape)


def mask(rng, shape):
    return rng.random(shape) < 0.5


def whole(rng, shape):
    return rng.integers(-3, 4, shape).astype(np.float64)


def between(rng, shape):
    """Not near a whole number."""
    return rng.integers(-3, 4, shape) + rng.uniform(0.2, 0.8, shape)


def below(n: int) -> Draw:
    return lambda rng, shape: np.asarray(rng.integers(0, n, shape))


def integers(dtype: str) -> Draw:
    return lambda rng, shape: np.asarray(rng.integers(0, 100, shape)).astype(dtype)


# ---------------------------------------------------------------- one case, one operation


@dataclass(frozen=True)
class Case:
    """Inputs (None where an optional one is missing) and numbers of one call."""

    name: str
    inputs: tuple[Input | None, ...]
    attrs: dict[str, Any]

    def __str__(self) -> str:
        shapes = " ".join("none" if i is None else "x".join(map(str, i.shape)) or "scalar" for i in self.inputs)
        numbers = " ".join(f"{k}={v}".replace(" ", "") for k, v in self.attrs.items())
        return f"{self.name} {shapes} {numbers}".strip()

    def arrays(self, dtype: Any) -> list[np.ndarray | None]:
        """The inputs: floats in a dtype, integers and booleans as they are drawn. The same at each call."""
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        drawn = [None if i is None else np.asarray(i.draw(rng, i.shape)) for i in self.inputs]
        given = [x if x is None or x.dtype.kind != "f" else x.astype(dtype) for x in drawn]
        return fix(self, given)


MAXIMA = {"max_grad": "max", "maxpool_grad": "maxpool", "maxpool_pick": "maxpool"}


def _own_moments(case: Case, xs: list[Any], traced: bool) -> list[Any]:
    view = {"lead": xs[1].ndim - 2, "groups": xs[1].shape[-1]}
    return [xs[0], apply(MOMENTS, xs[0], **view) if traced else oracle("moments")(xs[0], **view), *xs[2:]]


def _own_steps(case: Case, xs: list[Any], traced: bool) -> list[Any]:
    attrs = {"kind": case.attrs["kind"], "reverse": case.attrs["reverse"], "keep": True}
    y, _, _, cells, gates = apply(STEPS, *xs[:8], **attrs) if traced else recurrent.all_steps(*xs[:8], **attrs)
    return [*xs[:8], *(v if v.size else None for v in (y, cells, gates)), *xs[11:]]


OWN = {"norm": _own_moments, "norm_grad": _own_moments, "recurrent_grad": _own_steps}


def own_statistics(case: Case, xs: list[Any]) -> list[Any]:
    """What some operations are given of another's results is what that gives for their own x; where this is
    differentiated, so is that."""
    values = [x for x in xs if isinstance(x, Value)]
    traced = any(x.levels for x in values)
    return xs if case.name not in OWN or (values and not traced) else OWN[case.name](case, xs, traced)


def fix(case: Case, xs: list[Any]) -> list[Any]:
    """What must agree among the inputs: the maximum that max_grad is given is that of its x."""
    xs = own_statistics(case, xs)
    if case.name in MAXIMA:
        xs[1] = oracle(MAXIMA[case.name])(xs[0], **case.attrs)
    return xs


Size = Callable[..., Any]


@dataclass(frozen=True)
class Row:
    """The cases of one operation. A result is within `ulp` units in the last place of `size`: unless told, of
    itself."""

    cases: tuple[Case, ...]
    ulp: float = 0.0
    size: Size | None = None  # (inputs, attrs) -> array
    constants: frozenset[int] = frozenset()  # inputs whose derivative is left out on purpose
    specials: frozenset[int] | None = None  # inputs that are also tested with NaN and infinities; None: all of floats
    once: bool = False  # whether its gradient has none: the record of that says why
    extremes: bool = False  # the largest numbers and the smallest, too: where the operation rounds once


FLAT = ((), (1,), (15,), (16,), (17,), (31, 3), (97,), (300, 48), (20_011,), (2, 3, 5, 7), (8, 1, 49))


def flat(name: str, *draws: Draw, numbers: tuple[dict[str, Any], ...] = ({},), **row: Any) -> tuple[str, Row]:
    """An operation on elements: every shape, taking turns with its numbers."""
    cases = [
        Case(name, tuple(Input(shape, d) for d in draws), numbers[i % len(numbers)]) for i, shape in enumerate(FLAT)
    ]
    return name, Row(tuple(cases), **row)


def rows(name: str, *table: tuple[tuple[Input | None, ...], dict[str, Any]], **row: Any) -> tuple[str, Row]:
    return name, Row(tuple(Case(name, inputs, attrs) for inputs, attrs in table), **row)


def terms(name: str, count: Callable[..., Any]) -> dict[str, Any]:
    """The bound of sums: half a unit an addition that a term goes through, of the sum of the terms' absolute values."""

    def size(xs: list[Any], attrs: dict[str, Any]) -> Any:
        absolute = [None if x is None else abs(x) if x.dtype.kind == "f" else x for x in xs]
        return (count(xs, attrs) / 2 + 2) * oracle(name)(*absolute, **attrs)

    return {"ulp": 1, "size": size}


ROUNDED = 0.501  # the nearest number; the thousandth is for the oracle, which rounds too
