"""Trainings of tests/mpi/training.py by ranks that mpiexec started, each with a GPU of its own that is not there,
beside the same on CPUs."""

import json
import sys

import numbaflux as nf
from numbaflux import device
from numbaflux.distributed import optimiser
from tests.cuda import simulator
from tests.cuda.fake_driver import FakeGPU
from tests.mpi import training

COLUMNS = "loss", "validation_loss", "accuracy", "in_order"
training.N, training.HELD = 40, 7  # so small that all ways are run in a minute


def compared(world, gpu, together, options):
    """What a rank came to: (on CPUs, on GPUs) for each array and column."""
    optimiser.TOGETHER = together
    pinned = gpu.calls.count("pin")
    (right, rows), (model, found) = (training.train(world, put=put, epochs=1, **options) for put in (nf.cpu, nf.gpu))
    world.same(training.digest(model).encode(), "parameters")
    arrays = [[a.tolist() for a in nf.tree.arrays(m).values()] for m in (right, model)]
    columns = [[history.column(name) for name in COLUMNS] for history in (rows, found)]
    return {
        "on": repr(nf.get_device(model)), "pins": gpu.calls.count("pin") - pinned,
        "pairs": [*zip(*arrays, strict=True), *zip(*columns, strict=True)],
    }  # fmt: skip


def main(ways):
    simulator.install()
    gpus = [FakeGPU(), FakeGPU()]
    for number, one in enumerate(gpus):
        one.number, one.uuid = number, bytes([number])
    device.why_not, device.count, device.gpu = lambda: "", lambda: len(gpus), lambda number=0: gpus[number]
    with nf.distributed.init(timeout=60) as world:
        for way, (together, options) in enumerate(ways):
            found = compared(world, gpus[world.local_rank], together, options)
            said = {"rank": world.rank, "local": world.local_rank, "way": way}
            print(json.dumps(said | found) + "\n", end="", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
