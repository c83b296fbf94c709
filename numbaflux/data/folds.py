"""Cross-validation: which samples train and which are held out, fold by fold."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..op import expect
from ..ranges import check
from ..rng import Generator
from .samples import numobs, pick
from .split import cut

Fold = tuple[Any, Any]


def _count(where: str, data: Any) -> tuple[int, Any]:
    """How many samples there are, and the data to pick from: of a number, the positions themselves."""
    if isinstance(data, Integral) and not isinstance(data, bool):
        return int(data), np.arange(int(data))
    return numobs(data, where), data


def _fold(data: Any, train: NDArray[np.int64], held: NDArray[np.int64]) -> Fold:
    return pick(data, train), pick(data, held)


def kfolds(
    data: Any, k: int = 5, shuffle: bool = False, stratified: ArrayLike | None = None,
    rng: Generator | int | None = None,
) -> Iterator[Fold]:  # fmt: skip
    """k pairs (training, validation): each sample is in the validation of one pair and in the training of the others.

    data: as in DataLoader, or a number of samples n, for which the pairs are arrays of positions.
    The parts held out are of equal sizes, the first n % k larger by one; consecutive, or drawn at random (shuffle, one
    draw of rng). stratified: labels (n,), whose shares are then alike in all parts.
    Raises RangeError for a part without samples.

    >>> for train, held in kfolds(5, k=2):
    ...     print(train, held)
    [3 4] [0 1 2]
    [0 1 2] [3 4]
    """
    n, data = _count("kfolds", data)
    check("kfolds.k", k)
    expect(k <= n, "kfolds", "k", f"at most the {n} samples", k)
    return _folds("kfolds", n, data, int(k), shuffle, stratified, rng)


def _folds(where: str, n: int, data: Any, k: int, shuffle: bool, stratified: Any, rng: Any) -> Iterator[Fold]:
    sizes = [n // k + (i < n % k) for i in range(k)]
    order, parts = cut(where, n, sizes, shuffle, stratified, rng)  # now: errors and draws belong to the call
    return (_fold(data, np.delete(order, held), order[held]) for held in parts)


def leavepout(data: Any, p: int = 1, shuffle: bool = False, rng: Generator | int | None = None) -> Iterator[Fold]:
    """Pairs (training, validation) that hold out p samples each, or fewer so that the parts are alike: kfolds with
    k = n / p, rounded up.

    >>> [held.tolist() for train, held in leavepout(4)]
    [[0], [1], [2], [3]]
    """
    n, data = _count("leavepout", data)
    check("leavepout.p", p)
    expect(p < n, "leavepout", "p", f"less than the {n} samples", p)
    return _folds("leavepout", n, data, -(-n // int(p)), shuffle, None, rng)


def timeseries_kfolds(data: Any, k: int = 5, gap: int = 0, max_train_size: int | None = None) -> Iterator[Fold]:
    """k pairs (training, validation) of samples in time: each validation part follows its training part.

    The last k parts of n // (k + 1) samples are held out in turn; what is before them is trained on, less the gap
    samples next to them, and of that the last max_train_size. data: as in kfolds.
    Raises RangeError where nothing would be left to train on.

    >>> for train, held in timeseries_kfolds(6, k=2):
    ...     print(train, held)
    [0 1] [2 3]
    [0 1 2 3] [4 5]
    """
    n, data = _count("timeseries_kfolds", data)
    k, gap = int(check("timeseries_kfolds.k", k)), int(check("timeseries_kfolds.gap", gap))
    most = n if max_train_size is None else int(check("timeseries_kfolds.max_train_size", max_train_size))
    size = n // (k + 1)
    expect(size > 0, "timeseries_kfolds", "k", f"less than the {n} samples", k)
    first = n - k * size
    expect(gap < first, "timeseries_kfolds", "gap", f"less than the {first} samples before the first part", gap)

    def fold(start: int) -> Fold:
        stop = start - gap
        return pick(data, slice(max(0, stop - most), stop)), pick(data, slice(start, start + size))

    return (fold(start) for start in range(first, n, size))
