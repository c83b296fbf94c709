"""Losses: loss(prediction, target) -> scalar. Shapes must be equal; class labels are one axis short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import functions as F
from .op import ShapeError, expect
from .ops.softmax import CROSSENTROPY
from .trace import Value, apply


def _equal(where: str, prediction: Any, target: Any, cure: str = "") -> None:
    p, t = tuple(np.shape(prediction)), tuple(np.shape(target))
    cure = f"target.reshape{p}" if np.prod(p) == np.prod(t) else cure
    expect(p == t, where, "target", f"of shape {p} as the prediction", str(t), cure, ShapeError)


def mse(prediction: Any, target: Any, agg: Callable[[Any], Any] = F.mean) -> Any:
    """Mean of squared differences; agg takes them to the loss.

    >>> float(mse(np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32)))
    1.0
    """
    _equal("mse", prediction, target)
    return agg(F.square(F.sub(prediction, target)))


def logitcrossentropy(logits: Any, target: Any, agg: Callable[[Any], Any] = F.mean) -> Any:
    """Mean of -log softmax(logits) at the target: labels (n,) of integers, or one-hot or probabilities (n, c).

    >>> round(float(logitcrossentropy(np.zeros((2, 4), np.float32), np.array([0, 3]))), 4)
    1.3863
    """
    target = target if isinstance(target, Value) else np.asarray(target)
    if target.dtype.kind in "iu":
        shape, got = tuple(logits.shape[:-1]), tuple(target.shape)
        same_size = "one-hot targets are floats: y.astype(np.float32)" if got == tuple(logits.shape) else ""
        cure = f"y.reshape{shape}" if np.prod(got) == np.prod(shape) else same_size
        expect(got == shape, "logitcrossentropy", "labels", f"of shape {shape}", str(got), cure, ShapeError)
        labels = F.astype(target, np.int64) if isinstance(target, Value) else target.astype(np.int64)
        return agg(apply(CROSSENTROPY, logits, labels))
    labels = tuple(target.shape) == tuple(logits.shape[:-1])
    _equal("logitcrossentropy", logits, target, "labels are integers: y.astype(np.int64)" if labels else "")
    return agg(F.negative(F.sum(F.mul(target, F.logsoftmax(logits)), axis=-1)))
