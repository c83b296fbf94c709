"""Rows that meet in rows of a table, by index: kernels/cpu/scatter.py on a GPU. A thread has whole columns."""

from numpy import inf

from .jit import index as u32
from .jit import kernel, rank, ranks, scalar, typed


@kernel
def scatter_fold(table, x, index, first, product):
    """table[r, :] = the product (product = 1) or the largest (0) of the rows x[i, :] of index[i] = first + r, in the
    order of i; 1 or -inf where there is none, NaN where one is. Indices of others are passed over."""
    j = rank()
    while j < table.shape[1]:
        for row in range(table.shape[0]):
            table[row, j] = typed(1, x[0, 0]) if product else typed(-inf, x[0, 0])
        for i in range(x.shape[0]):
            row = index[i] - first
            if 0 <= row < table.shape[0]:
                table[row, j] = table[row, j] * x[i, j] if product else scalar.maximum(x[i, j], table[row, j])
        j = u32(j + ranks())
