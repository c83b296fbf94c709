"""EmbeddingBag: one row of numbers for a bag of indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functions as F
from ..init import randn
from ..managed import beside
from ..op import DTypeError, ShapeError, expect
from ..ops.move import SCATTER_ADD
from ..ops.scatter import SCATTER_MAX
from ..ranges import check
from ..shapes import astype, concatenate, expand_dims, reshape, take
from ..trace import Value, apply
from .layer import layer, param
from .weights import check_weight, made

ALONG: dict[str, Callable[..., Any]] = {"mean": F.mean, "sum": F.sum, "max": F.max}  # of bags of one length, an axis
OFFSETS = "EmbeddingBag: offsets must be 0 first, and never less than the one before or more than the indices"


@layer
class EmbeddingBag:
    """Rows of weight (n_in, n_out) by bags of integers in 0..n_in - 1, and of each bag their mean, sum or maximum.

    Called with bags (..., bag) of one length: (..., n_out). With (x, offsets), both of one axis: bag i is
    x[offsets[i]:offsets[i + 1]], the last goes on to the end: (bags, n_out). With a list of bags: (bags, n_out). An
    empty bag gives zeros. x may be one-hot labels (nf.OneHot).
    reduction: "mean", "sum" or "max". init(shape, rng=rng) makes the weight (nf.init.randn unless told). Raises
    RangeError for an index out of range, another reduction or offsets that are none; ShapeError, DTypeError.

    >>> layer = EmbeddingBag(5, 2, "sum", init=lambda shape, rng: np.arange(10, dtype=np.float32).reshape(shape))
    >>> layer(np.array([[0, 1], [4, 4]])).tolist()
    [[2.0, 4.0], [16.0, 18.0]]
    >>> layer(np.array([0, 1, 4]), np.array([0, 2, 2])).tolist()
    [[2.0, 4.0], [0.0, 0.0], [8.0, 9.0]]
    >>> layer([[0, 1], [4]]).tolist()
    [[2.0, 4.0], [8.0, 9.0]]
    """

    weight: np.ndarray = param()
    reduction: str = "mean"

    def __init__(
        self, n_in: int, n_out: int, reduction: str = "mean", init: Callable[..., np.ndarray] = randn, rng: Any = None
    ) -> None:
        shape = int(check("EmbeddingBag.n_in", n_in)), int(check("EmbeddingBag.n_out", n_out))
        self.weight, self.reduction = made("EmbeddingBag", init, shape, rng), reduction
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        w = self.weight
        check_weight("EmbeddingBag", "weight", w)
        expect(w.ndim == 2 and w.size > 0, "EmbeddingBag", "weight", "of shape (in, out)", str(w.shape),
               error=ShapeError)  # fmt: skip
        known = isinstance(self.reduction, str) and self.reduction in ALONG
        expect(known, "EmbeddingBag", "reduction", f"one of {', '.join(map(repr, ALONG))}", repr(self.reduction))

    def __call__(self, x: Any, offsets: Any = None) -> Any:
        x = getattr(x, "indices", x)
        if offsets is None and isinstance(x, list | tuple) and any(np.ndim(bag) for bag in x):
            x, offsets = _joined(x)
        x = _integers("x", x)
        if offsets is not None:
            return self._ragged(x, _integers("offsets", offsets))
        expect(x.ndim > 0, "EmbeddingBag", "x", "of one axis or more", f"shape {x.shape}", error=ShapeError)
        if x.shape[-1] == 0:
            return beside(self.weight, np.zeros((*x.shape[:-1], self.weight.shape[1]), self.weight.dtype))
        return ALONG[self.reduction](take(self.weight, x), axis=-2)

    def _ragged(self, x: Any, offsets: Any) -> Any:
        for name, one in (("x", x), ("offsets", offsets)):
            expect(one.ndim == 1, "EmbeddingBag", name, "of one axis", f"shape {one.shape}", error=ShapeError)
        to = {"rows": offsets.shape[0], "what": OFFSETS}
        rows, bag = take(self.weight, x), bag_of(offsets, x.shape[0])
        if self.reduction == "sum":
            return apply(SCATTER_ADD, rows, bag, **to)
        count = expand_dims(apply(SCATTER_ADD, beside(rows, np.ones(x.shape, rows.dtype)), bag, **to), 1)
        if self.reduction == "mean":
            return F.div(apply(SCATTER_ADD, rows, bag, **to), F.maximum(count, 1.0))
        return F.where(F.equal(count, 0.0), 0.0, apply(SCATTER_MAX, rows, bag, **to))

    def describe(self) -> str:
        n_in, n_out = self.weight.shape
        return f"EmbeddingBag({n_in}, {n_out}{'' if self.reduction == 'mean' else f', {self.reduction!r}'})"


def _integers(name: str, x: Any) -> Any:
    x = x if isinstance(x, Value) else np.asarray(x)
    expect(x.dtype.kind in "iu", "EmbeddingBag", name, "an array of integers", str(x.dtype), "x.astype(np.int64)",
           DTypeError)  # fmt: skip
    return astype(x, np.int64) if isinstance(x, Value) else x.astype(np.int64)


def _joined(bags: Any) -> tuple[Any, np.ndarray]:
    """Several bags as one, and where each starts."""
    arrays = [bag if isinstance(bag, Value) else np.asarray(bag) for bag in bags]
    one = all(a.ndim == 1 for a in arrays)
    expect(one, "EmbeddingBag", "bags", "each of one axis", str([a.shape for a in arrays]), error=ShapeError)
    arrays = [_integers("x", a) if a.size else np.zeros(0, np.int64) for a in arrays]
    return concatenate(arrays), np.cumsum([0, *(a.shape[0] for a in arrays[:-1])])


def bag_of(offsets: Any, count: int) -> Any:
    """Of count indices, in which bag each is; -1 where offsets are none, which the operations that use it refuse."""
    where, _, expected = OFFSETS.partition(": offsets must be ")
    expect(offsets.shape[0] > 0, where, "offsets", expected, "[]")
    if not isinstance(offsets, Value):
        good = offsets[0] == 0 and (np.diff(offsets) >= 0).all() and offsets[-1] <= count
        expect(bool(good), where, "offsets", expected, str(offsets.tolist()))
        return np.searchsorted(offsets, np.arange(count), "right") - 1
    at = astype(offsets, np.float64)  # which has every place in an array that memory can hold
    wrong = (F.not_equal(at[:1], 0.0), F.less(at[1:], at[:-1]), F.less(count, at))
    wrongs = F.sum(concatenate([astype(one, np.float64) for one in wrong]))
    started = F.less_equal(reshape(at, (1, -1)), np.arange(count, dtype=np.float64)[:, None])
    bag = F.sub(F.sum(astype(started, np.float64), axis=1), 1.0)
    return astype(F.where(F.greater(wrongs, 0.0), -1.0, bag), np.int64)
