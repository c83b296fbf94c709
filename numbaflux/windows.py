"""Functions of windows over images, series and volumes (n, spatial axes, c): convolutions and pools."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from . import functions as F
from .managed import beside
from .op import DTypeError, Op, ShapeError, Spec, expect
from .ops.conv import CONV, CONV_GRAD_X
from .ops.elementwise import RELU
from .ops.pool import MAXPOOL, MEANPOOL
from .ops.window import Sizes, pads, sizes, spatial
from .ranges import check
from .trace import Value, apply


def _options(where: str, w: Any, stride: Any, pad: Any, dilation: Any, groups: Any) -> dict[str, Any]:
    """The options of a convolution, one number an axis."""
    rank = len(w.shape) - 2
    expect(1 <= rank <= 3, where, "w", "of shape (window of 1 to 3 axes, in // groups, out)", str(w.shape),
           error=ShapeError)  # fmt: skip
    far = sizes(where, "dilation", dilation, rank)
    around = pads(where, pad, tuple(w.shape[:-2]), far)
    (parts,) = sizes(where, "groups", groups, 1)
    return {"stride": sizes(where, "stride", stride, rank), "pad": around, "dilation": far, "groups": parts}


def _arrays(where: str, **arrays: Any) -> None:
    for name, a in arrays.items():
        expect(hasattr(a, "shape") and hasattr(a, "dtype"), where, name, "an array", type(a).__name__, error=DTypeError)


def conv(
    x: Any, w: Any, b: Any = None, stride: Any = 1, pad: Any = 0, dilation: Any = 1, groups: int = 1,
    flip: bool = False,
) -> Any:  # fmt: skip
    """Cross-correlation of x (n, spatial axes, in) with w (window, in // groups, out), plus b (out,).

    stride, dilation: an integer or one a spatial axis. pad: zeros around x: an integer, one an axis, two an axis
    (before, behind), or "same". flip: the window is turned over first, as in Flux.jl.
    Output: (size + pads - (window - 1) dilation - 1) // stride + 1 along each axis. Raises ShapeError, DTypeError,
    RangeError.

    >>> import numpy as np
    >>> conv(np.ones((1, 4, 4, 1), np.float32), np.ones((2, 2, 1, 1), np.float32)).ravel().tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    """
    _arrays("conv", x=x, w=w)
    options = _options("conv", w, stride, pad, dilation, groups)
    return apply(CONV, x, F.getitem(w, (slice(None, None, -1),) * (len(w.shape) - 2)) if flip else w, b, **options)


def depthwiseconv(
    x: Any, w: Any, b: Any = None, stride: Any = 1, pad: Any = 0, dilation: Any = 1, flip: bool = False
) -> Any:
    """A convolution whose every channel has filters of its own: x (n, spatial axes, in), w (window, 1, out).

    Channel i of x makes channels i m to (i + 1) m - 1 of the result, m = out // in. Other arguments as for nf.conv.

    >>> import numpy as np
    >>> depthwiseconv(np.ones((1, 4, 2), np.float32), np.ones((3, 1, 6), np.float32)).shape
    (1, 2, 6)
    """
    space("depthwiseconv", x)
    return conv(x, w, b, stride, pad, dilation, x.shape[-1], flip)


def conv_transpose(
    x: Any, w: Any, b: Any = None, stride: Any = 1, pad: Any = 0, outpad: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """The gradient of a convolution as an operation: x (n, spatial axes, in), w (window, out // groups, in), b (out,).

    Output: (size - 1) stride + (window - 1) dilation + 1 - pads + outpad along each axis; outpad < stride.

    >>> import numpy as np
    >>> conv_transpose(np.ones((1, 2, 1), np.float32), np.ones((2, 1, 1), np.float32), stride=2).ravel().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    where = "conv_transpose"
    _arrays(where, x=x, w=w)
    options = _options(where, w, stride, pad, dilation, groups)
    rank = len(options["stride"])
    more = sizes(where, "outpad", outpad, rank, 0)
    expect(all(o < s for o, s in zip(more, options["stride"], strict=True)), where, "outpad",
           f"below stride {options['stride']}", str(more))  # fmt: skip
    expect(len(x.shape) == rank + 2, where, "x", f"of {rank} spatial axes as w", str(x.shape), error=ShapeError)
    size = _grown(tuple(x.shape[1:-1]), tuple(w.shape[:-2]), more, options)
    expect(min(size) > 0, where, "pad", "small enough to leave an output", f"{options['pad']} for spatial sizes {size}",
           error=ShapeError)  # fmt: skip
    return apply(CONV_GRAD_X, x, w, b, size=size, **options)


def _grown(spatial: Sizes, window: Sizes, outpad: Sizes, options: dict[str, Any]) -> Sizes:
    """The spatial sizes that a transposed convolution gives."""
    rows = zip(spatial, window, outpad, options["stride"], options["pad"], options["dilation"], strict=True)
    return tuple((n - 1) * s + (k - 1) * d + 1 - low - high + more for n, k, more, s, (low, high), d in rows)


# --------------------------------------------------------------------------------------------------------------- pools


def pool_window(where: str, k: Any, stride: Any, pad: Any, rank: int) -> dict[str, Any]:
    """The options of a pool, one number an axis; a stride of None is the window."""
    window = sizes(where, "k", k, rank)
    step = window if stride is None else sizes(where, "stride", stride, rank)
    around = pads(where, pad, window, (1,) * rank)
    covered = all(max(pair) < size for pair, size in zip(around, window, strict=True))
    expect(covered, where, "pad", f"smaller than the window {window}", str(around))
    return {"window": window, "stride": step, "pad": around}


def space(where: str, x: Any, rank: int | None = None) -> Sizes:
    """The spatial sizes of an array x (n, ..., c), of that many axes."""
    _arrays(where, x=x)
    return spatial(where, Spec(tuple(x.shape), x.dtype), rank)


def _pool(where: str, op: Op, x: Any, k: Any, stride: Any, pad: Any) -> Any:
    size = space(where, x, len(k) if isinstance(k, tuple | list) else None)
    return apply(op, x, **pool_window(where, k, stride, pad, len(size)))


def maxpool(x: Any, k: Any, stride: Any = None, pad: Any = 0) -> Any:
    """The largest of each window of x (n, spatial axes, c); NaN where one is.

    k, stride: an integer or one a spatial axis; stride is k unless told. pad: as for conv, smaller than the window;
    what it adds is never the largest. Output: (size + pads - k) // stride + 1 along each axis. The gradient goes to the
    first of equals. Raises ShapeError, DTypeError, RangeError.

    >>> import numpy as np
    >>> maxpool(np.array([1, 3, 2, 0], np.float32).reshape(1, 4, 1), 2).ravel().tolist()
    [3.0, 2.0]
    """
    if isinstance(x, Value) and x.abstract and x.call is not None and x.call.op is RELU:
        # The same bits, and those of gradients, from fewer elements: in a plan the relu before the pool is left out.
        return F.relu(maxpool(x.call.inputs[0], k, stride, pad))
    return _pool("maxpool", MAXPOOL, x, k, stride, pad)


def _shares(n: int, window: int, stride: int, pad: tuple[int, int]) -> np.ndarray:
    """Of each window along an axis: its size over the elements of x in it."""
    inside = np.pad(np.ones(n), pad)
    return np.array([window / inside[i : i + window].sum() for i in range(0, inside.size - window + 1, stride)])


def meanpool(x: Any, k: Any, stride: Any = None, pad: Any = 0, count_include_pad: bool = True) -> Any:
    """The mean of each window of x (n, spatial axes, c); arguments as for maxpool.

    count_include_pad: whether zeros of the padding count in the mean.

    >>> import numpy as np
    >>> meanpool(np.array([1, 3, 2, 0], np.float32).reshape(1, 4, 1), 2, pad=1).ravel().tolist()
    [0.5, 2.5, 0.0]
    """
    y = _pool("meanpool", MEANPOOL, x, k, stride, pad)
    if count_include_pad:
        return y
    size = space("meanpool", x)
    options = pool_window("meanpool", k, stride, pad, len(size))
    own = zip(size, options["window"], options["stride"], options["pad"], strict=True)
    shares = functools.reduce(np.multiply.outer, (_shares(*axis) for axis in own))
    return F.mul(y, beside(y, shares[..., None].astype(y.dtype)))


def lpnormpool(x: Any, p: float, k: Any, stride: Any = None, pad: Any = 0) -> Any:
    """(sum of |x|**p)**(1 / p) of each window of x (n, spatial axes, c), p >= 1; other arguments as for maxpool.

    Where a window holds zeros alone the gradient is 0.

    >>> import numpy as np
    >>> lpnormpool(np.array([3, -4, 0, 0], np.float32).reshape(1, 4, 1), 2, 2).ravel().tolist()
    [5.0, 0.0]
    """
    rank = len(space("lpnormpool", x))
    check("lpnormpool.p", p)
    mean = _pool("lpnormpool", MEANPOOL, F.power(F.absolute(x), p), k, stride, pad)
    count = math.prod(sizes("lpnormpool", "k", k, rank))
    nothing = F.equal(mean, 0.0)
    return F.where(nothing, 0.0, F.power(F.mul(F.where(nothing, 1.0, mean), count), 1 / p))
