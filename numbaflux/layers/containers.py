"""Layers that hold layers: side by side SkipConnection, Parallel, PairwiseFusion, Maxout; Checkpointed; and Scale and
Bilinear, that join arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from .. import functions as F
from ..init import glorot_uniform, ones
from ..op import DTypeError, Error, ShapeError, expect
from ..ranges import check
from ..recompute import checkpointed
from .basic import check_layers, locate
from .layer import check_activation, layer, param, spread
from .weights import check_beside, check_weight, described, made

Function = Callable[[Any], Any]


def _at(name: str, one: Any, *inputs: Any) -> Any:
    """one(*inputs); an error says where that was."""
    try:
        return one(*inputs)
    except Error as error:
        locate(error, name)
        raise


def _expect_callable(where: str, **given: Any) -> None:
    for name, one in given.items():
        expect(callable(one), where, name, "a layer or function", type(one).__name__, error=DTypeError)


@layer
class SkipConnection:
    """connection(layer(x), x): with nf.add a residual block, with nf.cat a dense one.

    layer: a layer or function, a Chain for several; connection: any function of two arrays.

    >>> block = SkipConnection(lambda x: 2 * x, F.add)
    >>> block(np.ones((1, 3), np.float32)).tolist()
    [[3.0, 3.0, 3.0]]
    """

    layer: Any
    connection: Any
    shown: ClassVar = ("layer", "connection")

    def __init__(self, layer: Any, connection: Any) -> None:
        self.layer, self.connection = layer, connection
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        _expect_callable("SkipConnection", layer=self.layer, connection=self.connection)

    def __call__(self, x: Any) -> Any:
        return _at("connection", self.connection, _at("layer", self.layer, x), x)


@layer
class Checkpointed:
    """layer(*inputs), as nf.checkpointed gives it: for its gradient it is computed again, not kept.

    layer: a layer or function of anything, a Chain for several. Source: Chen et al. 2016.

    >>> from numbaflux import Chain, Dense
    >>> blocks = [Dense(4, 4, F.tanh) for _ in range(9)]
    >>> model = Chain(*[Checkpointed(Chain(*blocks[i : i + 3])) for i in range(0, 9, 3)])
    >>> model(np.ones((2, 4), np.float32)).shape
    (2, 4)
    """

    layer: Any
    shown: ClassVar = ("layer",)

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        _expect_callable("Checkpointed", layer=self.layer)

    def __call__(self, *inputs: Any) -> Any:
        return _at("layer", checkpointed, self.layer, *inputs)


class _Joined:
    """What Parallel and PairwiseFusion share: several layers, by number or name, and a connection."""

    connection: Any
    layers: tuple[Any, ...]
    names: tuple[str, ...] | None

    def _set(self, connection: Any, layers: tuple[Any, ...], named: dict[str, Any]) -> None:
        unmixed = not (layers and named)
        expect(unmixed, type(self).__name__, "arguments", "all named or none", f"{len(layers)} without a name")
        self.connection = connection
        self.layers = layers or tuple(named.values())
        self.names = tuple(named) or None
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        _expect_callable(type(self).__name__, connection=self.connection)
        check_layers(self)
        expect(bool(self.layers), type(self).__name__, "layers", "at least one layer", "none")

    def _names(self) -> tuple[str, ...]:
        return self.names or tuple(map(str, range(len(self.layers))))

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            known = self.names or ()
            expect(key in known, type(self).__name__, "name", f"one of {list(known)}", key)
            return self.layers[known.index(key)]
        return self.layers[key]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)


@layer
class Parallel(_Joined):
    """connection(a(x), b(x), ...): layers beside one another, and what joins their results, called once.

    Parallel(nf.add, a, b), or with names: Parallel(nf.cat, wide=a, deep=b); index or name. Several inputs, or a tuple
    of them, go to a layer each; with one layer, each of them through it.

    >>> both = Parallel(F.cat, lambda x: 2 * x, lambda x: -x)
    >>> both(np.ones((1, 2), np.float32)).tolist()
    [[2.0, 2.0, -1.0, -1.0]]
    >>> both(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)).tolist()
    [[2.0, -0.0]]
    """

    connection: Any
    layers: tuple[Any, ...] = spread()
    names: tuple[str, ...] | None = None
    shown: ClassVar = ("connection",)

    def __init__(self, connection: Any, /, *layers: Any, **named: Any) -> None:
        self._set(connection, layers, named)

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], tuple):
            inputs = inputs[0]
        count, names = len(self.layers), self._names()
        fits = len(inputs) in (1, count) if count > 1 else len(inputs) > 0
        expected = f"1 or {count}, as many as layers" if count > 1 else "1 or more"
        expect(fits, "Parallel", "inputs", expected, str(len(inputs)), error=ShapeError)
        width = max(count, len(inputs))
        layers = self.layers * (width // count)
        each = zip(names * (width // count), layers, inputs * (width // len(inputs)), strict=True)
        return _at("connection", self.connection, *[_at(name, one, x) for name, one, x in each])


@layer
class PairwiseFusion(_Joined):
    """A tuple of y1 = layer1(x1), y2 = layer2(connection(y1, x2)), y3 = layer3(connection(y2, x3)), ...

    PairwiseFusion(nf.add, a, b, c), or with names; index or name. As many inputs as layers, in a tuple or as arguments;
    a single one stands for all.

    >>> sums = PairwiseFusion(F.add, F.identity, F.identity, F.negative)
    >>> [y.tolist() for y in sums(*np.array([[1], [2], [3]], np.float32))]
    [[1.0], [3.0], [-6.0]]
    """

    connection: Any
    layers: tuple[Any, ...] = spread()
    names: tuple[str, ...] | None = None
    shown: ClassVar = ("connection",)

    def __init__(self, connection: Any, /, *layers: Any, **named: Any) -> None:
        self._set(connection, layers, named)

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        if len(inputs) == 1 and isinstance(inputs[0], tuple):
            inputs = inputs[0]
        count = len(self.layers)
        expect(len(inputs) in (1, count), "PairwiseFusion", "inputs", f"1 or {count}, as many as layers",
               str(len(inputs)), error=ShapeError)  # fmt: skip
        results: list[Any] = []
        for name, one, x in zip(self._names(), self.layers, inputs * (count // len(inputs)), strict=True):
            joined = _at("connection", self.connection, results[-1], x) if results else x
            results.append(_at(name, one, joined))
        return tuple(results)


@layer
class Maxout:
    """The largest of what several layers give, element by element: Maxout(a, b), or Maxout(f, n) with f() a layer.

    Source: Goodfellow et al. 2013, Maxout networks.

    >>> Maxout(lambda x: x, lambda x: -x)(np.array([-2.0, 1.0], np.float32)).tolist()
    [2.0, 1.0]
    """

    layers: tuple[Any, ...] = spread()

    def __init__(self, *layers: Any) -> None:
        if len(layers) == 2 and not callable(layers[1]):
            check("Maxout.n", layers[1])
            _expect_callable("Maxout", f=layers[0])
            layers = tuple(layers[0]() for _ in range(int(layers[1])))
        self.layers = layers
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        check_layers(self)
        expect(bool(self.layers), "Maxout", "layers", "at least one layer", "none")

    def __call__(self, *inputs: Any) -> Any:
        return functools.reduce(F.maximum, [_at(str(i), one, *inputs) for i, one in enumerate(self.layers)])


def _expect_sizes(where: str, name: str, x: Any, sizes: tuple[int, ...], whole: bool = False) -> None:
    """Raise unless x is an array whose last axes have these sizes, or all of them."""
    expect(hasattr(x, "shape"), where, name, "an array", type(x).__name__, error=DTypeError)
    shape = tuple(x.shape)
    fits = shape[0 if whole else max(0, len(shape) - len(sizes)) :] == sizes
    shown = sizes if whole else f"(..., {', '.join(map(str, sizes))})"
    expect(fits, where, name, f"of shape {shown}", str(shape), error=ShapeError)


@layer
class Scale:
    """activation(x scale + bias), element by element: Scale(3) for x (..., 3), Scale(4, 4, 3) for x (..., 4, 4, 3).

    init(shape, rng=rng) makes scale (ones unless told); bias=False leaves the bias (zeros) out.

    >>> Scale(3, activation=F.relu)(np.array([[1, 2, -3]], np.float32)).tolist()
    [[1.0, 2.0, 0.0]]
    """

    scale: np.ndarray = param()
    bias: np.ndarray | None = param()
    activation: Function = F.identity

    def __init__(
        self, *size: int, activation: Function = F.identity, bias: bool = True,
        init: Callable[..., np.ndarray] = ones, rng: Any = None,
    ) -> None:  # fmt: skip
        shape = tuple(int(check("Scale.size", n)) for n in size)
        self.scale = made("Scale", init, shape, rng)
        self.bias = np.zeros(shape, self.scale.dtype) if bias else None
        self.activation = activation
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        w = self.scale
        check_weight("Scale", "scale", w)
        expect(w.size > 0 and w.ndim > 0, "Scale", "size", "at least one number", str(w.shape))
        check_beside("Scale", "bias", self.bias, w, w.shape)
        check_activation("Scale", self.activation)

    def __call__(self, x: Any) -> Any:
        _expect_sizes("scale", "x", x, tuple(self.scale.shape))
        y = F.mul(x, self.scale)
        return self.activation(y if self.bias is None else F.add(y, self.bias))

    def describe(self) -> str:
        return described(self, *self.scale.shape, activation="activation={}")


@layer
class Bilinear:
    """activation(z) with z_k = sum over i, j of x_i weight_ijk y_j, plus bias_k: of x (..., in1) and y (..., in2).

    weight (in1, in2, out), bias (out,). One input stands for both; a tuple for two.

    >>> layer = Bilinear(2, 3, 4)
    >>> layer(np.ones((5, 2), np.float32), np.ones((5, 3), np.float32)).shape
    (5, 4)
    """

    weight: np.ndarray = param()
    bias: np.ndarray | None = param()
    activation: Function = F.identity

    def __init__(
        self, in1: int, in2: int, out: int, activation: Function = F.identity, *, bias: bool = True,
        init: Callable[..., np.ndarray] = glorot_uniform, rng: Any = None,
    ) -> None:  # fmt: skip
        named = {"in1": in1, "in2": in2, "out": out}
        self.weight = made("Bilinear", init, tuple(int(check(f"Bilinear.{k}", n)) for k, n in named.items()), rng)
        self.bias = np.zeros(out, self.weight.dtype) if bias else None
        self.activation = activation
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        w = self.weight
        check_weight("Bilinear", "weight", w)
        expect(w.ndim == 3 and w.size > 0, "Bilinear", "weight", "of shape (in1, in2, out)", str(w.shape),
               error=ShapeError)  # fmt: skip
        check_beside("Bilinear", "bias", self.bias, w, w.shape[2:])
        check_activation("Bilinear", self.activation)

    def __call__(self, x: Any, y: Any = None) -> Any:
        x, y = x if isinstance(x, tuple) else (x, x if y is None else y)
        in1, in2, out = self.weight.shape
        _expect_sizes("bilinear", "x", x, (in1,))
        _expect_sizes("bilinear", "y", y, (*x.shape[:-1], in2), whole=True)
        pairs = F.mul(F.expand_dims(x, -1), F.expand_dims(y, -2))
        flat = F.reshape(pairs, (*x.shape[:-1], in1 * in2))
        return self.activation(F.dense(flat, F.reshape(self.weight, (in1 * in2, out)), self.bias))

    def describe(self) -> str:
        return described(self, *self.weight.shape)
