"""Oracles of the products: one term of the sums after another, and no call of a library's product."""

import numpy as np


def _product(a, b):
    """a (m, k) b (k, n)"""
    c = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for s in range(a.shape[1]):
        c += a[:, s, None] * b[None, s, :]
    return c


def dense(x, w, b=None):
    y = _product(x.reshape(-1, x.shape[-1]), w)
    y = y if b is None else y + b
    return y.reshape(*x.shape[:-1], w.shape[1])


def matmul(a, b, ta, tb):
    """ta: the leading axes of both are summed over; tb: b lies as (n, k)."""
    if ta:
        return _product(a.reshape(-1, a.shape[-1]).T, b.reshape(-1, b.shape[-1]))
    return dense(a, b.T if tb else b)


def batched_matmul(a, b, ta, tb):
    a, b = a.swapaxes(-1, -2) if ta else a, b.swapaxes(-1, -2) if tb else b
    c = np.zeros((*a.shape[:-1], b.shape[-1]), a.dtype)
    for i in np.ndindex(a.shape[:-2]):
        c[i] = _product(a[i], b[i])
    return c
