"""What counts as data: its parts, how many samples it holds, and how samples are picked and put side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..trace import Value

KINDS = "an array, a tuple or dict of arrays, or an object with __len__ and __getitem__"


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
    expect(not hasattr(data, "iloc"), where, path, KINDS, got, "pass its .to_numpy()", DTypeError)
    sized = hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, bytes))
    expect(sized, where, path, KINDS, got, error=DTypeError)
    single = getattr(data, "shape", None) == () or isinstance(data, OneHot) and data.ndim == 1
    got = repr(data) if isinstance(data, OneHot) else "shape ()"
    expect(not single, where, path, "at least one-dimensional", got, error=ShapeError)
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


@dataclass(frozen=True, eq=False)
class ObsView:
    """Some samples of data, fetched when asked for; nf.obsview makes one.

    >>> view = ObsView(["a", "b", "c"], np.array([2, 0]))
    >>> len(view), view[0]
    (2, 'c')
    """

    data: Any
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Any:
        return sample(self.data, int(self.index[i]))

    def __repr__(self) -> str:
        return f"ObsView({len(self)} of {numobs(self.data)} samples of {type(self.data).__name__})"


def sample(data: Any, i: int) -> Any:
    """One sample, in the structure of data.

    >>> sample({"x": np.array([3.0, 4.0]), "y": ["a", "b"]}, 1)
    {'x': np.float64(4.0), 'y': 'b'}
    """
    return map_parts(lambda part: part[i], data)


def pick(data: Any, index: NDArray[np.int64] | slice) -> Any:
    """Some samples: arrays as copies (views where index is a slice), other datasets as views.

    >>> pick((np.arange(3), ["a", "b", "c"]), np.array([2, 0]))
    (array([2, 0]), ObsView(2 of 3 samples of list))
    """

    def part_of(part: Any) -> Any:
        if not isinstance(part, np.ndarray | OneHot | Value):
            return ObsView(part, np.arange(len(part))[index])
        if isinstance(part, np.ndarray) and not isinstance(index, slice):
            return rows(part, index)
        return part[index]  # type: ignore[index]  # a Value's operators are put on it later

    return map_parts(part_of, data)


def positions(where: str, index: Any, n: int) -> NDArray[np.int64]:
    """Positions among n samples from 0 up: of a slice, of integers (from the end where negative), or of booleans (n,).

    >>> positions("example", [0, -1], 5), positions("example", slice(1, 3), 5)
    (array([0, 4]), array([1, 2]))
    """
    if isinstance(index, slice):
        return np.arange(n)[index]
    array = np.asarray(index)
    if array.dtype == bool and array.shape == (n,):
        return np.flatnonzero(array)
    good = array.ndim == 1 and array.dtype.kind in "iu"
    shown = f"{array.dtype} of shape {array.shape}"
    expect(good, where, "index", f"integers (k,), a slice, or booleans ({n},)", shown, error=DTypeError)
    outside = array[(array < -n) | (array >= n)]
    expect(outside.size == 0, where, "index", f"in {-n}..{n - 1}", str(outside[:1].tolist()).strip("[]"))
    return array.astype(np.int64) % n


def getobs(data: Any, index: Any = None) -> Any:
    """One sample of data (index: an integer), or several as one batch; all of them unless told.

    index: an integer, integers (k,), a slice, or booleans (n,). Several samples come as nf.DataLoader gives them:
    arrays (k, ...) in the structure of data, samples of other datasets stacked. Raises RangeError for a position that
    is not there, DTypeError for what is no position, ShapeError for none or for samples that differ in shape.

    >>> data = np.array([[1, 2], [3, 4], [5, 6]]), ["a", "b", "c"]
    >>> getobs(data, 1)
    (array([3, 4]), 'b')
    >>> getobs(data, [2, 0])[0].tolist()
    [[5, 6], [1, 2]]
    """
    n = numobs(data, "getobs")
    if isinstance(index, Integral) and not isinstance(index, bool):
        return sample(data, int(positions("getobs", [index], n)[0]))
    return gathered("getobs", data, positions("getobs", slice(None) if index is None else index, n))


def gathered(where: str, data: Any, index: NDArray[np.int64]) -> Any:
    """Some samples as one batch, in the structure of data.

    >>> gathered("example", (np.arange(3), [7, 8, 9]), np.array([2, 0]))
    (array([2, 0]), array([9, 7]))
    """
    expect(len(index) > 0, where, "index", "of one position or more", "none", error=ShapeError)

    def part_of(part: Any) -> Any:
        held = isinstance(part, np.ndarray | OneHot | Value)
        return pick(part, index) if held else stack([part[int(i)] for i in index], where)

    return map_parts(part_of, data)


def obsview(data: Any, index: Any) -> ObsView:
    """Some samples of data as a dataset that fetches them when asked for: nothing is copied, arrays neither.

    index: as in nf.getobs, which makes arrays of a view again. Errors as there.

    >>> view = obsview((np.arange(5), ["a", "b", "c", "d", "e"]), slice(3, None))
    >>> view, view[0]
    (ObsView(2 of 5 samples of tuple), (np.int64(3), 'd'))
    """
    return ObsView(data, positions("obsview", index, numobs(data, "obsview")))


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
    arrays = [s if isinstance(s, OneHot) else np.asarray(s) for s in samples]
    shapes = sorted({a.shape for a in arrays}, key=str)
    cure = "pass collate= to batch them" if where == "DataLoader" else "nf.batch_sequence pads sequences"
    expect(len(shapes) == 1, where, "samples", "of one shape", f"{shapes[0]} and {shapes[-1]}", cure, ShapeError)
    batch = np.stack(arrays)
    weak = batch.dtype == np.float64 and {type(s) for s in samples} <= {float, int}
    return batch.astype(np.float32) if weak else batch
