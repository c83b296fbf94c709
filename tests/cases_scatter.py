"""The cases of operations on rows that meet by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.case import Draw, Input, Row, apart, away, rows

TABLES = (  # rows of the table, features, index
    (1, (), (1,)), (1, (), ()), (5, (3,), (7,)), (300, (48,), (301,)), (3, (17,), (40,)), (4, (2, 5), (13,)),
    (7, (), (31, 2)), (5, (16,), (2, 3, 2)), (101, (1,), (1031,)), (2, (49,), (33,)),
)  # fmt: skip


def every(n: int) -> Draw:
    """Each of 0..n - 1 at least once: what is not finite has no differences."""
    return lambda rng, shape: rng.permutation(np.resize(np.arange(n), shape).ravel()).reshape(shape)


def _factors(xs: list[Any], attrs: dict[str, Any]) -> Any:
    """Of a product of k: half a unit a factor."""
    return float(np.bincount(xs[1].ravel()).max()) * abs(_product(*xs, **attrs))


def _product(x: Any, index: Any, rows: int) -> Any:
    y = np.ones((rows, *x.shape[index.ndim :]), x.dtype)
    np.multiply.at(y, index, x)
    return y


def _scattered(name: str, draw: Draw, **row: Any) -> tuple[str, Row]:
    table = [((Input((*i, *c), draw), Input(i, every(n))), {"rows": n}) for n, c, i in TABLES]
    return rows(name, *table, **row)


SCATTER = (_scattered("scatter_max", apart), _scattered("scatter_product", away, ulp=1, size=_factors))
