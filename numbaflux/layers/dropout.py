"""Layers that drop elements in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import functions as F
from ..noise import dropout
from ..op import DTypeError, expect
from ..ranges import check
from ..rng import Generator, as_generator
from ..session import training
from .layer import layer

Axes = int | Sequence[int] | None
LOWEST = -1.0507009873554805 * 1.6732632423543772  # what selu of minus infinity is


class _Dropping:
    """What both share: the probability, when, and where the numbers come from."""

    p: float
    active: bool | None
    rng: Generator | None

    def _set(self, p: float, active: bool | None, rng: Generator | int | None) -> None:
        name = type(self).__name__
        self.p, self.active = float(check(f"{name}.p", p)), active
        self.rng = None if rng is None else as_generator(rng, name)

    def _check_fields(self) -> None:
        name = type(self).__name__
        check(f"{name}.p", self.p)
        good = self.active is None or isinstance(self.active, bool)
        expect(good, name, "active", "True, False or None", repr(self.active), error=DTypeError)
        good = self.rng is None or isinstance(self.rng, Generator)
        expect(good, name, "rng", "None or a Generator", type(self.rng).__name__, error=DTypeError)


@layer
class Dropout(_Dropping):
    """In training nf.dropout(x, p, dims), else x as it is; x of any shape.

    active: True or False overrules the mode. rng: a seed, or a Generator that layers may share; None: that of nf.seed.

    >>> import numpy as np
    >>> layer = Dropout(0.5, rng=3)
    >>> x = np.ones(8, np.float32)
    >>> layer(x) is x
    True
    >>> from numbaflux import trainmode
    >>> trainmode(layer)(x).tolist()
    [2.0, 0.0, 2.0, 0.0, 2.0, 2.0, 2.0, 2.0]
    """

    p: float
    dims: tuple[int, ...] | None = None
    active: bool | None = None
    rng: Generator | None = None

    def __init__(
        self, p: float, dims: Axes = None, active: bool | None = None, rng: Generator | int | None = None
    ) -> None:
        self._set(p, active, rng)
        self.dims = None if dims is None else tuple(dims) if isinstance(dims, Sequence) else (dims,)
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        self._check_fields()
        whole = self.dims is None or isinstance(self.dims, tuple) and all(type(d) is int for d in self.dims)
        expect(whole, "Dropout", "dims", "None or a tuple of integers", repr(self.dims), error=DTypeError)

    def __call__(self, x: Any) -> Any:
        return dropout(x, self.p, self.dims, self.rng) if training(self.active) else x

    def describe(self) -> str:
        return f"Dropout({self.p:g}{'' if self.dims is None else f', dims={self.dims}'})"


@layer
class AlphaDropout(_Dropping):
    """In training elements are put to the lowest value of selu with probability p, and all are scaled and shifted so
    that mean 0 and variance 1 stay; else x as it is. For networks of nf.selu. Source: Klambauer et al. 2017.

    >>> import numpy as np
    >>> x = np.array([-1.0, 2.0], np.float32)
    >>> AlphaDropout(0.5)(x) is x
    True
    """

    p: float
    active: bool | None = None
    rng: Generator | None = None

    def __init__(self, p: float, active: bool | None = None, rng: Generator | int | None = None) -> None:
        self._set(p, active, rng)
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        self._check_fields()

    def __call__(self, x: Any) -> Any:
        p = self.p
        if p == 0 or not training(self.active):
            return x
        if p == 1:
            return F.mul(F.sign(x), 0.0)
        scale = 1 / math.sqrt((1 - p) * (1 + p * LOWEST**2))
        dropped = dropout(F.add(x, -LOWEST), p, rng=self.rng)  # of what lies above the lowest
        return F.add(F.mul(dropped, scale * (1 - p)), LOWEST * scale * (1 - p))

    def describe(self) -> str:
        return f"AlphaDropout({self.p:g})"
