"""Datasets made of others: mapped, filtered, grouped, joined, drawn at random, cut into windows or batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..ranges import check
from ..rng import Generator, as_generator
from .samples import gathered, map_parts, numobs, pick, sample, stack


def _within(i: Any, n: int, kind: str = "samples") -> int:
    """A position of n, counted from the end where it is negative."""
    if not -n <= i < n:
        raise IndexError(f"position {i} of {n} {kind}")
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


@dataclass(frozen=True, eq=False)
class BatchView:
    """The batches of data by number, in order, each made when asked for: view[k] is the k-th, len(view) how many.

    batchsize, partial, collate: as in nf.DataLoader, which shuffles, converts and makes batches ahead. It is data
    itself, of which a sample is a batch: nf.shuffleobs(view) has whole batches in another order.
    Raises RangeError for a batchsize out of range, or above n where partial=False.

    >>> view = BatchView((np.arange(5), ["a", "b", "c", "d", "e"]), batchsize=2)
    >>> len(view), view[-1]
    (3, (array([4]), array(['e'], dtype='<U1')))
    """

    data: Any
    batchsize: int = 1
    partial: bool = True
    collate: Callable[[list[Any]], Any] | None = None

    def __post_init__(self) -> None:
        n, size = numobs(self.data, "BatchView"), int(check("BatchView.batchsize", self.batchsize))
        object.__setattr__(self, "batchsize", size)  # of small integer types products would not fit
        enough, cure = self.partial or size <= n, "pass a smaller batchsize or partial=True"
        expect(enough, "BatchView", "batchsize", f"at most the {n} samples where partial=False", size, cure)
        if self.collate is not None:
            _function("BatchView", self.collate, "collate", "a function of a list of samples")

    def __len__(self) -> int:
        n = numobs(self.data)
        return -(-n // self.batchsize) if self.partial else n // self.batchsize

    def __getitem__(self, k: int) -> Any:
        start = _within(k, len(self), "batches") * self.batchsize
        index = np.arange(start, min(start + self.batchsize, numobs(self.data)))
        if self.collate is not None:
            return self.collate([sample(self.data, int(i)) for i in index])
        return gathered("BatchView", self.data, index)

    def __repr__(self) -> str:
        return f"BatchView({len(self)} batches of {self.batchsize} samples of {type(self.data).__name__})"


def _function(where: str, f: Any, name: str = "f", kind: str = "a function of a sample") -> None:
    expect(callable(f), where, name, kind, repr(f), error=DTypeError)


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
        key = f(sample(data, i))
        expect(isinstance(key, Hashable), "groupobs", "f", "a function whose results can be keys of a dict",
               type(key).__name__, error=DTypeError)  # fmt: skip
        groups.setdefault(key, []).append(i)
    return {key: pick(data, np.array(index)) for key, index in groups.items()}


def joinobs(*datasets: Any) -> JoinObs:
    """A dataset of the samples of several, one after another, fetched when asked for.

    >>> joined = joinobs(["a", "b"], ["c"])
    >>> len(joined), joined[2]
    (3, 'c')
    """
    expect(bool(datasets), "joinobs", "datasets", "one or more", "none", error=ShapeError)
    return JoinObs(datasets, tuple(accumulate(numobs(data, "joinobs") for data in datasets)))


def eachobs(data: Any, shuffle: bool = False, rng: Generator | int | None = None) -> Iterator[Any]:
    """The samples of data one by one, each in its structure; shuffle: in random order, one draw of rng.

    nf.DataLoader goes over batches of them.

    >>> for x, y in eachobs((np.array([1.0, 2.0]), ["a", "b"])):
    ...     print(x, y)
    1.0 a
    2.0 b
    """
    n = numobs(data, "eachobs")
    order = as_generator(rng, "eachobs").permutation(n) if shuffle else np.arange(n)
    return (sample(data, i) for i in order.tolist())


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
