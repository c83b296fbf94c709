"""Where a curve of cost leaves its neighbours' trend, and where the cost of a unit rises."""

from __future__ import annotations

import math
from collections.abc import Sequence

LIMIT = 1.3


def off_trend(points: Sequence[float], costs: Sequence[float]) -> list[float]:
    """Each cost over what its two neighbours let expect on a straight line of logarithms; 1 at the ends, which have
    one neighbour.

    >>> off_trend([1, 2, 4, 8], [3, 6, 12, 24]), off_trend([1, 2, 4], [1, 3, 4])
    ([1.0, 1.0, 1.0, 1.0], [1.0, 1.5, 1.0])
    """
    x, y = [math.log(p) for p in points], [math.log(c) for c in costs]
    found = [1.0] * len(x)
    for i in range(1, len(x) - 1):
        share = (x[i] - x[i - 1]) / (x[i + 1] - x[i - 1])
        expected = y[i - 1] + share * (y[i + 1] - y[i - 1])
        found[i] = round(math.exp(y[i] - expected), 6)
    return found


def rise(costs: Sequence[float]) -> list[float]:
    """Each cost over the least of those before it; 1 at the first.

    >>> rise([4, 2, 2, 3])
    [1.0, 0.5, 1.0, 1.5]
    """
    return [c / min(costs[:i] or costs[:1]) for i, c in enumerate(costs)]


def above(medians: Sequence[Sequence[float]]) -> list[bool]:
    """Where every row of factors is over LIMIT: once may be noise.

    >>> above([[1.4, 1.4, 0.5], [1.5, 1.0, 0.6]])
    [True, False, False]
    """
    return [min(column) > LIMIT for column in zip(*medians, strict=True)]


def cliffs(medians: Sequence[Sequence[float]]) -> list[bool]:
    """Where every row of off_trend is over LIMIT, or under its inverse and no neighbour over it: the trend is that
    neighbour's fault then.

    >>> cliffs([[1.0, 0.6, 1.5, 1.0]]), cliffs([[1.0, 0.6, 1.1, 1.0]])
    ([False, False, True, False], [False, True, False, False])
    """
    high = above(medians)
    low = [max(column) < 1 / LIMIT for column in zip(*medians, strict=True)]
    return [high[i] or (low[i] and not any(high[max(i - 1, 0) : i + 2])) for i in range(len(high))]
