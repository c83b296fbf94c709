"""Data brought to mean 0 and variance 1, or between 0 and 1: by its own statistics, or by those of the training data,
kept in the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import functions as F
from ..op import DTypeError, NonFiniteError, RangeError, ShapeError, expect
from ..ranges import check
from ..shapes import Axis, axis_in
from .layer import buffer, layer

_BLOCK = 2**24  # bytes of data looked at at once, so that a file on disk is never read whole


def normalise(x: Any, axis: Axis = 0, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(var + eps), mean and variance over axes: over the samples unless told.

    As Flux.jl's layers have it; MLUtils.jl's function of this name divides by sqrt(var) + eps.

    >>> normalise(np.array([[1.0], [3.0]], np.float32), eps=1e-9).tolist()
    [[-1.0], [1.0]]
    """
    check("normalise.eps", eps)
    centred = F.sub(x, F.mean(x, axis, True))
    return F.div(centred, deviation(F.mean(F.square(centred), axis, True), float(eps)))


def deviation(square: Any, eps: float) -> Any:
    """sqrt(square + eps) of sums of squares; NaN of such as overflowed, by which all would else become 0, unseen.

    >>> deviation(np.array([9.0, np.inf]), 0.0).tolist()
    [3.0, nan]
    """
    return F.sqrt(F.add(F.add(square, F.mul(square, 0.0)), eps))


def rescale(x: Any, axis: Axis = 0, eps: float = 1e-5) -> Any:
    """(x - min) / (max - min + eps), smallest and largest over axes: over the samples unless told; within 0..1.

    >>> rescale(np.array([[1.0], [2.0], [5.0]], np.float32), eps=1e-9).tolist()
    [[0.0], [0.25], [1.0]]
    """
    check("rescale.eps", eps)
    low = F.min(x, axis, True)
    return F.div(F.sub(x, low), F.add(F.sub(F.max(x, axis, True), low), float(eps)))


@layer
class Normalise:
    """(x - mean) / std with numbers that are not trained: those of the training data, saved with the model.

    mean, std: arrays that broadcast against a sample, usually (c,). `Normalise.fit(x)` takes them from data.

    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]], np.float32)
    >>> layer = Normalise.fit(x)
    >>> layer.mean.tolist(), np.round(layer(x), 3).tolist()
    ([2.0, 20.0], [[-1.0, -1.0], [1.0, 1.0]])
    """

    mean: np.ndarray = buffer()
    std: np.ndarray = buffer()

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = (a if isinstance(a, np.ndarray) else np.array(a, np.float32) for a in (mean, std))
        self.check_fields()

    @classmethod
    def fit(cls, x: NDArray[Any], axis: int | tuple[int, ...] | None = None, eps: float = 1e-5) -> Normalise:
        """The layer for data x (n, ...): mean and sqrt(var + eps) over axes, all but the last unless told.

        axis must have 0 in it, that of the samples. Reads x in blocks, in float64; float64 data gives float64 numbers,
        any other float32. Raises NonFiniteError for data with NaN or Inf.

        >>> Normalise.fit(np.ones((10, 4, 4, 3), np.uint8)).mean.tolist()
        [1.0, 1.0, 1.0]
        """
        check("normalise.eps", eps)
        good = isinstance(x, np.ndarray) and x.ndim > 0 and x.size > 0
        expect(good, "Normalise.fit", "x", "an array of one sample or more", f"shape {np.shape(x)}", error=ShapeError)
        expect(x.dtype.kind in "fiu", "Normalise.fit", "x", "of real numbers", str(x.dtype), error=DTypeError)
        given = range(max(1, x.ndim - 1)) if axis is None else np.atleast_1d(axis)
        axes = tuple(sorted({axis_in(int(a), x.ndim, "Normalise.fit") for a in given}))
        expect(0 in axes, "Normalise.fit", "axis", "with 0 in it, that of the samples", str(axis), error=ShapeError)
        mean = _mean(x, axes, 0.0)
        std = np.sqrt(_mean(x, axes, mean, square=True) + eps)
        kind = np.float64 if x.dtype == np.float64 else np.float32
        lead = next((i for i, size in enumerate(mean.shape) if size > 1), max(0, mean.ndim - 1))  # axes of 1 in front
        return cls(*(a.reshape(a.shape[lead:]).astype(kind) for a in (mean, std)))

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        for name, a in (("mean", self.mean), ("std", self.std)):
            good = isinstance(a, np.ndarray) and a.dtype in (np.float32, np.float64)
            got = str(getattr(a, "dtype", type(a).__name__))
            expect(good, "Normalise", name, "an array of float32 or float64", got, error=DTypeError)
            expect(bool(np.isfinite(a).all()), "Normalise", name, "finite", "NaN or Inf", error=NonFiniteError)
        alike = self.mean.shape == self.std.shape and self.mean.dtype == self.std.dtype
        expect(alike, "Normalise", "std", f"{self.mean.dtype} of shape {self.mean.shape} as mean",
               f"{self.std.dtype} of shape {self.std.shape}", error=ShapeError)  # fmt: skip
        expect(bool((self.std > 0).all()), "Normalise", "std", "positive", "0 or less", error=RangeError)

    def __call__(self, x: Any) -> Any:
        return F.div(F.sub(x, self.mean), self.std)

    def describe(self) -> str:
        return f"Normalise({'×'.join(map(str, self.mean.shape))})"


def _mean(x: NDArray[Any], axes: tuple[int, ...], shift: Any, square: bool = False) -> NDArray[np.float64]:
    """Mean of x - shift, or of its square, over axes that become 1; the first axis, of samples, goes."""
    step = max(1, _BLOCK // max(1, x[:1].nbytes))
    total = 0.0
    for start in range(0, len(x), step):
        part = x[start : start + step].astype(np.float64) - shift
        total = total + (part * part if square else part).sum(axis=axes, keepdims=True)
    return total[0] / np.prod([x.shape[a] for a in axes])  # type: ignore[index]
