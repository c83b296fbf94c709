"""WeightNorm: a layer whose weight is trained as length and direction."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functions as F
from ..op import DTypeError, ShapeError, expect
from ..shapes import axis_in
from ..tree import STATIC, children, fields, rebuilt
from .layer import layer, one_line, param
from .normalise import deviation


@layer
class WeightNorm:
    """The layer with scale * v / |v| in place of its weight; v, which stands there instead, and scale are trained.

    dims: the axes that a length is taken over: None: all but the last, so that each output has one; an integer, or
    several. which: the field, if not weight. The layer given stays as it is. remove_weight_norms makes a plain layer.
    Source: Salimans and Kingma 2016.

    >>> from numbaflux import Dense
    >>> x, plain = np.ones((1, 3), np.float32), Dense(3, 2, rng=0)
    >>> model = WeightNorm(plain)
    >>> model.scale.shape, bool(np.allclose(model(x), plain(x)))
    ((1, 2), True)
    """

    layer: Any
    scale: np.ndarray = param()
    which: str = "weight"
    dims: tuple[int, ...] = (0,)

    def __init__(self, layer: Any, which: str = "weight", dims: int | Sequence[int] | None = None) -> None:
        known = (fields(layer) or {}).get(which) if isinstance(which, str) else None
        v: Any = getattr(layer, which) if known else None
        good = isinstance(v, np.ndarray) and v.dtype.kind == "f" and v.ndim > 0
        expect(good, "WeightNorm", "layer", f"one with an array {which}", type(layer).__name__, error=DTypeError)
        given = range(v.ndim - 1) if dims is None else np.atleast_1d(np.asarray(dims)).tolist()
        self.dims = tuple(sorted({axis_in(d, v.ndim, "WeightNorm") for d in given}))
        self.layer, self.which = copy.copy(layer), which
        object.__setattr__(self.layer, which, v.copy())
        self.scale = self._length(v)
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        v: Any = getattr(self.layer, self.which, None) if isinstance(self.which, str) else None
        expect(isinstance(v, np.ndarray), "WeightNorm", "layer", f"one with an array {self.which}",
               type(self.layer).__name__, error=DTypeError)  # fmt: skip
        good = isinstance(self.dims, tuple) and all(type(d) is int and 0 <= d < v.ndim for d in self.dims)
        expect(good, "WeightNorm", "dims", f"a tuple of integers in 0..{v.ndim - 1}", repr(self.dims), error=DTypeError)
        shape = tuple(1 if a in self.dims else s for a, s in enumerate(v.shape))
        good = isinstance(self.scale, np.ndarray) and self.scale.shape == shape and self.scale.dtype == v.dtype
        expect(good, "WeightNorm", "scale", f"{v.dtype} of shape {shape}", str(np.shape(self.scale)), error=ShapeError)

    def _length(self, v: Any) -> Any:
        tiny = float(np.finfo(v.dtype).eps)
        return deviation(F.sum(F.square(v), axis=self.dims, keepdims=True), tiny)

    def plain(self) -> Any:
        """The layer with its weight.

        >>> from numbaflux import Dense
        >>> layer = Dense(3, 2, rng=0)
        >>> bool(np.allclose(WeightNorm(layer).plain().weight, layer.weight))
        True
        """
        v, made = getattr(self.layer, self.which), copy.copy(self.layer)
        object.__setattr__(made, self.which, F.mul(v, F.div(self.scale, self._length(v))))
        return made

    def __call__(self, *inputs: Any) -> Any:
        return self.plain()(*inputs)

    def describe(self) -> str:
        return f"WeightNorm({one_line(self.layer)})"


def remove_weight_norms(model: Any) -> Any:
    """The model with plain layers of the same weights in place of WeightNorm; what has none in it is shared.

    >>> from numbaflux import Chain, Dense
    >>> type(remove_weight_norms(Chain(WeightNorm(Dense(3, 2))))[0]).__name__
    'Dense'
    """
    if isinstance(model, WeightNorm):
        return model.plain()
    below = children(model, STATIC) or []
    parts = [(key, x, remove_weight_norms(x)) for _, key, x, _ in below]
    return model if all(x is new for _, x, new in parts) else rebuilt(model, [(key, new) for key, _, new in parts])
