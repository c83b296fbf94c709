"""Attention as functions: what queries see of keys and values, in one operation or by its scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import functions as F
from .op import DTypeError, ShapeError, expect
from .ops.attention import ATTENTION, check
from .ops.dense import BATCHED
from .ranges import check as in_range
from .shapes import axis_in, reshape, transpose
from .trace import Value, apply, spec_of

MASKS = ("causal",)  # by name
Drop = Callable[[Any], Any] | None


def dot_product_attention(
    q: Any, k: Any, v: Any, bias: Any = None, *, mask: Any = None, nheads: int = 1, fdrop: Drop = None,
    return_scores: bool = False,
) -> Any:  # fmt: skip
    """softmax(q k' / sqrt(d) + bias) v of each head: for each query a mean of v, weighted by how its key fits.

    q (n, queries, c), k (n, keys, c), v (n, keys, cv) give (n, queries, cv); nheads divides c and cv, d = c / nheads.
    bias: added to the scores; mask: True where a query sees a key, or "causal": no later key than its own place.
    Both broadcast to (n, nheads, queries, keys). fdrop: a function that scores go through after softmax, such as
    dropout. return_scores: the result is (y, scores (n, nheads, queries, keys)).

    A query that sees no key gives NaN. Scores are stored only for fdrop, return_scores, the gradient of bias and second
    derivatives. Raises ShapeError and DTypeError for arrays that do not fit, RangeError for nheads and names of masks.
    Source: Vaswani et al. 2017; without stored scores Dao et al. 2022.

    >>> x = np.array([[[1.0, 0.0], [0.0, 1.0]]], np.float32)
    >>> dot_product_attention(x, x, x, mask="causal").round(2).tolist()
    [[[1.0, 0.0], [0.33000001311302185, 0.6700000166893005]]]
    """
    q, k, v, bias, mask, causal, heads = _arguments("dot_product_attention", q, k, v, bias, mask, nheads)
    if fdrop is None and not return_scores:
        return apply(ATTENTION, q, k, v, bias, mask, heads=heads, causal=causal)[0]
    scores = _scores(q, k, bias, mask, causal, heads, fdrop)
    y = transpose(apply(BATCHED, scores, _split(v, heads), ta=False, tb=False), (0, 2, 1, 3))
    y = reshape(y, (*q.shape[:2], v.shape[2]))
    return (y, scores) if return_scores else y


def dot_product_attention_scores(
    q: Any, k: Any, bias: Any = None, *, mask: Any = None, nheads: int = 1, fdrop: Drop = None
) -> Any:
    """softmax(q k' / sqrt(d) + bias): how much each query takes of each key, (n, nheads, queries, keys).

    Arguments and errors as in nf.dot_product_attention.

    >>> x = np.ones((1, 4, 2), np.float32)
    >>> dot_product_attention_scores(x, x)[0, 0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    where = "dot_product_attention_scores"
    q, k, _, bias, mask, causal, heads = _arguments(where, q, k, k, bias, mask, nheads)
    return _scores(q, k, bias, mask, causal, heads, fdrop)


def make_causal_mask(x: Any, axis: int = -2) -> np.ndarray:
    """The mask by which no position of x sees a later one: [i, j] is whether j <= i, for the positions along an axis.

    >>> make_causal_mask(np.ones((5, 2, 7))).tolist()
    [[True, False], [True, True]]
    """
    count = x.shape[axis_in(axis, len(x.shape), "make_causal_mask")]
    return np.tri(count, dtype=bool)


def _arguments(where: str, q: Any, k: Any, v: Any, bias: Any, mask: Any, nheads: int) -> tuple[Any, ...]:
    """q, k, v, bias and mask as they fit each other, whether the mask is causal by name, and how many heads."""
    heads = int(in_range("dot_product_attention.nheads", nheads))
    q, k, v = map(F.floats, (q, k, v))
    causal = isinstance(mask, str)
    expect(not causal or mask in MASKS, where, "mask", f"an array or one of {', '.join(map(repr, MASKS))}", mask)
    bias = None if bias is None else _four(where, "bias", F.floats(bias))
    mask = None if causal else mask
    if mask is not None:
        mask = _four(where, "mask", mask if isinstance(mask, Value) else np.asarray(mask))
    check(where, spec_of(q), spec_of(k), spec_of(v), spec_of(bias), spec_of(mask), heads)
    return q, k, v, bias, mask, causal, heads


def _four(where: str, name: str, x: Any) -> Any:
    """With four axes, as NumPy broadcasts."""
    expect(x.dtype.kind in "fb", where, name, "an array of floats or booleans", str(x.dtype), error=DTypeError)
    expect(x.ndim <= 4, where, name, "of at most four axes", f"shape {x.shape}", error=ShapeError)
    return reshape(x, (1,) * (4 - x.ndim) + tuple(x.shape))


def _split(x: Any, heads: int) -> Any:
    n, count, c = x.shape
    return transpose(reshape(x, (n, count, heads, c // heads)), (0, 2, 1, 3))


def _scores(q: Any, k: Any, bias: Any, mask: Any, causal: bool, heads: int, fdrop: Drop) -> Any:
    q = F.mul(q, (q.shape[2] // heads) ** -0.5)
    logits = apply(BATCHED, _split(q, heads), _split(k, heads), ta=False, tb=True)
    if bias is not None:
        logits = F.add(logits, bias)
    if causal:
        mask = np.tri(q.shape[1], k.shape[1], dtype=bool)
    if mask is not None:
        logits = F.where(mask, logits, -np.inf)
    scores = F.softmax(logits)
    return scores if fdrop is None else fdrop(scores)
