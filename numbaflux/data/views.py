"""Datasets made of others: mapped, filtered, grouped, joined, drawn at random, cut into windows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..ranges import check
from ..rng import Generator, as_generator
from .samples import map_parts, numobs, pick, sample, stack


def _within(i: Any, n: int) -> int:
    """A position of n, counted from the end where it is negative."""
    if not -n <= i < n:
        raise IndexError(f"position {i} of {n} samples")
    return int(i) % n


@dataclass(frozen=True, eq=False)
class MapObs:
    """Samples of data, each as f makes it when it is asked for."""

    f: Callable[[Any], Any]
    data: Any

    def __len__(self) -> int:
        return numobs(self.data)

    def __getitem__(self, i: int) -> Any:
        return self.f(sample(self.data, _within(i, len(self))))


@dataclass(frozen=True, eq=False)
class JoinObs:
    """Samples of several datasets, one dataset after another."""

    datasets: tuple[Any, ...]
    stops: tuple[int, ...]

    def __len__(self) -> int:
        return self.stops[-1]

    def __getitem__(self, i: int) -> Any:
        i = _within(i, len(self))
        which = bisect_right(self.stops, i)
        return sample(self.datasets[which], i - (self.stops[which - 1] if which else 0))


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of size samples of a dataset that is no array, the next one stride samples further."""

    data: Any
    size: int
    stride: int

    def __len__(self) -> int:
        return (len(self.data) - self.size) // self.stride + 1

    def __getitem__(self, i: int) -> Any:
        start = _within(i, len(self)) * self.stride
        return stack([self.data[j] for j in range(start, start + self.size)], "slidingwindow")


def _function(where: str, f: Any) -> None:
    expect(callable(f), where, "f", "a function of a sample", repr(f), error=DTypeError)


def mapobs(f: Callable[[Any], Any], data: Any) -> MapObs:
    """A dataset of f(sample) for each sample of data, computed when asked for: files read, texts split.

    A sample has the structure of data. f may run in other threads; what draws random numbers is better given to
    DataLoader(transform=...).

    >>> squares = mapobs(lambda pair: (pair[0] ** 2, pair[1]), (np.arange(4.0), ["a", "b", "c", "d"]))
    >>> len(squares), squares[3]
    (4, (np.float64(9.0), 'd'))
    """
    _function("mapobs", f)
    numobs(data, "mapobs")
    return MapObs(f, data)


def filterobs(f: Callable[[Any], Any], data: Any) -> Any:
    """The samples of data for which f(sample) holds: arrays as copies, other datasets as views.

    >>> filterobs(lambda x: x > 2, np.array([1, 5, 2, 7]))
    array([5, 7])
    """
    _function("filterobs", f)
    n = numobs(data, "filterobs")
    return pick(data, np.flatnonzero([bool(f(sample(data, i))) for i in range(n)]))


def groupobs(f: Callable[[Any], Hashable], data: Any) -> dict[Any, Any]:
    """The samples of data by f(sample), in the order in which its results first come up.

    >>> groupobs(lambda x: x % 2, np.array([1, 5, 2, 7]))
    {np.int64(1): array([1, 5, 7]), np.int64(0): array([2])}
    """
    _function("groupobs", f)
    groups: dict[Any, list[int]] = {}
    for i in range(numobs(data, "groupobs")):
        groups.setdefault(f(sample(data, i)), []).append(i)
    return {key: pick(data, np.array(index)) for key, index in groups.items()}


def joinobs(*datasets: Any) -> JoinObs:
    """A dataset of the samples of several, one after another, fetched when asked for.

    >>> joined = joinobs(["a", "b"], ["c"])
    >>> len(joined), joined[2]
    (3, 'c')
    """
    expect(bool(datasets), "joinobs", "datasets", "one or more", "none", error=ShapeError)
    return JoinObs(datasets, tuple(accumulate(numobs(data, "joinobs") for data in datasets)))


def randobs(data: Any, n: int | None = None, rng: Generator | int | None = None) -> Any:
    """n samples drawn at random, each from all of data (one may come twice); n=None: one sample. One draw of rng.

    >>> randobs(np.array([4, 4, 4]), 2, rng=0)
    array([4, 4])
    """
    count = 1 if n is None else int(check("randobs.n", n))
    index = as_generator(rng, "randobs").integers(count, 0, numobs(data, "randobs"))
    return sample(data, int(index[0])) if n is None else pick(data, index)


def slidingwindow(data: Any, size: int, stride: int = 1) -> Any:
    """Windows of size neighbouring samples, each stride samples after the last: (n, ...) becomes
    ((n - size) // stride + 1, size, ...).

    Arrays come back as read-only views, other datasets as views whose windows are stacked. Raises RangeError for a size
    above n.

    >>> slidingwindow(np.arange(6), size=3, stride=2)
    array([[0, 1, 2],
           [2, 3, 4]])
    """
    n = numobs(data, "slidingwindow")
    size, stride = int(check("slidingwindow.size", size)), int(check("slidingwindow.stride", stride))
    expect(size <= n, "slidingwindow", "size", f"at most the {n} samples", size)

    def windows(part: Any) -> Any:
        if isinstance(part, OneHot):
            return part.like(windows(part.indices))
        if not isinstance(part, np.ndarray):
            return Windows(part, size, stride)
        return np.moveaxis(sliding_window_view(part, size, axis=0), -1, 1)[::stride]

    return map_parts(windows, data)
