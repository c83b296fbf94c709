"""Metrics of classification: metric(model output, labels) -> number or table, on plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .op import DTypeError, NonFiniteError, RangeError, ShapeError, expect


def _classes(output: ArrayLike, y: ArrayLike, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """(predicted class, true class, number of classes), the first two flat; every check of both arguments is here."""
    scores, target = np.asarray(output), np.asarray(y)
    wide = scores.ndim >= 2 and scores.shape[-1] >= 2
    got = f"shape {scores.shape}"
    expect(wide, where, "output", "of shape (n, c), a score for each of 2 classes or more", got, error=ShapeError)
    expect(scores.size > 0, where, "output", "of one sample or more", got, error=ShapeError)
    expect(scores.dtype.kind in "fiu", where, "output", "of real numbers", str(scores.dtype), error=DTypeError)
    expect(not np.isnan(scores).any(), where, "output", "free of NaN", "NaN", error=NonFiniteError)
    shape, classes = scores.shape[:-1], scores.shape[-1]
    expected = f"labels of shape {shape} or one-hot of shape {scores.shape}"
    cure = f"y.reshape({shape})" if target.size == scores.size // classes else ""
    fits = target.shape in (shape, scores.shape)
    expect(fits, where, "y", expected, f"shape {target.shape}", cure, ShapeError)
    if target.shape == scores.shape:
        onehot = bool(((target == 0) | (target == 1)).all() and (target.sum(-1) == 1).all())
        expect(onehot, where, "y", "one-hot, each row a single one among zeros", "other rows", "", RangeError)
        target = target.argmax(-1)
    expect(target.dtype.kind in "iu", where, "y", "of integers", str(target.dtype), "y.astype(np.int64)", DTypeError)
    inside = 0 <= target.min() and target.max() < classes
    got = f"labels from {target.min()} to {target.max()}"
    expect(bool(inside), where, "y", f"labels in [0, {classes})", got, error=RangeError)
    return scores.argmax(-1).ravel(), target.astype(np.int64).ravel(), classes


def accuracy(output: ArrayLike, y: ArrayLike) -> float:
    """The share of samples whose highest score is that of their label, in [0, 1]; the first of equal scores counts.

    output: scores or probabilities (..., c); y: integer labels (...) or one-hot (..., c).
    Raises ShapeError, DTypeError, RangeError for labels outside [0, c), NonFiniteError for NaN.

    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    predicted, true, _ = _classes(output, y, "accuracy")
    return float(np.mean(predicted == true))


def confusion_matrix(output: ArrayLike, y: ArrayLike) -> NDArray[np.int64]:
    """How many samples of each class (rows) were taken for each class (columns), int64 (c, c).

    Arguments and errors as in accuracy, which is the trace over the sum.

    >>> confusion_matrix([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    array([[0, 0],
           [1, 1]])
    """
    predicted, true, classes = _classes(output, y, "confusion_matrix")
    counts: NDArray[Any] = np.bincount(true * classes + predicted, minlength=classes * classes)
    return counts.astype(np.int64).reshape(classes, classes)
