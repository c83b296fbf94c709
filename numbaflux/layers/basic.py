"""Chain and Dense."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import functions as F
from ..init import glorot_uniform
from ..op import DTypeError, Error, ShapeError, expect
from ..ranges import check
from ..tree import fields
from .layer import check_activation, layer, param, spread
from .weights import check_beside, check_weight, described, made


@layer
class Chain:
    """Layers and functions one after another: Chain(a, b) or Chain(body=a, head=b); index, slice, or name.

    >>> model = Chain(Dense(2, 3, F.tanh), Dense(3, 1))
    >>> model(np.zeros((4, 2), np.float32)).shape
    (4, 1)
    >>> len(model[:1])
    1
    """

    layers: tuple[Any, ...] = spread()
    names: tuple[str, ...] | None = None

    def __init__(self, *layers: Any, **named: Any) -> None:
        expect(not (layers and named), "Chain", "arguments", "all named or none", f"{len(layers)} without a name")
        self.layers = layers or tuple(named.values())
        self.names = tuple(named) or None
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        check_layers(self)

    def outputs(self, *inputs: Any) -> Iterator[Any]:
        """What each layer gives, one after another."""
        for i, one in enumerate(self.layers):
            try:
                inputs = (one(*inputs),)
            except Error as error:
                locate(error, self.names[i] if self.names else str(i))
                raise
            yield inputs[0]

    def __call__(self, *inputs: Any) -> Any:
        y: Any = inputs[0] if len(inputs) == 1 else inputs
        for result in self.outputs(*inputs):
            y = result
        return y

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, str):
            expect(key in (self.names or ()), "Chain", "name", f"one of {list(self.names or ())}", key)
            return self.layers[(self.names or ()).index(key)]
        if isinstance(key, slice):
            part = self.layers[key]
            return Chain(**dict(zip(self.names[key], part, strict=True))) if self.names else Chain(*part)
        return self.layers[key]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)


def activations(chain: Chain, *inputs: Any) -> tuple[Any, ...]:
    """What each layer of a Chain gives, as a tuple; the last is chain(*inputs). Gradients go through all of them.

    Raises DTypeError for another model.

    >>> first, second = activations(Chain(Dense(3, 4, F.relu), Dense(4, 2)), np.ones((1, 3), np.float32))
    >>> first.shape, second.shape
    ((1, 4), (1, 2))
    """
    expect(isinstance(chain, Chain), "activations", "chain", "a Chain", type(chain).__name__, error=DTypeError)
    return tuple(chain.outputs(*inputs))


def check_layers(node: Any) -> None:
    """Raise unless node.layers is a tuple of layers and functions, and node.names, if it has any, one text for each."""
    where, layers, names = type(node).__name__, node.layers, getattr(node, "names", None)
    expect(isinstance(layers, tuple), where, "layers", "a tuple", type(layers).__name__, error=DTypeError)
    for one in layers:
        expect(callable(one), where, "layers", "layers or functions", type(one).__name__, error=DTypeError)
    if names is None:
        return
    texts = isinstance(names, tuple) and all(isinstance(n, str) for n in names)
    expect(texts, where, "names", "a tuple of texts", type(names).__name__, error=DTypeError)
    expect(len(set(names)) == len(names) == len(layers), where, "names", f"{len(layers)} different ones", str(names))
    taken = [field.lstrip(".") for field in fields(node) or ()]
    bad = [n for n in names if not n or "." in n or n in taken]
    expect(not bad, where, "names", f"without dots, and not {' or '.join(taken)}", ", ".join(bad))


def locate(error: Error, name: str) -> None:
    """Put the layer's place in front of the message: 1.dense: x must be ..."""
    if error.args and isinstance(error.args[0], str):
        error.args = (f"{name}.{error.args[0]}", *error.args[1:])


@layer
class Dense:
    """activation(x weight + bias): x (..., in), weight (in, out), bias (out,).

    init(shape, rng=rng) makes the weight (glorot_uniform unless told); bias=False leaves it out.

    >>> layer = Dense(3, 2, F.relu)
    >>> layer(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    weight: np.ndarray = param()
    bias: np.ndarray | None = param()
    activation: Callable[[Any], Any] = F.identity

    def __init__(
        self, n_in: int, n_out: int, activation: Callable[[Any], Any] = F.identity, *, bias: bool = True,
        init: Callable[..., np.ndarray] = glorot_uniform, rng: Any = None,
    ) -> None:  # fmt: skip
        shape = int(check("Dense.n_in", n_in)), int(check("Dense.n_out", n_out))
        self.weight = made("Dense", init, shape, rng)
        self.bias = np.zeros(shape[1], self.weight.dtype) if bias else None
        self.activation = activation
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        w = self.weight
        check_weight("Dense", "weight", w)
        expect(w.ndim == 2 and w.size > 0, "Dense", "weight", "of shape (in, out)", str(w.shape), error=ShapeError)
        check_beside("Dense", "bias", self.bias, w, w.shape[1:])
        check_activation("Dense", self.activation)

    def __call__(self, x: Any) -> Any:
        return self.activation(F.dense(x, self.weight, self.bias))

    def describe(self) -> str:
        return described(self, *self.weight.shape)


def flatten(x: Any) -> Any:
    """(n, ...) as (n, everything else).

    >>> flatten(np.ones((2, 3, 4), np.float32)).shape
    (2, 12)
    """
    return F.flatten(x)
