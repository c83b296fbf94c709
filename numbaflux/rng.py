"""Random numbers by counter: a draw depends on (seed, number of the call) alone, so two integers are the state."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .op import DTypeError, ShapeError, expect
from .ranges import check

_LIMIT = 2**64
_DRAWS, _CHILDREN = 0, 1  # second word of Philox's key: draws and the seeds of children never share a stream


def _philox(seed: int, domain: int, call: int) -> np.random.Philox:
    # Each call owns 2**128 blocks: the low two words of the counter are left to numpy.
    words = np.array([seed, domain, 0, 0, call, 0], np.uint64)
    return np.random.Philox(key=words[:2], counter=words[2:])


def _number(value: object, where: str, argument: str, kind: np.dtype[Any]) -> float:
    real = isinstance(value, Real) and not isinstance(value, bool)
    expect(real, where, argument, "a number", repr(value), error=DTypeError)
    limit = float(np.finfo(kind).max)
    expect(abs(value) <= limit, where, argument, f"finite in {kind}", value)  # type: ignore[arg-type]
    return float(value)  # type: ignore[arg-type]


def as_shape(shape: int | Iterable[int], where: str) -> tuple[int, ...]:
    """A shape as a tuple of ints; raises ShapeError for anything else.

    >>> as_shape(3, "example"), as_shape([2, 3], "example")
    ((3,), (2, 3))
    """
    given: Any = shape.tolist() if isinstance(shape, np.ndarray) else shape
    sizes: tuple[int, ...] = tuple(given) if isinstance(given, Iterable) else (given,)
    whole = all(isinstance(size, Integral) and not isinstance(size, bool) and size >= 0 for size in sizes)
    expect(whole, where, "shape", "an integer or a tuple of integers, none negative", repr(shape), error=ShapeError)
    return tuple(int(size) for size in sizes)


def as_float_dtype(dtype: DTypeLike, where: str) -> np.dtype[Any]:
    """float32 or float64 as a numpy dtype; raises DTypeError for anything else.

    >>> as_float_dtype(np.float32, "example")
    dtype('float32')
    """
    named = isinstance(dtype, str | type | np.dtype)
    known = [kind for kind in (np.float32, np.float64) if named and dtype == np.dtype(kind)]
    expect(bool(known), where, "dtype", "np.float32 or np.float64", repr(dtype), error=DTypeError)
    return np.dtype(known[0])


class Generator:
    """Random numbers whose whole state is two integers: the seed, and how many draws were made.

    Each draw takes one count, whatever its size, so the same seed and the same order of calls give the same bits, and a
    checkpoint resumes exactly. Not for several threads at once: give each its own `child`.
    Source: Philox 4x64 (Salmon et al. 2011) through numpy.random, one block of the counter space a call.

    seed: 0 <= seed < 2**64; counter: draws already made.

    >>> g = Generator(7)
    >>> first = g.normal((2, 3))
    >>> g
    Generator(seed=7, counter=1)
    >>> bool((Generator(7).normal((2, 3)) == first).all())
    True
    """

    __slots__ = ("words",)

    def __init__(self, seed: int, counter: int = 0) -> None:
        self.words = np.zeros(2, np.uint64)  # seed, counter: fixed in memory, so that compiled code can point to it
        self.state = (seed, counter)

    @property
    def state(self) -> tuple[int, int]:
        """(seed, counter), to be saved; assign it to resume.

        >>> g = Generator(7)
        >>> saved = g.state
        >>> a = g.permutation(100)
        >>> g.state = saved
        >>> bool((g.permutation(100) == a).all())
        True
        """
        return int(self.words[0]), int(self.words[1])

    @state.setter
    def state(self, state: tuple[int, int]) -> None:
        pair = isinstance(state, (tuple, list, np.ndarray)) and len(state) == 2
        expect(pair, "Generator", "state", "two integers (seed, counter)", repr(state), error=DTypeError)
        seed = int(check("Generator.seed", state[0]))
        counter = int(check("Generator.counter", state[1]))
        self.words[:] = (seed, counter)

    def __repr__(self) -> str:
        seed, counter = self.state
        return f"Generator(seed={seed}, counter={counter})"

    def advance(self, count: int) -> None:
        """Go on as if that many draws were made.

        >>> g = Generator(7)
        >>> g.advance(2)
        >>> g
        Generator(seed=7, counter=2)
        """
        self.words[1] = (self.state[1] + count) % _LIMIT

    def _draw(self) -> np.random.Generator:
        seed, counter = self.state
        self.advance(1)
        return np.random.Generator(_philox(seed, _DRAWS, counter))

    def uniform(
        self, shape: int | Iterable[int], low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
    ) -> NDArray[Any]:
        """Numbers equally likely anywhere in [low, high), an array of `shape`.

        Raises RangeError unless low <= high and both and their distance are finite in dtype.

        >>> Generator(0).uniform((2, 3), -1, 1).shape
        (2, 3)
        """
        shape, kind = as_shape(shape, "uniform"), as_float_dtype(dtype, "uniform")
        low, high = _number(low, "uniform", "low", kind), _number(high, "uniform", "high", kind)
        expect(low <= high, "uniform", "high", f"at least low = {low}", high)
        _number(high - low, "uniform", "high - low", kind)
        out = self._draw().random(shape, kind)
        out *= kind.type(high - low)
        out += kind.type(low)
        # The sum can round up to high itself.
        return np.minimum(out, np.nextafter(kind.type(high), kind.type(low)), out=out)

    def normal(
        self, shape: int | Iterable[int], mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = np.float32
    ) -> NDArray[Any]:
        """Normally distributed numbers, an array of `shape`; raises RangeError unless std >= 0, both finite.

        >>> Generator(0).normal(4, mean=10, std=0)
        array([10., 10., 10., 10.], dtype=float32)
        """
        shape, kind = as_shape(shape, "normal"), as_float_dtype(dtype, "normal")
        mean, std = _number(mean, "normal", "mean", kind), _number(check("normal.std", std), "normal", "std", kind)
        out = self._draw().standard_normal(shape, kind)
        out *= kind.type(std)
        out += kind.type(mean)
        return out

    def integers(self, shape: int | Iterable[int], low: int, high: int) -> NDArray[np.int64]:
        """Whole numbers equally likely in [low, high), an int64 array of `shape`.

        >>> bool((Generator(0).integers(100, 0, 2) < 2).all())
        True
        """
        shape = as_shape(shape, "integers")
        low = int(check("integers.low", low))
        high = int(check("integers.high", high))
        expect(low < high, "integers", "high", f"above low = {low}", high)
        return self._draw().integers(low, high, shape)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """The numbers 0 to n - 1 in random order, int64.

        >>> sorted(Generator(0).permutation(4).tolist())
        [0, 1, 2, 3]
        """
        n = int(check("permutation.n", n))
        return self._draw().permutation(n)

    def child(self, index: int) -> Generator:
        """An independent generator, the same for the same seed and index whatever was drawn before; takes no count.

        >>> Generator(7).child(0).state == Generator(7).child(1).state
        False
        """
        index = int(check("child.index", index))
        return Generator(int(_philox(self.state[0], _CHILDREN, index).random_raw()))


_default = Generator(int.from_bytes(os.urandom(8), "little"))


def default() -> Generator:
    """The generator used where rng=None; its seed comes from the operating system until `seed` sets it.

    >>> default() is default()
    True
    """
    return _default


def seed(n: int) -> None:
    """Start the default generator anew from seed n; every `rng=` argument overrides it.

    >>> seed(1)
    >>> default()
    Generator(seed=1, counter=0)
    """
    _default.state = (n, 0)  # in place: layers and compiled steps hold on to this object


def as_generator(rng: Generator | int | None, where: str) -> Generator:
    """None is the default generator, an integer the seed of a new one, a Generator itself; DTypeError for the rest.

    numpy's own generators are refused: their state is not (seed, counter), so no checkpoint could resume them.

    >>> as_generator(3, "example")
    Generator(seed=3, counter=0)
    """
    if rng is None:
        return _default
    if isinstance(rng, Generator):
        return rng
    seeded = isinstance(rng, Integral) and not isinstance(rng, bool)
    got = f"{type(rng).__module__}.{type(rng).__name__}"
    expect(seeded, where, "rng", "None, a seed or a numbaflux Generator", got, "pass a seed: rng=0", DTypeError)
    return Generator(rng)
