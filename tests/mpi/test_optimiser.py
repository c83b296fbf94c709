"""DistributedOptimizer on ranks that mpiexec started, beside the same training in one process."""

import json
from pathlib import Path

import numpy as np
import pytest

import numbaflux as nf
from tests.mpi import steps

PROGRAM = Path(steps.__file__)


def trained(mpi, n, **options):
    """What the ranks printed, and the parameters they came to."""
    with mpi.start(PROGRAM, n, json.dumps(options)) as job:
        done = job.finish()
        assert done.rc == 0, done.err
        with np.load(job.folder / "params.npz") as held:
            return json.loads(done.out), dict(held)


def alone(name="adam", dtype="float32", every=1):
    """Losses and parameters of one process that sees whole batches."""
    rule = steps.rule_of(name)
    model, state, step = steps.made(rule if every == 1 else nf.OptimiserChain(nf.AccumGrad(every), rule), dtype)
    losses = [float(step(x, y)) for x, y in steps.data(dtype)]
    return losses, nf.tree.arrays(model)


def compare(found, held, losses, params, rtol):
    assert found["same"]
    np.testing.assert_allclose(found["losses"], losses, rtol=rtol)
    for path, array in params.items():
        np.testing.assert_allclose(held[path], array, rtol=rtol, atol=rtol, err_msg=path)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("name", ["adam", "clip", "ema"])
def test_ranks_train_as_one_process_does(mpi, n, name):
    compare(*trained(mpi, n, name=name, dtype="float64"), *alone(name, "float64"), rtol=1e-10)


@pytest.mark.parametrize("options", [
    {"overlap": True, "bucket": 0.01}, {"overlap": False, "bucket": 0.01}, {"sharded": True},
    {"name": "rprop", "sharded": True}, {"name": "ema", "sharded": True}, {"overlap": True, "name": "clip"},
    {"together": 0, "overlap": False}, {"together": 0, "overlap": True, "bucket": 0.01},
    {"together": 0, "overlap": False, "bucket": 0.01}, {"together": 0, "sharded": True},
], ids=str)  # fmt: skip
def test_ways_to_sum_give_the_same_training(mpi, options):
    compare(*trained(mpi, 2, dtype="float64", **options), *alone(options.get("name", "adam"), "float64"), rtol=1e-10)


def test_four_ranks_add_up_in_memory_that_they_share(mpi):
    for options in ({}, {"sharded": True}):
        compare(*trained(mpi, 4, dtype="float64", together=0, **options), *alone("adam", "float64"), rtol=1e-10)


def test_overlap_and_buckets_change_no_bit_of_two_ranks(mpi):
    ways = [(True, 0.01), (False, 8), (False, 0.01)]
    found = [trained(mpi, 2, overlap=overlap, bucket=bucket)[0] for overlap, bucket in ways]
    assert len({one["digest"] for one in found}) == 1


@pytest.mark.parametrize("wire, rtol", [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_sixteen_bits_on_the_wire(mpi, wire, rtol):
    found, held = trained(mpi, 2, name="descent", wire=wire)
    losses, params = alone("descent")
    compare(found, held, losses, params, rtol)
    assert found["losses"] != losses


@pytest.mark.parametrize("way, name", [("accumulate", "descent"), ("hold", "descent3")])
def test_gradients_of_several_steps_make_one_update(mpi, way, name):
    """accumulate takes their mean, world.no_sync their sum."""
    found, held = trained(mpi, 2, name="descent", dtype="float64", **{way: 3})
    _, params = alone(name, "float64", every=3)
    assert found["state"] == 2
    for path, array in params.items():
        np.testing.assert_allclose(held[path], array, rtol=1e-12)


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_fixed_shards_give_the_same_bits_on_any_number_of_ranks(mpi, drop):
    found = [trained(mpi, n, deterministic=True, drop=drop)[0] for n in (1, 2, 4)]
    assert all(one["same"] for one in found)
    assert len({one["digest"] for one in found}) == 1
    assert found[0]["losses"] == found[1]["losses"] == found[2]["losses"]
