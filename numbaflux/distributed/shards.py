"""Parts of a batch: what each gets, and what is drawn for it, whichever rank runs it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..op import ShapeError, expect
from ..rng import Generator
from ..tree import replaced


def part_of(args: Sequence[Any], at: int, parts: int) -> Any:
    """Of each array the samples of one of so many parts of one size.

    >>> part_of((np.arange(6), 0.5), at=1, parts=3)
    (array([2, 3]), 0.5)
    """
    if parts == 1:
        return args

    def leaf(path: str, kind: str, x: Any) -> Any:
        if not isinstance(x, np.ndarray) or x.ndim == 0:
            return x
        size, rest = divmod(len(x), parts)
        cure = "a batchsize that shards= divides"
        expect(rest == 0, "step", "a rank's batch", f"a multiple of {parts} shards", len(x), cure, ShapeError)
        return x[at * size : (at + 1) * size]

    return type(args)(replaced(arg, leaf) for arg in args)  # type: ignore[call-arg]


@functools.lru_cache
def seed_of(seed: int, shard: int) -> int:
    """The seed of what a shard draws where a generator has this one.

    >>> seed_of(7, 1) == Generator(7).child(1).state[0]
    True
    """
    return Generator(seed).child(shard).state[0]
