"""The cases of attention: blocks of 64 queries and 128 keys, heads of many samples or few, masks and biases that
broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.case import Input, normal, rows

CASES = (  # samples, heads, queries, keys, channels of a head of q and k, of v; shape of bias, of mask; causal
    (1, 1, 1, 1, 1, 1, None, None, False),
    (2, 2, 3, 3, 4, 4, None, None, True),
    (1, 1, 65, 129, 3, 5, None, None, False),
    (3, 2, 17, 31, 8, 5, (1, 2, 17, 31), None, False),
    (2, 3, 7, 16, 15, 16, (2, 3, 7, 16), (2, 1, 1, 16), False),
    (3, 1, 5, 7, 2, 3, None, (3, 1, 5, 7), True),
    (33, 1, 5, 7, 2, 3, None, (33, 1, 5, 7), True),
    (2, 8, 64, 128, 4, 2, None, None, True),
    (1, 2, 130, 257, 2, 3, (1, 1, 1, 257), None, True),
    (16, 2, 9, 150, 3, 49, (1, 2, 9, 1), (16, 1, 9, 150), False),
    (1, 1, 200, 3, 2, 1, (1, 1, 200, 1), (1, 1, 1, 3), True),
    (40, 1, 1, 300, 1, 2, None, None, False),
    (3, 3, 520, 5, 1, 2, None, None, True),  # tiles of several blocks
    (3, 3, 5, 1100, 2, 1, None, None, False),
)


def seen(rng: Any, shape: tuple[int, ...]) -> Any:
    """The first key always."""
    mask = rng.random(shape) < 0.5
    mask[..., 0] = True
    return mask


def above(rng: Any, shape: tuple[int, ...]) -> Any:
    return 2 + rng.normal(size=shape)


def _table(grad: bool) -> list[Any]:
    table = []
    for n, heads, lq, lk, d, width, bias, mask, causal in CASES:
        xs = [Input(s, normal) for s in ((n, lq, heads * d), (n, lk, heads * d), (n, lk, heads * width))]
        more = [None if bias is None else Input(bias, normal), None if mask is None else Input(mask, seen)]
        if grad:
            more += [Input((n, lq, heads), above), Input((n, lq, heads), normal), Input((n, lq, heads * width), normal)]
        table.append(((*xs, *more), {"heads": heads, "causal": causal}))
    return table


class _Head:
    """Of a head of a sample: absolute values, powers p, and by how many units rounding of scores takes these."""

    def __init__(self, xs: list[Any], at: dict[str, Any], i: int, h: int) -> None:
        q, k, _, bias, mask, *more = xs
        heads, shape = at["heads"], (len(q), at["heads"], q.shape[1], k.shape[1])
        plain = [self.part(x, i, h, heads) for x in xs[:3]]
        self.q, self.k, self.v = map(abs, plain)
        scale = 1 / np.sqrt(plain[0].shape[1])
        s, size = plain[0] @ plain[1].T * scale, self.q @ self.k.T * scale
        if bias is not None:
            b = np.broadcast_to(bias, shape)[i, h]
            s, size = s + b, size + abs(b)
        hidden = np.zeros(s.shape, bool) if mask is None else ~np.broadcast_to(mask, shape)[i, h]
        if at["causal"]:
            hidden = hidden | (np.arange(s.shape[1]) > np.arange(s.shape[0])[:, None])
        s = np.where(hidden, -np.inf, s)
        shift = more[0][i, :, h, None] if more else np.max(s, 1, keepdims=True)
        p = np.exp(s - shift)
        self.p = p if more else p / np.sum(p, 1, keepdims=True)
        largest = np.max(np.where(np.isfinite(s), size, 0), 1, keepdims=True)
        self.units = (plain[0].shape[1] / 2 + 3) * largest + abs(shift) + max(s.shape) / 2 + 8
        self.dy = abs(self.part(more[2], i, h, heads)) if more else None
        self.delta = abs(more[1][i, :, h, None]) if more else None

    @staticmethod
    def part(x: Any, i: int, h: int, heads: int) -> Any:
        return x[i].reshape(x.shape[1], heads, -1)[:, h]


def _joined(parts: list[Any], heads: int) -> Any:
    """Of each sample and head (positions, channels), as the array of all."""
    x = np.stack(parts).reshape(-1, heads, *parts[0].shape)
    return np.swapaxes(x, 1, 2).ravel()


def _sizes(count: int, of_head: Any) -> Any:
    def size(xs: list[Any], at: dict[str, Any]) -> Any:
        heads = at["heads"]
        found = [of_head(_Head(xs, at, i, h)) for i in range(len(xs[0])) for h in range(heads)]
        return np.concatenate([_joined([one[part] for one in found], heads) for part in range(count)])

    return size


def _forward(h: _Head) -> Any:
    """Each weight is off by its row's units, and so is the sum of them."""
    return 2 * h.units * (h.p @ h.v), 2 * h.units


def _backward(h: _Head) -> Any:
    scale = 1 / np.sqrt(h.q.shape[1])
    ds = h.p * (h.dy @ h.v.T + h.delta) * (h.units + h.v.shape[1] / 2) * scale
    return ds @ h.k, ds.T @ h.q, (h.p * h.units).T @ h.dy


ATTENTION = (
    rows("attention", *_table(False), ulp=1, size=_sizes(2, _forward), specials=frozenset((0, 1, 3))),
    rows("attention_grad", *_table(True), ulp=1, size=_sizes(3, _backward), specials=frozenset()),
)
