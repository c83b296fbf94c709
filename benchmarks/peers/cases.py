"""The cases: sizes, data and first weights, made by NumPy alone, so that every peer does the same work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mlp:
    """A training step of an MLP: forward, backward, Adam. loss: mse on numbers, crossentropy on class labels."""

    sizes: tuple[int, ...]
    activation: str
    batch: int
    loss: str
    target: float  # PyTorch's time over ours that the project asks for
    seed: int = 0

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(in, out) and (out,) of each layer."""
        rng = np.random.default_rng(self.seed)
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        return [((rng.standard_normal((i, o)) / i**0.5).astype(np.float32), np.zeros(o, np.float32)) for i, o in pairs]

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed + 1)
        x = rng.standard_normal((self.batch, self.sizes[0])).astype(np.float32)
        if self.loss == "crossentropy":
            return x, rng.integers(0, self.sizes[-1], self.batch)
        return x, np.tanh(x[:, : self.sizes[-1]]).astype(np.float32)


@dataclass(frozen=True)
class Product:
    """One product of square matrices."""

    size: int
    target: float  # share of the best peer's speed

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal((self.size, self.size)).astype(np.float32) for _ in range(2))
        return a, b


TRAINING = {
    "mlp_small_b32": Mlp((8, 32, 32, 1), "tanh", 32, "mse", 30),
    "mlp_small_b256": Mlp((8, 64, 64, 1), "tanh", 256, "mse", 6),
    "mlp_mnist_b128": Mlp((784, 256, 128, 10), "relu", 128, "crossentropy", 1.5),
    "simplechains_mlp": Mlp((4, 32, 16, 4), "tanh", 10_000, "mse", 3),
}
PRODUCTS = {"dense_512": Product(512, 0.85), "dense_2048": Product(2048, 0.85)}
CASES: dict[str, Mlp | Product] = {**TRAINING, **PRODUCTS}
