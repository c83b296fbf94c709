"""One peer in a process of its own, which answers as benchmarks.peers.worker does: a line names a row and a size, a
call is a training step.

Peers: numbaflux, torch, torch-last (images with the channels last). A step: see ours.py.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from benchmarks.layers import ours
from benchmarks.layers.ours import RATE, first, target
from benchmarks.layers.rows import ROWS, Row
from benchmarks.peers.cases import Call
from benchmarks.peers.worker import serve


def module_of(row: Row, channels: int) -> Any:
    """PyTorch's, with numbers of its own; one bias a gate, as we have."""
    import torch

    torch.manual_seed(0)
    module = row.torch(torch.nn, channels)
    for name, parameter in module.named_parameters():
        if name.startswith("bias_hh"):
            parameter.requires_grad_(False).zero_()
    return module


def numbaflux_step(row: Row, size: str) -> Call:
    """With PyTorch's first weights."""
    weights = module_of(row, row.input(size)[1]).state_dict()
    return ours.step(row, size, {name: w.numpy() for name, w in weights.items()})


def torch_step(row: Row, size: str, last: bool = False) -> Call:
    """last: with the channels last in memory."""
    import torch

    array, channels = row.input(size)
    images, module = row.kind == "images", row.wrap_torch(module_of(row, channels))
    layout = {"memory_format": torch.channels_last if last else torch.contiguous_format}

    def placed(array: np.ndarray) -> Any:
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
    import torch

    torch.set_num_threads(2)

    def made(line: str) -> Call:
        name, _, size = line.rpartition(" ")
        return make(sys.argv[1], name, size)

    serve(made)


if __name__ == "__main__":
    main()
