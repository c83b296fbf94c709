"""Samples into batches and back: stacked, padded, cut into parts, evened out by class."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..ranges import check
from ..rng import Generator, as_generator
from .samples import numobs, pick, sample, stack
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


def chunk(data: Any, n: int | None = None, size: int | None = None) -> list[Any]:
    """Data in consecutive parts: n of them, whose sizes differ by one at most, or of size samples each, the last
    perhaps fewer. Arrays come back as views.

    Raises RangeError for more parts than samples, DTypeError unless one of n and size is given.

    >>> chunk(np.arange(5), 2), chunk(np.arange(5), size=2)
    ([array([0, 1, 2]), array([3, 4])], [array([0, 1]), array([2, 3]), array([4])])
    """
    count = numobs(data, "chunk")
    given = "neither" if n is size is None else f"n={n!r}, size={size!r}"
    expect((n is None) != (size is None), "chunk", "n or size", "given, and not both", given, error=DTypeError)
    if n is None:
        stops = [*range(int(check("chunk.size", size)), count, int(size or 1)), count]
    else:
        parts = int(check("chunk.n", n))
        expect(parts <= count, "chunk", "n", f"at most the {count} samples", n)
        stops = np.cumsum([count // parts + (i < count % parts) for i in range(parts)]).tolist()
    return [pick(data, slice(start, stop)) for start, stop in zip([0, *stops], stops, strict=False)]


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
