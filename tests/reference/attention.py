"""Oracles of attention: one head of one sample after another, all its scores at once."""

import numpy as np


def _heads(heads, *xs):
    """Of each sample and head the channels of arrays (n, positions, channels)."""
    for i in range(len(xs[0])):
        for h in range(heads):
            yield i, h, [x[i].reshape(x.shape[1], heads, -1)[:, h] for x in xs]


def _logits(i, h, q, k, bias, mask, shape, causal):
    s = q @ k.T / np.sqrt(q.dtype.type(q.shape[1]))
    if bias is not None:
        s = s + np.broadcast_to(bias, shape)[i, h]
    if mask is not None:
        s[~np.broadcast_to(mask, shape)[i, h]] = -np.inf
    if causal:
        s[np.arange(len(k)) > np.arange(len(q))[:, None]] = -np.inf
    return s


def attention(q, k, v, bias, mask, heads, causal):
    """y, then the logarithm of each row's sum of powers (n, queries, heads); flat, one after the other."""
    y, lse = np.empty((*q.shape[:2], v.shape[2]), q.dtype), np.empty((*q.shape[:2], heads), q.dtype)
    shape, width = (len(q), heads, q.shape[1], k.shape[1]), v.shape[2] // heads
    for i, h, (qh, kh, vh) in _heads(heads, q, k, v):
        s = _logits(i, h, qh, kh, bias, mask, shape, causal)
        top = np.max(s, 1)
        powers = np.exp(s - np.where(top == -np.inf, 0, top)[:, None])
        total = np.sum(powers, 1)
        y[i, :, h * width : (h + 1) * width] = powers @ vh / total[:, None]
        lse[i, :, h] = np.where(top == -np.inf, 0, top) + np.log(total)
    return np.concatenate([y.ravel(), lse.ravel()])


def attention_grad(q, k, v, bias, mask, lse, delta, dy, heads, causal):
    """dq, dk, dv by p = exp(scores - lse); flat, one after the other."""
    dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    shape, d, width = (len(q), heads, q.shape[1], k.shape[1]), q.shape[2] // heads, v.shape[2] // heads
    for i, h, (qh, kh, vh, dyh) in _heads(heads, q, k, v, dy):
        p = np.exp(_logits(i, h, qh, kh, bias, mask, shape, causal) - lse[i, :, h, None])
        ds = p * (dyh @ vh.T - delta[i, :, h, None]) / np.sqrt(q.dtype.type(d))
        dq[i, :, h * d : (h + 1) * d], dk[i, :, h * d : (h + 1) * d] = ds @ kh, ds.T @ qh
        dv[i, :, h * width : (h + 1) * width] = p.T @ dyh
    return np.concatenate([dq.ravel(), dk.ravel(), dv.ravel()])
