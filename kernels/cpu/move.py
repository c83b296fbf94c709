"""Moves elements of any type: axes, slices, rows by index. An index out of range is clamped or passed over."""

from numba import types
from numba.extending import overload

from ..jit import address, kernel
from ..scalar import inlined
from .check import clamped
from .reduce import part
from .tile import WIDTH, make_transpose

transpose = make_transpose(WIDTH)


def turn(y, x, y_row, x_column, rows, columns):
    """y[i * y_row + j] = x[i + j * x_column]."""


@overload(turn)
def choose_turn(y, x, y_row, x_column, rows, columns):
    if y.dtype not in (types.float32, types.float64, types.int64):
        return plain_turn
    lanes = WIDTH * 8 // y.dtype.bitwidth

    def by_registers(y, x, y_row, x_column, rows, columns):
        to, source, size = address(y), address(x), y.itemsize
        for top in range(0, rows, lanes):
            for left in range(0, columns, lanes):
                m, n = min(rows - top, lanes), min(columns - left, lanes)
                target, start = to + (top * y_row + left) * size, source + (top + left * x_column) * size
                transpose(y, m, n, target, y_row, start, x_column)

    return by_registers


def plain_turn(y, x, y_row, x_column, rows, columns):
    for i in range(rows):
        for j in range(columns):
            y[i * y_row + j] = x[i + j * x_column]


@inlined
def plane(y, x, y_row, x_row, x_column, rows, columns):
    """y[i * y_row + j] = x[i * x_row + j * x_column], one of x_row and x_column being 1."""
    if x_column != 1:
        turn(y, x, y_row, x_column, rows, columns)
        return
    for i in range(rows):
        target, source = part(y, i * y_row, columns), part(x, i * x_row, columns)
        for j in range(columns):
            target[j] = source[j]


@kernel
def permute(y, x, s0, s1, s2, s3, s4):
    """y[a, b, c, d, e] = x[a * s0 + b * s1 + c * s2 + d * s3 + e * s4], x being 1-D and one of the strides 1."""
    n0, n1, n2, n3, n4 = y.shape
    t2, t3 = n3 * n4, n4
    t1 = n2 * t2
    t0 = n1 * t1
    if s4 != 1:  # the axis along which x is contiguous goes into the plane that is taken by blocks
        if s0 == 1:
            n0, n3, s0, s3, t0, t3 = n3, n0, s3, s0, t3, t0
        elif s1 == 1:
            n1, n3, s1, s3, t1, t3 = n3, n1, s3, s1, t3, t1
        elif s2 == 1:
            n2, n3, s2, s3, t2, t3 = n3, n2, s3, s2, t3, t2
    for a in range(n0):
        for b in range(n1):
            for c in range(n2):
                target = part(y, a * t0 + b * t1 + c * t2, (n3 - 1) * t3 + n4)
                source = part(x, a * s0 + b * s1 + c * s2, (n3 - 1) * s3 + (n4 - 1) * s4 + 1)
                plane(target, source, t3, s3, s4, n3, n4)


@kernel
def extract(y, x, start, step):
    """y[o, j, :] = x[o, start + j * step, :]."""
    outer, k, inner = x.shape
    count = y.shape[1]
    for o in range(outer):
        for j in range(count):
            target, source = part(y, (o * count + j) * inner, inner), part(x, (o * k + start + j * step) * inner, inner)
            for i in range(inner):
                target[i] = source[i]


@kernel
def place(y, x, start, step):
    """y[o, start + j * step, :] = x[o, j, :], and 0 elsewhere: the gradient of extract."""
    outer, k, inner = y.shape
    count = x.shape[1]
    for o in range(outer):
        zeros = part(y, o * k * inner, k * inner)
        for i in range(zeros.size):
            zeros[i] = 0
        for j in range(count):
            target, source = part(y, (o * k + start + j * step) * inner, inner), part(x, (o * count + j) * inner, inner)
            for i in range(inner):
                target[i] = source[i]


@kernel
def insert(y, x, at):
    """y[o, at:at + k] = x[o, :], x being (outer, k); the rest of y stays."""
    outer, k = x.shape
    for o in range(outer):
        target, source = part(y, o * y.shape[1] + at, k), part(x, o * k, k)
        for i in range(k):
            target[i] = source[i]


@kernel
def gather(y, table, index):
    """y[i, :] = table[index[i], :]."""
    n, c = y.shape
    for i in range(n):
        target, source = part(y, i * c, c), part(table, clamped(index[i], table.shape[0]) * c, c)
        for j in range(c):
            target[j] = source[j]


@kernel
def scatter_add(table, dy, index, first):
    """table = 0, then table[index[i] - first, :] += dy[i, :] in the order of i: of the gradient of gather, rows from
    `first` on. Indices of others are passed over."""
    n, c = dy.shape
    zeros = part(table, 0, table.size)
    for i in range(zeros.size):
        zeros[i] = 0
    for i in range(n):
        row = index[i] - first
        if 0 <= row < table.shape[0]:
            target, source = part(table, row * c, c), part(dy, i * c, c)
            for j in range(c):
                target[j] += source[j]
