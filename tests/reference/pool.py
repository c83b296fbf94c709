"""Oracles of pools: one window after another, only the elements of x that it covers."""

import numpy as np


def _sizes(size, window, stride, pad):
    axes = zip(size, window, stride, pad, strict=True)
    return [(n + low + high - k) // s + 1 for n, k, s, (low, high) in axes]


def _windows(size, window, stride, pad):
    """(place in the output, slices of what the window covers), for every window."""
    for place in np.ndindex(*_sizes(size, window, stride, pad)):
        covered = []
        for i, n, k, s, (low, _) in zip(place, size, window, stride, pad, strict=True):
            covered.append(slice(max(i * s - low, 0), min(i * s - low + k, n)))
        yield (slice(None), *place), (slice(None), *covered)


def _result(x, **window):
    return np.zeros((x.shape[0], *_sizes(x.shape[1:-1], **window), x.shape[-1]), x.dtype)


def _flat(part):
    """(n, elements of the window, c)."""
    return part.reshape(part.shape[0], -1, part.shape[-1])


def maxpool(x, **window):
    y = _result(x, **window)
    for place, covered in _windows(x.shape[1:-1], **window):
        y[place] = _flat(x[covered]).max(1)
    return y


def maxpool_grad(x, y, dy, **window):
    """dy to the first of the largest, or to the first NaN, of each window."""
    dx = np.zeros_like(dy, shape=x.shape)
    for place, covered in _windows(x.shape[1:-1], **window):
        part = _flat(x[covered])
        given = np.zeros_like(dy, shape=part.shape)
        np.put_along_axis(given, part.argmax(1)[:, None], dy[place][:, None], 1)
        dx[covered] += given.reshape(x[covered].shape)
    return dx


def maxpool_pick(x, y, g, **window):
    z = _result(g, **window)
    for place, covered in _windows(x.shape[1:-1], **window):
        first = _flat(x[covered]).argmax(1)[:, None]
        z[place] = np.take_along_axis(_flat(g[covered]), first, 1)[:, 0]
    return z


def meanpool(x, **window):
    y = _result(x, **window)
    for place, covered in _windows(x.shape[1:-1], **window):
        y[place] = _flat(x[covered]).sum(1) / np.prod(window["window"])
    return y


def meanpool_grad(dy, size, **window):
    dx = np.zeros_like(dy, shape=(dy.shape[0], *size, dy.shape[-1]))
    for place, covered in _windows(size, **window):
        there = (slice(None), *[None] * len(size), slice(None))
        dx[covered] += dy[place][there] / np.prod(window["window"])
    return dx
