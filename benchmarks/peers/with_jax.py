"""The cases in JAX with Equinox and Optax: channels last as XLA likes them, one jitted function a call.

A step is flattened to a list of arrays by hand, which Equinox recommends where the time of a call counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax

from benchmarks.peers.cases import GATES, Call, Case, Inference, Product, Training

LAYOUT = ("NHWC", "HWIO", "NHWC")


class Dense(eqx.Module):
    weight: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.weight + self.bias


class Conv(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    pad: int = eqx.field(static=True)

    def __call__(self, x: jax.Array) -> jax.Array:
        pads = 2 * [(self.pad, self.pad)]
        return lax.conv_general_dilated(x, self.weight, (1, 1), pads, dimension_numbers=LAYOUT) + self.bias


class Running(eqx.Module):
    """Statistics of a BatchNorm, which no gradient reaches."""

    mean: jax.Array
    var: jax.Array


class BatchNorm(eqx.Module):
    scale: jax.Array
    bias: jax.Array
    running: Running

    def norm(self, x: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
        return (x - mean) * (lax.rsqrt(var + 1e-5) * self.scale) + self.bias

    def train(self, x: jax.Array) -> tuple[jax.Array, Running]:
        mean, var, n = x.mean((0, 1, 2)), x.var((0, 1, 2)), x.size // x.shape[-1]
        new = Running(0.9 * self.running.mean + 0.1 * mean, 0.9 * self.running.var + 0.1 * var * n / (n - 1))
        return self.norm(x, mean, var), lax.stop_gradient(new)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(x, self.running.mean, self.running.var)


class Recurrent(eqx.Module):
    """Products of the inputs of all steps first, as one; then a scan."""

    wi: jax.Array
    wh: jax.Array
    bias: jax.Array
    kind: str = eqx.field(static=True)

    def cell(self, state: Any, z: jax.Array) -> tuple[Any, jax.Array]:
        h = state[0]
        gates = h @ self.wh
        if self.kind == "rnn":
            h = jnp.tanh(z + gates)
            return (h,), h
        if self.kind == "gru":
            (zr, zu, zn), (r, u, n) = jnp.split(z, 3, -1), jnp.split(gates, 3, -1)
            u, n = jax.nn.sigmoid(zu + u), jnp.tanh(zn + jax.nn.sigmoid(zr + r) * n)
            h = n + u * (h - n)
            return (h,), h
        i, f, g, o = jnp.split(z + gates, 4, -1)
        c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def __call__(self, x: jax.Array) -> jax.Array:
        zero = jnp.zeros((len(x), len(self.wh)), x.dtype)
        first = (zero, zero) if self.kind == "lstm" else (zero,)
        # A lambda: scan wants something it can hash.
        _, y = lax.scan(lambda *of: self.cell(*of), first, jnp.swapaxes(x @ self.wi + self.bias, 0, 1))
        return jnp.swapaxes(y, 0, 1)


def maxpool(k: int) -> Callable[[jax.Array], jax.Array]:
    def pool(x: jax.Array) -> jax.Array:
        n, h, w, c = x.shape
        return x.reshape(n, h // k, k, w // k, k, c).max((2, 4))

    return pool


def layers_of(case: Training) -> list[Any]:
    plain: dict[str, Callable[..., Any]] = {
        "batchnorm": lambda c: BatchNorm(jnp.ones(c), jnp.zeros(c), Running(jnp.zeros(c), jnp.ones(c))),
        "maxpool": maxpool,
        "flatten": lambda *_: lambda x: x.reshape(len(x), -1),
        "last": lambda: lambda x: x[:, -1],
        "tanh": lambda: jnp.tanh,
        "relu": lambda: jax.nn.relu,
    }
    weights, found = iter(case.weights()), []
    for kind, *sizes in case.layers:
        if kind in plain:
            found.append(plain[kind](*sizes))
            continue
        arrays = [jnp.asarray(w) for w in next(weights)]
        bias = jnp.zeros(arrays[0].shape[-1])
        if kind in GATES:
            found.append(Recurrent(*arrays, bias, kind))
        else:
            found.append(Dense(*arrays, bias) if kind == "dense" else Conv(*arrays, bias, sizes[3]))
    return found


def is_running(part: Any) -> bool:
    return isinstance(part, Running)


def forward(layers: list[Any], x: jax.Array) -> tuple[jax.Array, list[Any]]:
    """Training: what comes out, and the layers with new statistics."""
    new = []
    for layer in layers:
        if isinstance(layer, BatchNorm):
            x, running = layer.train(x)
            layer = eqx.tree_at(lambda one: one.running, layer, running)
        else:
            x = layer(x)
        new.append(layer)
    return x, new


def split(layers: list[Any]) -> tuple[Any, Any, Any]:
    """Parameters, statistics, and all that is no array."""
    arrays, static = eqx.partition(layers, eqx.is_array)
    statistics, parameters = eqx.partition(arrays, is_running, is_leaf=is_running)
    return parameters, statistics, static


def training(case: Training) -> Call:
    parameters, statistics, static = split(layers_of(case))
    optimiser = optax.adam(case.rate)
    leaves, tree = jax.tree.flatten((parameters, statistics, optimiser.init(parameters)))

    def loss(parameters: Any, statistics: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        out, new = forward(eqx.combine(parameters, statistics, static), x)
        if case.loss == "mse":
            return jnp.mean((out - y) ** 2), split(new)[1]
        return optax.softmax_cross_entropy_with_integer_labels(out, y).mean(), split(new)[1]

    def step(x: jax.Array, y: jax.Array, leaves: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        parameters, statistics, state = jax.tree.unflatten(tree, leaves)
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, statistics), gradients = gradient(parameters, statistics, x, y)
        updates, state = optimiser.update(gradients, state, parameters)
        return value, jax.tree.leaves((eqx.apply_updates(parameters, updates), statistics, state))

    jitted, (x, y) = jax.jit(step, donate_argnums=2), map(jnp.asarray, case.data())

    def call() -> object:
        nonlocal leaves
        value, leaves = jitted(x, y, leaves)
        return value.block_until_ready()

    return call


def inference(case: Inference) -> Call:
    arrays, static = eqx.partition(layers_of(case.model), eqx.is_array)
    leaves, tree = jax.tree.flatten(arrays)

    @jax.jit
    def predict(leaves: list[jax.Array], x: jax.Array) -> jax.Array:
        for layer in eqx.combine(jax.tree.unflatten(tree, leaves), static):
            x = layer(x)
        return x

    x = jnp.asarray(case.model.data()[0])
    return lambda: predict(leaves, x).block_until_ready()


def make(case: Case, variant: str) -> Call:
    if isinstance(case, Training):
        return training(case)
    if isinstance(case, Inference):
        return inference(case)
    numbers = case.data()  # type: ignore[union-attr]
    jax.config.update("jax_enable_x64", numbers[0].dtype == "float64")  # else they would be made float32
    a, b = map(jnp.asarray, numbers)

    def convolved(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAYOUT)

    product = jax.jit(jnp.matmul if isinstance(case, Product) else convolved)
    return lambda: product(a, b).block_until_ready()
