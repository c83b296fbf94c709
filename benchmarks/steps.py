"""Training steps of some cases of peers/cases.py whose plans and data are at hand."""

from __future__ import annotations

from typing import Any

import numpy as np

import numbaflux as nf
from benchmarks.peers.cases import TRAINING
from benchmarks.peers.ours import model_of

NETWORKS = ("mlp_mnist_b128", "cnn_cifar_b64", "lstm_s64_b32")


def loss(model: Any, x: Any, y: Any) -> Any:
    return nf.losses.logitcrossentropy(model(x), y)


def step(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A compiled step of Adam, not called yet; x and labels."""
    case = TRAINING[name]
    model = model_of(case)
    return nf.compile(loss, model, nf.setup(nf.Adam(1e-3), model)), *case.data()
