"""Functions that draw random numbers inside of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .functions import mul
from .managed import beside
from .ops.random import DROPOUT
from .ranges import check
from .rng import Generator, as_generator
from .session import draw
from .shapes import axis_in
from .trace import Value, apply

Axes = int | Sequence[int] | None


def dropout(x: Any, p: float, dims: Axes = None, rng: Generator | int | None = None) -> Any:
    """x with each element put to 0 with probability p, the others divided by 1 - p; whether in training or not.

    dims: axes along which elements are dropped each by itself; along others together (dims=(0, -1): whole channels of
    a sample's image). The same seed and count of draws give the same mask, whatever the dtype and number of threads.
    Source: Srivastava et al. 2014.

    >>> dropout(np.ones(8, np.float32), 0.5, rng=3).tolist()
    [2.0, 0.0, 2.0, 0.0, 2.0, 2.0, 2.0, 2.0]
    >>> dropout(np.ones((2, 4), np.float32), 0.5, dims=1, rng=3).tolist()
    [[2.0, 0.0, 2.0, 0.0], [2.0, 0.0, 2.0, 0.0]]
    """
    check("dropout.p", p)
    x = x if isinstance(x, Value) else np.asarray(x)
    if p == 0:
        return x
    words, offset = draw(as_generator(rng, "dropout"))
    if dims is None:
        return apply(DROPOUT, x, words, p=float(p), offset=offset)
    own = {axis_in(int(a), x.ndim, "dropout") for a in np.atleast_1d(dims)}
    ones = beside(x, np.ones([s if a in own else 1 for a, s in enumerate(x.shape)], x.dtype))
    return mul(x, apply(DROPOUT, ones, words, p=float(p), offset=offset))
