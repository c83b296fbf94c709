"""Layers beside PyTorch: a configuration drawn at random, and what PyTorch makes of the same numbers, in float64.

A row of a table is a function of a NumPy generator that gives a Peer. Layers with windows stand in
against_torch_windows.py, those that normalise in against_torch_norms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.tree import PARAM, arrays, replaced

torch = pytest.importorskip("torch")
ERROR = 1e-10  # relative to the largest element
LEAST = 1e-3  # what counts as the largest element where all are nearly 0: sums that cancel


class Peer(NamedTuple):
    """One configuration: a layer, arrays for it (or what else it takes), and the same of tensors: peer(parameters by
    path, *inputs)."""

    layer: Any
    inputs: tuple[Any, ...]
    peer: Callable[..., Any]


# ---------------------------------------------------------------------------------------------------- random settings


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def count(rng: np.random.Generator, most: int, least: int = 1) -> int:
    return int(rng.integers(least, most + 1))


def counts(rng: np.random.Generator, n: int, most: int, least: int = 1) -> tuple[int, ...]:
    return tuple(count(rng, most, least) for _ in range(n))


def coin(rng: np.random.Generator) -> bool:
    return bool(rng.random() < 0.5)


def one_of(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def softplus(x: Any) -> Any:
    """PyTorch's own is x itself from 20 on."""
    return torch.logaddexp(x, torch.zeros_like(x))


FUNCTIONS = (
    (F.identity, lambda x: x), (nf.tanh, torch.tanh), (nf.sigmoid, torch.sigmoid), (nf.relu, torch.relu),
    (nf.gelu_erf, torch.nn.functional.gelu), (nf.softplus, softplus),
)  # fmt: skip


def function(rng: np.random.Generator) -> tuple[Any, Any]:
    """An activation, and PyTorch's."""
    return one_of(rng, FUNCTIONS)


# --------------------------------------------------------------------------------------------------------- comparison


def randomised(layer: Any, rng: np.random.Generator) -> Any:
    """The layer in float64, with numbers of its own in every parameter: none is 0 or 1 any more."""

    def new(path: str, kind: str, x: Any) -> Any:
        return rng.normal(size=x.shape) if kind == PARAM and isinstance(x, np.ndarray) else x

    return replaced(nf.f64(layer), new)


def flat(y: Any) -> Any:
    """All elements of a result, or of a tuple of results."""
    parts = [F.reshape(part, -1) for part in (y if isinstance(y, tuple) else (y,))]
    return F.concatenate(parts) if len(parts) > 1 else parts[0]


def compare(row: Callable[[np.random.Generator], Peer], seed: int) -> None:
    """The result and the gradients of every parameter and input, in training mode, of one configuration."""
    rng = np.random.default_rng(seed)
    layer, inputs, peer = row(rng)
    layer = randomised(layer, rng)
    parameters = arrays(layer, PARAM)
    tensors = {path: torch.tensor(a, requires_grad=True) for path, a in parameters.items()}
    given = [torch.tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x for x in inputs]
    right = peer(tensors, *given)
    wide = torch.cat([part.reshape(-1) for part in (right if isinstance(right, tuple) else (right,))])
    w = rng.normal(size=wide.shape)
    (wide * torch.tensor(w)).sum().backward()

    def loss(layer: Any, *xs: Any) -> Any:
        y = layer(*xs)
        return F.sum(F.mul(flat(y), w)), y

    (_, y), (of_layer, *of_inputs) = nf.withgradient(loss, layer, *inputs)
    shapes = [tuple(t.shape) for t in (right if isinstance(right, tuple) else (right,))]
    assert [part.shape for part in (y if isinstance(y, tuple) else (y,))] == shapes, f"{layer}: shapes"
    near(f"seed {seed}, {layer}: the result", flat(y), wide)
    for path, g in arrays(of_layer).items():
        near(f"seed {seed}, {layer}: the gradient of {path}", g, tensors[path].grad)
    for i, (g, t) in enumerate(zip(of_inputs, given, strict=True)):
        if isinstance(t, torch.Tensor) and t.requires_grad:
            near(f"seed {seed}, {layer} of {inputs[i].shape}: the gradient of input {i}", g, t.grad)


def near(what: str, got: Any, tensor: Any) -> None:
    right = np.zeros(np.shape(got)) if tensor is None else tensor.detach().numpy()
    assert got.shape == right.shape and got.dtype == np.float64, f"{what}: {got.dtype} {got.shape}, not {right.shape}"
    size = max(abs(right).max(initial=0), LEAST)
    off = abs(got - right).max(initial=0) / size
    assert off <= ERROR, f"{what} is off by {off:.1e}"


# ------------------------------------------------------------------------------------------- products, tables, numbers


def dense_of(p: Any, x: Any, path: str = "") -> Any:
    y = x @ p[f"{path}weight"]
    return y + p[f"{path}bias"] if f"{path}bias" in p else y


def dense(rng):
    (ours, theirs), n_in, n_out = function(rng), count(rng, 9), count(rng, 9)
    layer = nf.Dense(n_in, n_out, ours, bias=coin(rng))
    x = drawn(rng, *counts(rng, count(rng, 3, 0), 4), n_in)
    return Peer(layer, (x,), lambda p, x: theirs(dense_of(p, x)))


def scale(rng):
    (ours, theirs), size = function(rng), counts(rng, count(rng, 3), 4)
    layer = nf.Scale(*size, activation=ours, bias=coin(rng))
    x = drawn(rng, *counts(rng, count(rng, 2, 0), 4), *size)
    return Peer(layer, (x,), lambda p, x: theirs(x * p["scale"] + p.get("bias", 0)))


def bilinear(rng):
    (ours, theirs), (in1, in2, out) = function(rng), counts(rng, 3, 5)
    both, lead = coin(rng), counts(rng, count(rng, 2, 0), 4)
    in2 = in2 if both else in1
    inputs = (drawn(rng, *lead, in1), drawn(rng, *lead, in2))[: 1 + both]

    def peer(p, x, y=None):
        z = torch.einsum("...i,ijk,...j->...k", x, p["weight"], x if y is None else y)
        return theirs(z + p.get("bias", 0))

    return Peer(nf.Bilinear(in1, in2, out, ours, bias=coin(rng)), inputs, peer)


def embedding(rng):
    n_in, n_out = counts(rng, 2, 8)
    padding = count(rng, n_in - 1, 0) if coin(rng) else None
    x = rng.integers(0, n_in, counts(rng, count(rng, 2, 0), 5))
    kept = (torch.arange(n_in) != (-1 if padding is None else padding))[:, None]
    layer = nf.Embedding(n_in, n_out, padding_idx=padding)
    return Peer(layer, (x,), lambda p, x: (p["weight"] * kept)[x])


def normalise(rng):
    c = count(rng, 5)
    mean, std = drawn(rng, c), rng.uniform(0.3, 3, c)
    layer, x = nf.layers.Normalise(mean, std), drawn(rng, *counts(rng, count(rng, 2), 4), c)
    return Peer(layer, (x,), lambda p, x: (x - torch.tensor(mean)) / torch.tensor(std))


# ---------------------------------------------------------------------------------------------------------- containers


def several(rng, least=1):
    """Layers of one shape, an input for them, and what PyTorch makes of layer i."""
    (ours, theirs), c, n = function(rng), count(rng, 5), count(rng, 4, least)
    layers = [nf.Dense(c, c, ours, bias=coin(rng)) for _ in range(n)]
    return layers, lambda: drawn(rng, count(rng, 4), c), lambda p, i, x: theirs(dense_of(p, x, f"{i}."))


def chain(rng):
    layers, make, of = several(rng)

    def peer(p, x):
        for i in range(len(layers)):
            x = of(p, i, x)
        return x

    return Peer(nf.Chain(*layers), (make(),), peer)


def maxout(rng):
    layers, make, of = several(rng)
    return Peer(nf.Maxout(*layers), (make(),),
                lambda p, x: torch.stack([of(p, i, x) for i in range(len(layers))]).amax(0))  # fmt: skip


ADD, CAT, MUL = (nf.add, lambda *ys: sum(ys)), (nf.cat, lambda *ys: torch.cat(ys, -1)), (nf.mul, lambda a, b: a * b)


def skip_connection(rng):
    (ours, theirs), (join, joined), c = function(rng), one_of(rng, (ADD, CAT, MUL)), count(rng, 5)
    x = drawn(rng, *counts(rng, count(rng, 2), 4), c)
    return Peer(nf.SkipConnection(nf.Dense(c, c, ours), join), (x,),
                lambda p, x: joined(theirs(dense_of(p, x, "layer.")), x))  # fmt: skip


def _inputs(rng, n, make):
    """One for all layers, or one for each."""
    x = make()
    return (x,) if coin(rng) else (x, *(drawn(rng, *x.shape) for _ in range(n - 1)))


def parallel(rng):
    layers, make, of = several(rng, 2)
    (join, joined), n = one_of(rng, (ADD, CAT)), len(layers)

    def peer(p, *xs):
        return joined(*[of(p, i, x) for i, x in enumerate(xs * (n // len(xs)))])

    return Peer(nf.Parallel(join, *layers), _inputs(rng, n, make), peer)


def pairwise_fusion(rng):
    layers, make, of = several(rng)
    (join, joined), n = one_of(rng, (ADD, MUL)), len(layers)

    def peer(p, *xs):
        ys = []
        for i, x in enumerate(xs * (n // len(xs))):
            ys.append(of(p, i, joined(ys[-1], x) if ys else x))
        return tuple(ys)

    return Peer(nf.PairwiseFusion(join, *layers), _inputs(rng, n, make), peer)


LAYERS = {
    "Dense": dense, "Scale": scale, "Bilinear": bilinear, "Embedding": embedding, "Normalise": normalise,
    "Chain": chain, "Maxout": maxout, "SkipConnection": skip_connection, "Parallel": parallel,
    "PairwiseFusion": pairwise_fusion,
}  # fmt: skip
