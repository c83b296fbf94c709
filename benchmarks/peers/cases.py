"""The cases: sizes, data and first weights, made by NumPy alone, so that every peer does the same work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

Call = Callable[[], object]
Layer = tuple[Any, ...]
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def weight_shapes(layer: Layer) -> list[tuple[int, ...]]:
    """(in, out), or (k, k, in, out), or those of inputs and of the state."""
    kind, *sizes = layer
    if kind == "dense":
        return [tuple(sizes)]
    if kind == "conv":
        return [(sizes[0], *sizes[:3])]
    return [(rows, GATES[kind] * sizes[1]) for rows in sizes] if kind in GATES else []


def shape_after(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a sample that had this shape before the layer."""
    kind, *sizes = layer
    if kind == "conv":
        window, _, out, pad = sizes
        return *(size + 2 * pad - window + 1 for size in shape[:2]), out
    if kind == "maxpool":
        return *(size // sizes[0] for size in shape[:2]), shape[2]
    if kind == "flatten":
        return (prod(shape),)
    if kind == "last":
        return shape[1:]
    return (*shape[:-1], sizes[1]) if weight_shapes(layer) else shape


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
    rate: float = 1e-3  # Adam's

    @property
    def targets(self) -> dict[str, float]:
        return {"torch": self.target, "jax": 1.0}

    @property
    def flops(self) -> float:
        """Of products and convolutions: forward, gradients of weights, of all that is no input of the model."""
        forward = self.products()
        return sum(3 * one for one in forward) - self.inputs()

    def products(self) -> list[float]:
        """Floating-point operations of the products forward of each layer with weights."""
        found, shape = [], self.shape
        for layer in self.layers:
            shape = shape_after(layer, shape)
            rows = self.batch * prod(shape[:-1])
            found += [2.0 * rows * sum(map(prod, weight_shapes(layer)))] if weight_shapes(layer) else []
        return found

    def inputs(self) -> float:
        """Those of the gradient of the model's input, which nobody asks for: as many as the first layer's forward."""
        first = weight_shapes(self.layers[0])
        return self.products()[0] * prod(first[0]) / sum(map(prod, first))

    def weights(self, channels_first: bool = False) -> list[list[np.ndarray]]:
        """Of each layer that has some. channels_first: convolutions' as (out, in, k, k), and in that order of
        channels and places the rows of the dense layer behind them."""
        rng, found, flat = np.random.default_rng(self.seed), [], None
        for layer in self.layers:
            kind, *sizes = layer
            flat = sizes if kind == "flatten" and channels_first else flat
            drawn = []
            for shape in weight_shapes(layer):
                w = rng.standard_normal(shape, np.float32)
                w *= np.float32(prod(shape[:-1]) ** -0.5)
                if kind == "conv" and channels_first:
                    w = np.ascontiguousarray(w.transpose(3, 2, 0, 1))
                elif kind == "dense" and flat:
                    w, flat = w.reshape(*flat, -1).transpose(2, 0, 1, 3).reshape(shape), None
                drawn.append(w)
            found += [drawn] if drawn else []
        return found

    def data(self, channels_first: bool = False) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed + 1)
        x = rng.standard_normal((self.batch, *self.shape), np.float32)
        out = next(sizes[-1] for kind, *sizes in reversed(self.layers) if kind == "dense")
        y = rng.integers(0, out, self.batch) if self.loss == "crossentropy" else np.tanh(x[:, :out])
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 and channels_first else x, y


@dataclass(frozen=True)
class Inference:
    """One call of a model that is trained by another case."""

    model: Training
    target: float

    @property
    def targets(self) -> dict[str, float]:
        return {"torch": self.target, "onnxruntime": 1.0, "jax": 1.0}

    @property
    def flops(self) -> float:
        return sum(self.model.products())


def mlp(sizes: tuple[int, ...], activation: str, batch: int, loss: str, target: float) -> Training:
    """Dense layers with an activation between them."""
    layers = [one for pair in pairwise(sizes) for one in (("dense", *pair), (activation,))][:-1]
    return Training(tuple(layers), sizes[:1], batch, loss, target)


def lenet(batch: int, target: float, rate: float = 1e-3) -> Training:
    """LeNet-5 on images of 28 x 28 x 1."""
    layers: tuple[Layer, ...] = (
        ("conv", 5, 1, 6, 0), ("relu",), ("maxpool", 2), ("conv", 5, 6, 16, 0), ("relu",), ("maxpool", 2),
        ("flatten", 4, 4, 16), ("dense", 256, 120), ("relu",), ("dense", 120, 84), ("relu",), ("dense", 84, 10),
    )  # fmt: skip
    return Training(layers, (28, 28, 1), batch, "crossentropy", target, rate=rate)


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
    of_peak: float  # share of the tile's speed alone
    target: float = 0.85  # share of the others' speed
    dtype: str = "float32"

    @property
    def targets(self) -> dict[str, float]:
        return dict.fromkeys(("torch", "numpy", "jax"), self.target) | {"peak": self.of_peak}

    @property
    def flops(self) -> float:
        return 2.0 * self.size**3

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal((self.size, self.size), np.float32).astype(self.dtype) for _ in range(2))
        return a, b


@dataclass(frozen=True)
class Convolution:
    """One convolution of images, window by window."""

    batch: int
    size: int
    window: int
    channels: int
    target: float  # share of the others' speed, and of the tile's alone

    @property
    def targets(self) -> dict[str, float]:
        return dict.fromkeys(("torch", "jax", "peak"), self.target)

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * self.size**2 * self.window**2 * self.channels**2

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        x, w = (self.batch, self.size, self.size, self.channels), (self.window, self.window, *2 * (self.channels,))
        return rng.standard_normal(x, np.float32), rng.standard_normal(w, np.float32)


@dataclass(frozen=True)
class Program:
    """What each peer has by hand: makers of a call that makes one step and gives its loss, as a float.

    makers: by peer (numbaflux, torch, torch-compile, jax); each imports its library itself. flops: of one call.
    """

    makers: dict[str, Callable[[], Call]]
    flops: float
    target: float  # PyTorch's time over ours that the project asks for

    @property
    def targets(self) -> dict[str, float]:
        return {"torch": self.target, "jax": 1.0}


Case = Training | Inference | Product | Convolution | Program
TRAINING = {
    "mlp_small_b32": mlp((8, 32, 32, 1), "tanh", 32, "mse", 50),
    "mlp_small_b256": mlp((8, 64, 64, 1), "tanh", 256, "mse", 9),
    "mlp_mnist_b128": mlp((784, 256, 128, 10), "relu", 128, "crossentropy", 2),
    "mlp_wide_b256": mlp((1024, 2048, 2048, 1024), "relu", 256, "mse", 1.1),
    "simplechains_mlp": mlp((4, 32, 16, 4), "tanh", 10_000, "mse", 5),
    "simplechains_lenet": lenet(96 * 2, 7, rate=3e-4),  # the published one: 96 images a thread
    "lenet_b128": lenet(128, 7),
    "lenet_b2048": lenet(2048, 10),
    "cnn_cifar_b64": cnn(64, 1.5),
    "lstm_s64_b32": recurrent("lstm", (32, 128), 64, 32, 2),
    "gru_s64_b32": recurrent("gru", (32, 128), 64, 32, 3.5),
    "rnn_s64_b32": recurrent("rnn", (32, 128), 64, 32, 5),
    "lstm_s128_b1_h32": recurrent("lstm", (4, 32), 128, 1, 15),
}
SMALL = ("mlp_small_b32", "mlp_small_b256", "lstm_s128_b1_h32")  # what others need time for is mostly not arithmetic
INFERENCE = {f"infer_{name}": Inference(case, 3.0 if name in SMALL else 1.0) for name, case in TRAINING.items()}
PRODUCTS = {
    "dense_512": Product(512, 0.9),
    "dense_512_f64": Product(512, 0.9, dtype="float64"),
    "dense_2048": Product(2048, 0.85),
}
CONVOLUTIONS = {"conv_3x3_64": Convolution(64, 16, 3, 64, 0.75)}
