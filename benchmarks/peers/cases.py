"""The cases: sizes, data and first weights, made by NumPy alone, so that every peer does the same work."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Layer = tuple[Any, ...]
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Training:
    """A training step: forward, backward, Adam. loss: mse on numbers, crossentropy on class labels.

    layers: (dense, in, out), (conv, k, in, out, pad), (batchnorm, channels), (maxpool, k), (flatten, h, w, c),
    (rnn | lstm | gru, in, out), (last,) of the steps, and functions: (tanh,), (relu,).
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, ...]  # of a sample
    batch: int
    loss: str
    target: float  # PyTorch's time over ours that the project asks for
    seed: int = 0

    def weights(self) -> list[list[np.ndarray]]:
        """Of each layer that has weights: (in, out), or (k, k, in, out), or those of inputs and of the state."""
        rng, found = np.random.default_rng(self.seed), []
        for kind, *sizes in self.layers:
            shapes: list[tuple[int, ...]] = []
            if kind == "dense":
                shapes = [tuple(sizes)]
            elif kind == "conv":
                shapes = [(sizes[0], *sizes[:3])]
            elif kind in GATES:
                shapes = [(rows, GATES[kind] * sizes[1]) for rows in sizes]
            if shapes:
                drawn = [rng.standard_normal(shape) / np.prod(shape[:-1]) ** 0.5 for shape in shapes]
                found.append([w.astype(np.float32) for w in drawn])
        return found

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed + 1)
        x = rng.standard_normal((self.batch, *self.shape)).astype(np.float32)
        out = next(sizes[-1] for kind, *sizes in reversed(self.layers) if kind == "dense")
        if self.loss == "crossentropy":
            return x, rng.integers(0, out, self.batch)
        return x, np.tanh(x[:, :out]).astype(np.float32)


def mlp(sizes: tuple[int, ...], activation: str, batch: int, loss: str, target: float) -> Training:
    """Dense layers with an activation between them."""
    layers = [one for pair in pairwise(sizes) for one in (("dense", *pair), (activation,))][:-1]
    return Training(tuple(layers), sizes[:1], batch, loss, target)


def lenet(batch: int, target: float) -> Training:
    """LeNet-5 on images of 28 x 28 x 1."""
    layers: tuple[Layer, ...] = (
        ("conv", 5, 1, 6, 0), ("relu",), ("maxpool", 2), ("conv", 5, 6, 16, 0), ("relu",), ("maxpool", 2),
        ("flatten", 4, 4, 16), ("dense", 256, 120), ("relu",), ("dense", 120, 84), ("relu",), ("dense", 84, 10),
    )  # fmt: skip
    return Training(layers, (28, 28, 1), batch, "crossentropy", target)


def cnn(batch: int, target: float) -> Training:
    """Four convolutions 3 x 3 with BatchNorm, two pools, on images of 32 x 32 x 3."""

    def block(c: int, o: int) -> tuple[Layer, ...]:
        return ("conv", 3, c, o, 1), ("batchnorm", o), ("relu",)

    pool: Layer = ("maxpool", 2)
    layers = (*block(3, 32), *block(32, 32), pool, *block(32, 64), *block(64, 64), pool)
    return Training((*layers, ("flatten", 8, 8, 64), ("dense", 4096, 10)), (32, 32, 3), batch, "crossentropy", target)


def recurrent(kind: str, sizes: tuple[int, int], steps: int, batch: int, target: float) -> Training:
    """One recurrent layer, and a dense one on its last step."""
    layers: tuple[Layer, ...] = ((kind, *sizes), ("last",), ("dense", sizes[1], 10))
    return Training(layers, (steps, sizes[0]), batch, "crossentropy", target)


@dataclass(frozen=True)
class Product:
    """One product of square matrices."""

    size: int
    target: float  # share of the best peer's speed

    @property
    def flops(self) -> float:
        return 2.0 * self.size**3

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal((self.size, self.size)).astype(np.float32) for _ in range(2))
        return a, b


@dataclass(frozen=True)
class Convolution:
    """One convolution of images, window by window."""

    batch: int
    size: int
    window: int
    channels: int
    target: float  # share of the tile's speed alone

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * self.size**2 * self.window**2 * self.channels**2

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        x, w = (self.batch, self.size, self.size, self.channels), (self.window, self.window, *2 * (self.channels,))
        return rng.standard_normal(x).astype(np.float32), rng.standard_normal(w).astype(np.float32)


Case = Training | Product | Convolution
TRAINING = {
    "mlp_small_b32": mlp((8, 32, 32, 1), "tanh", 32, "mse", 30),
    "mlp_small_b256": mlp((8, 64, 64, 1), "tanh", 256, "mse", 6),
    "mlp_mnist_b128": mlp((784, 256, 128, 10), "relu", 128, "crossentropy", 1.5),
    "simplechains_mlp": mlp((4, 32, 16, 4), "tanh", 10_000, "mse", 3),
    "lenet_b128": lenet(128, 4),
    "lenet_b2048": lenet(2048, 4),
    "cnn_cifar_b64": cnn(64, 1),
    "lstm_s64_b32": recurrent("lstm", (32, 128), 64, 32, 2),
    "gru_s64_b32": recurrent("gru", (32, 128), 64, 32, 3.5),
    "rnn_s64_b32": recurrent("rnn", (32, 128), 64, 32, 5),
    "lstm_s128_b1_h32": recurrent("lstm", (4, 32), 128, 1, 15),
}
PRODUCTS = {"dense_512": Product(512, 0.85), "dense_2048": Product(2048, 0.85)}
CONVOLUTIONS = {"conv_3x3_64": Convolution(64, 16, 3, 64, 0.75)}
CASES: dict[str, Case] = {**TRAINING, **PRODUCTS, **CONVOLUTIONS}
