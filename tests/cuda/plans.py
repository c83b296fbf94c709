"""A plan's entries in the simulator: what a GPU would do, tile after tile."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from numbaflux.instance import Instance
from numbaflux.interpreter import arguments
from numbaflux.lowering import GPU
from numbaflux.native import WORD
from numbaflux.op import Op, Spec
from numbaflux.plan import Plan
from numbaflux.run import lowered
from tests.cuda.simulator import run_entry


class Simulated(Instance):
    """An instance whose calls run in the simulator, with threads in that order."""

    def __init__(self, plan: Plan, order: str) -> None:
        self.order = order
        super().__init__(plan, 1)

    def caller(self, first: int, last: int) -> Callable[[], None]:
        return partial(self._simulate, range(first, last))

    def _simulate(self, waves: range) -> None:
        """Each launch, tile by tile; groups in their order, as on the CPU."""
        if waves.start == 0:
            self.status[0] = min(self.status[0], 0)
            for word, number, offset in self.patches:
                WORD.from_address(word).value = self.arguments[number] + offset
        for group in self.plan.groups:
            for tile, e in product(range(group.tiles), group.entries):
                if group.wave in waves and self.status[0] == 0:
                    args = arguments(e.signature, self.first[id(e)].tolist(), tile)
                    run_entry(e.kernel, e.signature, args, self.order)


def plan_of(op: Op, arrays: Sequence[Any], attrs: dict[str, Any]) -> tuple[Plan, tuple[Spec, ...], int]:
    """As numbaflux.run does it."""
    specs = tuple(None if a is None else Spec(a.shape, a.dtype) for a in arrays)
    key = tuple(sorted(attrs.items()))
    build, *rest = lowered(op, specs, key, GPU)
    return Plan(build), *rest


def run(op: Op, arrays: Sequence[Any], attrs: dict[str, Any], order: str = "forward") -> tuple[np.ndarray, ...]:
    """The outputs of an operation, computed by its CUDA kernels."""
    given = [None if a is None else np.ascontiguousarray(a).reshape(np.shape(a)) for a in arrays]
    plan, out_specs, view = plan_of(op, given, attrs)
    if view >= 0:
        return (given[view].reshape(out_specs[0].shape),)
    outs = tuple(np.empty(s.shape, s.dtype) for s in out_specs)
    Simulated(plan, order).run(*outs, *given)
    return outs
