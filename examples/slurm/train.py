"""A training for a cluster: handwritten digits on any number of ranks; told to stop, it goes on when started again.

`python train.py` runs it alone, `mpiexec -n 4 python train.py` on four ranks, and the scripts beside it under Slurm.
With --gpu each rank takes a GPU. USR1 or TERM, which Slurm sends before a time limit, end it after a step with a
checkpoint and exit code 75; started again it goes on from there, bit for bit. Writes run.h5 (the checkpoint) and
model.h5 (the network).
"""

import argparse
import os
from itertools import product
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import numbaflux as nf

SWEEP = list(product((1e-3, 3e-3, 1e-2), (8, 16, 32)))  # learning rate and channels of each trial of a job array


def loss(model, x, y):
    return nf.losses.logitcrossentropy(model(x), y)


def prepare(seed):
    """Training and test data (80, 20 % of every digit): images (n, 8, 8, 1) of 0 to 16, and labels."""
    pixels, labels = load_digits(return_X_y=True)
    images = pixels.astype(np.float32).reshape(-1, 8, 8, 1)
    return nf.splitobs((images, labels), at=0.8, shuffle=True, stratified=labels, rng=seed)


def network(images, channels):
    """(n, 8, 8, 1) -> scores (n, 10)."""
    return nf.Chain(
        nf.Normalise.fit(images),
        nf.Conv((3, 3), 1, channels, nf.relu, pad="same"),
        nf.MaxPool((2, 2)),
        nf.Conv((3, 3), channels, 2 * channels, nf.relu, pad="same"),
        nf.MaxPool((2, 2)),
        nf.flatten,
        nf.Dense(8 * channels, 64, nf.relu),
        nf.Dense(64, 10),
    )


def train(options, world):
    """All ranks do the same, each on its slice of every batch; rank 0 writes and prints."""
    nf.seed(options.seed)
    training, test = prepare(options.seed)
    model = network(training[0], options.channels)
    model = nf.gpu(model, force=True) if options.gpu else model  # that of this rank of its node
    opt_state = nf.setup(nf.DistributedOptimizer(nf.Adam(options.rate), world), model)
    world.synchronize(model, opt_state)
    data = nf.DataLoader(training, batchsize=options.batchsize, shuffle=True, rng=options.seed, world=world)
    checkpoint = nf.Checkpoint(options.out / "run.h5")
    history = nf.train(loss, model, data, opt_state, options.epochs, callbacks=[checkpoint], resume="auto")
    if world.rank == 0:
        nf.save(options.out / "model.h5", model)
        x, y = test
        print(f"test accuracy  {nf.metrics.accuracy(nf.compile(model)(x), y):.2%} of {len(y)} digits")
        ranks = f"{world.size} rank{'s' * (world.size > 1)}"
        print(f"training       {len(history)} epochs, loss {history[-1]['loss']:.4f}, {ranks}")
        print(f"settings       rate {options.rate:g}, {options.channels} channels, batches of {options.batchsize}")
        print(f"files          {options.out / 'model.h5'}, {options.out / 'run.h5'}")


def arguments():
    parser = argparse.ArgumentParser(description="Train on handwritten digits; writes run.h5 and model.h5.")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batchsize", type=int, default=64, help="of all ranks together, a multiple of their number")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--channels", type=int, default=16, help="of the first convolution")
    parser.add_argument("--gpu", action="store_true", help="train on GPUs, one for each rank")
    text = (
        f"rate and channels are those of this row of the sweep, 0 to {len(SWEEP) - 1}; files go to a folder of its own"
    )
    parser.add_argument("--trial", type=int, default=os.environ.get("SLURM_ARRAY_TASK_ID"), help=text)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("digits"), metavar="DIR", help="where the files go")
    options = parser.parse_args()
    if min(options.epochs, options.batchsize, options.channels) < 1 or options.seed < 0 or not options.rate > 0:
        parser.error("at least 1 epoch, 1 sample, 1 channel, seed 0 and a rate above 0 are needed")
    if options.trial is not None:
        if not 0 <= options.trial < len(SWEEP):
            parser.error(f"trials 0 to {len(SWEEP) - 1} are there")
        options.rate, options.channels = SWEEP[options.trial]
        options.out /= f"trial-{options.trial}"
    return options


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    with nf.distributed.init() as world:
        train(options, world)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
