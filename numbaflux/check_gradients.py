"""Gradients against central differences: for one's own operations, layers and losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .grad import Opened, differentiable, scalar_loss, tie, withgradient
from .op import GradientError, NonFiniteError, expect
from .session import Session
from .tree import PARAM, STATIC, arrays, replaced

STEP = 1e-5  # of central differences, for numbers of about 1
EACH = 64  # elements up to which each of an array is looked at; of larger arrays, DIRECTIONS random ones
DIRECTIONS = 8


def check_gradients(f: Callable[..., Any], *args: Any, tolerance: float = 1e-5) -> None:
    """Compare the gradient of a scalar function with central differences, in float64; raise where they differ.

    f and args are as in nf.gradient: arrays, models, any number of them. They are not changed: copies in float64 are
    looked at, so arrays that f takes from elsewhere must be float64 or be arguments. A derivative may be off by
    tolerance, relative to itself or to 1. At a kink (relu at 0) there is nothing to compare.

    Raises GradientError, which names the array, what was expected and what came; NonFiniteError where f is not finite.

    >>> check_gradients(lambda x: (x * x).sum(), np.array([1.0, 2.0], np.float32))
    >>> check_gradients(lambda x: x * x.item(), np.float32(3))
    Traceback (most recent call last):
    numbaflux.op.GradientError: check_gradients: gradient of argument 0 must be 6, got 3
    """
    doubles = _doubled(args)
    with Session(training=True):  # never committed: each call sees the same buffers and draws
        _, grads = withgradient(f, *doubles)
    found = arrays(grads if len(args) > 1 else (grads,), PARAM)
    rng = np.random.default_rng(0)
    for path, array in arrays(doubles, PARAM).items():
        if differentiable(array):
            for where, direction in _directions(array.shape, rng):
                expected = _slope(f, doubles, array, direction)
                got = float(np.sum(found[path] * direction))
                good = abs(got - expected) <= tolerance * max(1.0, abs(expected))
                expect(good, "check_gradients", f"gradient of {_named(path, where)}", f"{expected:.6g}", f"{got:.6g}",
                       error=GradientError)  # fmt: skip


def _doubled(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A copy whose floats are float64 arrays; what one argument holds twice stays one array."""
    made: dict[Any, np.ndarray] = {}

    def double(path: str, kind: str, x: Any) -> Any:
        if not differentiable(x) or kind == STATIC:
            return x
        return made.setdefault(tie(path, x), np.array(x, np.float64))

    return tuple(replaced(args, double))


def _directions(shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """What to say of a direction, and the direction."""
    if np.prod(shape) > EACH:
        for _ in range(DIRECTIONS):
            yield " along a random direction", rng.choice([-1.0, 1.0], shape)
        return
    for index in np.ndindex(shape):
        direction = np.zeros(shape)
        direction[index] = 1.0
        yield str(list(index)) if index else "", direction


def _slope(f: Callable[..., Any], args: tuple[Any, ...], x: np.ndarray, direction: np.ndarray) -> float:
    """The central difference; x, an array of args, is moved and put back."""
    start, ends = x.copy(), []
    for step in (STEP, -STEP):
        x[...] = start + step * direction
        ends.append(_value(f, args))
        x[...] = start
    return (ends[0] - ends[1]) / (2 * STEP)


def _value(f: Callable[..., Any], args: tuple[Any, ...]) -> float:
    """f as nf.gradient sees it."""
    with Session(training=True):
        loss, _ = scalar_loss(f(*Opened(args).traced), "check_gradients")
    value = float(loss.array.reshape(()))  # type: ignore[union-attr]
    expect(bool(np.isfinite(value)), "check_gradients", "f", "finite", value, error=NonFiniteError)
    return value


def _named(path: str, where: str) -> str:
    number, _, inside = path.partition(".")
    return f"{inside}{where} of argument {number}" if inside else f"argument {number}{where}"
