"""Models whose layers take their sizes from what they are given."""

from __future__ import annotations

from typing import Any

from .layers.pending import Pending, making
from .models import traced
from .op import PlanError, expect
from .walk import fmap


def autosize(model: Any, *shapes: tuple[int, ...], padbatch: bool = False, dtype: Any = None) -> Any:
    """The model with a size in place of each nf.AUTO: the last axis of what the layer is given, for inputs of these
    shapes. Nothing is computed.

    nf.AUTO stands for a size among the arguments of any layer, one's own too, anywhere in the model; in a layer of
    several inputs the k-th stands for the k-th input. Layers are made, and draw their weights, in the order of the
    calls. shapes, padbatch, dtype: as in nf.outputsize. Raises PlanError for a layer that is never called, and what the
    call raises where shapes do not fit.

    >>> import numbaflux as nf
    >>> nf.autosize(nf.Chain(nf.Conv((3, 3), nf.AUTO, 6, nf.relu), nf.flatten, nf.Dense(nf.AUTO, 10)), (1, 28, 28, 1))
    Chain(
      0: Conv((3, 3), 1, 6, relu),                   # 60 parameters
      1: flatten,
      2: Dense(4056, 10),                            # 40_570 parameters
    )
    # 4 arrays, 40_630 parameters, 162_520 bytes
    """
    made: dict[Pending, Any] = {}
    token = making.set(made)
    try:
        traced(model, "autosize", [(1, *s) if padbatch else tuple(s) for s in shapes], model, dtype)
    finally:
        making.reset(token)

    def known(path: str, part: Pending) -> Any:
        expect(part in made, "autosize", path, "called, for its size to be known", f"{part!r} that is not",
               error=PlanError)  # fmt: skip
        return made[part]

    return fmap(known, model, path=True, exclude=lambda part: isinstance(part, Pending))
