"""A program of several ranks: one life of a training that goes on from its files, described by JSON. The first rank
tells where it began, each step and file, and the end; what came of it is in the last file."""

import json
import signal
import sys
import time
from pathlib import Path

import numbaflux as nf
from numbaflux import hdf5
from tests.lives import TIMES, N, X, Y, loss, noisy, score

BATCH = 16
EVERY = 2  # steps between two files; one more after each epoch


def made(world, kind="own", **options):
    """Model, optimiser state and data. kind: "own": each rank draws and normalises what is its own; "fixed": all that
    deterministic=True allows; "plain": nothing is drawn but the order of samples."""
    nf.seed(7)
    norm, drop = [nf.BatchNorm(8)] if kind == "own" else [], 0.0 if kind == "plain" else 0.3
    model = nf.Chain(
        nf.Dense(3, 8, nf.tanh), *norm, nf.Dropout(drop), nf.Dense(8, 4), nf.Dropout(drop, rng=5), nf.Dense(4, 2)
    )
    own = {"partial": kind == "own", "transform": noisy if kind == "own" else None}
    data = nf.DataLoader((X, Y), BATCH, shuffle=True, rng=3, world=world, **own)
    rule = nf.DistributedOptimizer(nf.Adam(0.02), world, deterministic=kind == "fixed", **options)
    return model, data, nf.setup(rule, model)


class Tell:
    """Says where training stands. pause: seconds of each step of a first life; stop: the step at which it gets USR1."""

    first_rank_only = True

    def __init__(self, pause, stop):
        self.pause, self.stop = pause, stop

    def on_start(self, event):
        self.pause = 0 if event.batches else self.pause
        print("at", event.batches, flush=True)

    def on_batch(self, event):
        print("step", event.batches, flush=True)
        if event.batches % EVERY == 0:
            print("saved", event.batches, flush=True)
        time.sleep(self.pause)
        if event.batches == self.stop:
            signal.raise_signal(signal.SIGUSR1)

    def on_epoch(self, event):
        print("saved", event.batches, flush=True)


def main(folder, epochs, pause=0.0, stop=0, **options):
    with nf.distributed.init(timeout=60) as world:
        model, data, state = made(world, **options)
        by_batch = nf.Checkpoint(f"{folder}/run-{{batches}}.h5", by="batch", every=EVERY, keep=3)
        callbacks = [by_batch, nf.Checkpoint(f"{folder}/run.h5"), Tell(pause, stop)]
        nf.train(loss, model, data, state, epochs, callbacks=callbacks, resume="auto", validation=(X, Y),
                 metrics=[score], progress=False)  # fmt: skip
        world.same(b"".join(a.tobytes() for a in nf.state(model).values()), "the model in the end")
        if world.rank == 0:
            print("done", flush=True)


def whole(epochs, kind="own"):
    """The steps of a training."""
    return list(range(1, 1 + epochs * (-(-N // BATCH) if kind == "own" else N // BATCH)))


def numbers(said, word):
    """What a training told behind a word in its lives: at, step, saved."""
    return [int(line.split()[1]) for line in said.splitlines() if line.startswith(f"{word} ")]


def steps(said):
    return numbers(said, "step")


def bits(folder: Path, history=True):
    """All that must not differ between trainings, of their last file; history: its rows too, but for times."""
    file = hdf5.read(folder / "run.h5")
    found = {name: array.tobytes() for name, array in file.tensors.items() if name != "history"}
    training = json.loads(file.documents["training"])
    rows = file.tensors["history"][:, [name not in TIMES for name in training["columns"]]]
    found["training"] = [training[name] for name in ("epoch", "batches", "batch", "rng", "optimiser")]
    found["model"] = file.documents["architecture"]  # and how far its own generators are
    return found | ({"history": rows.tobytes()} if history else {})


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
