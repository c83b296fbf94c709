"""nf.compile(..., products=...): which plans round, how far off they are, and where it is refused."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.bound import Bound
from numbaflux.launches import Launches
from numbaflux.lowering import GPU
from tests.cuda import simulator
from tests.cuda.fake_driver import FakeGPU

simulator.install()


def model():
    return nf.Chain(nf.Dense(6, 40, nf.tanh, rng=0), nf.Dense(40, 36, rng=1))


def bound(f, *args, gpu=None):
    f.target = GPU
    program, arrays = f.program(args)
    return Bound(gpu or FakeGPU(), Launches(program.keep.build)), program, arrays


def products_of(plan):
    return [one.kernel for one in plan.found if one.kernel.startswith("dense.product")]


@pytest.mark.parametrize(("products", "least", "most"), [("tf32", 1e-5, 2e-3), ("bf16", 1e-4, 1e-2)])
def test_predictions_are_rounded_as_asked(products, least, most):
    m, x = model(), np.random.default_rng(0).normal(size=(36, 6)).astype(np.float32)
    plan, program, arrays = bound(nf.compile(m, products=products), x)
    assert products_of(plan) == [f"dense.product_{products}"] * 2
    out = np.empty(program.specs[0].shape, np.float32)
    plan.run(*arrays, out)
    assert least < np.abs(out - m(x)).max() < most
    assert products_of(bound(nf.compile(m), x)[0]) == ["dense.product_middle"] * 2


def test_a_training_step_rounds_forward_and_gradients():
    def loss(m, x, y):
        return nf.losses.mse(m(x), y)

    m, rng = nf.Dense(40, 40, rng=0), np.random.default_rng(0)
    x, y = (rng.normal(size=(40, 40)).astype(np.float32) for _ in range(2))
    step = nf.compile(loss, m, nf.setup(nf.Descent(0.1), m), products="tf32")
    plan, program, arrays = bound(step, x, y)
    assert [name.rpartition("_")[2] for name in products_of(plan)] == ["tf32"] * 2
    plan.run(*arrays)
    right = nf.Dense(40, 40, rng=0)
    nf.compile(loss, right, nf.setup(nf.Descent(0.1), right))(x, y)
    np.testing.assert_allclose(m.weight, right.weight, atol=1e-4)


def test_what_is_float64_stays_exact():
    m = nf.f64(model())
    plan, _, _ = bound(nf.compile(m, products="bf16"), np.ones((40, 6)))
    assert products_of(plan) == ["dense.product_middle"] * 2


def test_large_batches_have_tiles_of_a_whole_block():
    plan, _, _ = bound(nf.compile(model(), products="bf16"), np.ones((200, 6), np.float32))
    assert [one.grid for one in plan.found if "product" in one.kernel] == [(2, 1)] * 2


def test_older_gpus_refuse():
    gpu = FakeGPU()
    gpu.capability = (7, 5)
    with pytest.raises(nf.PlanError, match=r"products must be 'float32' where .* got capability \(7, 5\)"):
        bound(nf.compile(model(), products="tf32"), np.ones((4, 6), np.float32), gpu=gpu)
    bound(nf.compile(model()), np.ones((4, 6), np.float32), gpu=gpu)
