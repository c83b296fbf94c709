"""Oracles of the operations that move elements."""

import numpy as np


def reshape(x, shape):
    return np.array(list(x.flat), x.dtype).reshape(shape)


def copy(x):
    return x.copy()


def stop_gradient(x):
    return x.copy()


def cast(x, dtype):
    return x.astype(dtype)


def transpose(x, axes):
    """y[i] = x[j] with j[axes[a]] = i[a], element by element."""
    y = np.empty([x.shape[a] for a in axes], x.dtype)
    for i in np.ndindex(y.shape):
        j = [0] * x.ndim
        for a, at in zip(axes, i, strict=True):
            j[a] = at
        y[i] = x[tuple(j)]
    return y


def _along(axis, positions):
    return (slice(None),) * axis + (positions,)


def slice_(x, axis, start, step, size):
    return x[_along(axis, [start + step * i for i in range(size)])]


def place(x, axis, start, step, size):
    y = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    for i in range(x.shape[axis]):
        y[_along(axis, start + step * i)] = x[_along(axis, i)]
    return y


def concatenate(*xs, axis):
    rows = [x[_along(axis, i)] for x in xs for i in range(x.shape[axis])]
    return np.stack(rows, axis)


def take(x, index):
    y = np.empty(index.shape + x.shape[1:], x.dtype)
    for i in np.ndindex(index.shape):
        y[i] = x[index[i]]
    return y


def scatter_add(dy, index, rows):
    table = np.zeros((rows, *dy.shape[index.ndim :]), dy.dtype)
    for i in np.ndindex(index.shape):
        table[index[i]] += dy[i]
    return table
