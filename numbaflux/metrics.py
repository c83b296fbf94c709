"""Metrics of classification and regression: metric(model output, y) -> number or table, on plain arrays.

One with a setting is given to nf.train as functools.partial(top_k_accuracy, k=3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .onehot import OneHot
from .op import DTypeError, NonFiniteError, RangeError, ShapeError, expect
from .ranges import check

AVERAGES = ("macro", "weighted", "micro", "binary")


def _scores(output: ArrayLike, y: Any, where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Scores (n, c) and true classes (n,); every check of both arguments is here."""
    scores, target = np.asarray(output), y if isinstance(y, OneHot) else np.asarray(y)
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
    if isinstance(target, OneHot):
        return scores.reshape(-1, classes), target.indices.ravel()
    if target.shape == scores.shape:
        onehot = bool(((target == 0) | (target == 1)).all() and (target.sum(-1) == 1).all())
        expect(onehot, where, "y", "one-hot, each row a single one among zeros", "other rows", "", RangeError)
        target = target.argmax(-1)
    expect(target.dtype.kind in "iu", where, "y", "of integers", str(target.dtype), "y.astype(np.int64)", DTypeError)
    inside = 0 <= target.min() and target.max() < classes
    got = f"labels from {target.min()} to {target.max()}"
    expect(bool(inside), where, "y", f"labels in [0, {classes})", got, error=RangeError)
    return scores.reshape(-1, classes), target.astype(np.int64).ravel()


def _confusion(output: ArrayLike, y: Any, where: str) -> NDArray[np.int64]:
    scores, true = _scores(output, y, where)
    classes = scores.shape[1]
    counts: NDArray[Any] = np.bincount(true * classes + scores.argmax(-1), minlength=classes * classes)
    return counts.astype(np.int64).reshape(classes, classes)


def accuracy(output: ArrayLike, y: Any) -> float:
    """The share of samples whose highest score is that of their label, in [0, 1]; the first of equal scores counts.

    output: scores or probabilities (..., c); y: integer labels (...) or one-hot (..., c).
    Raises ShapeError, DTypeError, RangeError for labels outside [0, c), NonFiniteError for NaN.

    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    scores, true = _scores(output, y, "accuracy")
    return float(np.mean(scores.argmax(-1) == true))


def top_k_accuracy(output: ArrayLike, y: Any, k: int = 5) -> float:
    """The share of samples whose label is among the k highest scores, in [0, 1]; the first of equal scores count.

    Arguments and errors as in accuracy, which is that of k = 1.

    >>> top_k_accuracy([[0.1, 0.6, 0.3], [0.8, 0.2, 0.0]], [2, 2], k=2)
    0.5
    """
    scores, true = _scores(output, y, "top_k_accuracy")
    expect(check("top_k_accuracy.k", k) <= scores.shape[1], "top_k_accuracy", "k", f"at most the {scores.shape[1]} "
           "classes", k)  # fmt: skip
    own = np.take_along_axis(scores, true[:, None], axis=1)
    before = (scores > own) | (scores == own) & (np.arange(scores.shape[1]) < true[:, None])
    return float(np.mean(before.sum(axis=1) < k))


def balanced_accuracy(output: ArrayLike, y: Any) -> float:
    """The mean over classes of the share of their samples that are right; classes without samples do not count.

    Arguments and errors as in accuracy.

    >>> balanced_accuracy([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]], [1, 1, 0])
    0.75
    """
    table = _confusion(output, y, "balanced_accuracy")
    return _mean_share(np.diag(table), table.sum(axis=1), table.sum(axis=1) > 0)


def confusion_matrix(output: ArrayLike, y: Any) -> NDArray[np.int64]:
    """How many samples of each class (rows) were taken for each class (columns), int64 (c, c).

    Arguments and errors as in accuracy, which is the trace over the sum.

    >>> confusion_matrix([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    array([[0, 0],
           [1, 1]])
    """
    return _confusion(output, y, "confusion_matrix")


def precision(output: ArrayLike, y: Any, average: str = "macro") -> float:
    """Of the samples taken for a class, the share that belongs to it; 0 for a class that nothing was taken for.

    average: "macro", the mean over the classes that occur in labels or predictions; "weighted", weighted by their
    samples; "micro", all classes together; "binary", that of class 1 of two. Other arguments and errors as in accuracy.

    >>> precision([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], [1, 0, 0], average="binary")
    0.5
    """
    return _averaged("precision", output, y, average, predicted=1, true=0)


def recall(output: ArrayLike, y: Any, average: str = "macro") -> float:
    """Of the samples of a class, the share that was taken for it; 0 for a class without samples.

    Arguments and errors as in precision.

    >>> recall([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], [1, 0, 0], average="binary")
    1.0
    """
    return _averaged("recall", output, y, average, predicted=0, true=1)


def f1(output: ArrayLike, y: Any, average: str = "macro") -> float:
    """The harmonic mean of precision and recall of each class, 2 tp / (2 tp + fp + fn); 0 where nothing is right.

    Arguments and errors as in precision.

    >>> round(f1([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], [1, 0, 0], average="binary"), 4)
    0.6667
    """
    return _averaged("f1", output, y, average, predicted=0.5, true=0.5)


def _averaged(where: str, output: ArrayLike, y: Any, average: str, predicted: float, true: float) -> float:
    """The right ones of each class over a mixture of how often it was predicted and how often it was true."""
    expect(average in AVERAGES, where, "average", f"one of {', '.join(AVERAGES)}", repr(average))
    table = _confusion(output, y, where)
    right, taken, own = np.diag(table), table.sum(axis=0), table.sum(axis=1)
    among = predicted * taken + true * own
    if average == "binary":
        expect(len(table) == 2, where, "output", "of 2 classes where average='binary'", len(table), error=ShapeError)
        return _mean_share(right, among, np.array([0, 1]))
    if average == "micro":
        return float(right.sum() / among.sum())
    return _mean_share(right, among, own if average == "weighted" else (taken + own) > 0)


def _mean_share(right: NDArray[Any], among: NDArray[Any], weights: NDArray[Any]) -> float:
    """The mean of right / among, 0 where there is none."""
    shares = np.divide(right, among, out=np.zeros(len(right)), where=among > 0)
    return float(np.average(shares, weights=weights))


def roc_auc(output: ArrayLike, y: Any) -> float:
    """The area under the ROC curve of two classes: the probability that a sample of class 1 has a higher score than one
    of class 0, ties counted half.

    output: scores of class 1 (n,) or (n, 1), or scores of both classes (n, 2), whose difference counts, so that logits
    and probabilities are ranked alike. y: labels 0 and 1 (n,) or one-hot (n, 2).
    Raises RangeError unless both classes are there; other errors as in accuracy.

    >>> roc_auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """
    one = np.asarray(output)
    if one.ndim == 1 or one.ndim == 2 and one.shape[1] == 1:
        one = one.reshape(-1, 1)
        output = np.concatenate([np.zeros_like(one), one], axis=1)
    scores, true = _scores(output, y, "roc_auc")
    expect(scores.shape[1] == 2, "roc_auc", "output", "of 2 classes", scores.shape[1], error=ShapeError)
    n, positive = len(true), int(true.sum())
    expect(0 < positive < n, "roc_auc", "y", "of both classes", f"{positive} of class 1 among {n}", error=RangeError)
    _, group, counts = np.unique(
        scores[:, 1].astype(np.float64) - scores[:, 0], return_inverse=True, return_counts=True
    )
    rank = (np.cumsum(counts) - (counts - 1) / 2)[group]  # from 1; equal scores share the middle one
    return float((rank[true == 1].sum() - positive * (positive + 1) / 2) / (positive * (n - positive)))


# ---------------------------------------------------------------- regression


def _numbers(output: ArrayLike, y: ArrayLike, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as (samples, outputs) of float64; every check of both arguments is here."""
    p, t = np.asarray(output), np.asarray(y)
    for name, a in (("output", p), ("y", t)):
        expect(a.dtype.kind in "fiub", where, name, "of real numbers", str(a.dtype), error=DTypeError)
    expect(p.ndim > 0 and p.size > 0, where, "output", "of one sample or more", f"shape {p.shape}", error=ShapeError)
    cure = f"y.reshape({p.shape})" if p.size == t.size else ""
    expect(p.shape == t.shape, where, "y", f"of shape {p.shape} as output", f"shape {t.shape}", cure, ShapeError)
    p, t = (a.astype(np.float64).reshape(len(a), -1) for a in (p, t))
    expect(bool(np.isfinite(p).all() and np.isfinite(t).all()), where, "output and y", "finite", "NaN or Inf",
           error=NonFiniteError)  # fmt: skip
    return p, t


def mae(output: ArrayLike, y: ArrayLike) -> float:
    """Mean of absolute differences of output and y, two arrays (n, ...) of one shape, in the unit of y.

    Raises ShapeError, DTypeError, NonFiniteError for NaN and Inf.

    >>> mae([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    p, t = _numbers(output, y, "mae")
    return float(np.abs(p - t).mean())


def rmse(output: ArrayLike, y: ArrayLike) -> float:
    """Square root of the mean squared difference of output and y, in the unit of y; of several outputs (n, ...) the
    mean of theirs. Errors as in mae.

    >>> rmse([1.0, 2.0], [1.0, 4.0]) == 2**0.5
    True
    """
    p, t = _numbers(output, y, "rmse")
    return float(np.sqrt(np.square(p - t).mean(axis=0)).mean())


def r2(output: ArrayLike, y: ArrayLike) -> float:
    """The coefficient of determination, 1 - (squared errors) / (squared distances of y from its mean); of several
    outputs (n, ...) the mean of theirs. At most 1; 0 is what the mean of y gives. Where y is constant: 1 if it was hit,
    else 0. Two samples or more; errors as in mae.

    >>> round(r2([1.0, 2.0, 3.0], [1.0, 2.0, 6.0]), 4)
    0.3571
    """
    p, t = _numbers(output, y, "r2")
    expect(len(p) > 1, "r2", "output", "of two samples or more", "one", error=ShapeError)
    wrong, spread = np.square(p - t).sum(axis=0), np.square(t - t.mean(axis=0)).sum(axis=0)
    ratio = np.divide(wrong, spread, out=(wrong > 0).astype(np.float64), where=spread > 0)
    return float(np.mean(1 - ratio))
