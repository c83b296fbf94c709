"""Initial weights: each function takes a shape and returns a new array, so `functools.partial` fixes the rest."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .op import DTypeError, RangeError, ShapeError, expect
from .rng import Generator, as_float_dtype, as_generator, as_shape

Shape = int | Iterable[int]
Rng = Generator | int | None


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out): how many inputs feed one output, how many outputs one input feeds.

    Dense (in, out); Conv (k..., in // groups, out): both channels times the kernel's size; a vector (n,) is (1, n).

    >>> fans((784, 10)), fans((5, 5, 1, 6))
    ((784, 10), (25, 150))
    """
    sizes = as_shape(shape, "fans")
    *kernel, fan_in, fan_out = (1, 1, *sizes)[-max(2, len(sizes)) :]
    area = math.prod(kernel)
    return area * fan_in, area * fan_out


def _fans_for(where: str, shape: Shape, gain: float) -> tuple[tuple[int, ...], int, int]:
    sizes = as_shape(shape, where)
    expect(math.prod(sizes) > 0, where, "shape", "free of zeros", sizes, error=ShapeError)
    number = isinstance(gain, Real) and not isinstance(gain, bool)
    expect(number, where, "gain", "a number", repr(gain), error=DTypeError)
    expect(0 <= gain <= sys.float_info.max, where, "gain", "in [0, inf)", gain, error=RangeError)
    return sizes, *fans(sizes)


def glorot_uniform(shape: Shape, *, gain: float = 1.0, dtype: DTypeLike = np.float32, rng: Rng = None) -> NDArray[Any]:
    """Uniform in [-b, b) with b = gain sqrt(6 / (fan_in + fan_out)); the default of Dense and Conv.

    Source: Glorot and Bengio 2010, equation 16.

    >>> w = glorot_uniform((20, 10), rng=0)
    >>> w.shape, bool(abs(w).max() <= (6 / 30) ** 0.5)
    ((20, 10), True)
    """
    sizes, fan_in, fan_out = _fans_for("glorot_uniform", shape, gain)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return as_generator(rng, "glorot_uniform").uniform(sizes, -bound, bound, as_float_dtype(dtype, "glorot_uniform"))


def glorot_normal(shape: Shape, *, gain: float = 1.0, dtype: DTypeLike = np.float32, rng: Rng = None) -> NDArray[Any]:
    """Normal with mean 0 and standard deviation gain sqrt(2 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010, equation 12.

    >>> glorot_normal((5, 5, 3, 8), rng=0).shape
    (5, 5, 3, 8)
    """
    sizes, fan_in, fan_out = _fans_for("glorot_normal", shape, gain)
    std = gain * math.sqrt(2 / (fan_in + fan_out))
    return as_generator(rng, "glorot_normal").normal(sizes, 0.0, std, as_float_dtype(dtype, "glorot_normal"))


def kaiming_uniform(
    shape: Shape, *, gain: float = math.sqrt(2), dtype: DTypeLike = np.float32, rng: Rng = None
) -> NDArray[Any]:
    """Uniform in [-b, b) with b = gain sqrt(3 / fan_in); the default gain suits relu.

    Source: He et al. 2015, equation 10.

    >>> w = kaiming_uniform((20, 10), rng=0)
    >>> bool(abs(w).max() <= (6 / 20) ** 0.5)
    True
    """
    sizes, fan_in, _ = _fans_for("kaiming_uniform", shape, gain)
    bound = gain * math.sqrt(3 / fan_in)
    return as_generator(rng, "kaiming_uniform").uniform(sizes, -bound, bound, as_float_dtype(dtype, "kaiming_uniform"))


def kaiming_normal(
    shape: Shape, *, gain: float = math.sqrt(2), dtype: DTypeLike = np.float32, rng: Rng = None
) -> NDArray[Any]:
    """Normal with mean 0 and standard deviation gain / sqrt(fan_in); the default gain suits relu.

    Source: He et al. 2015, equation 10.

    >>> kaiming_normal((784, 10), dtype=np.float64, rng=0).dtype
    dtype('float64')
    """
    sizes, fan_in, _ = _fans_for("kaiming_normal", shape, gain)
    std = gain / math.sqrt(fan_in)
    return as_generator(rng, "kaiming_normal").normal(sizes, 0.0, std, as_float_dtype(dtype, "kaiming_normal"))


def zeros(shape: Shape, *, dtype: DTypeLike = np.float32, rng: Rng = None) -> NDArray[Any]:
    """All zeros; takes rng, and draws nothing from it, because a layer calls every initialiser alike.

    >>> zeros(3)
    array([0., 0., 0.], dtype=float32)
    """
    return np.zeros(as_shape(shape, "zeros"), as_float_dtype(dtype, "zeros"))


def ones(shape: Shape, *, dtype: DTypeLike = np.float32, rng: Rng = None) -> NDArray[Any]:
    """All ones; takes rng, and draws nothing from it, because a layer calls every initialiser alike.

    >>> ones(3)
    array([1., 1., 1.], dtype=float32)
    """
    return np.ones(as_shape(shape, "ones"), as_float_dtype(dtype, "ones"))
