"""Gradients that wait for those of later steps: added up where they are, on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..lowering import CPU, GPU, Build, as_buf, cut, elements_block, whole
from ..managed import copy, gpu_of
from ..optim.state import WORDS
from ..optim.vectors import Vectors
from ..program import plan_for

Stretch = tuple[Vectors, int, int]


class Kept:
    """Sums of gradients. stretches: of the vectors, (vectors, start, end); what is kept of each can be added to the
    gradients there alone."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self.sums = {id(v): copy(v.grads) for v, _, _ in stretches}
        places = [(self.sums[id(v)][start:end], v.grads[start:end]) for v, start, end in stretches]
        self.first, self.more = plan(places, add=False), plan(places, add=True)
        self.back = [plan([(grads, total)], add=True) for total, grads in places]

    def keep(self, first: bool) -> None:
        """Add the gradients to what is kept, or forget that and keep these."""
        (self.first if first else self.more).run()

    def give(self, number: int) -> None:
        """Add what is kept to the gradients of a stretch."""
        self.back[number].run()


def plan(places: Sequence[tuple[np.ndarray, np.ndarray]], add: bool) -> Any:
    """A plan of y += x, or y = x, for each pair, where they are."""
    gpu = gpu_of(places[0][0])
    build = Build(CPU if gpu is None else GPU)
    ones, numbers = (whole(as_buf(a)) for a in (np.ones(2), np.zeros(WORDS)))
    for y, x in places:
        kernel, more = ("optim.blend", (ones, numbers)) if add else ("elementwise.copy", ())
        build.add(kernel, cut(as_buf(y), write=True), cut(as_buf(x)), *more, rows=y.size,
                  block=elements_block(y.size, 1), work=0.8 * y.size, commits=True)  # fmt: skip
    return plan_for(gpu, build)
