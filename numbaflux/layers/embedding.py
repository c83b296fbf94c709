"""Embedding: a row of numbers for each index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functions as F
from ..init import randn
from ..op import DTypeError, RangeError, ShapeError, expect
from ..ranges import check
from ..shapes import astype, expand_dims, take
from ..trace import Value
from .layer import layer, param
from .weights import check_weight, made


@layer
class Embedding:
    """Rows of weight (n_in, n_out) by x, integers of any shape in 0..n_in - 1: of shape x.shape + (n_out,).

    x may be one-hot labels (nf.OneHot), or booleans (..., n_in): the sum of the rows where they are True.
    padding_idx: an index whose row is zeros and stays so. init(shape, rng=rng) makes the weight (nf.init.randn unless
    told). Raises RangeError for an index out of range.

    >>> layer = Embedding(5, 2, padding_idx=0, rng=0)
    >>> y = layer(np.array([[0, 1, 4]]))
    >>> y.shape, y[0, 0].tolist()
    ((1, 3, 2), [0.0, 0.0])
    """

    weight: np.ndarray = param()
    padding_idx: int | None = None

    def __init__(
        self, n_in: int, n_out: int, init: Callable[..., np.ndarray] = randn, padding_idx: int | None = None,
        rng: Any = None,
    ) -> None:  # fmt: skip
        shape = int(check("Embedding.n_in", n_in)), int(check("Embedding.n_out", n_out))
        self.weight, self.padding_idx = made("Embedding", init, shape, rng), padding_idx
        self.check_fields()
        if padding_idx is not None:
            self.weight[padding_idx] = 0

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        w, at = self.weight, self.padding_idx
        check_weight("Embedding", "weight", w)
        expect(w.ndim == 2 and w.size > 0, "Embedding", "weight", "of shape (in, out)", str(w.shape), error=ShapeError)
        if at is not None:
            check("Embedding.padding_idx", at)
            expect(at < len(w), "Embedding", "padding_idx", f"in 0..{len(w) - 1}", at, error=RangeError)

    def __call__(self, x: Any) -> Any:
        x = getattr(x, "indices", x)
        x = x if isinstance(x, Value) else np.asarray(x)
        if x.dtype == bool:
            return F.matmul(astype(x, self.weight.dtype), self.weight)
        expect(x.dtype.kind in "iu", "Embedding", "x", "an array of integers", str(x.dtype), "x.astype(np.int64)",
               DTypeError)  # fmt: skip
        y = take(self.weight, x)
        if self.padding_idx is None:
            return y
        kept = astype(F.not_equal(x, self.padding_idx), y.dtype)
        return F.mul(y, expand_dims(kept, x.ndim))  # so that no gradient comes to the row either

    def describe(self) -> str:
        n_in, n_out = self.weight.shape
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"Embedding({n_in}, {n_out}{padding})"
