"""Rows that meet in rows of a table, by index: their product, or the largest of each column."""

from numpy import inf

from ..jit import kernel
from ..scalar import maximum, typed
from .reduce import part


@kernel
def scatter_fold(table, x, index, first, product):
    """table[r, :] = the product (product = 1) or the largest (0) of the rows x[i, :] of index[i] = first + r, in the
    order of i; 1 or -inf where there is none, NaN where one is. Indices of others are passed over."""
    n, c = x.shape
    start = part(table, 0, table.size)
    for i in range(start.size):
        start[i] = typed(1, start[i]) if product else typed(-inf, start[i])
    for i in range(n):
        row = index[i] - first
        if 0 <= row < table.shape[0]:
            target, source = part(table, row * c, c), part(x, i * c, c)
            if product:
                for j in range(c):
                    target[j] *= source[j]
            else:
                for j in range(c):
                    target[j] = maximum(source[j], target[j])
