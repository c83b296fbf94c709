"""Losses of two classes: probabilities or logits of one of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functions as F
from ..activations import softplus
from ..ranges import check
from .targets import Agg, aggregated, eps_of, pair, rest, xlogy


def binarycrossentropy(prediction: Any, target: Any, agg: Agg = F.mean, eps: float | None = None) -> Any:
    """Mean of -y log(p + eps) - (1 - y) log(1 - p + eps): of probabilities p, targets y from 0 to 1.

    logitbinarycrossentropy is the same of logits, and more exact.

    >>> round(float(binarycrossentropy(np.full(3, 0.5), np.array([0.0, 1.0, 1.0]))), 4)
    0.6931
    """
    p, y = pair("binarycrossentropy", prediction, target)
    eps = eps_of("binarycrossentropy", p, eps)
    return aggregated(agg, F.negative(F.add(xlogy(y, F.add(p, eps)), xlogy(rest(y), F.add(rest(p), eps)))))


def logitbinarycrossentropy(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of binarycrossentropy(sigmoid(x), y) of logits x: (1 - y) softplus(x) + y softplus(-x).

    >>> float(logitbinarycrossentropy(np.array([-1e4, 1e4]), np.array([0.0, 0.0])))
    5000.0
    """
    x, y = pair("logitbinarycrossentropy", prediction, target)
    return aggregated(agg, F.add(F.mul(rest(y), softplus(x)), F.mul(y, softplus(F.negative(x)))))


def binary_focal_loss(
    prediction: Any, target: Any, agg: Agg = F.mean, gamma: float = 2.0, eps: float | None = None
) -> Any:
    """Mean of -(1 - q)**gamma log(q), q = y p + (1 - y) (1 - p) + eps: of probabilities p, targets y of 0 or 1.

    gamma=0 is binarycrossentropy. eps is added to q; added to p, as in Flux, it makes q negative where p = 1 is wrong.
    Source: Lin et al. 2017, equation 4.

    >>> round(float(binary_focal_loss(np.full(3, 0.5), np.ones(3))), 4)
    0.1733
    """
    p, y = pair("binary_focal_loss", prediction, target)
    right = F.add(F.mul(y, p), F.mul(rest(y), rest(p)))
    return aggregated(agg, F.negative(focal("binary_focal_loss", 1.0, right, gamma, eps)))


def focal(where: str, share: Any, p: Any, gamma: float, eps: float | None) -> Any:
    """share (1 - q)**gamma log(q), q = p + eps."""
    q = F.add(p, eps_of(where, p, eps))
    weight = F.power(F.relu(rest(q)), float(check(f"{where}.gamma", gamma)))  # eps may take q beyond 1
    return xlogy(F.mul(share, weight), q)


def dice_coeff_loss(prediction: Any, target: Any, agg: Agg | None = None, smooth: float = 1.0) -> Any:
    """1 - (2 sum(y p) + smooth) / (sum(y**2) + sum(p**2) + smooth), over all elements.

    With agg over those of each sample, the losses of samples (n,) going to agg. Source: Milletari et al. 2016.

    >>> float(dice_coeff_loss(np.ones(4), np.ones(4)))
    0.0
    """
    p, y = pair("dice_coeff_loss", prediction, target)
    smooth = float(check("dice_coeff_loss.smooth", smooth))
    both, each = _total(agg, F.mul(y, p)), F.add(_total(agg, F.square(y)), _total(agg, F.square(p)))
    loss = rest(F.div(F.add(F.mul(both, 2.0), smooth), F.add(each, smooth)))
    return loss if agg is None else aggregated(agg, loss)


def tversky_loss(prediction: Any, target: Any, agg: Agg | None = None, beta: float = 0.7) -> Any:
    """1 - (sum(y p) + 1) / (sum(y p + beta (1 - y) p + (1 - beta) y (1 - p)) + 1), over all elements.

    beta weighs what is found wrongly, 1 - beta what is missed. With agg over the elements of each sample, the losses of
    samples (n,) going to agg. Source: Salehi et al. 2017, equation 3.

    >>> float(tversky_loss(np.ones(4), np.ones(4)))
    0.0
    """
    p, y = pair("tversky_loss", prediction, target)
    beta = float(check("tversky_loss.beta", beta))
    total = F.add(F.mul(_total(agg, p), beta), F.mul(_total(agg, y), 1.0 - beta))  # the products y p cancel
    loss = rest(F.div(F.add(_total(agg, F.mul(y, p)), 1.0), F.add(total, 1.0)))
    return loss if agg is None else aggregated(agg, loss)


def _total(agg: Agg | None, x: Any) -> Any:
    """The sum of all elements, or of each sample's."""
    return F.sum(x, axis=None if agg is None else tuple(range(1, np.ndim(x))))
