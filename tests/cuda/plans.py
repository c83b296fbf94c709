"""A plan's entries in the simulator: what a GPU would do, tile after tile."""

from collections.abc import Callable, Sequence
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


def steps(plan: Plan, instance: Instance) -> list[tuple[str, tuple[str, ...], list[Any]]]:
    """Each launch, tile by tile, as kernel, codes, arguments; groups in their order, as on the CPU."""
    return [
        (e.kernel, e.signature, arguments(e.signature, instance.first[id(e)].tolist(), tile))
        for g in plan.groups
        for tile in range(g.tiles)
        for e in g.entries
    ]


def simulated(plan: Plan, order: str) -> Instance:
    """An instance whose calls run in the simulator, with threads in that order."""
    instance = Instance(plan, 1)

    def call(where: int, first: int, last: int) -> None:
        instance.status[0] = 0
        for word, number, offset in instance.patches:
            WORD.from_address(word).value = instance.arguments[number] + offset
        for kernel, codes, args in steps(plan, instance):
            if instance.status[0] == 0:
                run_entry(kernel, codes, args, order)

    instance.call: Callable[[int, int, int], None] = call
    return instance


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
    simulated(plan, order).run(*outs, *given)
    return outs
