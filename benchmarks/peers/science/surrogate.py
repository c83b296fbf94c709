"""A network in a solver's loop: what reacts in a cell is carried on to the next one; the network gives the reactions.

One call is a run of the solver, in NumPy, that asks the network at every step for as many cells as there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.peers.cases import Call
from benchmarks.peers.science.steps import by_hand

SPECIES, HIDDEN, STEPS, DT, COURANT = 4, (64, 64), 100, np.float32(0.05), np.float32(0.5)
SIZES = (SPECIES, *HIDDEN, SPECIES)
Source = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Reactor:
    """A ring of cells."""

    cells: int
    steps: int = STEPS

    def weights(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        drawn = [rng.standard_normal(shape) / shape[0] ** 0.5 for shape in pairwise(SIZES)]
        return [w.astype(np.float32) for w in drawn]

    def run(self, source: Source) -> Call:
        """source: (cells, SPECIES) -> what is made in a unit of time. The call gives the mean square at the end."""
        start = np.random.default_rng(1).uniform(0, 1, (self.cells, SPECIES)).astype(np.float32)
        ring = np.empty((self.cells + 1, SPECIES), np.float32)  # the last cell stands before the first too
        before, here, change = ring[:-1], ring[1:], np.empty_like(start)

        def call() -> float:
            here[:] = start
            for _ in range(self.steps):
                ring[0] = ring[-1]
                np.subtract(before, here, out=change)
                np.multiply(change, COURANT, out=change)
                np.add(change, DT * source(here), out=change)
                np.add(here, change, out=here)
            return float(np.mean(here * here))

        return call

    @property
    def flops(self) -> float:
        return 2.0 * self.steps * self.cells * sum(c * o for c, o in pairwise(SIZES))


def numbaflux(case: Reactor) -> Call:
    import numbaflux as nf

    model = nf.Chain(*(nf.Dense(*pair, nf.tanh) for pair in pairwise(SIZES)))
    for layer, w in zip(model, case.weights(), strict=True):
        layer.weight = w
    return case.run(nf.compile(model))


def torch(case: Reactor, compiled: bool = False) -> Call:
    import torch
    from torch import nn

    layers = [nn.Linear(*pair) for pair in pairwise(SIZES)]
    model: Any = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))
    with torch.no_grad():
        for layer, w in zip(layers, case.weights(), strict=True):
            layer.weight.copy_(torch.from_numpy(w.T))
            layer.bias.zero_()
    model = torch.compile(model) if compiled else model

    def source(x: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(x)).numpy()

    return torch.inference_mode()(case.run(source))


def jax(case: Reactor) -> Call:
    import jax
    from jax import numpy as jnp

    weights = [jnp.asarray(w) for w in case.weights()]
    biases = [jnp.zeros(w.shape[1]) for w in weights]

    @jax.jit
    def predict(weights: Any, biases: Any, x: Any) -> Any:
        for w, bias in zip(weights, biases, strict=True):
            x = jnp.tanh(x @ w + bias)
        return x

    return case.run(lambda x: np.asarray(predict(weights, biases, x)))


program = by_hand(numbaflux, torch, jax)
CASES = {f"surrogate_b{cells}": program(Reactor(cells), 3.0) for cells in (1, 8, 64)}
