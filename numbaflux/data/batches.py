"""Samples into batches and back: stacked, padded, cut into parts, evened out by class."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..padding import pad_constant
from ..ranges import check
from ..rng import Generator, as_generator
from ..shapes import axis_in
from ..trace import Value
from .samples import map_parts, numobs, pick, sample, stack
from .split import labels_of


def _several(where: str, name: str, values: Any) -> list[Any]:
    good = isinstance(values, list | tuple) or isinstance(values, np.ndarray) and values.ndim > 0
    expect(good, where, name, "a list", type(values).__name__, error=DTypeError)
    expect(len(values) > 0, where, name, "one or more", "none", error=ShapeError)
    return list(values)


def batch(samples: Sequence[Any]) -> Any:
    """Samples side by side along a new first axis; tuples and dicts by part. Python floats become float32.

    Raises ShapeError where samples differ in shape or structure.

    >>> batch([([1, 2], 0), ([3, 4], 1)])
    (array([[1, 2],
           [3, 4]]), array([0, 1]))
    """
    return stack(_several("batch", "samples", samples), "batch")


def unbatch(data: Any) -> list[Any]:
    """The samples of data as a list, each in the structure of data; the inverse of batch.

    >>> unbatch((np.eye(2), ["a", "b"]))
    [(array([1., 0.]), 'a'), (array([0., 1.]), 'b')]
    """
    return [sample(data, i) for i in range(numobs(data, "unbatch"))]


def batch_sequence(seqs: Sequence[ArrayLike], pad: float = 0) -> NDArray[Any]:
    """Sequences (length, ...) of different lengths as one array (n, longest, ...), filled with pad at their ends.

    Raises ShapeError where they differ in another axis, DTypeError for a pad that their type cannot hold.

    >>> batch_sequence([[1, 2, 3], [4]])
    array([[1, 2, 3],
           [4, 0, 0]])
    """
    return _padded("batch_sequence", seqs, pad)


def batchseq(seqs: Sequence[ArrayLike], pad: float = 0) -> list[NDArray[Any]]:
    """Sequences (length, ...) of different lengths as a list of batches (n, ...), one for each step in time, filled
    with pad where a sequence has ended.

    >>> batchseq([[1, 2, 3], [4]])
    [array([1, 4]), array([2, 0]), array([3, 0])]
    """
    return [np.ascontiguousarray(step) for step in np.moveaxis(_padded("batchseq", seqs, pad), 1, 0)]


def rpad_constant(x: Any, n: Any, value: float = 0, dims: Any = None) -> Any:
    """x with a number behind it, up to n elements along each of dims (all unless told); what is longer stays.

    n: a length, or one for each of dims; dims: an axis or several. Inside a gradient x has its gradient. Raises
    DTypeError for a value that the type of x cannot hold, ShapeError for axes that are not there.

    >>> rpad_constant([1, 2], 4, -1)
    array([ 1,  2, -1, -1])
    >>> rpad_constant([[1, 2], [3, 4]], 3, dims=1)
    array([[1, 2, 0],
           [3, 4, 0]])
    """
    array = x if isinstance(x, Value) else np.asarray(x)
    expect(_holds(array.dtype, value), "rpad_constant", "value", f"a number of {array.dtype}", repr(value),
           error=DTypeError)  # fmt: skip
    given = range(array.ndim) if dims is None else dims if isinstance(dims, list | tuple) else [dims]
    axes = [axis_in(a, array.ndim, "rpad_constant") for a in given]
    lengths = [n] * len(axes) if isinstance(n, Integral) and not isinstance(n, bool) else n
    good = isinstance(lengths, list | tuple) and len(lengths) == len(axes) == len(set(axes))
    good = good and all(isinstance(k, Integral) and int(k) >= 0 for k in lengths)
    expected = f"a length of 0 or more, or {len(axes)} of them for as many different axes"
    expect(good, "rpad_constant", "n", expected, repr(n), error=ShapeError)
    behind = dict.fromkeys(range(array.ndim), 0) | {
        a: max(0, int(k) - array.shape[a]) for a, k in zip(axes, lengths, strict=True)
    }
    if isinstance(array, Value):
        return pad_constant(array, [k for b in behind.values() for k in (0, b)], value, dims=tuple(behind))
    return np.pad(array, [(0, b) for b in behind.values()], constant_values=value)


def _padded(where: str, seqs: Sequence[ArrayLike], pad: float) -> NDArray[Any]:
    arrays = [np.asarray(seq) for seq in _several(where, "seqs", seqs)]
    shapes = sorted({a.shape[1:] if a.ndim else None for a in arrays}, key=str)
    shown = " and ".join(str(shape) for shape in (shapes[0], shapes[-1]))
    alike = len(shapes) == 1 and shapes[0] is not None
    expect(alike, where, "seqs", "of one shape (length, ...) but for the length", shown, error=ShapeError)
    kind = np.result_type(*arrays)
    expect(_holds(kind, pad), where, "pad", f"a number of {kind}", repr(pad), error=DTypeError)
    out = np.full((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), pad, kind)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


def _holds(kind: np.dtype[Any], number: Any) -> bool:
    """Whether a dtype has a number, up to rounding."""
    if not isinstance(number, Real) or kind.kind not in "iub":
        return isinstance(number, Real) and kind.kind == "f"
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return low <= float(number) <= high and float(number).is_integer()


def chunk(
    data: Any, n: int | None = None, size: int | None = None, sizes: Sequence[int] | None = None,
    parts: ArrayLike | None = None, axis: int = 0,
) -> list[Any]:  # fmt: skip
    """Data in consecutive parts: n of them, whose sizes differ by one at most; of size samples each, the last perhaps
    fewer; of the sizes listed; or as parts (n samples) numbers them, from 0 and rising. One of the four is given.

    axis: the one that is cut, of arrays; that of the samples unless told. Arrays come back as views; inside a gradient
    a part has its gradient. Raises RangeError for more parts than samples or numbers that fall, ShapeError for sizes of
    another sum, DTypeError unless just one is given.

    >>> chunk(np.arange(5), 2), chunk(np.arange(5), size=2)
    ([array([0, 1, 2]), array([3, 4])], [array([0, 1]), array([2, 3]), array([4])])
    >>> [part.tolist() for part in chunk(np.arange(5), parts=[0, 0, 2, 2, 3])]
    [[0, 1], [], [2, 3], [4]]
    """
    if axis != 0:
        data = _turned(data, axis)
    count = numobs(data, "chunk")
    given = [f"{k}={v!r}" for k, v in {"n": n, "size": size, "sizes": sizes, "parts": parts}.items() if v is not None]
    expect(len(given) == 1, "chunk", "n, size, sizes or parts", "given, and one of them alone",
           ", ".join(given) or "none", error=DTypeError)  # fmt: skip
    stops = _stops(count, n, size, sizes, parts)
    found = [pick(data, slice(start, stop)) for start, stop in zip([0, *stops], stops, strict=False)]
    return [_turned(part, axis) for part in found] if axis != 0 else found


def _turned(data: Any, axis: int) -> Any:
    """Arrays with an axis in the first place, or back from there."""

    def turned(part: Any) -> Any:
        held, got = isinstance(part, np.ndarray | Value), type(part).__name__
        expect(held, "chunk", "data", "arrays, where axis is not 0", got, error=DTypeError)
        return part.swapaxes(0, axis_in(axis, part.ndim, "chunk"))

    return map_parts(turned, data)


def _stops(count: int, n: Any, size: Any, sizes: Any, parts: Any) -> list[int]:
    """Where each part ends."""
    if n is not None:
        n = int(check("chunk.n", n))
        expect(n <= count, "chunk", "n", f"at most the {count} samples", n)
        return np.cumsum([count // n + (i < count % n) for i in range(n)]).tolist()
    if size is not None:
        return [*range(int(check("chunk.size", size)), count, int(size)), count]
    if sizes is None:
        labels = _integers("parts", parts)
        expect(labels.shape == (count,), "chunk", "parts", f"of shape ({count},)", str(labels.shape), error=ShapeError)
        rising = bool(labels[0] >= 0 and (np.diff(labels) >= 0).all())
        expect(rising, "chunk", "parts", "numbers from 0, none below the one before it", str(labels.tolist()))
        return np.cumsum(np.bincount(labels)).tolist()
    counts = _integers("sizes", sizes)
    good = counts.ndim == 1 and counts.size > 0 and int(counts.min()) >= 0 and int(counts.sum()) == count
    expect(good, "chunk", "sizes", f"counts that add up to the {count} samples", str(counts.tolist()), error=ShapeError)
    return np.cumsum(counts).tolist()


def _integers(name: str, values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    expect(array.dtype.kind in "iu", "chunk", name, "integers", str(array.dtype), error=DTypeError)
    return array.astype(np.int64)


def oversample(
    data: Any, labels: Any, fraction: float = 1.0, shuffle: bool = True, rng: Generator | int | None = None
) -> tuple[Any, Any]:
    """(data, labels) in which each class has at least fraction times the samples of the largest: all of its own, as
    often as fits, and some more drawn at random.

    labels: (n,) or OneHot. shuffle: the result in random order, else in that of data.

    >>> x, y = oversample(np.arange(5), np.array([0, 0, 0, 1, 1]), rng=0)
    >>> np.bincount(y).tolist()
    [3, 3]
    """
    check("oversample.fraction", fraction)

    def wanted(counts: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.maximum(counts, round(fraction * int(counts.max())))

    return _evened("oversample", data, labels, wanted, shuffle, rng)


def undersample(data: Any, labels: Any, shuffle: bool = True, rng: Generator | int | None = None) -> tuple[Any, Any]:
    """(data, labels) in which each class has as many samples as the smallest, drawn at random.

    labels: (n,) or OneHot. shuffle: the result in random order, else in that of data.

    >>> x, y = undersample(np.arange(5), np.array([0, 0, 0, 1, 1]), shuffle=False, rng=0)
    >>> y
    array([0, 0, 1, 1])
    """
    return _evened("undersample", data, labels, lambda counts: np.full_like(counts, counts.min()), shuffle, rng)


def _evened(where: str, data: Any, labels: Any, wanted: Any, shuffle: bool, rng: Any) -> tuple[Any, Any]:
    """Each class as often as wanted(counts) says; one draw of rng a class that changes, one for the order."""
    n, generator = numobs(data, where), as_generator(rng, where)
    classes, group = np.unique(labels_of(where, "labels", labels, n), return_inverse=True)
    counts = np.bincount(group, minlength=len(classes))
    chosen = []
    for label, (have, want) in enumerate(zip(counts, wanted(counts), strict=True)):
        own = np.flatnonzero(group == label)
        whole, more = divmod(int(want), int(have))
        chosen += [own] * whole + ([own[generator.permutation(have)[:more]]] if more else [])
    index = np.sort(np.concatenate(chosen))
    index = index[generator.permutation(len(index))] if shuffle else index
    kept = labels if isinstance(labels, OneHot) else np.asarray(labels)
    return pick(data, index), pick(kept, index)
