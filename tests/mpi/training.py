"""A program of several ranks: nf.train on shares of one training, described by JSON; prints what each rank came to."""

import hashlib
import json
import sys

import numpy as np

import numbaflux as nf

N, BATCH = 72, 16  # the last batch is one of 8: a share for each of 4 ranks
HELD = 35  # samples of validation: other numbers on each rank


def data(dtype):
    """Inputs and classes, of training and of validation."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(N + HELD, 3)), rng.normal(size=(3, 4))
    y = (x @ w + rng.normal(size=(N + HELD, 4))).argmax(1)
    x = x.astype(dtype)
    return (x[:N], nf.OneHot(y[:N], 4)), (x[N:], nf.OneHot(y[N:], 4))


def loss(model, x, y):
    return nf.losses.logitcrossentropy(model(x), y)


def in_order(output, y):
    """Of all samples, each with a weight by its place."""
    places = np.arange(1, len(y) + 1)
    return (nf.onecold(output) == y.indices) @ places / places.sum()


def model_of(dtype, norm=""):
    last = [nf.BatchNorm(8), nf.Dense(8, 4, rng=2)] if norm else [nf.Dense(8, 4, rng=2)]
    model = nf.Chain(nf.Dense(3, 8, nf.tanh, rng=1), *last)
    return nf.f64(model) if dtype == "float64" else model


def train(world, dtype="float32", norm="", validate="arrays", compile=True, epochs=3, callbacks=(), put=nf.cpu,
          **options):  # fmt: skip
    """The model and its history; world: None in one process; put: to a device. options: of the loader or the
    DistributedOptimizer."""
    own = {name: options.pop(name) for name in ("partial", "rng", "shuffle") if name in options}
    training, validation = data(dtype)
    model = put(model_of(dtype, norm))
    model = nf.distributed.sync_batchnorm(model, world) if world is not None and norm == "of all" else model
    rule = nf.Momentum(0.1)
    state = nf.setup(rule if world is None else nf.DistributedOptimizer(rule, world, **options), model)
    batches = nf.DataLoader(training, BATCH, **({"shuffle": True, "rng": 3} | own), world=world)
    if validate == "loader":
        validation = nf.DataLoader(validation, 8, world=world)
    history = nf.train(loss, model, batches, state, epochs=epochs, validation=validation, compile=compile,
                       metrics=[nf.metrics.accuracy, in_order], callbacks=callbacks)  # fmt: skip
    return model, history


def digest(model):
    return hashlib.sha256(b"".join(a.tobytes() for a in nf.tree.arrays(model).values())).hexdigest()


def main(**options):
    with nf.distributed.init() as world:
        model, history = train(world, **options)
        if world.rank == 0:
            np.savez("params.npz", **nf.tree.arrays(model))
        print(json.dumps({"rank": world.rank, "digest": digest(model), "history": history}) + "\n", end="", flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
