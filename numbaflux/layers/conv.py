"""Convolutional layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functions as F
from ..init import glorot_uniform
from ..op import DTypeError, ShapeError, expect
from ..ops.window import Pads, Sizes, pads, sizes
from ..padding import check_mode, padded
from ..ranges import check
from ..windows import conv, conv_transpose, space
from .layer import check_activation, layer, name_of, param
from .weights import check_beside, check_weight, made

Function = Callable[[Any], Any]


class _Windowed:
    """What Conv and ConvTranspose share: weight, bias and the options of the window."""

    weight: np.ndarray
    bias: np.ndarray | None
    activation: Function
    stride: Sizes
    pad: Pads
    dilation: Sizes
    groups: int

    def _set(
        self, k: Any, shape: tuple[int, int], out: int, activation: Function, stride: Any, pad: Any, dilation: Any,
        groups: int, bias: bool, init: Callable[..., np.ndarray], rng: Any,
    ) -> None:  # fmt: skip
        """shape: the last two sizes of the weight."""
        name = type(self).__name__
        window = sizes(name, "k", k, len(k) if isinstance(k, tuple | list) else 2)
        expect(1 <= len(window) <= 3, name, "k", "of 1 to 3 axes", repr(k), error=ShapeError)
        self.dilation = sizes(name, "dilation", dilation, len(window))
        self.stride = sizes(name, "stride", stride, len(window))
        self.pad, self.groups, self.activation = pads(name, pad, window, self.dilation), groups, activation
        self.weight = made(name, init, (*window, *shape), rng)
        self.bias = np.zeros(out, self.weight.dtype) if bias else None

    def _check_fields(self, out: int) -> None:
        name, w = type(self).__name__, self.weight
        check_weight(name, "weight", w)
        expect(3 <= w.ndim <= 5 and w.size > 0, name, "weight", "of shape (window, in, out)", str(w.shape),
               error=ShapeError)  # fmt: skip
        check_beside(name, "bias", self.bias, w, (out,))
        rank = w.ndim - 2
        expect(sizes(name, "stride", self.stride, rank) == self.stride, name, "stride", "a tuple", repr(self.stride))
        same = sizes(name, "dilation", self.dilation, rank) == self.dilation
        expect(same, name, "dilation", "a tuple", repr(self.dilation))
        same = pads(name, self.pad, w.shape[:-2], self.dilation) == self.pad
        expect(same, name, "pad", "a tuple of pairs", repr(self.pad))
        check_activation(name, self.activation)

    def _options(self) -> dict[str, Any]:
        return {"stride": self.stride, "pad": self.pad, "dilation": self.dilation, "groups": self.groups}

    def _described(self, n_in: int, n_out: int, **more: Any) -> str:
        window = self.weight.shape[:-2]
        parts = [str(window), str(n_in), str(n_out)]
        parts += [name_of(self.activation)] if self.activation is not F.identity else []
        rank = len(window)
        plain = {"stride": (1,) * rank, "pad": ((0, 0),) * rank, "dilation": (1,) * rank, "groups": 1}
        given = self._options() | {"pad": self.pad} | more
        parts += [f"{k}={_short(v)}" for k, v in given.items() if v != plain.get(k, v if not v else None)]
        parts += ["bias=False"] if self.bias is None else []
        return f"{type(self).__name__}({', '.join(parts)})"


def _short(value: Any) -> str:
    """(2, 2) as 2, ((1, 1), (1, 1)) as 1."""
    while isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    return str(
        tuple(v for pair in value for v in pair) if isinstance(value, tuple) and isinstance(value[0], tuple) else value
    )


@layer
class Conv(_Windowed):
    """activation(x * weight + bias) over windows: x (n, spatial axes, in), weight (k..., in // groups, out), bias
    (out,).

    k: sizes of the window, one to three: series, images, volumes; an integer is a square one of images. stride and
    dilation: an integer or one an axis; pad: an integer, one an axis, two an axis, or "same". It is a
    cross-correlation, as in PyTorch and Keras; flip=True turns the window over, as Flux.jl does. pad_mode: what
    is put around x: "zeros", "circular", "reflect", "replicate" or "symmetric", as nf.pad_zeros and so on do it.
    init(shape, rng=rng) makes the weight.

    >>> layer = Conv((3, 3), 3, 8, F.relu, pad="same")
    >>> layer(np.ones((2, 16, 16, 3), np.float32)).shape
    (2, 16, 16, 8)
    """

    weight: np.ndarray = param()
    bias: np.ndarray | None = param()
    activation: Function = F.identity
    stride: Sizes = (1, 1)
    pad: Pads = ((0, 0), (0, 0))
    dilation: Sizes = (1, 1)
    groups: int = 1
    flip: bool = False
    pad_mode: str = "zeros"

    def __init__(
        self, k: Any, n_in: int, n_out: int, activation: Function = F.identity, *, stride: Any = 1, pad: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, flip: bool = False, pad_mode: str = "zeros",
        init: Callable[..., np.ndarray] = glorot_uniform, rng: Any = None,
    ) -> None:  # fmt: skip
        c, o = int(check("Conv.n_in", n_in)), int(check("Conv.n_out", n_out))
        parts = int(check("Conv.groups", groups))
        divides = c % parts == 0 and o % parts == 0
        expect(divides, "Conv", "groups", f"a divisor of {c} and {o}", groups)
        self._set(k, (c // parts, o), o, activation, stride, pad, dilation, parts, bias, init, rng)
        self.flip, self.pad_mode = bool(flip), pad_mode
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        self._check_fields(np.shape(self.weight)[-1] if np.ndim(self.weight) else 0)
        fits = isinstance(self.groups, int) and self.groups > 0 and self.weight.shape[-1] % self.groups == 0
        expect(fits, "Conv", "groups", f"a divisor of {self.weight.shape[-1]}", repr(self.groups))
        expect(isinstance(self.flip, bool), "Conv", "flip", "True or False", repr(self.flip), error=DTypeError)
        check_mode("Conv", self.pad_mode)

    def __call__(self, x: Any) -> Any:
        options = self._options() | {"flip": self.flip}
        if self.pad_mode != "zeros":
            axes = tuple(range(1, 1 + len(space("conv", x, len(self.stride)))))
            x = padded("conv", x, self.pad_mode, axes, self.pad)
            options["pad"] = 0
        return self.activation(conv(x, self.weight, self.bias, **options))

    def describe(self) -> str:
        *_, c, o = self.weight.shape
        mode = None if self.pad_mode == "zeros" else repr(self.pad_mode)
        return self._described(c * self.groups, o, flip=self.flip, pad_mode=mode)


@layer
class ConvTranspose(_Windowed):
    """The gradient of a Conv as a layer: x (n, spatial axes, in), weight (k..., out // groups, in), bias (out,).

    Each axis grows to (size - 1) stride + (k - 1) dilation + 1 - pads + outpad. Options as in Conv.

    >>> layer = ConvTranspose((2, 2), 8, 3, stride=2)
    >>> layer(np.ones((2, 16, 16, 8), np.float32)).shape
    (2, 32, 32, 3)
    """

    weight: np.ndarray = param()
    bias: np.ndarray | None = param()
    activation: Function = F.identity
    stride: Sizes = (1, 1)
    pad: Pads = ((0, 0), (0, 0))
    outpad: Sizes = (0, 0)
    dilation: Sizes = (1, 1)
    groups: int = 1

    def __init__(
        self, k: Any, n_in: int, n_out: int, activation: Function = F.identity, *, stride: Any = 1, pad: Any = 0,
        outpad: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        init: Callable[..., np.ndarray] = glorot_uniform, rng: Any = None,
    ) -> None:  # fmt: skip
        c, o = int(check("ConvTranspose.n_in", n_in)), int(check("ConvTranspose.n_out", n_out))
        parts = int(check("ConvTranspose.groups", groups))
        divides = c % parts == 0 and o % parts == 0
        expect(divides, "ConvTranspose", "groups", f"a divisor of {c} and {o}", groups)
        self._set(k, (o // parts, c), o, activation, stride, pad, dilation, parts, bias, init, rng)
        self.outpad = sizes("ConvTranspose", "outpad", outpad, len(self.stride), 0)
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        good = isinstance(self.groups, int) and self.groups > 0
        expect(good, "ConvTranspose", "groups", "an integer above 0", repr(self.groups))
        self._check_fields(np.shape(self.weight)[-2] * self.groups if np.ndim(self.weight) > 1 else 0)
        fits = self.weight.shape[-1] % self.groups == 0
        expect(fits, "ConvTranspose", "groups", f"a divisor of {self.weight.shape[-1]}", repr(self.groups))
        more = sizes("ConvTranspose", "outpad", self.outpad, len(self.stride), 0)
        below = all(o < s for o, s in zip(more, self.stride, strict=True)) and more == self.outpad
        expect(below, "ConvTranspose", "outpad", f"a tuple below stride {self.stride}", repr(self.outpad))

    def __call__(self, x: Any) -> Any:
        return self.activation(conv_transpose(x, self.weight, self.bias, outpad=self.outpad, **self._options()))

    def describe(self) -> str:
        *_, o, c = self.weight.shape
        return self._described(c, o * self.groups, outpad=self.outpad if any(self.outpad) else None)


def CrossCor(
    k: Any, n_in: int, n_out: int, activation: Function = F.identity, *, stride: Any = 1, pad: Any = 0,
    dilation: Any = 1, bias: bool = True, pad_mode: str = "zeros", init: Callable[..., np.ndarray] = glorot_uniform,
    rng: Any = None,
) -> Conv:  # fmt: skip
    """A Conv without groups, by the name that cross-correlation has in Flux.jl; it is saved and shown as a Conv.

    >>> CrossCor((3, 3), 4, 8)
    Conv((3, 3), 4, 8),                              # 296 parameters
    # 2 arrays, 296 parameters, 1_184 bytes
    """
    return Conv(k, n_in, n_out, activation, stride=stride, pad=pad, dilation=dilation, bias=bias, pad_mode=pad_mode,
                init=init, rng=rng)  # fmt: skip


def DepthwiseConv(k: Any, n_in: int, n_out: int, activation: Function = F.identity, **options: Any) -> Conv:
    """A Conv whose every input channel has filters of its own: groups = n_in; n_out is a multiple of it.

    >>> DepthwiseConv((3, 3), 4, 8).weight.shape
    (3, 3, 1, 8)
    """
    return Conv(k, n_in, n_out, activation, groups=n_in, **options)
