"""A training step in each peer: loss(model, *batch) and its gradients, then Adam."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.peers.cases import Call

RATE = 1e-3
Loss = Callable[..., Any]


def numbaflux_step(loss: Loss, model: Any, batch: Sequence[np.ndarray]) -> Call:
    import numbaflux as nf

    step = nf.compile(loss, model, nf.setup(nf.Adam(RATE), model))
    return lambda: step(*batch)


def torch_step(loss: Loss, model: Any, batch: Sequence[Any], compiled: bool) -> Call:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
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
