"""Trainings of tests/mpi/training.py, one after another, on a GPU of its own for each rank, which is not there."""

import json
import sys

import numpy as np

import numbaflux as nf
from numbaflux import device
from numbaflux.distributed import optimiser
from tests.cuda import simulator
from tests.cuda.fake_driver import FakeGPU
from tests.mpi import training


def main(ways):
    simulator.install()
    gpus = [FakeGPU(), FakeGPU()]
    for number, one in enumerate(gpus):
        one.number, one.uuid = number, bytes([number])
    device.why_not, device.count, device.gpu = lambda: "", lambda: len(gpus), lambda number=0: gpus[number]
    with nf.distributed.init(timeout=60) as world:
        for i, (together, options) in enumerate(ways):
            optimiser.TOGETHER = together
            model, history = training.train(world, put=nf.gpu, epochs=1, **options)
            if world.rank == 0:
                np.savez(f"params-{i}.npz", **nf.tree.arrays(model))
            found = {"rank": world.rank, "way": i, "on": repr(nf.get_device(model)), "history": history}
            calls = [name for name in gpus[world.rank].calls if name in ("pin", "end_stream")]
            print(json.dumps(found | {"digest": training.digest(model), "pins": calls.count("pin")}) + "\n", end="",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
