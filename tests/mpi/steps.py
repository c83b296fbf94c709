"""A program of several ranks: some training steps on this rank's slices; prints losses and digests, rank 0 keeps what
came out. Also the same in one process, for comparison.
"""

import contextlib
import hashlib
import json
import sys

import numpy as np

import numbaflux as nf
from numbaflux.distributed import optimiser

BATCH, STEPS = 24, 6


def data(dtype):
    rng = np.random.default_rng(0)
    return [tuple(rng.normal(size=(BATCH, n)).astype(dtype) for n in (5, 3)) for _ in range(STEPS)]


def made(rule, dtype, drop=0.0, seed=0):
    """A model with its optimiser state and step; rule: that of setup."""
    sizes = zip((5, 300, 40), (300, 40, 3), (nf.tanh, nf.relu, nf.identity), strict=True)
    layers = [nf.Dense(*given, rng=seed + i) for i, given in enumerate(sizes)]
    model = nf.Chain(*layers[:1], nf.Dropout(drop), *layers[1:]) if drop else nf.Chain(*layers)
    model = nf.f64(model) if dtype == "float64" else model
    state = nf.setup(rule, model)
    return model, state, nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, state)


def rule_of(name):
    return {
        "adam": nf.Adam(1e-2),
        "descent": nf.Descent(0.1),
        "descent3": nf.Descent(0.3),
        "clip": nf.OptimiserChain(nf.ClipGlobalNorm(0.1), nf.Adam(1e-2)),
        "ema": nf.EMA(nf.Momentum(0.01), 0.9),
        "rprop": nf.Rprop(),
    }[name]


def main(name="adam", dtype="float32", drop=0.0, hold=1, together=optimiser.TOGETHER, **options):
    optimiser.TOGETHER = together
    nf.seed(3)
    with nf.distributed.init() as world:
        rule = nf.DistributedOptimizer(rule_of(name), world, **options)
        model, state, step = made(rule, dtype, drop, seed=world.rank)
        world.synchronize(model, state)
        each = BATCH // world.size
        mine = slice(world.rank * each, (world.rank + 1) * each)
        losses = []
        for i, (x, y) in enumerate(data(dtype), 1):
            with world.no_sync() if i % hold else contextlib.nullcontext():
                losses.append(float(step(x[mine], y[mine])))
        held = {path: np.asarray(a) for path, a in nf.tree.arrays(model).items()}
        digest = hashlib.sha256(b"".join(a.tobytes() for a in held.values())).hexdigest()
        lines = world.rows(np.frombuffer(digest.encode(), np.uint8).reshape(1, -1))
        if world.rank == 0:
            np.savez("params.npz", **held)
            same = bool((lines == lines[0]).all())
            print(json.dumps({"losses": losses, "digest": digest, "same": same, "state": state.step}), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
