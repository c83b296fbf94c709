"""Mini-batches: what counts as data, how samples are gathered, and the loader that goes over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..op import DTypeError, ShapeError, expect
from ..ranges import check
from ..rng import Generator, as_float_dtype, as_generator

_BLOCK = 2**18  # bytes gathered at once: small batches are cut from one block, far cheaper than gathering each
_KINDS = "an array, a tuple or dict of arrays, or an object with __len__ and __getitem__"


def map_parts(f: Callable[[Any], Any], data: Any) -> Any:
    """f of each array or dataset inside the tuples and dicts of data, in the same structure.

    >>> map_parts(len, {"x": "abc", "y": ("ab", "a")})
    {'x': 3, 'y': (2, 1)}
    """
    if isinstance(data, tuple):
        parts = [map_parts(f, part) for part in data]
        return type(data)(*parts) if hasattr(data, "_make") else tuple(parts)
    if isinstance(data, dict):
        return {name: map_parts(f, part) for name, part in data.items()}
    return f(data)


def _lengths(data: Any, where: str, path: str = "data") -> dict[str, int]:
    """The number of samples of each part, by its path."""
    if isinstance(data, (tuple, dict)):
        parts = data.items() if isinstance(data, dict) else enumerate(data)
        return {k: n for name, part in parts for k, n in _lengths(part, where, f"{path}[{name!r}]").items()}
    got = f"{type(data).__module__}.{type(data).__name__}"
    # A table indexed by a number gives a column or a label, not a sample.
    expect(not hasattr(data, "iloc"), where, path, _KINDS, got, "pass its .to_numpy()", DTypeError)
    sized = hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, bytes))
    expect(sized, where, path, _KINDS, got, error=DTypeError)
    expect(getattr(data, "shape", None) != (), where, path, "at least one-dimensional", "shape ()", error=ShapeError)
    return {path: len(data)}


def numobs(data: Any, where: str = "numobs") -> int:
    """How many samples data holds: the common length of its parts, at least 1.

    Raises ShapeError for parts of unequal lengths or no samples at all, DTypeError for what is no data.

    >>> numobs((np.zeros((5, 2)), np.zeros(5)))
    5
    """
    lengths = _lengths(data, where)
    expect(bool(lengths), where, "data", "of one part or more", data, error=ShapeError)
    said = ", ".join(f"{n} in {path}" for path, n in lengths.items())
    expect(len(set(lengths.values())) == 1, where, "data", "of equal numbers of samples", said, error=ShapeError)
    n = next(iter(lengths.values()))
    expect(n > 0, where, "data", "of one sample or more", said, error=ShapeError)
    return n


def rows(array: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any]:
    """array[index] as a new C-contiguous array, whatever the strides of array.

    >>> rows(np.arange(12).reshape(3, 4).T, np.array([3, 0]))
    array([[ 3,  7, 11],
           [ 0,  4,  8]])
    """
    if array.flags.c_contiguous:  # np.take is the faster by far for short rows, but copies a strided array whole
        return np.asarray(array).take(index, axis=0)
    return np.ascontiguousarray(array[index])


def stack(samples: list[Any], where: str = "stack") -> Any:
    """Samples side by side along a new first axis; tuples and dicts by part. Python floats become float32.

    Raises ShapeError where samples differ in shape or structure.

    >>> stack([(np.zeros(3), 0), (np.ones(3), 1)])[1]
    array([0, 1])
    """
    first = samples[0]
    kind: Any = tuple if isinstance(first, tuple) else dict if isinstance(first, dict) else None
    if kind is not None:
        parts = range(len(first)) if kind is tuple else first
        alike = all(isinstance(s, kind) and len(s) == len(first) for s in samples)
        alike = alike and (kind is tuple or all(s.keys() == first.keys() for s in samples))
        expect(alike, where, "samples", "of one structure", [type(s).__name__ for s in samples], error=ShapeError)
        columns = {part: stack([s[part] for s in samples], where) for part in parts}
        values = columns.values()
        return columns if kind is dict else type(first)(*values) if hasattr(first, "_make") else tuple(values)
    arrays = [np.asarray(s) for s in samples]
    shapes = sorted({a.shape for a in arrays}, key=str)
    cure = "pass collate= to batch them"
    expect(len(shapes) == 1, where, "samples", "of one shape", f"{shapes[0]} and {shapes[-1]}", cure, ShapeError)
    batch = np.stack(arrays)
    weak = batch.dtype == np.float64 and {type(s) for s in samples} <= {float, int}
    return batch.astype(np.float32) if weak else batch


def _shown(data: Any) -> str:
    if isinstance(data, tuple):
        return f"({', '.join(map(_shown, data))})"
    if isinstance(data, dict):
        return "{" + ", ".join(f"{name!r}: {_shown(part)}" for name, part in data.items()) + "}"
    return f"{data.shape} {data.dtype}" if isinstance(data, np.ndarray) else type(data).__name__


class DataLoader:
    """Goes over data in mini-batches, anew and in another order each time it is iterated.

    data: an array (n, ...), a tuple (possibly nested) or dict of them, or any object with __len__ and __getitem__ whose
    samples are stacked. A batch has the structure of data; its arrays are new and C-contiguous.
    batchsize: samples a batch, 1 or more; partial: whether the last batch may be smaller, else it is dropped.
    shuffle: a new order each epoch, one draw of rng (None: the default generator; a seed; a Generator).
    collate: list of samples -> batch, in place of stacking. dtype: np.float32 or np.float64, into which floating arrays
    are converted (integers and booleans stay).
    Raises ShapeError for parts of unequal lengths or no samples, RangeError for a size out of range.

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
    ) -> None:
        where = "DataLoader"
        self.data, self.numobs = data, numobs(data, where)
        check("DataLoader.batchsize", batchsize)
        cure = "pass a smaller batchsize or partial=True"
        enough = partial or batchsize <= self.numobs
        expect(enough, where, "batchsize", f"at most the {self.numobs} samples where partial=False", batchsize, cure)
        expect(collate is None or callable(collate), where, "collate", "a function", repr(collate), error=DTypeError)
        self.batchsize, self.shuffle, self.partial = int(batchsize), bool(shuffle), bool(partial)
        self.rng, self.collate = as_generator(rng, where), collate
        self.dtype = None if dtype is None else as_float_dtype(dtype, where)

    def __len__(self) -> int:
        """The number of batches."""
        return -(-self.numobs // self.batchsize) if self.partial else self.numobs // self.batchsize

    def __iter__(self) -> Iterator[Any]:
        # Drawn here, not at the first batch: the order of iter() calls alone decides the order of samples.
        order = self.rng.permutation(self.numobs) if self.shuffle else np.arange(self.numobs)
        order = order[: len(self) * self.batchsize]
        return self._stream(self.data, order) if self.collate is None else self._collated(self.collate, order)

    def __repr__(self) -> str:
        options = f"batchsize={self.batchsize}, shuffle={self.shuffle}, partial={self.partial}, len={len(self)}"
        return f"DataLoader({_shown(self.data)}, {options})"

    def _stream(self, data: Any, order: NDArray[np.int64]) -> Iterator[Any]:
        """The batches of data: one iterator an array, zipped as data is nested."""
        if isinstance(data, tuple):
            batches = zip(*(self._stream(part, order) for part in data), strict=True)
            return map(type(data)._make, batches) if hasattr(data, "_make") else batches
        if isinstance(data, dict):
            columns = zip(*(self._stream(part, order) for part in data.values()), strict=True)
            return (dict(zip(data, column, strict=True)) for column in columns)
        return self._array_stream(data, order) if isinstance(data, np.ndarray) else self._object_stream(data, order)

    def _array_stream(self, array: NDArray[Any], order: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        size = self.batchsize
        block = size * max(1, _BLOCK // max(1, array[0].nbytes * size))
        for start in range(0, len(order), block):
            gathered = self._convert(rows(array, order[start : start + block]))
            for first in range(0, len(gathered), size):
                yield gathered[first : first + size]

    def _object_stream(self, data: Any, order: NDArray[np.int64]) -> Iterator[Any]:
        for index in self._cut(order):
            yield map_parts(self._convert, stack([data[i] for i in index], "DataLoader"))

    def _collated(self, collate: Callable[[list[Any]], Any], order: NDArray[np.int64]) -> Iterator[Any]:
        for index in self._cut(order):
            yield map_parts(self._convert, collate([self._sample(i) for i in index]))

    def _sample(self, i: int) -> Any:
        return map_parts(lambda part: part[i], self.data)

    def _cut(self, order: NDArray[np.int64]) -> Iterator[list[int]]:
        return (order[i : i + self.batchsize].tolist() for i in range(0, len(order), self.batchsize))

    def _convert(self, array: Any) -> Any:
        floating = self.dtype is not None and isinstance(array, np.ndarray) and array.dtype.kind == "f"
        return array.astype(self.dtype, copy=False) if floating else array
