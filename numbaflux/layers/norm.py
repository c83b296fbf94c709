"""Layers that normalise by mean and variance, over a batch, a sample, or parts of a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import functions as F
from ..init import ones, zeros
from ..op import DTypeError, ShapeError, expect
from ..ops.norm import MOMENTS, NORM, NORM_FIXED, TRACK
from ..ops.ranks import MEAN_OF_RANKS
from ..ranges import check
from ..session import assign, current, training
from ..shapes import reshape
from ..trace import Value, apply
from .layer import buffer, check_activation, layer, name_of, param
from .normalise import deviation

Function = Callable[[Any], Any]
Init = Callable[..., np.ndarray]


class _Norm:
    """What all share: weight and bias by channel (None: 1 and 0), an activation, eps."""

    weight: np.ndarray | None
    bias: np.ndarray | None
    activation: Function
    eps: float

    def _set(self, shape: tuple[int, ...], activation: Function, init: tuple[Init, Init] | None, eps: float) -> None:
        """init: of weight and bias; None: without them."""
        self.weight, self.bias = (one(shape) for one in init) if init else (None, None)
        self.activation, self.eps = activation, eps

    def _check_fields(self, shape: tuple[int, ...], fields: Sequence[str] = ("weight", "bias")) -> None:
        """Raise unless the arrays are all floats of one dtype and this shape, and of each pair both given or not."""
        name, arrays = type(self).__name__, {n: getattr(self, n) for n in fields}
        given = {n: a for n, a in arrays.items() if a is not None}
        dtype = next((a.dtype for a in given.values() if isinstance(a, np.ndarray)), np.dtype(np.float32))
        for n, a in given.items():
            good = isinstance(a, np.ndarray) and a.shape == shape and a.dtype == dtype and dtype.kind == "f"
            expect(good, name, n, f"None or {dtype} of shape {shape}", f"{getattr(a, 'dtype', type(a).__name__)} of "
                   f"shape {getattr(a, 'shape', None)}", error=ShapeError)  # fmt: skip
        for one, other in zip(fields[::2], fields[1::2], strict=False):
            expect((one in given) == (other in given), name, other, f"given where {one} is", "one of the two")
        check_activation(name, self.activation)
        check(f"{name}.eps", self.eps)

    def _normalised(self, x: Any, lead: int, groups: int, world: Any = None) -> tuple[Any, Any]:
        """x by its own statistics, or those over all ranks of a world, and these."""
        stats, over = apply(MOMENTS, x, lead=lead, groups=groups), {} if world is None else {"world": world}
        if world is not None:
            stats = _of_all(stats, world, x.shape[0])
        w, b = (v if v is None else reshape(v, -1) for v in (self.weight, self.bias))
        return apply(NORM, x, stats, w, b, eps=self.eps, **over), stats

    def _described(self, *sizes: Any, options: dict[str, tuple[Any, Any]]) -> str:
        """Type and sizes, the activation, and what is not as by default: name -> (value, default)."""
        parts = [*map(str, sizes), *([name_of(self.activation)] if self.activation is not F.identity else [])]
        parts += [f"{name}={value}" for name, (value, default) in options.items() if value != default]
        return f"{type(self).__name__}({', '.join(parts)})"


def _of_all(stats: Any, world: Any, rows: int) -> Any:
    """Mean and variance over ranks with as many rows each, from those of each: Chan, Golub and LeVeque 1983."""
    mean, var = stats[:1], stats[1:]
    centre = apply(MEAN_OF_RANKS, mean, world=world, rows=rows)
    spread = F.add(var, F.square(F.sub(mean, centre)))
    return F.concatenate([centre, apply(MEAN_OF_RANKS, spread, world=world, rows=rows)])


def _samples(layer: _Norm, x: Any, channels: int, axes: int = 2) -> Any:
    """x, if it is (n, ..., channels) of so many axes at least."""
    x = x if isinstance(x, Value) else np.asarray(x)
    good = x.ndim >= axes and x.shape[-1] == channels
    shown = "(n, ..., {})" if axes == 2 else "(n, spatial axes, {})"
    expect(good, type(layer).__name__, "x", f"of shape {shown.format(channels)}", str(x.shape), error=ShapeError)
    return x


@layer
class _Tracking(_Norm):
    """Layers that keep running statistics, and use those of the batch in training."""

    weight: np.ndarray | None = param()
    bias: np.ndarray | None = param()
    mean: np.ndarray | None = buffer()
    var: np.ndarray | None = buffer()
    channels: int
    activation: Function = F.identity
    eps: float = 1e-5
    momentum: float = 0.1
    active: bool | None = None
    _world: ClassVar[Any] = None  # whose ranks' batches are one; set by nf.distributed.sync_batchnorm, and never saved

    def _start(
        self, ch: int, activation: Function, init: tuple[Init, Init], affine: bool, track_stats: bool,
        active: bool | None, eps: float, momentum: float,
    ) -> None:  # fmt: skip
        self.channels = int(check(f"{type(self).__name__}.ch", ch))
        shape = (self.channels,)
        self._set(shape, activation, init if affine else None, eps)
        self.mean, self.var = (zeros(shape), ones(shape)) if track_stats else (None, None)
        self.momentum, self.active = momentum, active
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        name = type(self).__name__
        check(f"{name}.ch", self.channels)
        self._check_fields((self.channels,), ("weight", "bias", "mean", "var"))
        check(f"{name}.momentum", self.momentum)
        good = self.active is None or isinstance(self.active, bool)
        expect(good, name, "active", "True, False or None", repr(self.active), error=DTypeError)

    def _call(self, x: Any, lead: int) -> Any:
        """lead: axes of x whose indices have statistics of their own."""
        active = training(self.active)
        if not active and self.mean is not None:
            running = current(self.mean), current(self.var)
            return self.activation(apply(NORM_FIXED, x, *running, self.weight, self.bias, eps=self.eps))
        world = self._world if active else None
        count = x.size // max(1, int(np.prod(x.shape[:lead])) * self.channels) * (1 if world is None else world.size)
        where, cure = type(self).__name__, "a larger batch, or partial=False for the last of an epoch"
        expect(not active or count != 1, where, "x", "of more than one value a channel in training",
               f"shape {x.shape}", "" if lead else cure, ShapeError)  # fmt: skip
        y, stats = self._normalised(x, lead, self.channels, world)
        if active and self.mean is not None:
            running = current(self.mean), current(self.var)
            mean, var = apply(TRACK, *running, stats, momentum=self.momentum, count=count)
            assign(self.mean, mean)
            assign(self.var, var)
        return self.activation(y)

    def _about(self, affine: bool, track_stats: bool) -> str:
        """affine, track_stats: the defaults."""
        own = self.weight is not None, self.mean is not None
        options = {"affine": (own[0], affine), "track_stats": (own[1], track_stats), "eps": (self.eps, 1e-5)}
        options |= {"momentum": (self.momentum, 0.1), "ranks": (1 if self._world is None else self._world.size, 1)}
        return self._described(self.channels, options=options)


@layer
class BatchNorm(_Tracking):
    """activation((x - mean) / sqrt(var + eps) * weight + bias), x (n, ..., ch), by channel.

    In training mean and variance are those of the batch, over all axes but the last, and the running ones go a step of
    `momentum` toward them (toward the variance with n - 1 in its divisor); else they are the running ones.
    affine=False: without weight and bias; track_stats=False: without running statistics; active: True or False
    overrules the mode. Raises ShapeError for one value a channel in training. nf.distributed.sync_batchnorm(model,
    world) lets the batches of all ranks be one.
    Source: Ioffe and Szegedy 2015.

    >>> layer = BatchNorm(3, F.relu)
    >>> x = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    >>> layer(x).round(3).tolist()
    [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]
    >>> from numbaflux import trainmode
    >>> trainmode(layer)(x).round(3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    >>> layer.mean
    array([0.2, 0.2, 0.2], dtype=float32)
    """

    def __init__(
        self, ch: int, activation: Function = F.identity, init_weight: Init = ones, init_bias: Init = zeros,
        affine: bool = True, track_stats: bool = True, active: bool | None = None, eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:  # fmt: skip
        self._start(ch, activation, (init_weight, init_bias), affine, track_stats, active, eps, momentum)

    def __call__(self, x: Any) -> Any:
        return self._call(_samples(self, x, self.channels), 0)

    def describe(self) -> str:
        return self._about(True, True)


@layer
class InstanceNorm(_Tracking):
    """As BatchNorm, but each sample of x (n, spatial axes, ch) by its own mean and variance, in training and else.

    affine=True: with weight and bias. track_stats=True: with running statistics, the means of those of the samples,
    which are used where it is not trained. Source: Ulyanov, Vedaldi and Lempitsky 2016.

    >>> x = np.array([[[1], [3]], [[10], [30]]], np.float32)
    >>> InstanceNorm(1)(x).round(3)[..., 0].tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def __init__(
        self, ch: int, activation: Function = F.identity, init_weight: Init = ones, init_bias: Init = zeros,
        affine: bool = False, track_stats: bool = False, active: bool | None = None, eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:  # fmt: skip
        self._start(ch, activation, (init_weight, init_bias), affine, track_stats, active, eps, momentum)

    def __call__(self, x: Any) -> Any:
        return self._call(_samples(self, x, self.channels, 3), 1)

    def describe(self) -> str:
        return self._about(False, False)


@layer
class GroupNorm(_Norm):
    """activation((x - mean) / sqrt(var + eps) * weight + bias), x (n, ..., ch): each sample by itself, in groups of
    ch // groups neighbouring channels; weight and bias by channel. Source: Wu and He 2018.

    >>> x = np.array([[[1, 3, 10, 30]]], np.float32)
    >>> GroupNorm(4, 2)(x).round(3).tolist()
    [[[-1.0, 1.0, -1.0, 1.0]]]
    """

    weight: np.ndarray | None = param()
    bias: np.ndarray | None = param()
    channels: int
    groups: int
    activation: Function = F.identity
    eps: float = 1e-5

    def __init__(
        self, ch: int, groups: int, activation: Function = F.identity, init_weight: Init = ones,
        init_bias: Init = zeros, affine: bool = True, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        self.channels, self.groups = int(check("GroupNorm.ch", ch)), int(check("GroupNorm.groups", groups))
        self._set((self.channels,), activation, (init_weight, init_bias) if affine else None, eps)
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        check("GroupNorm.ch", self.channels)
        check("GroupNorm.groups", self.groups)
        fits = self.channels % self.groups == 0
        expect(fits, "GroupNorm", "groups", f"a divisor of {self.channels} channels", self.groups)
        self._check_fields((self.channels,))

    def __call__(self, x: Any) -> Any:
        return self.activation(self._normalised(_samples(self, x, self.channels), 1, self.groups)[0])

    def describe(self) -> str:
        options = {"affine": (self.weight is not None, True), "eps": (self.eps, 1e-5)}
        return self._described(self.channels, self.groups, options=options)


class _Sized(_Norm):
    """Layers that normalise over the last axes, of these sizes."""

    size: tuple[int, ...]

    def _set_size(self, size: int | Sequence[int]) -> None:
        many = size if isinstance(size, tuple | list) else (size,)
        self.size = tuple(int(check(f"{type(self).__name__}.size", s)) for s in many)

    def _check_size(self) -> None:
        name = type(self).__name__
        good = isinstance(self.size, tuple) and len(self.size) > 0
        expect(good, name, "size", "a tuple of integers", repr(self.size), error=DTypeError)
        for size in self.size:
            check(f"{name}.size", size)

    def _fitting(self, x: Any) -> Any:
        """x, if its last axes are of these sizes."""
        x = x if isinstance(x, Value) else np.asarray(x)
        shape, shown = tuple(x.shape), f"of shape (..., {str(self.size)[1:-1].rstrip(',')})"
        expect(shape[-len(self.size) :] == self.size, type(self).__name__, "x", shown, str(shape), error=ShapeError)
        return x

    def describe(self) -> str:
        options = {"affine": (self.weight is not None, True), "eps": (self.eps, 1e-5)}
        return self._described(self.size[0] if len(self.size) == 1 else self.size, options=options)


@layer
class LayerNorm(_Sized):
    """activation((x - mean) / sqrt(var + eps) * weight + bias), x (..., *size): each index of the leading axes by
    itself, over all that follow; weight and bias of shape size (an integer: of the last axis).

    affine=False: without them. Source: Ba, Kiros and Hinton 2016.

    >>> LayerNorm(2)(np.array([[1, 3], [10, 30]], np.float32)).round(3).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    weight: np.ndarray | None = param()
    bias: np.ndarray | None = param()
    size: tuple[int, ...]
    activation: Function = F.identity
    eps: float = 1e-5

    def __init__(
        self, size: int | Sequence[int], activation: Function = F.identity, affine: bool = True, eps: float = 1e-5
    ) -> None:
        self._set_size(size)
        self._set(self.size, activation, (ones, zeros) if affine else None, eps)
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        self._check_size()
        self._check_fields(self.size)

    def __call__(self, x: Any) -> Any:
        x = self._fitting(x)
        shape = tuple(x.shape)
        lead = len(shape) - len(self.size)
        y, _ = self._normalised(reshape(x, (*shape[:lead], int(np.prod(self.size)))), lead, 1)
        return self.activation(reshape(y, shape))


@layer
class RMSNorm(_Sized):
    """activation(x / sqrt(mean of x**2 + eps) * weight), x (..., *size): each index of the leading axes by itself, over
    all that follow; weight of shape size (an integer: of the last axis).

    affine=False: without a weight. Raises ShapeError, DTypeError. Source: Zhang and Sennrich 2019.

    >>> RMSNorm(4)(np.array([[0, 0, 0, 8], [-3, 3, 3, 3]], np.float32)).round(3).tolist()
    [[0.0, 0.0, 0.0, 2.0], [-1.0, 1.0, 1.0, 1.0]]
    """

    weight: np.ndarray | None = param()
    size: tuple[int, ...]
    activation: Function = F.identity
    eps: float = 1e-5

    def __init__(
        self, size: int | Sequence[int], activation: Function = F.identity, affine: bool = True, eps: float = 1e-5
    ) -> None:
        self._set_size(size)
        self.weight = ones(self.size) if affine else None
        self.activation, self.eps = activation, eps
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        self._check_size()
        self._check_fields(self.size, ("weight",))

    def __call__(self, x: Any) -> Any:
        x = self._fitting(x)
        expect(x.dtype.kind == "f", "RMSNorm", "x", "an array of float32 or float64", str(x.dtype),
               "x.astype(np.float32)", DTypeError)  # fmt: skip
        square = F.mean(F.square(x), axis=tuple(range(-len(self.size), 0)), keepdims=True)
        y = F.div(x, deviation(square, self.eps))
        return self.activation(y if self.weight is None else F.mul(y, self.weight))


def hasaffine(layer: Any) -> bool:
    """Whether a normalising layer has a weight (and bias) to train.

    >>> hasaffine(BatchNorm(3)), hasaffine(InstanceNorm(3))
    (True, False)
    """
    expect(isinstance(layer, _Norm), "hasaffine", "layer", "one that normalises", type(layer).__name__,
           error=DTypeError)  # fmt: skip
    return layer.weight is not None
