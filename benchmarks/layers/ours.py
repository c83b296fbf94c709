"""Our training step of a row: forward, and back to the parameters and to the input, which is a parameter itself; then
gradient descent. Nothing here needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import numbaflux as nf
from benchmarks.layers.rows import Row

RATE = 0.1


@nf.layer
class Given:
    """A layer of an input that is trained."""

    x: np.ndarray = nf.param()
    layer: Any

    def __call__(self) -> Any:
        return self.layer(self.x)


def first(y: Any) -> Any:
    """What recurrent layers and attention give besides it is not asked for."""
    return y[0] if isinstance(y, tuple) else y


def target(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def loss(model: Any, y: Any, *inputs: Any) -> Any:
    return nf.losses.mse(first(model(*inputs)), y)


def step(row: Row, size: str, weights: Mapping[str, np.ndarray]) -> Callable[[], object]:
    """weights: those to begin with, by PyTorch's names; none: the layer's own."""
    x, channels = row.input(size)
    layer = row.ours(channels)
    if weights:
        nf.convert(layer, weights)
    layer = row.wrap(layer)
    y = target(first(layer(x)).shape)
    model, inputs = (Given(x, layer), ()) if x.dtype.kind == "f" else (layer, (x,))
    compiled = nf.compile(loss, model, nf.setup(nf.Descent(RATE), model))
    return lambda: compiled(y, *inputs)
