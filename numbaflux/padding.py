"""Arrays with more put around them: a number, or elements of their own."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from . import functions as F
from .op import DTypeError, ShapeError, expect
from .ops import move as M
from .ops.window import Pads, Sizes, pads
from .shapes import axis_in
from .trace import Value, apply
from .windows import space

# Of n elements `low` are put before and some behind: (start, step) of each of the two (step 0: one element, repeated);
# and how many elements there must be for a pad.
Ends = tuple[tuple[int, int], tuple[int, int]]
MODES: dict[str, tuple[Callable[[int, int], Ends], Callable[[int], int]]] = {
    "circular": (lambda n, low: ((n - low, 1), (0, 1)), lambda pad: pad),
    "reflect": (lambda n, low: ((low, -1), (n - 2, -1)), lambda pad: pad + 1),
    "replicate": (lambda n, low: ((0, 0), (n - 1, 0)), lambda pad: 1),
    "symmetric": (lambda n, low: ((low - 1, -1), (n - 1, -1)), lambda pad: pad),
}


def check_mode(where: str, mode: Any) -> str:
    """A mode of padding, if it is one.

    >>> check_mode("Conv", "mirror")
    Traceback (most recent call last):
    numbaflux.op.RangeError: Conv: pad_mode must be one of zeros, circular, reflect, replicate, symmetric, got 'mirror'
    """
    names = ("zeros", *MODES)
    expect(isinstance(mode, str) and mode in names, where, "pad_mode", f"one of {', '.join(names)}", repr(mode))
    return str(mode)


def _sized(x: Any, axis: int, size: int) -> tuple[int, ...]:
    """The shape of x with another size along an axis."""
    return (*x.shape[:axis], size, *x.shape[axis + 1 :])


def _part(x: Any, axis: int, start: int, step: int, size: int) -> list[Any]:
    """size elements of x along an axis, in a list; nothing of size 0."""
    if not size:
        return []
    part = apply(M.SLICE, x, axis=axis, start=start, step=step or 1, size=size if step else 1)
    return [F.broadcast_to(part, _sized(x, axis, size))]


def padded(where: str, x: Any, mode: str, axes: Sizes, around: Pads) -> Any:
    """x with elements of its own put around, as a mode of MODES says: along each axis by its (before, behind)."""
    ends, least = MODES[mode]
    for axis, pair in zip(axes, around, strict=True):
        need = least(max(pair)) if any(pair) else 0
        expect(x.shape[axis] >= need, where, "x", f"of {need} or more along axis {axis} for {mode} padding by {pair}",
               str(tuple(x.shape)), "a smaller pad", ShapeError)  # fmt: skip
    for axis, (low, high) in zip(axes, around, strict=True):
        if low + high:
            before, behind = ends(x.shape[axis], low)
            x = F.concatenate([*_part(x, axis, *before, low), x, *_part(x, axis, *behind, high)], axis)
    return x


def _filled(x: Any, axes: Sizes, around: Pads, val: float) -> Any:
    """x with a number put around it."""
    number = F.asvalue(val, x.dtype, isinstance(x, Value) and x.abstract)
    for axis, (low, high) in zip(axes, around, strict=True):
        if low + high and val == 0:
            x = apply(M.PLACE, x, axis=axis, start=low, step=1, size=low + x.shape[axis] + high)
        elif low + high:
            before, behind = ([F.broadcast_to(number, _sized(x, axis, n))] * (n > 0) for n in (low, high))
            x = F.concatenate([*before, x, *behind], axis)
    return x


def _along(where: str, x: Any, pad: Any, dims: Any) -> tuple[Sizes, Pads]:
    """The axes that are padded, and by how much."""
    if dims is None:
        axes = tuple(range(1, 1 + len(space(where, x))))
    else:
        good = hasattr(x, "shape") and hasattr(x, "dtype") and x.dtype.kind == "f"
        expect(good, where, "x", "an array of float32 or float64", str(getattr(x, "dtype", type(x).__name__)),
               error=DTypeError)  # fmt: skip
        many = tuple(dims) if isinstance(dims, tuple | list) else (dims,)
        whole = all(isinstance(d, Integral) and not isinstance(d, bool) for d in many)
        expect(whole, where, "dims", "an integer or integers", repr(dims), error=DTypeError)
        axes = tuple(axis_in(int(d), x.ndim, where) for d in many)
        expect(len(set(axes)) == len(axes), where, "dims", "different axes", repr(dims))
    expect(not isinstance(pad, str), where, "pad", "an integer or integers", repr(pad), error=DTypeError)
    ones = (1,) * len(axes)
    return axes, pads(where, pad, ones, ones)


def _by(name: str, mode: str, doc: str, shown: str) -> Callable[..., Any]:
    """The function of a mode; shown: what its example gives."""

    def function(x: Any, pad: Any, dims: Any = None) -> Any:
        return padded(name, x, mode, *_along(name, x, pad, dims))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{doc}; arguments and errors as in nf.pad_constant.

    >>> import numpy as np
    >>> {name}(np.array([1, 2, 3, 4], np.float32), (2, 1), dims=0).tolist()
    {shown}
    """
    return function


pad_repeat = _by("pad_repeat", "replicate", "x with its first and last elements repeated around it",
                 "[1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 4.0]")  # fmt: skip
pad_reflect = _by("pad_reflect", "reflect", "x mirrored at its first and last elements, which are not repeated",
                  "[3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0]")  # fmt: skip
pad_symmetric = _by("pad_symmetric", "symmetric", "x mirrored at its ends, the first and last elements repeated",
                    "[2.0, 1.0, 1.0, 2.0, 3.0, 4.0, 4.0]")  # fmt: skip
pad_circular = _by("pad_circular", "circular", "x with its end put before it and its beginning behind it",
                   "[3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 1.0]")  # fmt: skip


def pad_constant(x: Any, pad: Any, val: float = 0.0, dims: Any = None) -> Any:
    """x with a number around it.

    pad: elements put around: an integer, one an axis, or two an axis (before, behind). dims: the axes, an integer or
    several; unless told the spatial ones of x (n, spatial axes, c). Raises ShapeError, DTypeError, RangeError.

    >>> import numpy as np
    >>> pad_constant(np.ones((1, 2), np.float32), (1, 0, 0, 2), 7, dims=(0, 1)).tolist()
    [[7.0, 7.0, 7.0, 7.0], [1.0, 1.0, 7.0, 7.0]]
    """
    axes, around = _along("pad_constant", x, pad, dims)
    expect(isinstance(val, Real) and not isinstance(val, bool), "pad_constant", "val", "a number", repr(val),
           error=DTypeError)  # fmt: skip
    return _filled(x, axes, around, float(val))


def pad_zeros(x: Any, pad: Any, dims: Any = None) -> Any:
    """x with zeros around it; arguments and errors as in nf.pad_constant.

    >>> import numpy as np
    >>> pad_zeros(np.ones((1, 2, 1), np.float32), 1).ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    return _filled(x, *_along("pad_zeros", x, pad, dims), 0.0)


PADDINGS = pad_constant, pad_zeros, pad_repeat, pad_reflect, pad_symmetric, pad_circular  # what a file may name
