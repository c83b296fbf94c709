"""Oracles of normalisation: one group of one sample after another. Statistics are (lead..., 2, groups)."""

import numpy as np


def _parts(x, lead, groups):
    """Where each index of the statistics' (lead..., group) finds its numbers in x."""
    m = x.shape[-1] // groups
    for i in np.ndindex(*x.shape[:lead]):
        for g in range(groups):
            yield i, g, (*i, Ellipsis, slice(g * m, g * m + m))


def moments(x, lead, groups):
    stats = np.empty((*x.shape[:lead], 2, groups), x.dtype)
    for i, g, at in _parts(x, lead, groups):
        mean = np.sum(x[at]) / x[at].size
        stats[(*i, 0, g)], stats[(*i, 1, g)] = mean, np.sum((x[at] - mean) ** 2) / x[at].size
    return stats


def _hat(x, stats, eps):
    """x normalised, and 1 / sqrt(var + eps) of each element."""
    hat, scale = np.empty_like(x), np.empty_like(x)
    for i, g, at in _parts(x, stats.ndim - 2, stats.shape[-1]):
        mean, var = stats[(*i, 0, g)], stats[(*i, 1, g)]
        scale[at] = 1 / np.sqrt(var + eps)
        hat[at] = (x[at] - mean) * scale[at]
    return hat, scale


def norm(x, stats, w, b, eps):
    hat, _ = _hat(x, stats, eps)
    return hat if w is None else hat * w + b


def norm_fixed(x, mean, var, w, b, eps):
    hat = (x - mean) / np.sqrt(var + eps)
    return hat if w is None else hat * w + b


def track(mean, var, stats, momentum, count):
    """Both, one after the other."""
    new_mean, new_var = np.moveaxis(stats, -2, 0).reshape(2, -1, mean.size).mean(1)
    kept = 1 - momentum
    return np.concatenate([kept * mean + momentum * new_mean, kept * var + momentum * new_var * count / (count - 1)])


def norm_grad(x, stats, w, dy, eps):
    """dx, then the sums of dy and of dy * hat over all but channels; flat, one after the other."""
    hat, scale = _hat(x, stats, eps)
    u = dy if w is None else dy * w
    dx = np.empty_like(x)
    for _, _, at in _parts(x, stats.ndim - 2, stats.shape[-1]):
        dx[at] = scale[at] * (u[at] - np.mean(u[at]) - hat[at] * np.mean(u[at] * hat[at]))
    leading = tuple(range(x.ndim - 1))
    return np.concatenate([dx.ravel(), np.sum(dy, leading), np.sum(dy * hat, leading)])
