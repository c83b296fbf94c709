"""Windows that slide over the spatial axes of (n, ..., c): what users write for stride, pad and dilation, and the sizes
that follow. Convolutions and pools share it."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, NamedTuple

from ..op import DTypeError, RangeError, ShapeError, Spec, expect

Sizes = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
SPATIAL = 3  # axes that kernels know; data of fewer have leading ones of size 1


class Axis(NamedTuple):
    """A window along one axis: sizes of input and window, elements from one window to the next, zeros put before and
    behind, elements from one tap of the window to the next."""

    size: int
    window: int
    stride: int = 1
    low: int = 0
    high: int = 0
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Elements from the first tap to the last, both counted."""
        return (self.window - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        return (self.size + self.low + self.high - self.reach) // self.stride + 1


def sizes(where: str, argument: str, value: Any, rank: int, least: int = 1) -> Sizes:
    """An integer for all axes, or one for each, as a tuple.

    >>> sizes("maxpool", "stride", 2, 3)
    (2, 2, 2)
    """
    many = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,) * rank
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in many)
    expect(whole, where, argument, f"an integer or {rank} of them", repr(value), error=DTypeError)
    fits = len(many) == rank and all(least <= v < 2**31 for v in many)
    expect(fits, where, argument, f"{least} or more, for each of {rank} axes", repr(value), error=RangeError)
    return tuple(int(v) for v in many)


def pads(where: str, value: Any, window: Sizes, dilation: Sizes) -> Pads:
    """What users write for pad as (before, behind) of each axis: an integer, one an axis, two an axis (before, behind,
    before, ...), or "same": at stride 1 the output is as large as the input; the odd one goes behind.

    >>> pads("conv", "same", (3, 4), (1, 1)), pads("conv", (1, 2), (3, 3), (1, 1))
    (((1, 1), (1, 2)), ((1, 1), (2, 2)))
    """
    rank = len(window)
    if isinstance(value, str):
        expect(value == "same", where, "pad", 'an integer, integers, or "same"', repr(value))
        total = [(k - 1) * d for k, d in zip(window, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in total)
    if isinstance(value, tuple | list) and len(value) == rank and all(isinstance(v, tuple | list) for v in value):
        value = [v for pair in value for v in sizes(where, "pad", pair, 2, 0)]
        many = tuple(value)
    elif isinstance(value, tuple | list) and len(value) == 2 * rank:
        many = sizes(where, "pad", value, 2 * rank, 0)
    else:
        many = tuple(v for v in sizes(where, "pad", value, rank, 0) for _ in range(2))
    return tuple(zip(many[::2], many[1::2], strict=True))


def axes(where: str, spatial: Sizes, window: Sizes, stride: Sizes, pad: Pads, dilation: Sizes) -> tuple[Axis, ...]:
    """The three axes of a window over an input of these spatial sizes; raises where the window does not fit."""
    rows = zip(spatial, window, stride, pad, dilation, strict=True)
    own = [Axis(n, k, s, low, high, d) for n, k, s, (low, high), d in rows]
    for i, a in enumerate(own):
        fits = a.reach <= a.size + a.low + a.high
        expect(fits, where, "x", f"of {a.reach - a.low - a.high} or more along spatial axis {i}", str(spatial),
               "a larger pad or a smaller window", ShapeError)  # fmt: skip
    return (Axis(1, 1),) * (SPATIAL - len(own)) + tuple(own)


def spatial(where: str, x: Spec, rank: int | None = None) -> Sizes:
    """The spatial sizes of x (n, ..., c)."""
    known = len(x.shape) - 2
    good = 1 <= known <= SPATIAL if rank is None else known == rank
    shown = {1: "(n, length, c)", 2: "(n, h, w, c)", 3: "(n, d, h, w, c)"}.get(rank or 0, "(n, spatial axes, c)")
    expect(good, where, "x", f"of shape {shown}", str(x.shape), error=ShapeError)
    expect(x.dtype.kind == "f", where, "x", "an array of float32 or float64", str(x.dtype), "x.astype(np.float32)",
           DTypeError)  # fmt: skip
    return x.shape[1:-1]
