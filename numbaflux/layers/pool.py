"""Pools as layers: over windows, to a given size, over all of space. None has weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import functions as F
from ..op import ShapeError, expect
from ..ops.window import Pads, Sizes, sizes
from ..ranges import check
from ..windows import lpnormpool, maxpool, meanpool, pool_window, space
from .layer import layer

Pool = Callable[..., Any]


def _rank(where: str, argument: str, value: Any) -> int:
    """How many spatial axes a layer's sizes are for: 2 for one integer."""
    rank = len(value) if isinstance(value, tuple | list) else 2
    expect(1 <= rank <= 3, where, argument, "of 1 to 3 axes", repr(value), error=ShapeError)
    return rank


@layer
class _Windowed:
    """What MaxPool, MeanPool and LPPool share."""

    window: Sizes
    stride: Sizes
    pad: Pads

    def __init__(self, k: Any, stride: Any = None, pad: Any = 0) -> None:
        name = type(self).__name__
        for field, value in pool_window(name, k, stride, pad, _rank(name, "k", k)).items():
            setattr(self, field, value)

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        name, w = type(self).__name__, self.window
        expect(isinstance(w, tuple), name, "window", "a tuple", repr(w), error=ShapeError)
        right = pool_window(name, w, self.stride, self.pad, _rank(name, "window", w))
        for field, value in right.items():
            expect(getattr(self, field) == value, name, field, repr(value), repr(getattr(self, field)))

    def describe(self) -> str:
        parts = [str(self.window)]
        parts += [f"stride={self.stride}"] if self.stride != self.window else []
        parts += [f"pad={self.pad}"] if any(map(any, self.pad)) else []
        return f"{type(self).__name__}({', '.join(parts)})"


@layer
class MaxPool(_Windowed):
    """nf.maxpool as a layer: MaxPool((2, 2), stride=(2, 2), pad=0); one integer is for images.

    x (n, spatial axes, c), as many spatial axes as k has; stride is k unless told.

    >>> import numpy as np
    >>> MaxPool((2, 2))(np.ones((1, 6, 4, 3), np.float32)).shape
    (1, 3, 2, 3)
    """

    __init__ = _Windowed.__init__

    def __call__(self, x: Any) -> Any:
        return maxpool(x, self.window, self.stride, self.pad)


@layer
class MeanPool(_Windowed):
    """nf.meanpool as a layer: MeanPool((2, 2), stride=(2, 2), pad=0); zeros of the padding count.

    x (n, spatial axes, c), as many spatial axes as k has; stride is k unless told.

    >>> import numpy as np
    >>> MeanPool((4,), stride=2)(np.ones((1, 10, 3), np.float32)).shape
    (1, 4, 3)
    """

    __init__ = _Windowed.__init__

    def __call__(self, x: Any) -> Any:
        return meanpool(x, self.window, self.stride, self.pad)


@layer
class LPPool(_Windowed):
    """nf.lpnormpool as a layer: LPPool(2, (2, 2), stride=(2, 2), pad=0), of (sum of |x|**p)**(1 / p), p >= 1.

    x (n, spatial axes, c), as many spatial axes as k has; stride is k unless told.

    >>> import numpy as np
    >>> LPPool(2, (2,))(np.array([3, 4, 0, 5], np.float32).reshape(1, 4, 1)).ravel().tolist()
    [5.0, 5.0]
    """

    p: float

    def __init__(self, p: float, k: Any, stride: Any = None, pad: Any = 0) -> None:
        self.p = check("LPPool.p", p)
        super().__init__(k, stride, pad)

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        check("LPPool.p", self.p)
        super().check_fields()

    def __call__(self, x: Any) -> Any:
        return lpnormpool(x, self.p, self.window, self.stride, self.pad)

    def describe(self) -> str:
        return super().describe().replace("(", f"({self.p}, ", 1)


@layer
class _Adaptive:
    """What AdaptiveMaxPool and AdaptiveMeanPool share."""

    out: Sizes

    def __init__(self, out: Any) -> None:
        name = type(self).__name__
        self.out = sizes(name, "out", out, _rank(name, "out", out))

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        name, out = type(self).__name__, self.out
        expect(sizes(name, "out", out, _rank(name, "out", out)) == out, name, "out", "a tuple", repr(out))

    def _pool(self, pool: Pool, x: Any) -> Any:
        """Windows of one size: stride in // out, and as large as is left for the last of them."""
        name, out = type(self).__name__, self.out
        size = space(name, x, len(out))
        enough = all(a >= b for a, b in zip(size, out, strict=True))
        expect(enough, name, "x", f"of spatial sizes of {out} or more", f"shape {tuple(x.shape)}", error=ShapeError)
        stride = tuple(a // b for a, b in zip(size, out, strict=True))
        return pool(x, tuple(a - (b - 1) * s for a, b, s in zip(size, out, stride, strict=True)), stride)

    def describe(self) -> str:
        return f"{type(self).__name__}({self.out})"


@layer
class AdaptiveMaxPool(_Adaptive):
    """The largest of windows of one size, chosen so that the spatial sizes of the result are `out`.

    stride = in // out, window = in - (out - 1) stride along each axis (as in Flux.jl; PyTorch's windows vary).

    >>> import numpy as np
    >>> AdaptiveMaxPool((2, 2))(np.ones((1, 7, 9, 3), np.float32)).shape
    (1, 2, 2, 3)
    """

    __init__ = _Adaptive.__init__

    def __call__(self, x: Any) -> Any:
        return self._pool(maxpool, x)


@layer
class AdaptiveMeanPool(_Adaptive):
    """The mean of windows of one size, chosen so that the spatial sizes of the result are `out`.

    stride = in // out, window = in - (out - 1) stride along each axis (as in Flux.jl; PyTorch's windows vary).

    >>> import numpy as np
    >>> AdaptiveMeanPool((5,))(np.ones((1, 17, 3), np.float32)).shape
    (1, 5, 3)
    """

    __init__ = _Adaptive.__init__

    def __call__(self, x: Any) -> Any:
        return self._pool(meanpool, x)


def _over_space(where: str, reduce: Pool, x: Any) -> Any:
    return reduce(x, axis=tuple(range(1, 1 + len(space(where, x)))), keepdims=True)


@layer
class GlobalMaxPool:
    """The largest over all spatial axes, which stay with size 1: (n, h, w, c) to (n, 1, 1, c).

    >>> import numpy as np
    >>> GlobalMaxPool()(np.ones((2, 5, 4, 3), np.float32)).shape
    (2, 1, 1, 3)
    """

    def __call__(self, x: Any) -> Any:
        return _over_space("GlobalMaxPool", F.max, x)


@layer
class GlobalMeanPool:
    """The mean over all spatial axes, which stay with size 1: (n, h, w, c) to (n, 1, 1, c).

    >>> import numpy as np
    >>> GlobalMeanPool()(np.ones((2, 5, 4, 3), np.float32)).shape
    (2, 1, 1, 3)
    """

    def __call__(self, x: Any) -> Any:
        return _over_space("GlobalMeanPool", F.mean, x)
