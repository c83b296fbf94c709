"""Losses: loss(prediction, target) -> scalar. Shapes must be equal; class labels are one axis short.

agg takes the losses of elements, or of samples where the last axis is that of classes, to the loss: the mean unless
told. Numbers eps, added before a logarithm, are the dtype's own (1.2e-7 for float32) unless told; 0 leaves them
out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import functions as F
from .activations import softplus
from .onehot import OneHot
from .op import ShapeError, expect
from .ops.activation import CLAMP
from .ops.softmax import CROSSENTROPY
from .ranges import check
from .shapes import axis_in
from .trace import Value, apply

Agg = Callable[[Any], Any]


def _equal(where: str, prediction: Any, target: Any, cure: str = "") -> None:
    p, t = tuple(np.shape(prediction)), tuple(np.shape(target))
    cure = f"target.reshape{p}" if np.prod(p) == np.prod(t) else cure
    expect(p == t, where, "target", f"of shape {p} as the prediction", str(t), cure, ShapeError)


def _pair(where: str, prediction: Any, target: Any) -> tuple[Any, Any]:
    """Prediction and target as arrays of one shape."""
    prediction = F.floats(prediction)
    _equal(where, prediction, target)
    return prediction, target.astype(prediction.dtype) if isinstance(target, OneHot) else target


def _labels(where: str, prediction: Any, target: Any) -> Any:
    """The class of each sample, where the target says so by integers or OneHot; None where it holds probabilities."""
    if isinstance(target, OneHot):
        _equal(where, prediction, target)
        target = target.indices
    target = target if isinstance(target, Value) else np.asarray(target)
    shape, got = tuple(prediction.shape[:-1]), tuple(target.shape)
    if target.dtype.kind in "iu":
        same_size = "one-hot targets are floats: y.astype(np.float32)" if got == tuple(prediction.shape) else ""
        cure = f"y.reshape{shape}" if np.prod(got) == np.prod(shape) else same_size
        expect(got == shape, where, "labels", f"of shape {shape}", str(got), cure, ShapeError)
        return F.astype(target, np.int64) if isinstance(target, Value) else target.astype(np.int64)
    _equal(where, prediction, target, "labels are integers: y.astype(np.int64)" if got == shape else "")
    return None


def _shares(where: str, prediction: Any, target: Any) -> Any:
    """The target as one-hot numbers or probabilities, in the shape of the prediction."""
    labels = _labels(where, prediction, target)
    if labels is None:
        return target
    numbers = np.arange(prediction.shape[-1], dtype=prediction.dtype)
    own = F.take(numbers, labels)  # raises where there is no such class
    return F.where(F.equal(F.expand_dims(own, own.ndim), numbers), np.ones((), prediction.dtype), 0.0)


def _eps(where: str, prediction: Any, eps: float | None) -> float:
    return float(np.finfo(prediction.dtype).eps) if eps is None else float(check(f"{where}.eps", eps))


def _classes(x: Any) -> Any:
    """The sum over the axis of classes."""
    return F.sum(x, axis=-1)


def _rest(x: Any) -> Any:
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


# ------------------------------------------------------------------------------------------------------------- numbers


def mae(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of absolute differences.

    >>> float(mae(np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32)))
    1.0
    """
    return agg(F.absolute(F.sub(*_pair("mae", prediction, target))))


def mse(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of squared differences; agg takes them to the loss.

    >>> float(mse(np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32)))
    1.0
    """
    return agg(F.square(F.sub(*_pair("mse", prediction, target))))


def msle(prediction: Any, target: Any, agg: Agg = F.mean, eps: float | None = None) -> Any:
    """Mean of squared differences of logarithms: log((prediction + eps) / (target + eps))**2, both from 0 on.

    >>> round(float(msle(np.full(3, np.e), np.ones(3))), 4)
    1.0
    """
    p, t = _pair("msle", prediction, target)
    eps = _eps("msle", p, eps)
    return agg(F.square(F.log(F.div(F.add(p, eps), F.add(t, eps)))))


def huber_loss(prediction: Any, target: Any, agg: Agg = F.mean, delta: float = 1.0) -> Any:
    """Mean of e**2 / 2 for differences e up to delta, delta (|e| - delta / 2) for larger. Source: Huber 1964.

    >>> float(huber_loss(np.array([1.0, 3.0]), np.zeros(2), agg=np.sum))
    3.0
    """
    limit = float(check("huber_loss.delta", delta))
    e = F.sub(*_pair("huber_loss", prediction, target))
    near = apply(CLAMP, e, lo=-limit, hi=limit)
    return agg(F.mul(near, F.sub(e, F.mul(near, 0.5))))


def poisson_loss(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of prediction - target log(prediction): of a rate > 0 and the counts it was to foresee.

    >>> float(poisson_loss(np.ones(3), np.array([0.0, 1.0, 2.0])))
    1.0
    """
    p, t = _pair("poisson_loss", prediction, target)
    return agg(F.sub(p, xlogy(t, p)))


def hinge_loss(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of max(0, 1 - prediction target), targets being -1 or 1.

    >>> float(hinge_loss(np.array([0.5, 2.0]), np.array([1.0, 1.0])))
    0.25
    """
    return agg(F.relu(_rest(F.mul(*_pair("hinge_loss", prediction, target)))))


def squared_hinge_loss(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of max(0, 1 - prediction target)**2, targets being -1 or 1.

    >>> float(squared_hinge_loss(np.array([0.5, 2.0]), np.array([1.0, 1.0])))
    0.125
    """
    return agg(F.square(F.relu(_rest(F.mul(*_pair("squared_hinge_loss", prediction, target))))))


def siamese_contrastive_loss(prediction: Any, target: Any, agg: Agg = F.mean, margin: float = 1.0) -> Any:
    """Mean of (1 - y) d**2 + y max(0, margin - d)**2: of distances d of pairs, y being 1 where a pair is unlike.

    Source: Hadsell et al. 2006, equation 4, without the halves.

    >>> float(siamese_contrastive_loss(np.array([0.5, 0.5]), np.array([0.0, 1.0])))
    0.25
    """
    d, y = _pair("siamese_contrastive_loss", prediction, target)
    short = F.relu(F.sub(float(check("siamese_contrastive_loss.margin", margin)), d))
    return agg(F.add(F.mul(_rest(y), F.square(d)), F.mul(y, F.square(short))))


# --------------------------------------------------------------------------------------------------------- two classes


def binarycrossentropy(prediction: Any, target: Any, agg: Agg = F.mean, eps: float | None = None) -> Any:
    """Mean of -y log(p + eps) - (1 - y) log(1 - p + eps): of probabilities p, targets y from 0 to 1.

    logitbinarycrossentropy is the same of logits, and more exact.

    >>> round(float(binarycrossentropy(np.full(3, 0.5), np.array([0.0, 1.0, 1.0]))), 4)
    0.6931
    """
    p, y = _pair("binarycrossentropy", prediction, target)
    eps = _eps("binarycrossentropy", p, eps)
    return agg(F.negative(F.add(xlogy(y, F.add(p, eps)), xlogy(_rest(y), F.add(_rest(p), eps)))))


def logitbinarycrossentropy(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of binarycrossentropy(sigmoid(x), y) of logits x: (1 - y) softplus(x) + y softplus(-x).

    >>> float(logitbinarycrossentropy(np.array([-1e4, 1e4]), np.array([0.0, 0.0])))
    5000.0
    """
    x, y = _pair("logitbinarycrossentropy", prediction, target)
    return agg(F.add(F.mul(_rest(y), softplus(x)), F.mul(y, softplus(F.negative(x)))))


def binary_focal_loss(
    prediction: Any, target: Any, agg: Agg = F.mean, gamma: float = 2.0, eps: float | None = None
) -> Any:
    """Mean of -(1 - q)**gamma log(q), q = y p + (1 - y) (1 - p) + eps: of probabilities p, targets y of 0 or 1.

    gamma=0 is binarycrossentropy. eps is added to q; added to p, as in Flux, it makes q negative where p = 1 is wrong.
    Source: Lin et al. 2017, equation 4.

    >>> round(float(binary_focal_loss(np.full(3, 0.5), np.ones(3))), 4)
    0.1733
    """
    p, y = _pair("binary_focal_loss", prediction, target)
    right = F.add(F.mul(y, p), F.mul(_rest(y), _rest(p)))
    return agg(F.negative(_focal("binary_focal_loss", 1.0, right, gamma, eps)))


def _focal(where: str, share: Any, p: Any, gamma: float, eps: float | None) -> Any:
    """share (1 - q)**gamma log(q), q = p + eps."""
    q = F.add(p, _eps(where, p, eps))
    weight = F.power(F.relu(_rest(q)), float(check(f"{where}.gamma", gamma)))  # eps may take q beyond 1
    return xlogy(F.mul(share, weight), q)


def dice_coeff_loss(prediction: Any, target: Any, smooth: float = 1.0) -> Any:
    """1 - (2 sum(y p) + smooth) / (sum(y**2) + sum(p**2) + smooth), over all elements. Source: Milletari et al. 2016.

    >>> float(dice_coeff_loss(np.ones(4), np.ones(4)))
    0.0
    """
    p, y = _pair("dice_coeff_loss", prediction, target)
    smooth = float(check("dice_coeff_loss.smooth", smooth))
    both, each = F.sum(F.mul(y, p)), F.add(F.sum(F.square(y)), F.sum(F.square(p)))
    return _rest(F.div(F.add(F.mul(both, 2.0), smooth), F.add(each, smooth)))


def tversky_loss(prediction: Any, target: Any, beta: float = 0.7) -> Any:
    """1 - (sum(y p) + 1) / (sum(y p + beta (1 - y) p + (1 - beta) y (1 - p)) + 1), over all elements.

    beta weighs what is found wrongly, 1 - beta what is missed. Source: Salehi et al. 2017, equation 3.

    >>> float(tversky_loss(np.ones(4), np.ones(4)))
    0.0
    """
    p, y = _pair("tversky_loss", prediction, target)
    beta = float(check("tversky_loss.beta", beta))
    total = F.add(F.mul(F.sum(p), beta), F.mul(F.sum(y), 1.0 - beta))  # the products y p cancel
    return _rest(F.div(F.add(F.sum(F.mul(y, p)), 1.0), F.add(total, 1.0)))


# -------------------------------------------------------------------------------------------------------- many classes


def label_smoothing(target: Any, alpha: float, axis: int | None = -1) -> Any:
    """Targets moved towards equal shares: y (1 - alpha) + alpha / c, the c classes being along an axis.

    axis=None: each element is a target of its own from 0 to 1, and is moved towards 1/2. Source: Szegedy et al. 2015.

    >>> label_smoothing(np.array([[0.0, 1.0]], np.float32), 0.5).tolist()
    [[0.25, 0.75]]
    """
    alpha = float(check("label_smoothing.alpha", alpha))
    y = target.astype(np.float32) if isinstance(target, OneHot) else F.floats(target)
    classes = 2 if axis is None else y.shape[axis_in(axis, y.ndim, "label_smoothing")]
    return F.add(F.mul(y, 1.0 - alpha), alpha / classes)


def crossentropy(prediction: Any, target: Any, agg: Agg = F.mean, eps: float | None = None) -> Any:
    """Mean of -sum(y log(p + eps)): of probabilities p (..., c), targets as for logitcrossentropy, which is more exact.

    >>> round(float(crossentropy(np.full((2, 4), 0.25), np.array([0, 3]))), 4)
    1.3863
    """
    p = F.floats(prediction)
    y = _shares("crossentropy", p, target)
    return agg(F.negative(_classes(xlogy(y, F.add(p, _eps("crossentropy", p, eps))))))


def logitcrossentropy(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of -log softmax(logits) at the target: labels (n,) of integers, or one-hot or probabilities (n, c).

    >>> round(float(logitcrossentropy(np.zeros((2, 4), np.float32), np.array([0, 3]))), 4)
    1.3863
    """
    logits = F.floats(prediction)
    labels = _labels("logitcrossentropy", logits, target)
    if labels is not None:
        return agg(apply(CROSSENTROPY, logits, labels))
    return agg(F.negative(_classes(F.mul(target, F.logsoftmax(logits)))))


def kldivergence(prediction: Any, target: Any, agg: Agg = F.mean, eps: float | None = None) -> Any:
    """Mean of sum(y log(y)) - sum(y log(p + eps)): how far probabilities p (..., c) are from y. 0 where they are equal.

    Source: Kullback and Leibler 1951.

    >>> round(float(kldivergence(np.full((1, 2), 0.5), np.array([[0.0, 1.0]]))), 4)
    0.6931
    """
    p, y = _pair("kldivergence", prediction, target)
    return F.add(agg(_classes(xlogx(y))), crossentropy(p, y, agg, _eps("kldivergence", p, eps)))


def focal_loss(prediction: Any, target: Any, agg: Agg = F.mean, gamma: float = 2.0, eps: float | None = None) -> Any:
    """Mean of -sum(y (1 - q)**gamma log(q)), q = p + eps: of probabilities p (..., c), targets as for crossentropy.

    gamma=0 is crossentropy. Source: Lin et al. 2017, equation 4.

    >>> round(float(focal_loss(np.full((2, 4), 0.25), np.array([0, 3]))), 4)
    0.7798
    """
    p = F.floats(prediction)
    y = _shares("focal_loss", p, target)
    return agg(F.negative(_classes(_focal("focal_loss", y, p, gamma, eps))))


LOSSES = (
    mae, mse, msle, huber_loss, poisson_loss, hinge_loss, squared_hinge_loss, siamese_contrastive_loss,
    binarycrossentropy, logitbinarycrossentropy, binary_focal_loss, dice_coeff_loss, tversky_loss, crossentropy,
    logitcrossentropy, kldivergence, focal_loss,
)  # fmt: skip
