"""Recurrent layers on CUDA kernels: small cases of tests/cases_recurrent.py of each cell, by each kind of block."""

import numpy as np
import pytest

from numbaflux import run
from numbaflux.instance import Instance
from numbaflux.kernels.cuda import launch
from numbaflux.ops import recurrent
from tests.cases import CASES, DTYPES, OPS
from tests.cuda import plans, simulator
from tests.test_registry import check

simulator.install()
LAYERS = [(case, case.arrays(np.float32)) for case in CASES if case.name in ("recurrent", "recurrent_grad")]
SMALL = [case for case, (x, *_) in LAYERS if 5 < x.shape[0] * x.shape[1] <= 72]
# Of several samples, forward and backward: LSTM, GRU, GRUv3.
SEVERAL = [case for case, (x, *_) in LAYERS if x.shape in ((7, 5, 3), (17, 4, 33), (8, 9, 3))]


def compare(case, dtype, order):
    arrays = case.arrays(dtype)
    outs = plans.run(OPS[case.name], arrays, case.attrs, order)
    check(case, arrays, np.concatenate([y.reshape(-1) for y in outs]))


@pytest.mark.parametrize(("number", "case"), list(enumerate(SMALL)), ids=str)
def test_values(number, case):
    compare(case, np.float32, simulator.ORDERS[number % 3])


@pytest.mark.parametrize("block", launch.CHAINS)
@pytest.mark.parametrize(("number", "case"), list(enumerate(SEVERAL)), ids=str)
def test_each_kind_of_block(number, case, block, monkeypatch):
    samples = launch.CHAINS[block].samples
    monkeypatch.setattr(recurrent, "BLOCKS", 1 if samples > 1 else 128)
    for module in (launch, recurrent):
        monkeypatch.setattr(module, "chained", lambda *sizes: (block, 1))
    run.planned.cache_clear()
    compare(case, np.float32, simulator.ORDERS[number % 3])
    run.planned.cache_clear()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [case for case, _ in LAYERS], ids=str)
def test_kernels_of_the_cpu_read_plans_for_gpus_alike(case, dtype):
    arrays = case.arrays(dtype)
    plan, specs, _ = plans.plan_of(OPS[case.name], arrays, case.attrs)
    outs = [np.empty(s.shape, s.dtype) for s in specs]
    Instance(plan, 1).run(*outs, *arrays)
    check(case, arrays, np.concatenate([y.reshape(-1) for y in outs]))
