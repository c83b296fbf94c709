"""Attention of several heads as a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..attention import dot_product_attention
from ..init import glorot_uniform
from ..op import DTypeError, Error, ShapeError, expect
from ..ranges import check
from ..rng import as_generator
from ..session import training
from .basic import Dense, locate
from .dropout import Dropout
from .layer import layer

Dims = tuple[tuple[int, int, int], tuple[int, int], int]
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


def _sizes(dims: Any) -> Dims:
    """((q, k, v), (qk, v), out) of each way to say it."""
    into, inside, out = dims if isinstance(dims, tuple | list) and len(dims) == 3 else (dims,) * 3
    into = tuple(into) if isinstance(into, tuple | list) else (into,) * 3
    inside = tuple(inside) if isinstance(inside, tuple | list) else (inside,) * 2
    flat = (*into, *inside, out)
    good = len(into) == 3 and len(inside) == 2
    expect(good, "MultiHeadAttention", "dims", "a size, (in, qkv, out) or ((q, k, v), (qk, v), out)", repr(dims),
           error=DTypeError)  # fmt: skip
    q, k, v, qk, width, out = (int(check("MultiHeadAttention.dims", d)) for d in flat)
    return (q, k, v), (qk, width), out


@layer
class MultiHeadAttention:
    """Attention of nheads heads between layers without activation: q (n, queries, in), k and v (n, keys, in) give
    (n, queries, out).

    dims: one size for all; (in, qkv, out); or ((q, k, v), (qk, v), out): channels of the inputs, of all heads together,
    of the result. nheads divides those of the heads. bias: whether the four Dense layers have one. dropout_prob: of
    scores, in training; draws come from nf.seed. init(shape, rng=rng) makes the weights.

    Called with (q, k=None, v=None, bias=None, mask=None, return_scores=False): k is q unless told, v is k; bias and
    mask as in nf.dot_product_attention, "causal" too. return_scores: the result is (y, scores (n, nheads, queries,
    keys)). Without that, and without dropout at work, scores are never stored. Raises ShapeError, DTypeError and
    RangeError for what does not fit. Source: Vaswani et al. 2017.

    >>> layer = MultiHeadAttention(16, nheads=4, rng=0)
    >>> x = np.ones((2, 5, 16), np.float32)
    >>> layer(x, mask="causal").shape
    (2, 5, 16)
    >>> y, scores = layer(x, return_scores=True)
    >>> scores.shape
    (2, 4, 5, 5)
    """

    q_proj: Any
    k_proj: Any
    v_proj: Any
    out_proj: Any
    attn_drop: Any
    nheads: int = 8
    shown: ClassVar[tuple[str, ...]] = ("nheads",)

    def __init__(
        self, dims: Any, nheads: int = 8, bias: bool = False, init: Callable[..., np.ndarray] = glorot_uniform,
        dropout_prob: float = 0.0, rng: Any = None,
    ) -> None:  # fmt: skip
        (q, k, v), (qk, width), out = _sizes(dims)
        self.nheads = int(check("MultiHeadAttention.nheads", nheads))
        check("MultiHeadAttention.dropout_prob", dropout_prob)
        source = None if rng is None else as_generator(rng, "MultiHeadAttention")
        pairs = ((q, qk), (k, qk), (v, width), (width, out))
        for name, (into, to) in zip(PROJECTIONS, pairs, strict=True):
            setattr(self, name, Dense(into, to, bias=bias, init=init, rng=source))
        self.attn_drop = Dropout(dropout_prob)
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        where = "MultiHeadAttention"
        check("MultiHeadAttention.nheads", self.nheads)
        for name in PROJECTIONS:
            one = getattr(self, name)
            expect(isinstance(one, Dense), where, name, "a Dense", type(one).__name__, error=DTypeError)
        drop = self.attn_drop
        expect(isinstance(drop, Dropout), where, "attn_drop", "a Dropout", type(drop).__name__, error=DTypeError)
        q, k, v, out = (getattr(self, name).weight.shape for name in PROJECTIONS)
        fits = q[1] == k[1] and v[1] == out[0]
        expect(fits, where, "weights", "of layers that fit each other", f"shapes {q}, {k}, {v}, {out}",
               error=ShapeError)  # fmt: skip
        divides = q[1] % self.nheads == 0 and v[1] % self.nheads == 0
        expect(divides, where, "nheads", f"a divisor of {q[1]} and {v[1]} channels", self.nheads)

    def __call__(
        self, q: Any, k: Any = None, v: Any = None, bias: Any = None, mask: Any = None, return_scores: bool = False
    ) -> Any:
        k = q if k is None else k
        v = k if v is None else v
        q, k, v = (self._projected(name, x) for name, x in zip(PROJECTIONS, (q, k, v), strict=False))
        dropping = self.attn_drop.p > 0 and training(self.attn_drop.active)
        found = dot_product_attention(
            q, k, v, bias, mask=mask, nheads=self.nheads, fdrop=self.attn_drop if dropping else None,
            return_scores=return_scores,
        )  # fmt: skip
        y, *scores = found if return_scores else (found,)
        y = self._projected("out_proj", y)
        return (y, *scores) if return_scores else y

    def _projected(self, name: str, x: Any) -> Any:
        try:
            return getattr(self, name)(x)
        except Error as error:
            locate(error, name)
            raise
