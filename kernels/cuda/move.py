"""Moves elements of any type: kernels/cpu/move.py on a GPU. A thread has some elements of the result."""

from .check import clamped
from .jit import index as u32
from .jit import kernel, rank, ranks


@kernel
def permute(y, x, s0, s1, s2, s3, s4):
    """y[a, b, c, d, e] = x[a * s0 + b * s1 + c * s2 + d * s3 + e * s4], x being 1-D and one of the strides 1."""
    _, n1, n2, n3, n4 = y.shape
    i = rank()
    while i < y.size:
        row, e = i // n4, i % n4
        plane, d = row // n3, row % n3
        space, c = plane // n2, plane % n2
        a, b = space // n1, space % n1
        y[a, b, c, d, e] = x[a * s0 + b * s1 + c * s2 + d * s3 + e * s4]
        i = u32(i + ranks())


@kernel
def extract(y, x, start, step):
    """y[o, j, :] = x[o, start + j * step, :]."""
    _, count, inner = y.shape
    i = rank()
    while i < y.size:
        row = i // inner
        y[row // count, row % count, i % inner] = x[row // count, start + row % count * step, i % inner]
        i = u32(i + ranks())


@kernel
def place(y, x, start, step):
    """y[o, start + j * step, :] = x[o, j, :], and 0 elsewhere: the gradient of extract."""
    _, k, inner = y.shape
    count, away = x.shape[1], abs(step)
    i = rank()
    while i < y.size:
        row = i // inner
        o = row // k
        past = (row % k - start) * (1 if step > 0 else -1)
        if past >= 0 and past % away == 0 and past // away < count:
            y[o, row % k, i % inner] = x[o, past // away, i % inner]
        else:
            y[o, row % k, i % inner] = 0
        i = u32(i + ranks())


@kernel
def insert(y, x, at):
    """y[o, at:at + k] = x[o, :], x being (outer, k); the rest of y stays."""
    k, i = x.shape[1], rank()
    while i < x.size:
        y[i // k, at + i % k] = x[i // k, i % k]
        i = u32(i + ranks())


@kernel
def gather(y, table, index):
    """y[i, :] = table[index[i], :]."""
    c, i = y.shape[1], rank()
    while i < y.size:
        y[i // c, i % c] = table[clamped(index[i // c], table.shape[0]), i % c]
        i = u32(i + ranks())


@kernel
def scatter_add(table, dy, index, first):
    """table = 0, then table[index[i] - first, :] += dy[i, :] in the order of i: of the gradient of gather, rows from
    `first` on. Indices of others are passed over. A thread has whole columns, so that the order is that of i."""
    j = rank()
    while j < table.shape[1]:
        for row in range(table.shape[0]):
            table[row, j] = 0
        for i in range(dy.shape[0]):
            row = index[i] - first
            if 0 <= row < table.shape[0]:
                table[row, j] += dy[i, j]
        j = u32(j + ranks())
