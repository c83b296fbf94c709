"""What is done to a gradient on its way back, at one place of a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .op import DTypeError, Op, ShapeError, expect
from .trace import Call, Value


class Hook:
    """The user's function, and the check of what it returns. Two traces of a lambda show themselves alike."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self.f = f

    def __call__(self, dy: Any) -> Any:
        got = self.f(dy)
        held, where = isinstance(got, np.ndarray | np.generic | Value), "gradient_hook"
        shown = f"{got.dtype} of shape {got.shape}" if held else type(got).__name__
        good = held and got.shape == dy.shape and got.dtype == dy.dtype
        expected = f"a function that returns {dy.dtype} of shape {tuple(dy.shape)} as the gradient"
        expect(good, where, "f", expected, shown, error=ShapeError)
        return got

    def __repr__(self) -> str:
        return getattr(self.f, "__qualname__", type(self.f).__name__)


# Not in the registry: it has no kernel, and its gradient is the user's.
HOOK = Op("gradient_hook", lambda x, hook: x, lambda b, out, x, hook: b.alias(out, x),
          (lambda call, dy: call.attrs["hook"](dy),))  # fmt: skip


def gradient_hook(f: Callable[[Any], Any], x: Any) -> Any:
    """x, whose gradient is f(gradient) instead: clipped, scaled, turned, or printed and returned.

    f: gradient -> another of its shape and dtype, called in the backward pass, by gradients of gradients too; in a
    compiled function it is traced as all else is, so that a number that changes is an nf.Scalar. Outside of a gradient
    x is returned as it is. Raises ShapeError for a result of another shape or dtype, DTypeError unless f is a function.

    >>> import numbaflux as nf
    >>> nf.gradient(lambda x: (nf.gradient_hook(lambda g: -g, x) ** 2).sum(), np.array([1.0, 3.0])).tolist()
    [-2.0, -6.0]
    """
    expect(callable(f), "gradient_hook", "f", "a function of a gradient", repr(f), error=DTypeError)
    if not isinstance(x, Value):
        return x
    call = Call(HOOK, (x,), {"hook": Hook(f)})
    call.outs = (Value(x.spec, x.array, call, 0, x.levels),)  # nothing runs: it is the same array
    return call.outs[0]
