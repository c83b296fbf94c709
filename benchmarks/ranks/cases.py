"""The steps that are measured on several ranks, with what the project asks for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.peers.cases import TRAINING, Layer, Training


@dataclass(frozen=True)
class Spread:
    """A training step whose batch is shared out. target: time of one rank on two threads over that of two ranks on one
    thread each, at least; 0: none. options: of DistributedOptimizer."""

    training: Training
    target: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def accumulate(self) -> int:
        return int(self.options.get("accumulate", 1))


CASES = {
    "cnn_cifar_b64": Spread(TRAINING["cnn_cifar_b64"], 0.95),
    "mlp_wide_b256 sharded": Spread(TRAINING["mlp_wide_b256"], 0.7, {"sharded": True}),
    "mlp_wide_b256 accumulate": Spread(TRAINING["mlp_wide_b256"], 0.95, {"accumulate": 8}),
    "lenet_b128": Spread(TRAINING["lenet_b128"]),
    "lstm_s64_b32": Spread(TRAINING["lstm_s64_b32"]),
}
HIDING = "cnn_wide_b16"  # whose sums take about as long on a cable of 1 Gbit/s as its backward pass on one thread


def cnn_wide(batch: int) -> Training:
    """Six convolutions 3 x 3 of 64 to 256 channels with BatchNorm, three pools, on images of 32 x 32 x 3."""
    layers: list[Layer] = []
    for c, o in ((3, 64), (64, 128), (128, 256)):
        for given in (c, o):
            layers += [("conv", 3, given, o, 1), ("batchnorm", o), ("relu",)]
        layers.append(("maxpool", 2))
    layers += [("flatten", 4, 4, 256), ("dense", 4096, 10)]
    return Training(tuple(layers), (32, 32, 3), batch, "crossentropy", 1)


MODELS = {"cnn_cifar_b64": 64, "mlp_wide_b256": 256, "lstm_s64_b32": 32}  # of predictions: samples a rank


def case_of(name: str, batch: int = 0) -> Spread:
    """A case, or a training step of benchmarks.peers; batch: of all ranks, in place of its own."""
    found = CASES.get(name) or Spread(cnn_wide(16) if name == HIDING else TRAINING[name])
    return replace(found, training=replace(found.training, batch=batch)) if batch else found
