"""Losses of numbers: each element of the prediction against that of the target."""

from __future__ import annotations

import math
from typing import Any

from .. import functions as F
from ..op import ShapeError, expect
from ..ops.activation import CLAMP
from ..ranges import check
from ..trace import apply
from .targets import Agg, aggregated, eps_of, pair, rest, xlogy


def mae(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of absolute differences.

    >>> import numpy as np
    >>> float(mae(np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32)))
    1.0
    """
    return aggregated(agg, F.absolute(F.sub(*pair("mae", prediction, target))))


def mse(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of squared differences; agg takes them to the loss.

    >>> import numpy as np
    >>> float(mse(np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32)))
    1.0
    """
    return aggregated(agg, F.square(F.sub(*pair("mse", prediction, target))))


def msle(prediction: Any, target: Any, agg: Agg = F.mean, eps: float | None = None) -> Any:
    """Mean of squared differences of logarithms: (log(prediction + eps) - log(target + eps))**2, both from 0 on.

    >>> import numpy as np
    >>> round(float(msle(np.full(3, np.e), np.ones(3))), 4)
    1.0
    """
    p, t = pair("msle", prediction, target)
    eps = eps_of("msle", p, eps)
    return aggregated(agg, F.square(F.sub(F.log(F.add(p, eps)), F.log(F.add(t, eps)))))  # a quotient may overflow


def huber_loss(prediction: Any, target: Any, agg: Agg = F.mean, delta: float = 1.0) -> Any:
    """Mean of e**2 / 2 for differences e up to delta, delta (|e| - delta / 2) for larger. Source: Huber 1964.

    >>> import numpy as np
    >>> float(huber_loss(np.array([1.0, 3.0]), np.zeros(2), agg=np.sum))
    3.0
    """
    limit = float(check("huber_loss.delta", delta))
    e = F.sub(*pair("huber_loss", prediction, target))
    near = apply(CLAMP, e, lo=-limit, hi=limit)
    return aggregated(agg, F.mul(near, F.sub(e, F.mul(near, 0.5))))


def poisson_loss(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of prediction - target log(prediction): of a rate > 0 and the counts it was to foresee.

    >>> import numpy as np
    >>> float(poisson_loss(np.ones(3), np.array([0.0, 1.0, 2.0])))
    1.0
    """
    p, t = pair("poisson_loss", prediction, target)
    return aggregated(agg, F.sub(p, xlogy(t, p)))


def quantile_loss(prediction: Any, target: Any, agg: Agg = F.mean, q: float = 0.5) -> Any:
    """Mean of q e for targets above the prediction by e, (1 - q) |e| for those below: least at the q-th quantile.

    q=0.5 is half of mae. Source: Koenker and Bassett 1978.

    >>> import numpy as np
    >>> float(quantile_loss(np.zeros(2), np.array([1.0, -1.0]), agg=np.max, q=0.75))
    0.75
    """
    q = float(check("quantile_loss.q", q))
    p, t = pair("quantile_loss", prediction, target)
    e = F.sub(t, p)
    return aggregated(agg, F.maximum(F.mul(e, q), F.mul(e, q - 1.0)))


def gaussian_nll_loss(
    prediction: Any, target: Any, var: Any, agg: Agg = F.mean, full: bool = False, eps: float = 1e-6
) -> Any:
    """Mean of (log(var) + (prediction - target)**2 / var) / 2: of means and variances of normal distributions.

    var: in the shape of the prediction, or one for its last axis (..., 1). Below eps it counts as eps, with the
    gradient there, so that it may grow again. full adds log(2 pi) / 2, which makes it a logarithm of a density.
    Source: Nix and Weigend 1994.

    >>> import numpy as np
    >>> float(gaussian_nll_loss(np.zeros((1, 2)), np.array([[1.0, 3.0]]), np.ones((1, 1))))
    2.5
    """
    eps = float(check("gaussian_nll_loss.eps", eps))
    p, t = pair("gaussian_nll_loss", prediction, target)
    var = F.floats(var)
    one, got = (*p.shape[:-1], 1), tuple(var.shape)
    expect(got in (tuple(p.shape), one), "gaussian_nll_loss", "var", f"of shape {tuple(p.shape)} or {one}", str(got),
           error=ShapeError)  # fmt: skip
    held = F.stop_gradient(var)
    var = F.add(F.maximum(held, eps), F.sub(var, held))
    e = F.sub(p, t)
    each = F.mul(F.add(F.log(var), F.mul(e, F.div(e, var))), 0.5)  # e * e might overflow where the quotient does not
    return aggregated(agg, F.add(each, 0.5 * math.log(2 * math.pi)) if full else each)


def hinge_loss(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of max(0, 1 - prediction target), targets being -1 or 1.

    >>> import numpy as np
    >>> float(hinge_loss(np.array([0.5, 2.0]), np.array([1.0, 1.0])))
    0.25
    """
    return aggregated(agg, F.relu(rest(F.mul(*pair("hinge_loss", prediction, target)))))


def squared_hinge_loss(prediction: Any, target: Any, agg: Agg = F.mean) -> Any:
    """Mean of max(0, 1 - prediction target)**2, targets being -1 or 1.

    >>> import numpy as np
    >>> float(squared_hinge_loss(np.array([0.5, 2.0]), np.array([1.0, 1.0])))
    0.125
    """
    return aggregated(agg, F.square(F.relu(rest(F.mul(*pair("squared_hinge_loss", prediction, target))))))


def siamese_contrastive_loss(prediction: Any, target: Any, agg: Agg = F.mean, margin: float = 1.0) -> Any:
    """Mean of (1 - y) d**2 + y max(0, margin - d)**2: of distances d of pairs, y being 1 where a pair is unlike.

    Source: Hadsell et al. 2006, equation 4, without the halves.

    >>> import numpy as np
    >>> float(siamese_contrastive_loss(np.array([0.5, 0.5]), np.array([0.0, 1.0])))
    0.25
    """
    d, y = pair("siamese_contrastive_loss", prediction, target)
    short = F.relu(F.sub(float(check("siamese_contrastive_loss.margin", margin)), d))
    return aggregated(agg, F.add(F.mul(F.mul(rest(y), d), d), F.mul(y, F.square(short))))  # 0 times d, whatever d**2
