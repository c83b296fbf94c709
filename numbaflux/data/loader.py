"""Mini-batches: the loader that goes over data, gathers samples and makes batches ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..distributed import World
from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..ranges import check
from ..rng import Generator, as_float_dtype, as_generator
from .prefetch import Prefetched
from .samples import map_parts, numobs, rows, sample, stack

_BLOCK = 2**18  # bytes gathered at once: small batches are cut from one block, far cheaper than gathering each
_AHEAD = 2**20  # bytes of a batch that are worth a thread where all there is to do is to gather arrays in memory

Fetch = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]  # map, or that of a pool of threads


def _shown(data: Any) -> str:
    if isinstance(data, tuple):
        return f"({', '.join(map(_shown, data))})"
    if isinstance(data, dict):
        return "{" + ", ".join(f"{name!r}: {_shown(part)}" for name, part in data.items()) + "}"
    if isinstance(data, OneHot):
        return f"{data.shape} OneHot"
    return f"{data.shape} {data.dtype}" if isinstance(data, np.ndarray) else type(data).__name__


class DataLoader:
    """Goes over data in mini-batches, anew and in another order each time it is iterated.

    data: an array (n, ...), a tuple (possibly nested) or dict of them, or any object with __len__ and __getitem__ whose
    samples are stacked. A batch has the structure of data; its arrays are new and C-contiguous.
    batchsize: samples a batch, 1 or more; partial: whether the last batch may be smaller, else it is dropped.
    shuffle: a new order each epoch, one draw of rng (None: the default generator; a seed; a Generator).
    collate: list of samples -> batch, in place of stacking. dtype: np.float32 or np.float64, into which floating arrays
    are converted (integers and booleans stay).
    prefetch: batches that a thread makes ahead, 0 for none; order and bits are the same. Small batches of arrays in
    memory are gathered when asked for, which is faster.
    transform(*batch, rng=generator) -> batch, such as nf.augment has: run on each batch, with a generator of its own
    (one more draw of rng an epoch). workers: threads that fetch the samples of an object or for collate.
    world: ranks that share each batch: batchsize counts the samples of all of them together and is a multiple of
    world.size; each rank gets the next stretch of a batch, and fetches no other samples. All go in one order, and get
    as many batches of the same sizes: of the last one up to size - 1 samples are left out, others in each epoch where
    data is shuffled. Data, options and rng are the same on all ranks. What a transform draws is the rank's own.
    Raises ShapeError for parts of unequal lengths or no samples, RangeError for a size out of range; on all ranks
    RankError, when an epoch begins, unless these agree.

    >>> x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> for xb, yb in DataLoader((x, y), batchsize=2, dtype=np.float32):
    ...     print(xb.shape, xb.dtype, yb)
    (2, 2) float32 [0 1]
    (2, 2) float32 [2 3]
    (1, 2) float32 [4]
    """

    def __init__(
        self,
        data: Any,
        batchsize: int = 1,
        shuffle: bool = False,
        partial: bool = True,
        rng: Generator | int | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        dtype: DTypeLike | None = None,
        prefetch: int = 2,
        transform: Callable[..., Any] | None = None,
        workers: int = 1,
        world: World | None = None,
    ) -> None:
        where = "DataLoader"
        self.data, self.numobs = data, numobs(data, where)
        check("DataLoader.batchsize", batchsize)
        cure = "pass a smaller batchsize or partial=True"
        enough = partial or batchsize <= self.numobs
        expect(enough, where, "batchsize", f"at most the {self.numobs} samples where partial=False", batchsize, cure)
        for name, f in (("collate", collate), ("transform", transform)):
            expect(f is None or callable(f), where, name, "a function", repr(f), error=DTypeError)
        self.batchsize, self.shuffle, self.partial, self.world = int(batchsize), bool(shuffle), bool(partial), world
        self.share = self._shared(where)
        self.rng, self.collate, self.transform = as_generator(rng, where), collate, transform
        self.dtype = None if dtype is None else as_float_dtype(dtype, where)
        self.prefetch = int(check("DataLoader.prefetch", prefetch))
        self.workers = int(check("DataLoader.workers", workers))

    def _shared(self, where: str) -> int:
        """Samples of a batch that this rank gets."""
        held = self.world is None or isinstance(self.world, World)
        expect(held, where, "world", "what nf.distributed.init() returned", repr(self.world), error=DTypeError)
        self.rank, self.ranks = (0, 1) if self.world is None else (self.world.rank, self.world.size)
        expect(self.batchsize % self.ranks == 0, where, "batchsize", f"a multiple of the {self.ranks} ranks",
               self.batchsize, "it counts the samples of all ranks together")  # fmt: skip
        expect(self.numobs >= self.ranks, where, "data", f"of a sample or more for each of {self.ranks} ranks",
               self.numobs, error=ShapeError)  # fmt: skip
        return self.batchsize // self.ranks

    def __len__(self) -> int:
        """The number of batches."""
        whole, rest = divmod(self.numobs, self.batchsize)
        return whole + (self.partial and rest >= self.ranks)

    def __iter__(self) -> Iterator[Any]:
        order = self._order()
        whole = len(order) // self.batchsize * self.batchsize
        even = whole + (len(order) - whole) // self.ranks * self.ranks
        parts = order[:whole].reshape(-1, self.ranks, self.share), order[whole:even].reshape(1, self.ranks, -1)
        return self._go(np.concatenate([part[:, self.rank].reshape(-1) for part in parts]))

    def stretch(self) -> Iterator[Any]:
        """Batches as by iter(), but of this rank's stretch of the whole order: all samples once, none left out, those
        of one rank after those of another. Ranks may get different numbers of batches.

        >>> [batch.tolist() for batch in DataLoader(np.arange(3), 2).stretch()]
        [[0, 1], [2]]
        """
        order = self._order()
        first, last = (len(order) * rank // self.ranks for rank in (self.rank, self.rank + 1))
        return self._go(order[first:last])

    def _order(self) -> NDArray[np.int64]:
        """The samples of an epoch, on all ranks.

        Drawn when iteration starts, not at the first batch: the order of iter() calls alone decides that of samples.
        """
        if self.world is not None:
            self.share = self._shared("DataLoader")  # ranks may have been lost
            state = self.rng.state if self.shuffle or self.transform else ()
            known = state, self.numobs, self.batchsize, self.shuffle, self.partial
            cure = "the same data and options, and rng=seed or world.synchronize(model)"
            self.world.same(repr(known).encode(), "samples and their order", cure)
        order = self.rng.permutation(self.numobs) if self.shuffle else np.arange(self.numobs)
        return order if self.partial else order[: len(self) * self.batchsize]

    def _go(self, order: NDArray[np.int64]) -> Iterator[Any]:
        """The batches of these samples."""
        if self.transform is not None:
            draws = Generator(int(self.rng.integers((), 0, 2**63 - 1)))
            batches = self._transformed(self.transform, order, draws)
        else:
            batches = self._batches(order)
        return Prefetched(batches, self.prefetch) if self.prefetch and self._takes_time() else batches

    def __repr__(self) -> str:
        options = f"batchsize={self.batchsize}, shuffle={self.shuffle}, partial={self.partial}, len={len(self)}"
        return f"DataLoader({_shown(self.data)}, {options})"

    def _takes_time(self) -> bool:
        """Whether making a batch takes long against handing it from thread to thread."""
        parts: list[Any] = []
        map_parts(parts.append, self.data)
        kept = [part.indices if isinstance(part, OneHot) else part for part in parts]
        if self.transform or self.collate or any(type(part) is not np.ndarray for part in kept):
            return True
        return self.share * sum(part[0].nbytes for part in kept) >= _AHEAD

    def _transformed(self, transform: Callable[..., Any], order: NDArray[np.int64], draws: Generator) -> Iterator[Any]:
        for k, batch in enumerate(self._batches(order)):
            own = draws.child(k * self.ranks + self.rank)
            yield transform(*(batch if isinstance(batch, tuple) else (batch,)), rng=own)

    def _batches(self, order: NDArray[np.int64]) -> Iterator[Any]:
        with ExitStack() as stack:
            fetch: Fetch = map
            if self.workers > 1:
                fetch = stack.enter_context(ThreadPoolExecutor(self.workers, "numbaflux-data")).map
            if self.collate is None:
                yield from self._stream(self.data, order, fetch)
            else:
                yield from self._collated(self.collate, order, fetch)

    def _stream(self, data: Any, order: NDArray[np.int64], fetch: Fetch) -> Iterator[Any]:
        """The batches of data: one iterator an array, zipped as data is nested."""
        if isinstance(data, tuple):
            batches = zip(*(self._stream(part, order, fetch) for part in data), strict=True)
            return map(type(data)._make, batches) if hasattr(data, "_make") else batches
        if isinstance(data, dict):
            columns = zip(*(self._stream(part, order, fetch) for part in data.values()), strict=True)
            return (dict(zip(data, column, strict=True)) for column in columns)
        if isinstance(data, OneHot):
            return map(data.like, self._array_stream(data.indices, order))
        return self._array_stream(data, order) if isinstance(data, np.ndarray) else self._fetched(data, order, fetch)

    def _array_stream(self, array: NDArray[Any], order: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        size = self.share
        block = size * max(1, _BLOCK // max(1, array[0].nbytes * size))
        for start in range(0, len(order), block):
            gathered = self._convert(rows(array, order[start : start + block]))
            for first in range(0, len(gathered), size):
                yield gathered[first : first + size]

    def _fetched(self, data: Any, order: NDArray[np.int64], fetch: Fetch) -> Iterator[Any]:
        for index in self._cut(order):
            yield map_parts(self._convert, stack(list(fetch(lambda i: data[i], index)), "DataLoader"))

    def _collated(self, collate: Callable[[list[Any]], Any], order: NDArray[np.int64], fetch: Fetch) -> Iterator[Any]:
        for index in self._cut(order):
            yield map_parts(self._convert, collate(list(fetch(lambda i: sample(self.data, i), index))))

    def _cut(self, order: NDArray[np.int64]) -> Iterator[list[int]]:
        return (order[i : i + self.share].tolist() for i in range(0, len(order), self.share))

    def _convert(self, array: Any) -> Any:
        floating = self.dtype is not None and isinstance(array, np.ndarray) and array.dtype.kind == "f"
        return array.astype(self.dtype, copy=False) if floating else array
