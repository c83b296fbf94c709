"""BatchNorm over the batches of all ranks."""

from __future__ import annotations

import copy
from typing import Any

from ..layers import BatchNorm
from ..op import DTypeError, expect
from ..tree import STATIC, children, rebuilt
from .world import World


def sync_batchnorm(model: Any, world: World) -> Any:
    """A model of the same arrays whose BatchNorm layers take, in training, the statistics of the batches of all ranks
    together, which must be of one size: as one process does that has the whole batch. For nf.setup to take; the given
    model stays as it is.

    Two small sums over ranks in the forward pass of each such layer, one in its gradient. Each rank must call it. Files
    know nothing of it: what nf.load makes is synchronised anew. Raises DTypeError unless world is one; RankError, on
    all ranks, for batches of different sizes.

    >>> import numbaflux as nf
    >>> with nf.distributed.init() as world:
    ...     nf.distributed.sync_batchnorm(nf.BatchNorm(3), world)  # of one rank: nothing to do
    BatchNorm(3),                                    # 6 parameters
    # 2 arrays, 6 parameters, plus 6 not trained in 2 arrays, 48 bytes
    """
    good, got = isinstance(world, World), type(world).__name__
    expect(good, "sync_batchnorm", "world", "what nf.distributed.init() returned", got, error=DTypeError)
    if world.size == 1:
        return model
    _ = world.beside  # which all ranks make together
    return _synchronised(model, world)


def _synchronised(node: Any, world: World) -> Any:
    """A copy whose BatchNorm layers know the world; what has none below it is shared."""
    if isinstance(node, BatchNorm):
        made = copy.copy(node)
        object.__setattr__(made, "_world", world)
        return made
    parts = [(key, child, _synchronised(child, world)) for _, key, child, _ in children(node, STATIC) or ()]
    return node if all(old is new for _, old, new in parts) else rebuilt(node, [(key, new) for key, _, new in parts])
