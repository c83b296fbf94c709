"""Reductions over the leading axis of one tile x(k, inner), and repetition along it: kernels/cpu/rows.py on a GPU."""

from .jit import flat, index, kernel
from .reduce import spread, walk_max, walk_sum


@kernel
def sum(y, x, scale):
    """y(inner,) = scale * the sum over k of x(k, inner)."""
    k, inner = x.shape
    walk_sum((y, flat(x), scale), index(0), index(1), index(k), index(inner), index(inner))


@kernel
def max(y, x):
    """y(inner,) = the largest over k of x(k, inner); NaN where one is."""
    k, inner = x.shape
    walk_max((y, flat(x), x.dtype.type(1)), index(0), index(1), index(k), index(inner), index(inner))


@kernel
def broadcast(y, x):
    """y(k, inner) = x(inner,) for all k."""
    k, inner = y.shape
    spread(flat(y), x, index(k * inner), index(inner))
