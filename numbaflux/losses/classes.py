"""Losses of many classes, along the last axis: labels, one-hot targets or probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functions as F
from ..onehot import OneHot
from ..op import ShapeError, expect
from ..ops.activation import CLAMP
from ..ops.softmax import CROSSENTROPY
from ..ranges import check
from ..shapes import axis_in
from ..trace import apply
from .targets import Agg, aggregated, eps_of, labels_of, pair, shares, sum_last, xlogx, xlogy
from .two_classes import focal


def label_smoothing(target: Any, alpha: float, axis: int | None = -1) -> Any:
    """Targets moved towards equal shares: y (1 - alpha) + alpha / c, the c classes being along an axis.

    axis=None: each element is a target of its own from 0 to 1, and is moved towards 1/2. Source: Szegedy et al. 2015.

    >>> label_smoothing(np.array([[0.0, 1.0]], np.float32), 0.5).tolist()
    [[0.25, 0.75]]
    """
    alpha = float(check("label_smoothing.alpha", alpha))
    y = target.astype(np.float32) if isinstance(target, OneHot) else F.floats(target)
    classes = 2 if axis is None else y.shape[axis_in(axis, y.ndim, "label_smoothing")]
    expect(classes > 0, "label_smoothing", "target", "of at least one class", f"shape {y.shape}", error=ShapeError)
    return F.add(F.mul(y, 1.0 - alpha), alpha / classes)


def crossentropy(prediction: Any, target: Any, agg: Agg = F.mean, eps: float | None = None) -> Any:
    """Mean of -sum(y log(p + eps)): of probabilities p (..., c), targets as for logitcrossentropy, which is more exact.

    >>> round(float(crossentropy(np.full((2, 4), 0.25), np.array([0, 3]))), 4)
    1.3863
    """
    p = F.floats(prediction)
    y = shares("crossentropy", p, target)
    return aggregated(agg, F.negative(sum_last(xlogy(y, F.add(p, eps_of("crossentropy", p, eps))))))


def logitcrossentropy(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of -log softmax(logits) at the target: labels (n,) of integers, or one-hot or probabilities (n, c).

    A logit of -inf rules a class out: it costs nothing where the target is 0.

    >>> round(float(logitcrossentropy(np.zeros((2, 4), np.float32), np.array([0, 3]))), 4)
    1.3863
    """
    logits = F.floats(prediction)
    labels = labels_of("logitcrossentropy", logits, target)
    if labels is not None:
        return aggregated(agg, apply(CROSSENTROPY, logits, labels))
    return aggregated(agg, F.negative(sum_last(_weighed(target, F.logsoftmax(logits)))))


def nll_loss(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of -sum(y p): of logarithms p of probabilities (..., c), targets as for logitcrossentropy.

    A logarithm of -inf counts only where the target is not 0.

    >>> float(nll_loss(np.array([[-0.5, -1.0], [-2.0, -np.inf]]), np.array([1, 0])))
    1.5
    """
    logs = F.floats(prediction)
    y = shares("nll_loss", logs, target)
    return aggregated(agg, F.negative(sum_last(_weighed(y, logs))))


def _weighed(y: Any, logs: Any) -> Any:
    """y times logarithms: of -inf nothing where y is 0. NaN stays."""
    finite = apply(CLAMP, logs, lo=float(np.finfo(logs.dtype).min), hi=math.inf)
    return F.mul(y, F.where(F.equal(y, 0.0), finite, logs))


def kldivergence(prediction: Any, target: Any, agg: Agg = F.mean, eps: float | None = None) -> Any:
    """Mean of sum(y log(y)) - sum(y log(p + eps)): how far probabilities p (..., c) are from y. 0 where they are equal.

    Source: Kullback and Leibler 1951.

    >>> round(float(kldivergence(np.full((1, 2), 0.5), np.array([[0.0, 1.0]]))), 4)
    0.6931
    """
    p, y = pair("kldivergence", prediction, target)
    return aggregated(agg, F.add(sum_last(xlogx(y)), crossentropy(p, y, F.identity, eps_of("kldivergence", p, eps))))


def focal_loss(prediction: Any, target: Any, agg: Agg = F.mean, gamma: float = 2.0, eps: float | None = None) -> Any:
    """Mean of -sum(y (1 - q)**gamma log(q)), q = p + eps: of probabilities p (..., c), targets as for crossentropy.

    gamma=0 is crossentropy. Source: Lin et al. 2017, equation 4.

    >>> round(float(focal_loss(np.full((2, 4), 0.25), np.array([0, 3]))), 4)
    0.7798
    """
    p = F.floats(prediction)
    y = shares("focal_loss", p, target)
    return aggregated(agg, F.negative(sum_last(focal("focal_loss", y, p, gamma, eps))))
