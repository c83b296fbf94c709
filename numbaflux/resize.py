"""Series, images and volumes (n, spatial axes, c) in other sizes: repeated, interpolated, or out of their channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from . import functions as F
from .managed import beside
from .op import DTypeError, ShapeError, expect
from .ops.window import Sizes, sizes
from .ranges import check
from .windows import space

MODES = {"nearest": None, "linear": 1, "bilinear": 2, "trilinear": 3}  # and how many spatial axes a mode is for


def checked(where: str, mode: Any, scale: Any, size: Any, rank: int | None = None) -> tuple[Any, Any]:
    """scale and size as numbers or tuples, if there is such a mode, one of the two is given, and it is right for it."""
    expect(isinstance(mode, str) and mode in MODES, where, "mode", f"one of {', '.join(MODES)}", repr(mode))
    given = [name for name, value in (("scale", scale), ("size", size)) if value is not None]
    expect(len(given) == 1, where, "scale or size", "given, one of them", " and ".join(given) or "none")
    value = size if scale is None else scale
    many = tuple(value) if isinstance(value, tuple | list) else None
    rank = rank or MODES[mode] or (1 if many is None else len(many))
    if scale is None or mode == "nearest":
        numbers: tuple[Any, ...] = sizes(where, given[0], value, rank)
    else:
        numbers = many or (value,) * rank
        real = all(isinstance(v, Real) and not isinstance(v, bool) for v in numbers)
        expect(real, where, "scale", f"a number or {rank} of them", repr(value), error=DTypeError)
        fits = len(numbers) == rank and all(0 < v < 2**31 for v in numbers)
        expect(fits, where, "scale", f"in (0, 2**31), for each of {rank} axes", repr(value))
        numbers = tuple(v if isinstance(v, int) else float(v) for v in numbers)
    kept = numbers if many else numbers[0]
    return (None, kept) if scale is None else (kept, None)


def _repeated(where: str, x: Any, spatial: Sizes, out: Sizes) -> Any:
    """Each element as a block of equals."""
    whole = all(n > 0 and m % n == 0 for n, m in zip(spatial, out, strict=True))
    expect(whole, where, "size", f"a multiple of {spatial} along each axis", str(out), error=ShapeError)
    n, c = x.shape[0], x.shape[-1]
    pairs = [(a, b // a) for a, b in zip(spatial, out, strict=True)]
    apart = F.reshape(x, (n, *(size for a, _ in pairs for size in (a, 1)), c))
    return F.reshape(F.broadcast_to(apart, (n, *(size for pair in pairs for size in pair), c)), (n, *out, c))


def _interpolated(where: str, x: Any, spatial: Sizes, out: Sizes) -> Any:
    """Along one axis after another from the last, as products with the weights of each element in each result."""
    expect(min(spatial) > 0 and min(out) > 0, where, "scale", f"large enough to leave something of {spatial}", str(out),
           error=ShapeError)  # fmt: skip
    for axis in range(len(spatial), 0, -1):
        n, m = spatial[axis - 1], out[axis - 1]
        if n != m:
            at = np.linspace(0, n - 1, m)
            weights = beside(x, np.stack([np.interp(at, np.arange(n), row) for row in np.eye(n)], 1).astype(x.dtype))
            before, after = x.shape[:axis], x.shape[axis + 1 :]
            rows = F.matmul(weights, F.reshape(x, (math.prod(before), n, math.prod(after))))
            x = F.reshape(rows, (*before, m, *after))
    return x


def _by(mode: str, doc: str, shown: str) -> Callable[..., Any]:
    """The function of a mode; shown: the shape and scale of its example, and the shape that it gives."""
    name = f"upsample_{mode}"

    def function(x: Any, scale: Any = None, size: Any = None) -> Any:
        spatial = space(name, x, MODES[mode])
        rank = len(spatial)
        scale, size = checked(name, mode, scale, size, rank)
        if size is None:
            many = scale if isinstance(scale, tuple) else (scale,) * rank
            size = tuple(math.floor(n * s) for n, s in zip(spatial, many, strict=True))
        out = size if isinstance(size, tuple) else (size,) * rank
        return (_repeated if mode == "nearest" else _interpolated)(name, x, spatial, out)

    given, scale, right = shown.split("; ")
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{doc}

    >>> import numpy as np
    >>> {name}(np.ones({given}, np.float32), {scale}).shape
    {right}
    """
    return function


LINEAR = """
    scale: a number or one an axis; or size: an integer or one an axis. The first and last elements stay at the ends
    (PyTorch: align_corners=True). A number that is not finite spreads along its axes. Raises ShapeError, DTypeError,
    RangeError."""
upsample_nearest = _by(
    "nearest",
    """x (n, spatial axes, c) with each element repeated.

    scale: an integer or one an axis; or size, a multiple of x's: an integer or one an axis. Raises ShapeError,
    DTypeError, RangeError.""",
    "(1, 2, 3, 1); scale=(2, 3); (1, 4, 9, 1)",
)
upsample_linear = _by(
    "linear", f"x (n, length, c) of another length, between neighbours on straight lines.\n{LINEAR}",
    "(1, 4, 2); size=7; (1, 7, 2)",
)  # fmt: skip
upsample_bilinear = _by(
    "bilinear", f"x (n, h, w, c) of other sizes, between neighbours on straight lines.\n{LINEAR}",
    "(1, 2, 3, 1); scale=2.5; (1, 5, 7, 1)",
)  # fmt: skip
upsample_trilinear = _by(
    "trilinear", f"x (n, d, h, w, c) of other sizes, between neighbours on straight lines.\n{LINEAR}",
    "(1, 2, 2, 2, 1); scale=(1, 2, 3); (1, 2, 4, 6, 1)",
)  # fmt: skip


def pixel_shuffle(x: Any, r: int) -> Any:
    """Channels as places: x (n, spatial axes, c r**axes) as (n, spatial axes, each r times as long, c).

    Channel (c r + i) r + j of an image goes to row i and column j of its block (as in PyTorch). Raises ShapeError,
    DTypeError, RangeError. Source: Shi et al. 2016.

    >>> import numpy as np
    >>> pixel_shuffle(np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4), 2)[0, :, :, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    r = int(check("pixel_shuffle.r", r))
    rank = len(space("pixel_shuffle", x))
    fits = x.shape[-1] % r**rank == 0
    expect(fits, "pixel_shuffle", "x", f"of a multiple of {r**rank} channels", str(tuple(x.shape)), error=ShapeError)
    for last in range(rank, 0, -2):  # two axes at a time, those first whose places lie closest together
        axes = range(max(1, last - 1), last + 1)
        *lead, c = x.shape
        pairs = [i for pair in zip(axes, range(rank + 2, rank + 4), strict=False) for i in pair]
        order = (*range(axes.start), *pairs, *range(last + 1, rank + 2))
        larger = [n * r if axis in axes else n for axis, n in enumerate(lead)]
        parts = c // r ** len(axes)
        x = F.reshape(F.transpose(F.reshape(x, (*lead, parts, *(r for _ in axes))), order), (*larger, parts))
    return x


def pixel_unshuffle(x: Any, r: int) -> Any:
    """Places as channels, what nf.pixel_shuffle undoes: x (n, spatial axes, c) as (n, spatial axes / r, c r**axes).

    The spatial sizes are multiples of r. Raises ShapeError, DTypeError, RangeError. Source: Shi et al. 2016.

    >>> import numpy as np
    >>> pixel_unshuffle(np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1), 2).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    r = int(check("pixel_unshuffle.r", r))
    rank = len(space("pixel_unshuffle", x))
    fits = all(n % r == 0 for n in x.shape[1:-1])
    expect(fits, "pixel_unshuffle", "x", f"of spatial sizes that are multiples of {r}", str(tuple(x.shape)),
           error=ShapeError)  # fmt: skip
    for last in range(2 - rank % 2, rank + 1, 2):  # as pixel_shuffle, from the end
        axes = range(max(1, last - 1), last + 1)
        *lead, c = x.shape
        apart = [part for axis, n in enumerate(lead) for part in ((n // r, r) if axis in axes else (n,))]
        within = [axes.start + 1 + 2 * i for i in range(len(axes))]
        order = (*(i for i in range(len(apart) + 1) if i not in within), *within)
        smaller = [n // r if axis in axes else n for axis, n in enumerate(lead)]
        x = F.reshape(F.transpose(F.reshape(x, (*apart, c)), order), (*smaller, c * r ** len(axes)))
    return x


UPSAMPLINGS: dict[str, Callable[..., Any]] = dict(
    zip(MODES, (upsample_nearest, upsample_linear, upsample_bilinear, upsample_trilinear), strict=True)
)
