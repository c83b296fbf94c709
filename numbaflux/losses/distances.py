"""Losses of several predictions: which of two is larger, how near two or three vectors are."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functions as F
from ..op import ShapeError, expect
from ..ranges import check
from ..trace import Value
from .targets import Agg, aggregated, pair, rest, sum_last

TINY = 1e-12  # added to squared lengths, so that vectors of zeros have an angle


def margin_ranking_loss(prediction: Any, other: Any, target: Any, agg: Agg = F.mean, margin: float = 0.0) -> Any:
    """Mean of max(0, margin - y (prediction - other)): y is 1 where the prediction is to be larger, else -1.

    All of one shape.

    >>> float(margin_ranking_loss(np.array([2.0, 2.0]), np.array([1.0, 1.0]), np.array([1.0, -1.0])))
    0.5
    """
    margin = float(check("margin_ranking_loss.margin", margin))
    first, second = pair("margin_ranking_loss", prediction, other, "other")
    y = _signs("margin_ranking_loss", target, first, first.shape)
    return aggregated(agg, F.relu(F.sub(margin, F.mul(y, F.sub(first, second)))))


def cosine_embedding_loss(prediction: Any, other: Any, target: Any, agg: Agg = F.mean, margin: float = 0.0) -> Any:
    """Mean of 1 - cos where y is 1, max(0, cos - margin) where it is -1: of angles between pairs of vectors (..., c).

    Targets y (...). Vectors of zeros stand at right angles to all, with finite gradients.

    >>> float(cosine_embedding_loss(np.eye(2), np.eye(2), np.array([1.0, -1.0])))
    0.5
    """
    margin = float(check("cosine_embedding_loss.margin", margin))
    first, second = pair("cosine_embedding_loss", prediction, other, "other")
    y = _signs("cosine_embedding_loss", target, first, first.shape[:-1])
    cos = _cosine(*(_scaled(x, 1.0) for x in (first, second)))
    each = F.where(F.greater(y, 0.0), rest(cos), F.relu(F.sub(cos, margin)))
    return aggregated(agg, F.add(each, F.mul(y, 0.0)))  # a target of NaN is none of both


def triplet_margin_loss(
    prediction: Any, positive: Any, negative: Any, agg: Agg = F.mean, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False,
) -> Any:  # fmt: skip
    """Mean of max(0, d(a, positive) - d(a, negative) + margin): of vectors (..., c), a being the prediction.

    d is the sum of |x - y + eps|**p to the power of 1 / p, with a gradient of 0 where that is 0. swap: the distance
    from positive to negative counts where it is smaller than that from a. Source: Balntas et al. 2016.

    >>> a, near, far = np.zeros((1, 2)), np.array([[0.6, 0.8]]), np.array([[0.9, 1.2]])
    >>> round(float(triplet_margin_loss(a, near, far)), 4)
    0.5
    """
    margin = float(check("triplet_margin_loss.margin", margin))
    p, eps = float(check("triplet_margin_loss.p", p)), float(check("triplet_margin_loss.eps", eps))
    anchor, near = pair("triplet_margin_loss", prediction, positive, "positive")
    _, far = pair("triplet_margin_loss", anchor, negative, "negative")
    away = _distance(anchor, far, p, eps)
    if swap:
        away = F.minimum(away, _distance(near, far, p, eps))
    return aggregated(agg, F.relu(F.add(F.sub(_distance(anchor, near, p, eps), away), margin)))


def _signs(where: str, target: Any, like: Any, shape: tuple[int, ...]) -> Any:
    """Targets of -1 and 1, integers too, as floats."""
    y = target if isinstance(target, Value) else np.asarray(target)
    cure = f"target.reshape{tuple(shape)}" if y.size == np.prod(shape) else ""
    good = tuple(y.shape) == tuple(shape)
    expect(good, where, "target", f"of shape {tuple(shape)}", str(tuple(y.shape)), cure, ShapeError)
    if y.dtype.kind not in "iu":
        return y
    return F.astype(y, like.dtype) if isinstance(y, Value) else y.astype(like.dtype)


def _scaled(x: Any, least: float) -> tuple[Any, Any]:
    """Vectors over their largest element, which counts as a constant, or over `least`; and what they were divided by:
    powers of what is left neither overflow nor vanish."""
    x = F.floats(x)
    size = F.max(F.absolute(F.stop_gradient(x)), -1, True)
    size = F.maximum(size, least) if least else F.where(F.equal(size, 0.0), 1.0, size)
    return F.div(x, size), size


def _cosine(first: tuple[Any, Any], second: tuple[Any, Any]) -> Any:
    """Of the angle between vectors of each pair; TINY belongs to them as they were."""
    lengths = []
    for x, size in (first, second):
        tiny = F.mul(F.square(F.div(1.0, size)), TINY)
        lengths.append(F.sqrt(F.add(sum_last(F.square(x)), F.reshape(tiny, tuple(tiny.shape[:-1])))))
    return F.div(sum_last(F.mul(first[0], second[0])), F.mul(*lengths))


def _distance(a: Any, b: Any, p: float, eps: float) -> Any:
    """Of each pair of vectors; at 0 the root would have no gradient."""
    away, size = _scaled(F.absolute(F.add(F.sub(a, b), eps)), 0.0)
    total = sum_last(F.power(away, p))
    nothing = F.equal(total, 0.0)
    root = F.power(F.where(nothing, 1.0, total), 1.0 / p)
    return F.where(nothing, 0.0, F.mul(root, F.reshape(size, tuple(size.shape[:-1]))))
