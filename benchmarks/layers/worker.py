"""One peer in a process of its own: for each line on standard input that names a row and a size, makes their training
step and prints the loss of step 20; for each number, runs for that many seconds and prints microseconds a call.

Peers: numbaflux, torch, torch-last (images with the channels last).
A step goes forward, and back to the parameters and to the input, which is a parameter itself; then gradient descent.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

import numbaflux as nf
from benchmarks.layers.rows import ROWS, Row
from benchmarks.peers.worker import Call, run

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


def module_of(row: Row, channels: int) -> Any:
    """PyTorch's, with numbers of its own; one bias a gate, as we have."""
    torch.manual_seed(0)
    module = row.torch(channels)
    for name, parameter in module.named_parameters():
        if name.startswith("bias_hh"):
            parameter.requires_grad_(False).zero_()
    return module


def target(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def numbaflux_step(row: Row, size: str) -> Call:
    x, channels = row.input(size)
    layer, weights = row.ours(channels), module_of(row, channels).state_dict()
    if weights:
        nf.convert(layer, {name: w.numpy() for name, w in weights.items()})
    layer = row.wrap(layer)
    y = target(first(layer(x)).shape)
    floats = x.dtype.kind == "f"
    model, inputs = (Given(x, layer), ()) if floats else (layer, (x,))

    def loss(model: Any, y: Any, *inputs: Any) -> Any:
        return nf.losses.mse(first(model(*inputs)), y)

    step = nf.compile(loss, model, nf.setup(nf.Descent(RATE), model))
    return lambda: step(y, *inputs)


def torch_step(row: Row, size: str, last: bool = False) -> Call:
    """last: with the channels last in memory."""
    array, channels = row.input(size)
    images, module = row.kind == "images", row.wrap_torch(module_of(row, channels))
    layout = {"memory_format": torch.channels_last if last else torch.contiguous_format}

    def placed(array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.movedim(-1, 1).contiguous(**layout) if images else tensor

    module, x = module.to(**layout) if last else module, placed(array)
    trained = [p for p in module.parameters() if p.requires_grad]
    if x.is_floating_point():
        trained.append(x.requires_grad_())
    with torch.no_grad():
        shape = first(module(x)).shape
    y = placed(target((shape[0], *shape[2:], shape[1]) if images else tuple(shape)))
    optimiser = torch.optim.SGD(trained, RATE, fused=True)

    def step() -> object:
        optimiser.zero_grad(set_to_none=True)
        value = torch.nn.functional.mse_loss(first(module(x)), y)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def make(peer: str, name: str, size: str) -> Call:
    """The step that a peer repeats."""
    if peer == "numbaflux":
        return numbaflux_step(ROWS[name], size)
    return torch_step(ROWS[name], size, peer == "torch-last")


def main() -> None:
    torch.set_num_threads(2)
    call: Call = object
    for line in sys.stdin:
        name, _, size = line.strip().rpartition(" ")
        if not name:
            print(run(call, float(line)), flush=True)
            continue
        call = make(sys.argv[1], name, size)
        print(float([call() for _ in range(20)][-1]), flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
