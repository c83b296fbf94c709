"""Every operation on CUDA kernels, in the simulator: the cases of tests/cases.py that are small enough, beside the
oracle in extended precision, and every example of the registry in three orders of threads, beside the CPU's kernels."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import run
from tests.case import own_statistics
from tests.cases import CASES, DTYPES, OPS
from tests.cuda import plans, simulator
from tests.test_registry import check

LARGEST = 1500.0  # nanoseconds that a case takes on the CPU, roughly: the simulator takes 100 000 times as long
BLOCKS = 24  # of attention: each takes as long as 64 positions do, however few it has
simulator.install()


def given(case, dtype):
    return own_statistics(case, case.arrays(dtype))


def small(case):
    plan = plans.plan_of(OPS[case.name], given(case, np.float32), case.attrs)[0]
    blocks = sum(g.tiles for g in plan.groups if g.entries[0].kernel.startswith("attention."))
    return plan.work <= LARGEST and blocks <= BLOCKS


SMALL = [case for case in CASES if small(case)]


def test_every_operation_has_small_cases():
    assert {case.name for case in SMALL} == OPS.keys()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("number", "case"), list(enumerate(SMALL)), ids=str)
def test_values(number, case, dtype):
    order = simulator.ORDERS[number % len(simulator.ORDERS)]
    outs = plans.run(OPS[case.name], given(case, dtype), case.attrs, order)
    joined = outs[0] if len(outs) == 1 else np.concatenate([y.reshape(-1) for y in outs])
    check(case, case.arrays(dtype), joined)


@pytest.mark.parametrize("op", nf.REGISTRY, ids=lambda op: op.name)
def test_examples_in_three_orders(op):
    """The orders give the same bits, so that no barrier is missing; and about those of the CPU."""
    for shown in op.examples:
        rng, attrs = np.random.default_rng(0), dict(shown.attrs)
        specs = shown.specs(np.dtype(np.float32))
        arrays = [None if s is None else drawn(rng, s) for s in specs]
        if plans.plan_of(op, arrays, attrs)[0].work > LARGEST:
            continue
        forward, *others = [plans.run(op, arrays, attrs, order) for order in simulator.ORDERS]
        for y, right in zip(forward, as_tuple(run.run(op, list(arrays), attrs)), strict=True):
            np.testing.assert_allclose(y, right, rtol=1e-4, atol=1e-5)
        for outs in others:
            assert [y.tobytes() for y in outs] == [y.tobytes() for y in forward]


def drawn(rng, spec):
    if spec.dtype.kind == "f":
        return rng.uniform(0.1, 0.9, spec.shape).astype(spec.dtype)
    return rng.integers(0, 2, spec.shape).astype(spec.dtype)


def as_tuple(y):
    return y if isinstance(y, tuple) else (y,)
