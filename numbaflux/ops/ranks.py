"""What the ranks of a world compute together while a plan runs: Python's turn between two native calls."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..lowering import Buf, Build, Num, elementwise, whole
from ..op import Op, Spec

DOUBLE = np.dtype(np.float64)


def sum_over_ranks(b: Build, buf: Buf, world: Any, rows: int) -> None:
    """Let a temporary of float64 hold its sum over ranks, whose batches are of so many rows each.

    Before the first sum of a plan they meet, so that a rank which does something else, or has another batch, is an
    error on all.
    """
    first = not any(e.host for e in b.entries)
    b.host(partial(_sum, buf, world, rows if first else None), whole(buf, write=True))


def _sum(buf: Buf, world: Any, rows: int | None, instance: Any) -> None:
    if rows is not None:
        world.same(str(rows).encode(), "the size of a batch with statistics", "nf.DataLoader(..., world=world)")
    world.beside.sum(instance.view(buf).reshape(-1), "statistics")


def _mean_shape(x: Spec, world: Any, rows: int) -> Spec:
    return x


def _mean_lower(b: Build, out: Buf, x: Buf, world: Any, rows: int) -> None:
    total, mean = b.temp(x.shape, DOUBLE), b.temp(x.shape, DOUBLE)
    elementwise(b, "elementwise.cast", total, x)
    sum_over_ranks(b, total, world, rows)
    elementwise(b, "elementwise.affine", mean, total, numbers=[Num(1 / world.size, DOUBLE), Num(-0.0, DOUBLE)])
    elementwise(b, "elementwise.cast", out, mean)


# The mean over ranks. Not in the registry: it has no kernel, and takes ranks to run.
MEAN_OF_RANKS: Op = Op("mean_of_ranks", _mean_shape, _mean_lower,
                       (lambda c, dy: c.apply(MEAN_OF_RANKS, dy, **c.attrs),))  # fmt: skip
