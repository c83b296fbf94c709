"""What losses ask of predictions and targets: equal shapes, class labels; and products with logarithms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functions as F
from ..managed import beside
from ..onehot import OneHot
from ..op import DTypeError, ShapeError, expect
from ..ops.move import TAKE
from ..ranges import check
from ..trace import Value, apply

Agg = Callable[[Any], Any]


def aggregated(agg: Agg, each: Any) -> Any:
    """What agg makes of the losses of all elements or samples."""
    expect(callable(agg), "loss", "agg", "a function of an array: np.mean, np.sum, nf.identity, ...", repr(agg),
           error=DTypeError)  # fmt: skip
    return agg(each)


def equal(where: str, prediction: Any, target: Any, cure: str = "", name: str = "target") -> None:
    p, t = tuple(np.shape(prediction)), tuple(np.shape(target))
    cure = f"{name}.reshape{p}" if np.prod(p) == np.prod(t) else cure
    expect(p == t, where, name, f"of shape {p} as the prediction", str(t), cure, ShapeError)


def pair(where: str, prediction: Any, target: Any, name: str = "target") -> tuple[Any, Any]:
    """Prediction and target, or another prediction, as arrays of one shape."""
    prediction = F.floats(prediction)
    equal(where, prediction, target, name=name)
    return prediction, beside(prediction, target.astype(prediction.dtype)) if isinstance(target, OneHot) else target


def labels_of(where: str, prediction: Any, target: Any) -> Any:
    """The class of each sample, where the target says so by integers or OneHot; None where it holds probabilities."""
    if isinstance(target, OneHot):
        equal(where, prediction, target)
        target = target.indices
    target = target if isinstance(target, Value) else np.asarray(target)
    shape, got = tuple(prediction.shape[:-1]), tuple(target.shape)
    if target.dtype.kind in "iu":
        same_size = "one-hot targets are floats: y.astype(np.float32)" if got == tuple(prediction.shape) else ""
        cure = f"y.reshape{shape}" if np.prod(got) == np.prod(shape) else same_size
        expect(got == shape, where, "labels", f"of shape {shape}", str(got), cure, ShapeError)
        return F.astype(target, np.int64) if isinstance(target, Value) else target.astype(np.int64)
    equal(where, prediction, target, "labels are integers: y.astype(np.int64)" if got == shape else "")
    return None


def shares(where: str, prediction: Any, target: Any) -> Any:
    """The target as one-hot numbers or probabilities, in the shape of the prediction."""
    labels = labels_of(where, prediction, target)
    if labels is None:
        return target
    classes = prediction.shape[-1]
    numbers = beside(prediction, np.arange(classes, dtype=prediction.dtype))
    own = apply(TAKE, numbers, labels, what=f"{where}: labels must be in 0..{classes - 1}")
    return F.where(F.equal(F.expand_dims(own, own.ndim), numbers), np.ones((), prediction.dtype), 0.0)


def eps_of(where: str, prediction: Any, eps: float | None) -> float:
    return float(np.finfo(prediction.dtype).eps) if eps is None else float(check(f"{where}.eps", eps))


def sum_last(x: Any) -> Any:
    """The sum over the last axis: of classes, or of what makes a sample."""
    return F.sum(x, axis=-1)


def rest(x: Any) -> Any:
    return F.sub(1.0, x)


def xlogy(x: Any, y: Any) -> Any:
    """x log(y), and 0 where x is 0 whatever y >= 0; the gradients there are finite, too. Shapes broadcast.

    >>> xlogy(np.array([0.0, 2.0]), np.array([0.0, 1.0])).tolist()
    [0.0, 0.0]
    """
    x, y = F.floats(x), F.floats(y)
    nothing = F.less_equal(F.maximum(F.absolute(x), y), 0.0)
    return F.mul(x, F.log(F.where(nothing, 1.0, y)))


def xlogx(x: Any) -> Any:
    """x log(x), and 0 where x is 0; the gradient there counts as 0.

    >>> xlogx(np.array([0.0, 1.0])).tolist()
    [0.0, 0.0]
    """
    return xlogy(x, x)
