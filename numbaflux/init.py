"""Initial weights: each function takes a shape and returns a new array, so `functools.partial` fixes the rest."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .op import DTypeError, RangeError, ShapeError, expect
from .ranges import check
from .rng import Generator, as_float_dtype, as_generator, as_shape

Shape = int | Iterable[int]
Rng = Generator | int | None
FAR = 1e150  # standard deviations; beyond it squares overflow


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


def truncated_normal(
    shape: Shape, *, mean: float = 0.0, std: float = 1.0, lo: float = -2.0, hi: float = 2.0,
    dtype: DTypeLike = np.float32, rng: Rng = None,
) -> NDArray[Any]:  # fmt: skip
    """Normal with a mean and a standard deviation, none below lo or above hi, which are numbers, not deviations.

    >>> w = truncated_normal((20, 10), rng=0)
    >>> w.shape, bool(abs(w).max() <= 2)
    ((20, 10), True)
    """
    sizes = as_shape(shape, "truncated_normal")
    numbers = {"mean": mean, "std": std, "lo": lo, "hi": hi}
    mean, std, lo, hi = (float(check(f"truncated_normal.{name}", number)) for name, number in numbers.items())
    expect(lo < hi, "truncated_normal", "hi", f"above lo = {lo}", hi)
    kind, generator = as_float_dtype(dtype, "truncated_normal"), as_generator(rng, "truncated_normal")
    source = np.random.Generator(np.random.Philox(generator.integers(4, 0, 2**63 - 1)))  # one draw, however many follow
    ends = [min(max((end - mean) / std, -FAR), FAR) for end in (lo, hi)]
    return np.clip((mean + std * _normal_between(source, math.prod(sizes), *ends)).reshape(sizes), lo, hi).astype(kind)


def _normal_between(source: np.random.Generator, n: int, low: float, high: float) -> NDArray[np.float64]:
    """n normal numbers from low to high, by rejection: of normal ones where a quarter fits or more, else of equally
    likely ones, up to where less than 1e-17 is left."""
    if high < 0:
        return -_normal_between(source, n, -high, -low)
    common = math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)) > 0.5
    top, end = max(low, 0.0), min(high, low + 40 / max(low, 40 / 9)) if low > 0 else high
    out, found = np.empty(n), 0
    while found < n:
        z = source.standard_normal(n - found) if common else source.uniform(low, end, n - found)
        likely = (z >= low) & (z <= high) if common else source.random(z.size) < np.exp((top - z) * (top + z) / 2)
        taken = z[likely]
        out[found : found + taken.size] = taken
        found += taken.size
    return out


def lecun_normal(shape: Shape, *, dtype: DTypeLike = np.float32, rng: Rng = None) -> NDArray[Any]:
    """Normal with mean 0 and standard deviation 1 / sqrt(fan_in), none beyond -2 or 2; suits selu.

    Source: Klambauer et al. 2017; LeCun et al. 1998, equation 16.

    >>> lecun_normal((784, 10), rng=0).shape
    (784, 10)
    """
    _, fan_in, _ = _fans_for("lecun_normal", shape, 1.0)
    kind, generator = as_float_dtype(dtype, "lecun_normal"), as_generator(rng, "lecun_normal")
    return truncated_normal(shape, std=1 / math.sqrt(fan_in), dtype=kind, rng=generator)


def orthogonal(shape: Shape, *, gain: float = 1.0, dtype: DTypeLike = np.float32, rng: Rng = None) -> NDArray[Any]:
    """A random matrix (..., out) whose columns, or rows where they are fewer, are orthogonal and of length gain.

    Leading axes count as one. Raises ShapeError for fewer than two axes. Source: Saxe et al. 2013.

    >>> w = orthogonal((8, 3), rng=0)
    >>> bool(np.allclose(w.T @ w, np.eye(3), atol=1e-6))
    True
    """
    sizes, _, _ = _fans_for("orthogonal", shape, gain)
    expect(len(sizes) >= 2, "orthogonal", "shape", "of two axes or more", sizes, error=ShapeError)
    rows, columns = math.prod(sizes[:-1]), sizes[-1]
    kind, generator = as_float_dtype(dtype, "orthogonal"), as_generator(rng, "orthogonal")
    drawn = generator.normal((max(rows, columns), min(rows, columns)), dtype=np.float64)
    q, r = np.linalg.qr(drawn)
    q *= np.where(np.diag(r) < 0, -gain, gain)  # else not every rotation is equally likely
    return np.ascontiguousarray(q if rows >= columns else q.T, kind).reshape(sizes)


def sparse_init(
    shape: Shape, *, sparsity: float, std: float = 0.01, dtype: DTypeLike = np.float32, rng: Rng = None
) -> NDArray[Any]:
    """A matrix (in, out), normal with a standard deviation, but for a share of zeros, rounded up, in each column.

    So each output sees the same number of inputs, random ones. Raises ShapeError but for two axes.
    Source: Martens 2010.

    >>> w = sparse_init((10, 3), sparsity=0.75, rng=0)
    >>> (w == 0).sum(axis=0).tolist()
    [8, 8, 8]
    """
    sizes = as_shape(shape, "sparse_init")
    expect(len(sizes) == 2, "sparse_init", "shape", "of two axes", sizes, error=ShapeError)
    zeros_each = math.ceil(float(check("sparse_init.sparsity", sparsity)) * sizes[0] - 1e-9)  # 0.07 of 100 is 7
    std = float(check("sparse_init.std", std))
    kind, generator = as_float_dtype(dtype, "sparse_init"), as_generator(rng, "sparse_init")
    source = np.random.Generator(np.random.Philox(generator.integers(4, 0, 2**63 - 1)))
    w = source.standard_normal(sizes) * std
    w[:zeros_each] = 0
    return source.permuted(w, axis=0).astype(kind)


def identity_init(
    shape: Shape, *, gain: float = 1.0, shift: int | tuple[int, ...] = 0, dtype: DTypeLike = np.float32, rng: Rng = None
) -> NDArray[Any]:
    """Weights that pass their input on, times gain: Dense (in, out) an identity, Conv (k..., in, out) one at the
    kernel's centre; a vector is all zeros. Takes rng, and draws nothing from it.

    shift moves the elements along the first axis, or the first few, round the end. Of an even kernel the centre is the
    lower one.

    >>> identity_init((2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    sizes = as_shape(shape, "identity_init")
    gain = float(check("identity_init.gain", gain))
    moves = shift if isinstance(shift, tuple) else (shift,)
    whole = all(isinstance(by, Integral) and not isinstance(by, bool) for by in moves) and len(moves) <= max(
        len(sizes), 1
    )
    expect(
        whole, "identity_init", "shift", "an integer, or one for each of the first axes", repr(shift), error=DTypeError
    )
    w = np.zeros(sizes, as_float_dtype(dtype, "identity_init"))
    if len(sizes) < 2:
        return w
    same = np.arange(min(sizes[-2:]))
    centre: tuple[Any, ...] = tuple((k - 1) // 2 for k in sizes[:-2])
    w[(*centre, same, same)] = gain
    return np.roll(w, moves, tuple(range(len(moves))))


def rand(shape: Shape, *, dtype: DTypeLike = np.float32, rng: Rng = None) -> NDArray[Any]:
    """Uniform in [0, 1).

    >>> bool((rand(100, rng=0) < 1).all())
    True
    """
    return as_generator(rng, "rand").uniform(as_shape(shape, "rand"), dtype=as_float_dtype(dtype, "rand"))


def randn(shape: Shape, *, dtype: DTypeLike = np.float32, rng: Rng = None) -> NDArray[Any]:
    """Normal with mean 0 and standard deviation 1; the default of Embedding.

    >>> randn((2, 3), rng=0).shape
    (2, 3)
    """
    return as_generator(rng, "randn").normal(as_shape(shape, "randn"), dtype=as_float_dtype(dtype, "randn"))


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
