"""Whole training steps, on one thread and on two; what they learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

import numbaflux as nf
from benchmarks.peers.cases import TRAINING
from benchmarks.peers.ours import training
from benchmarks.timed import Timed, on_threads


@cache
def ready(case: str) -> Callable[[], object]:
    call = training(TRAINING[case])
    call()
    return call


class TrainStep(Timed):
    """Seconds of a step: forward, backward, Adam."""

    params = (list(TRAINING), [1, 2])
    param_names = ("case", "threads")

    def setup(self, case: str, threads: int) -> None:
        on_threads(threads)
        self.call = ready(case)

    def time_step(self, case: str, threads: int) -> None:
        self.call()


class Loss:
    """The loss of step 20: the same from commit to commit, unless the numbers change."""

    params = list(TRAINING)
    param_names = ("case",)
    unit = "loss"
    timeout = Timed.timeout

    def track_loss(self, case: str) -> float:
        on_threads(1)
        call = training(TRAINING[case])
        return float([call() for _ in range(20)][-1])  # type: ignore[arg-type]


class Digits:
    """Per cent of 540 handwritten digits that a small network gets right after 5 epochs on 1 257 others."""

    unit = "%"
    timeout = Timed.timeout

    def track_accuracy(self) -> float:
        from sklearn.datasets import load_digits

        on_threads(1)
        nf.seed(0)
        pixels, labels = load_digits(return_X_y=True)
        images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
        train, test = nf.splitobs((images, labels), at=0.7, shuffle=True, stratified=labels, rng=0)
        model = nf.Chain(nf.Conv((3, 3), 1, 16, nf.relu, pad="same"), nf.MaxPool((2, 2)), nf.flatten, nf.Dense(256, 10))
        data = nf.DataLoader(train, batchsize=32, shuffle=True, rng=0)
        loss = nf.losses.logitcrossentropy
        nf.train(lambda m, x, y: loss(m(x), y), model, data, nf.setup(nf.Adam(3e-3), model), epochs=5, progress=False)
        return 100 * float(nf.metrics.accuracy(model(test[0]), test[1]))
