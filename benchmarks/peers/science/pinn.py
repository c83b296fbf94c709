"""A network as the solution of Burgers' equation: second derivatives by x inside of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.peers.cases import Call
from benchmarks.peers.science.steps import by_hand, jax_step, numbaflux_step, torch_step

VISCOSITY = 0.01 / np.pi


@dataclass(frozen=True)
class Burgers:
    """Dense layers (2, width, .., 1) with tanh between them; places inside, and at the start and the two ends."""

    width: int = 20
    hidden: int = 4
    points: int = 1000
    edge: int = 100

    @property
    def sizes(self) -> tuple[int, ...]:
        return 2, *self.hidden * (self.width,), 1

    def weights(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        drawn = [rng.standard_normal(shape) / shape[0] ** 0.5 for shape in pairwise(self.sizes)]
        return [w.astype(np.float32) for w in drawn]

    @property
    def flops(self) -> float:
        """Of products: four times through the layers to the residual, once to u at the edges; twice as many back."""
        return 3 * (4 * self.points + self.edge) * 2.0 * sum(c * o for c, o in pairwise(self.sizes))

    def data(self) -> list[np.ndarray]:
        """Columns (n, 1): places and times inside; at the edges, with what u is there."""
        rng = np.random.default_rng(1)
        x, t = rng.uniform(-1, 1, (self.points, 1)), rng.uniform(0, 1, (self.points, 1))
        edge_x, edge_t = rng.uniform(-1, 1, (self.edge, 1)), rng.uniform(0, 1, (self.edge, 1))
        edge_t[: self.edge // 2], edge_x[self.edge // 2 :] = 0, np.sign(edge_x[self.edge // 2 :])
        edge_u = np.where(edge_t == 0, -np.sin(np.pi * edge_x), 0)
        return [part.astype(np.float32) for part in (x, t, edge_x, edge_t, edge_u)]


def numbaflux(case: Burgers) -> Call:
    import numbaflux as nf

    layers = [nf.Dense(*pair, nf.tanh) for pair in pairwise(case.sizes[:-1])]
    model = nf.Chain(*layers, nf.Dense(case.width, 1))
    for layer, w in zip(model, case.weights(), strict=True):
        layer.weight = w

    def residual(u: Any, x: Any, t: Any) -> Any:
        """Rows do not mix, so the gradient of a sum has the derivatives of each."""

        def value(x: Any, t: Any) -> Any:
            y = u(nf.cat(x, t))
            return y.sum(), y

        def slope(x: Any) -> Any:
            (_, y), (dx, dt) = nf.withgradient(value, x, t)
            return dx.sum(), (y, dx, dt)

        (_, (y, dx, dt)), dxx = nf.withgradient(slope, x)
        return dt + y * dx - VISCOSITY * dxx

    def loss(u: Any, x: Any, t: Any, edge_x: Any, edge_t: Any, edge_u: Any) -> Any:
        return (residual(u, x, t) ** 2).mean() + nf.losses.mse(u(nf.cat(edge_x, edge_t)), edge_u)

    return numbaflux_step(loss, model, case.data())


def torch(case: Burgers, compiled: bool = False) -> Call:
    import torch
    from torch import nn

    layers = [nn.Linear(*pair) for pair in pairwise(case.sizes)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))[:-1]
    with torch.no_grad():
        for layer, w in zip(layers, case.weights(), strict=True):
            layer.weight.copy_(torch.from_numpy(w.T))
            layer.bias.zero_()

    def residual(u: Any, x: Any, t: Any) -> Any:
        x, t = x.detach().requires_grad_(), t.detach().requires_grad_()
        y = u(torch.cat((x, t), 1))
        dx, dt = torch.autograd.grad(y.sum(), (x, t), create_graph=True)
        [dxx] = torch.autograd.grad(dx.sum(), x, create_graph=True)
        return dt + y * dx - VISCOSITY * dxx

    def traceable(u: Any, x: Any, t: Any) -> Any:
        """The same for torch.compile, which does not see through autograd.grad; by itself it is the slower one."""

        def value(x: Any, t: Any) -> Any:
            y = u(torch.cat((x, t), 1))
            return y.sum(), y

        def slope(x: Any) -> Any:
            (dx, dt), y = torch.func.grad(value, (0, 1), has_aux=True)(x, t)
            return dx.sum(), (y, dx, dt)

        dxx, (y, dx, dt) = torch.func.grad(slope, has_aux=True)(x)
        return dt + y * dx - VISCOSITY * dxx

    inside = traceable if compiled else residual

    def loss(u: Any, x: Any, t: Any, edge_x: Any, edge_t: Any, edge_u: Any) -> Any:
        edges = nn.functional.mse_loss(u(torch.cat((edge_x, edge_t), 1)), edge_u)
        return inside(u, x, t).square().mean() + edges

    return torch_step(loss, model, case.data(), compiled)


def jax(case: Burgers) -> Call:
    import jax
    from jax import numpy as jnp

    def u(layers: Any, x: Any, t: Any) -> Any:
        y = jnp.concatenate((x, t), 1)
        *hidden, (w, b) = layers
        for weight, bias in hidden:
            y = jnp.tanh(y @ weight + bias)
        return y @ w + b

    def residual(layers: Any, x: Any, t: Any) -> Any:
        one = jnp.ones_like(x)

        def slope(x: Any) -> Any:
            y, dx = jax.jvp(lambda x: u(layers, x, t), (x,), (one,))
            return dx, y

        dx, dxx, y = jax.jvp(slope, (x,), (one,), has_aux=True)
        dt = jax.jvp(lambda t: u(layers, x, t), (t,), (one,))[1]
        return dt + y * dx - VISCOSITY * dxx

    def loss(layers: Any, x: Any, t: Any, edge_x: Any, edge_t: Any, edge_u: Any) -> Any:
        return (residual(layers, x, t) ** 2).mean() + ((u(layers, edge_x, edge_t) - edge_u) ** 2).mean()

    layers = [(jnp.asarray(w), jnp.zeros(w.shape[1])) for w in case.weights()]
    return jax_step(loss, layers, case.data())


program = by_hand(numbaflux, torch, jax)
CASES = {"pinn_burgers": program(Burgers(), 3.0)}
