"""Cutting data into parts and shuffling it, sample by sample; which samples have which label."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate, pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..rng import Generator, as_generator
from .samples import numobs, pick


def shuffleobs(data: Any, rng: Generator | int | None = None) -> Any:
    """The samples of data in random order: arrays as copies, other datasets as views; one draw of rng.

    >>> x, y = shuffleobs((np.arange(5), np.arange(5)), rng=0)
    >>> bool((x == y).all()), sorted(x.tolist())
    (True, [0, 1, 2, 3, 4])
    """
    return pick(data, as_generator(rng, "shuffleobs").permutation(numobs(data, "shuffleobs")))


def splitobs(
    data: Any,
    at: float | int | tuple[float, ...] | tuple[int, ...] = 0.8,
    shuffle: bool = False,
    stratified: ArrayLike | None = None,
    rng: Generator | int | None = None,
) -> tuple[Any, ...]:
    """Data cut into two or more parts, each of the structure of data.

    at: the first part's share in (0, 1) or its number of samples; a tuple of k of them gives k + 1 parts.
    shuffle: draw the parts at random (one draw of rng), else they are consecutive.
    stratified: labels (n,); each part then gets of every label the share it gets of all samples, to the nearest whole
    sample, while the sizes of the parts stay the same.
    Arrays come back as views where the parts are consecutive, as copies otherwise. Raises RangeError for an empty part.

    >>> (xa, ya), (xb, yb) = splitobs((np.zeros((10, 3)), np.arange(10)), at=0.7)
    >>> ya, yb
    (array([0, 1, 2, 3, 4, 5, 6]), array([7, 8, 9]))
    """
    n = numobs(data, "splitobs")
    sizes = _sizes(at, n)
    if stratified is None and not shuffle:
        stops = accumulate(sizes)
        return tuple(pick(data, slice(stop - size, stop)) for size, stop in zip(sizes, stops, strict=True))
    order, parts = cut("splitobs", n, sizes, shuffle, stratified, rng)
    return tuple(pick(data, order[positions]) for positions in parts)


def cut(
    where: str, n: int, sizes: list[int], shuffle: bool, stratified: Any, rng: Generator | int | None
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """n samples in order or shuffled, and for each part where in that order its samples stand.

    >>> cut("example", 5, [2, 3], False, None, None)
    (array([0, 1, 2, 3, 4]), [array([0, 1]), array([2, 3, 4])])
    """
    order = as_generator(rng, where).permutation(n) if shuffle else np.arange(n)
    if stratified is None:
        return order, np.split(np.arange(n), np.cumsum(sizes)[:-1])
    return order, _strata(labels_of(where, "stratified", stratified, n)[order], sizes)


def labels_of(where: str, argument: str, labels: Any, n: int) -> NDArray[Any]:
    """Labels of n samples, one-hot ones as numbers of classes.

    >>> labels_of("example", "labels", ["a", "b"], 2)
    array(['a', 'b'], dtype='<U1')
    """
    array = labels.indices if isinstance(labels, OneHot) else np.asarray(labels)
    expect(array.shape == (n,), where, argument, f"of shape ({n},)", f"shape {array.shape}", error=ShapeError)
    return array


def group_indices(labels: Any) -> dict[Any, NDArray[np.int64]]:
    """The positions (k,) of each label among labels (n,), in the order in which labels first come up.

    labels: an array, OneHot (numbers of classes) or any sequence. Raises ShapeError for labels of another shape.

    >>> group_indices(["yes", "no", "maybe", "yes"])
    {'yes': array([0, 3]), 'no': array([1]), 'maybe': array([2])}
    """
    array = labels_of("group_indices", "labels", labels, numobs(labels, "group_indices"))
    names, first, group = np.unique(array, return_index=True, return_inverse=True)
    return {names[i].item(): np.flatnonzero(group == i) for i in np.argsort(first)}


def group_counts(labels: Any) -> dict[Any, int]:
    """How often each label stands among labels (n,), in the order in which labels first come up.

    labels and errors: as in group_indices.

    >>> group_counts(["a", "b", "b"])
    {'a': 1, 'b': 2}
    """
    array = labels_of("group_counts", "labels", labels, numobs(labels, "group_counts"))
    return dict(Counter(array.tolist()))


def _sizes(at: Any, n: int) -> list[int]:
    """The number of samples of each part."""
    cuts = tuple(at) if isinstance(at, (tuple, list)) else (at,)
    counts = all(isinstance(cut, Integral) and not isinstance(cut, bool) for cut in cuts)
    shares = all(isinstance(cut, Real) and not isinstance(cut, Integral) for cut in cuts)
    kinds = "a share, a number of samples, or a tuple of either"
    expect(bool(cuts) and (counts or shares), "splitobs", "at", kinds, repr(at), error=DTypeError)
    if shares:
        inside = all(0 < cut < 1 for cut in cuts) and sum(cuts) < 1
        expect(inside, "splitobs", "at", "in (0, 1), a tuple of sum below 1", repr(at))
    stops = [int(cut) if counts else round(float(cut) * n) for cut in accumulate(cuts)]
    sizes = [stop - start for start, stop in pairwise([0, *stops, n])]
    said = f"{at} ({' + '.join(map(str, sizes))} samples)"
    expect(min(sizes) > 0, "splitobs", "at", f"such that no part of the {n} samples is empty", said)
    return sizes


def _strata(labels: NDArray[Any], sizes: list[int]) -> list[NDArray[np.int64]]:
    """Positions of each part, in rising order: of every label its share, by largest remainders."""
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    by_group = np.argsort(group, kind="stable")
    left = np.bincount(group)  # samples of each label not yet given out
    start = np.cumsum(left) - left
    parts = []
    for size in sizes:
        # Whole numbers throughout, so that a share that is whole comes out exact. Ties go to the label seen first.
        take, remainder = np.divmod(left * size, left.sum())
        take[np.lexsort((first, -remainder))[: size - take.sum()]] += 1
        chosen = [by_group[s : s + k] for s, k in zip(start, take, strict=True)]
        parts.append(np.sort(np.concatenate(chosen)))
        start, left = start + take, left - take
    return parts
