"""The series: training steps that grow along one axis, and what their cost is counted by."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.peers.cases import Layer, Training, lenet, mlp, recurrent

BATCHES = tuple(2**i for i in range(14))


class Series(NamedTuple):
    """case(point) is a training step; units(point) of them are what it goes through, so that its time a unit should be
    flat or falling."""

    axis: str
    points: tuple[int, ...]
    unit: str
    units: Callable[[int], float]
    case: Callable[[int], Training]
    threads: bool = False  # the points are numbers of threads; else every point has all of them


def perceptron(width: int, hidden: int, batch: int) -> Training:
    """As many tanh layers of one width as hidden says, and a linear one."""
    return mlp((width,) * (hidden + 2), "tanh", batch, "mse", 0)


def images(size: int) -> Training:
    """Two convolutions 3 x 3 with BatchNorm and pools, on 8 images of size x size x 3."""

    def block(c: int, o: int) -> tuple[Layer, ...]:
        return ("conv", 3, c, o, 1), ("batchnorm", o), ("relu",), ("maxpool", 2)

    side = size // 4
    layers = (*block(3, 16), *block(16, 32), ("flatten", side, side, 32), ("dense", 32 * side**2, 10))
    return Training(layers, (size, size, 3), 8, "crossentropy", 0)


def allowed() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_points(most: int) -> tuple[int, ...]:
    """1, 2, 4, .. and all of them.

    >>> thread_points(1), thread_points(2), thread_points(12)
    ((1,), (1, 2), (1, 2, 4, 8, 12))
    """
    return tuple(sorted({*(2**i for i in range(most.bit_length())), most}))


SERIES = {
    "batch_mlp": Series(
        "batch of 64-128-128-10", BATCHES, "a sample", float, lambda n: mlp((64, 128, 128, 10), "relu", n, "mse", 0)
    ),
    "batch_lenet": Series("batch of LeNet-5", BATCHES, "a sample", float, lambda n: lenet(n, 0)),
    "width": Series(
        "width of two Dense layers, batch 64", tuple(2**i for i in range(3, 13)), "1 000 weights",
        lambda w: 2e-3 * w * w, lambda w: perceptron(w, 1, 64),
    ),
    "depth": Series(
        "Dense layers of width 64, batch 64", (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100), "a layer", float,
        lambda d: perceptron(64, d - 1, 64),
    ),
    "image": Series(
        "image size, two convolutions, batch 8", (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256), "1 000 pixels",
        lambda s: 8e-3 * s * s, images,
    ),
    "length": Series(
        "steps of an LSTM 32-64, batch 16", tuple(2**i for i in range(1, 11)), "a step", float,
        lambda n: recurrent("lstm", (32, 64), n, 16, 0),
    ),
    "threads": Series(
        "threads, LeNet-5 at batch 512", thread_points(allowed()), "a step times threads", lambda n: 1 / n,
        lambda n: lenet(512, 0), threads=True,
    ),
}  # fmt: skip
