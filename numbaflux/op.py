"""The record of an operation, the family of errors, and the one helper that words an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Error(Exception):
    """Everything numbaflux raises on purpose."""


class ShapeError(Error, ValueError):
    """An array of the wrong rank or sizes."""


class DTypeError(Error, TypeError):
    """An array or number of the wrong type."""


class RangeError(Error, ValueError):
    """A number outside its range, or a label that names no class."""


class DeviceError(Error, RuntimeError):
    """An array that is not where, or not what, it must be (read-only, say)."""


class PlanError(Error, RuntimeError):
    """A function that cannot be planned, or a plan used in a way it does not allow."""


class NonFiniteError(Error, ArithmeticError):
    """A loss or gradient that is not finite; nothing was changed."""


class RankError(Error, RuntimeError):
    """Ranks that disagree, or one that failed while others went on."""


class RankLostError(RankError):
    """A rank that has died, where the others can go on without it."""


class GradientError(Error, ArithmeticError):
    """A gradient that is not what differences of the function say."""


class FileFormatError(Error, ValueError):
    """A file that is not what it must be."""


def expect(
    good: bool, where: str, argument: str, expected: str, got: object, cure: str = "", error: type[Error] = RangeError
) -> None:
    """Raise `where: argument must be expected, got got; cure` unless good.

    >>> expect(False, "adam", "eta", "in (0, inf)", -1.0)
    Traceback (most recent call last):
    numbaflux.op.RangeError: adam: eta must be in (0, inf), got -1.0
    """
    if not good:
        shown = got if isinstance(got, str) else repr(got)
        raise error(f"{where}: {argument} must be {expected}, got {shown[:200]}" + (f"; {cure}" if cure else ""))


class Spec(NamedTuple):
    """What is known of an array before it exists.

    >>> Spec((2, 3), np.dtype(np.float32)).shape
    (2, 3)
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Example:
    """Arguments that an operation takes: a shape each (None: left out), their kinds (f float, i integer, b bool,
    w words of a random generator), and attrs.

    Together an operation's examples use each of its kernels: `numbaflux cache warm` compiles what they need.
    """

    shapes: tuple[tuple[int, ...] | None, ...]
    kinds: str
    attrs: tuple[tuple[str, Any], ...] = ()

    def specs(self, dtype: np.dtype[Any]) -> tuple[Spec | None, ...]:
        """The arguments in a float dtype."""
        known = {"f": dtype, "i": np.dtype(np.int64), "b": np.dtype(bool), "w": np.dtype(np.uint64)}
        pairs = zip(self.shapes, self.kinds, strict=True)
        return tuple(None if shape is None else Spec(shape, known[kind]) for shape, kind in pairs)


def example(kinds: str, *shapes: tuple[int, ...] | None, **attrs: Any) -> Example:
    return Example(shapes, kinds, tuple(attrs.items()))


@dataclass(frozen=True, eq=False)
class Op:
    """An operation: how its result looks, which kernels fill it, what its gradients are.

    shape(*specs, **attrs) -> Spec or tuple of Specs, and raises for arguments that do not fit.
    lower(build, out, *inputs, **attrs) adds table entries (see lowering.py).
    grad has one rule an input, rule(call, dy) -> gradient made of ops, or None where the input has none;
    grad=None with a reason marks an op through which no gradient goes. A user's own op needs no examples.

    >>> from numbaflux.lowering import elements
    >>> def mean_of_two(y, a, b):  # under @numba.njit
    ...     for i in range(y.size):
    ...         y[i] = (a[i] + b[i]) / 2
    >>> Op("mean_of_two", lambda a, b: a, elements(mean_of_two), None, "only an example")
    Op(mean_of_two)
    """

    name: str
    shape: Callable[..., Any]
    lower: Callable[..., None]
    grad: tuple[Callable[..., Any] | None, ...] | None
    reason: str = ""
    examples: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        expect(bool(self.name), "Op", "name", "a name", self.name)
        expect(self.grad is not None or bool(self.reason), self.name, "reason", "given where grad is None", self.reason)

    def __repr__(self) -> str:
        return f"Op({self.name})"
