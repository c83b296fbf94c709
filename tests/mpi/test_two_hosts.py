"""Training over two hosts that a cable joins: the parameters of one process; a slow cable takes the time of its bytes,
and gradients that are summed meanwhile take no longer."""

import json

import numpy as np
import pytest

from tests.mpi.hosts import BURST
from tests.mpi.test_train import PROGRAM, compare

RATE = 200e6  # bits a second of the slow cable
WIDTH, LAYERS = 384, 6
GRADIENTS = 4 * LAYERS * WIDTH * (WIDTH + 1)  # bytes

# The same training with and without overlap, turn by turn: seconds of each step, by the slower rank.
STEPS = f"""
import json, time
import numpy as np
import numbaflux as nf

def made(world, overlap):
    model = nf.Chain(*(nf.Dense({WIDTH}, {WIDTH}, nf.tanh, rng=i) for i in range({LAYERS})))
    state = nf.setup(nf.DistributedOptimizer(nf.Descent(0.01), world, overlap=overlap), model)
    return model, nf.compile(lambda m, x: (m(x) ** 2).mean(), model, state)

with nf.distributed.init(timeout=60) as world:
    x = np.random.default_rng(world.rank).normal(size=(64, {WIDTH})).astype(np.float32)
    ways, took = {{overlap: made(world, overlap) for overlap in (False, True)}}, {{False: [], True: []}}
    for turn in range(5):
        for overlap, (model, step) in ways.items():
            world.barrier()
            began = time.perf_counter()
            step(x)
            took[overlap].append(float(world.gather([time.perf_counter() - began]).max()))
    one, other = (nf.tree.arrays(model).values() for model, _ in ways.values())
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    if world.rank == 0:
        print(json.dumps([took[False][1:], took[True][1:]]), flush=True)
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_they_train_as_one_process_does(hosts, dtype):
    before = hosts.received("h2")
    done = hosts.mpi.run(PROGRAM, 2, json.dumps({"dtype": dtype, "norm": "of all"}))
    assert done.rc == 0, done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(one["rank"] for one in found) == [0, 1]
    assert found[0]["digest"] == found[1]["digest"] and found[0]["history"] == found[1]["history"]
    assert hosts.received("h2") - before > 10_000
    with np.load(hosts.folder / "params.npz") as params:
        compare(found[0]["history"], params, dtype, norm="of all")


def test_a_slow_cable_takes_the_time_of_the_gradients_and_overlap_no_longer(hosts):
    """Both in one run, turn by turn: what else the machine does slows both."""
    at_least = 8 * (GRADIENTS - BURST) / RATE
    with hosts.slowed(f"{RATE / 1e6:.0f}mbit"):
        slow = hosts.mpi.run(STEPS, 2)
    assert slow.rc == 0, slow.err
    plain, overlapped = json.loads(slow.out)
    assert min(plain) >= at_least and min(overlapped) >= at_least
    assert min(overlapped) <= 1.25 * min(plain), (plain, overlapped)
