"""Oracles of the convolutions: one tap after another, zeros really put around x."""

import numpy as np


def _taps(x, window, stride, pad, dilation):
    """(tap, the elements of padded x that it sees), for every tap."""
    wide = np.pad(x, [(0, 0), *pad, (0, 0)])
    spatial = wide.shape[1:-1]
    out = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(spatial, window, stride, dilation, strict=True)]
    for tap in np.ndindex(*window):
        where = [
            slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, dilation, out, stride, strict=True)
        ]
        yield tap, (slice(None), *where), wide


def _parts(groups, c, o):
    return [(slice(g * c, (g + 1) * c), slice(g * o, (g + 1) * o)) for g in range(groups)]


def conv(x, w, b=None, *, stride, pad, dilation, groups):
    c, o = w.shape[-2], w.shape[-1] // groups
    y = 0
    for tap, where, wide in _taps(x, w.shape[:-2], stride, pad, dilation):
        seen = wide[where]
        y = y + np.concatenate([seen[..., i] @ w[tap][:, j] for i, j in _parts(groups, c, o)], -1)
    return y if b is None else y + b


def conv_grad_x(dy, w, b=None, *, size, stride, pad, dilation, groups):
    c, o = w.shape[-2], w.shape[-1] // groups
    empty = np.zeros((dy.shape[0], *size, c * groups), dy.dtype)
    dx = None
    for tap, where, wide in _taps(empty, w.shape[:-2], stride, pad, dilation):
        dx = np.zeros_like(wide) if dx is None else dx
        dx[where] += np.concatenate([dy[..., j] @ w[tap][:, j].T for _, j in _parts(groups, c, o)], -1)
    inside = [slice(low, low + n) for (low, _), n in zip(pad, size, strict=True)]
    dx = dx[(slice(None), *inside)]
    return dx if b is None else dx + b


def conv_grad_w(x, dy, *, window, stride, pad, dilation, groups):
    c, o = x.shape[-1] // groups, dy.shape[-1] // groups
    dw = np.zeros((*window, c, dy.shape[-1]), x.dtype)
    for tap, where, wide in _taps(x, window, stride, pad, dilation):
        seen = wide[where]
        for i, j in _parts(groups, c, o):
            dw[tap][:, j] = seen[..., i].reshape(-1, c).T @ dy[..., j].reshape(-1, o)
    return dw


def conv_grad_wb(x, dy, **window):
    return np.concatenate([conv_grad_w(x, dy, **window).ravel(), dy.sum(axis=tuple(range(dy.ndim - 1)))])
