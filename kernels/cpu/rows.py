"""Reductions over the leading axis of one tile x(k, inner), and repetition along it: what a tile of samples adds to
a slot."""

from ..jit import kernel
from ..scalar import maximum
from .reduce import max_of, part, stack, sum_of, sum_rows


@kernel
def sum(y, x, scale):
    """y(inner,) = scale * the sum over k of x(k, inner)."""
    k, inner = x.shape
    if inner == 1:
        y[0] = scale * sum_of(part(x, 0, k))
        return
    sum_rows(y, x, 0, k, scale, stack(x), stack(x))


@kernel
def max(y, x):
    """y(inner,) = the largest over k of x(k, inner); NaN where one is."""
    k, inner = x.shape
    if inner == 1:
        y[0] = max_of(part(x, 0, k))
        return
    for i in range(inner):
        y[i] = x[0, i]
    for j in range(1, k):
        for i in range(inner):
            y[i] = maximum(x[j, i], y[i])


@kernel
def broadcast(y, x):
    """y(k, inner) = x(inner,) for all k."""
    k, inner = y.shape
    if inner == 1:
        row, value = part(y, 0, k), x[0]
        for j in range(k):
            row[j] = value
        return
    for j in range(k):
        for i in range(inner):
            y[j, i] = x[i]
