"""The cases of connectionist temporal classification: series and labels of several lengths, blanks anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.case import Draw, Input, below, normal, rows, wide
from tests.reference import oracle

SERIES = (  # samples, times, classes, labels, blank, logits
    (1, 1, 1, 0, 0, normal), (1, 1, 2, 1, 1, normal), (3, 5, 3, 2, 0, normal), (2, 8, 4, 4, 3, wide),
    (33, 7, 5, 3, 4, normal), (5, 16, 17, 8, 16, normal), (7, 31, 2, 15, 1, normal), (4, 13, 31, 1, 7, wide),
    (2, 3, 1030, 1, 0, normal), (3, 97, 6, 40, 5, normal),
)  # fmt: skip


def _classes(n: int, blank: int) -> Draw:
    """Any class but the blank."""
    return lambda rng, shape: (blank + 1 + rng.integers(0, max(n - 1, 1), shape)) % n


def _enough(times: int, labels: int) -> Draw:
    """As many times as labels that are all the same need, or more."""
    return lambda rng, shape: rng.integers(min(2 * labels, times), times + 1, shape)


def _table(*more: Draw) -> list[Any]:
    found = []
    for n, times, classes, labels, blank, logits in SERIES:
        inputs = (
            Input((n, times, classes), logits), Input((n, labels), _classes(classes, blank)),
            Input((n,), below(labels + 1)), Input((n,), _enough(times, labels)), *(Input((n,), d) for d in more),
        )  # fmt: skip
        found.append((inputs, {"blank": blank}))
    return found


def _rounding(x: Any) -> Any:
    """What rounding logarithms of probabilities costs, at each time."""
    x = np.nan_to_num(x, nan=0, posinf=0, neginf=0)
    return np.max(x, -1) - np.min(x, -1) + np.log(x.shape[-1]) + 4


def _size(xs: list[Any], attrs: dict[str, Any]) -> Any:
    """And of each time, which rounds the sum of its paths."""
    x = xs[0]
    return oracle("ctc")(*xs, **attrs) * (1 + x.shape[1] / 8) + _rounding(x).max(-1)


def _grad_size(xs: list[Any], attrs: dict[str, Any]) -> Any:
    """Shares of paths are from 0 to 1; what is rounded at any time changes them, on the way there and back."""
    x, dy = xs[0], xs[4]
    each = abs(dy) * (_rounding(x).sum(-1) + 2 * np.nan_to_num(_size(xs[:4], attrs), posinf=0))
    return np.broadcast_to(each[:, None, None], x.shape)


CTC = (
    rows("ctc", *_table(), ulp=2, size=_size, specials=frozenset((0,)), once=True),
    rows("ctc_grad", *_table(normal), ulp=1, size=_grad_size, specials=frozenset((0,))),
)
