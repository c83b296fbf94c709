"""A training step in each peer: loss(model, *batch) and its gradients, then Adam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers.cases import Call, Program

RATE = 1e-3
TORCH = {"torch": {}, "torch-compile": {"compiled": True}}
LAST = {f"{peer}-last": {**ways, "last": True} for peer, ways in TORCH.items()}
Loss = Callable[..., Any]
Maker = Callable[..., Call]


def by_hand(ours: Maker, torch: Maker, jax: Maker, last: bool = False) -> Callable[[Any, float], Program]:
    """Makes a program of a case and a target, where each library has a maker of its own; last: PyTorch's also with the
    channels last."""
    ways = TORCH | LAST if last else TORCH

    def program(case: Any, target: float) -> Program:
        makers = {"numbaflux": partial(ours, case), **{peer: partial(torch, case, **way) for peer, way in ways.items()}}
        return Program(makers | {"jax": partial(jax, case)}, case.flops, target)

    return program


def numbaflux_step(loss: Loss, model: Any, batch: Sequence[np.ndarray]) -> Call:
    import numbaflux as nf

    step = nf.compile(loss, model, nf.setup(nf.Adam(RATE), model))
    return lambda: step(*batch)


def torch_step(loss: Loss, model: Any, batch: Sequence[Any], compiled: bool) -> Call:
    import torch

    tensors = [torch.as_tensor(x) for x in batch]
    optimiser = torch.optim.Adam(model.parameters(), RATE, fused=True)
    forward = torch.compile(loss) if compiled else loss

    def step() -> object:
        optimiser.zero_grad(set_to_none=True)
        value = forward(model, *tensors)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def jax_step(loss: Loss, parameters: Any, batch: Sequence[np.ndarray]) -> Call:
    """parameters: nested lists of arrays. What a step takes and gives is one flat list of them, the least to handle."""
    import jax
    import optax

    optimiser, arrays = optax.adam(RATE), [jax.numpy.asarray(x) for x in batch]
    leaves, tree = jax.tree.flatten((parameters, optimiser.init(parameters)))

    def advance(leaves: Any, *batch: Any) -> Any:
        parameters, state = jax.tree.unflatten(tree, leaves)
        value, gradients = jax.value_and_grad(loss)(parameters, *batch)
        updates, state = optimiser.update(gradients, state)
        return value, jax.tree.leaves((optax.apply_updates(parameters, updates), state))

    jitted = jax.jit(advance, donate_argnums=0)

    def step() -> object:
        nonlocal leaves
        value, leaves = jitted(leaves, *arrays)
        return value.block_until_ready()

    return step
