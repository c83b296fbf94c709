"""What layers ask of their weights, how these are made, and how a layer with weights shows itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functions as F
from ..op import DTypeError, ShapeError, expect
from .layer import name_of

Init = Callable[..., np.ndarray]


def made(where: str, init: Init, shape: tuple[int, ...], rng: Any, called: str = "init(shape)") -> np.ndarray:
    """What init makes of a shape; raises where that has another."""
    expected = "a function, nf.init.glorot_uniform say"
    expect(callable(init), where, "init", expected, type(init).__name__, error=DTypeError)
    w = init(shape, rng=rng)
    expect(np.shape(w) == shape, where, called, f"of shape {shape}", str(np.shape(w)), error=ShapeError)
    return w


def check_weight(where: str, name: str, w: Any) -> None:
    """Raise unless it is an array of float32 or float64."""
    good = isinstance(w, np.ndarray) and w.dtype in (np.float32, np.float64)
    got = str(getattr(w, "dtype", type(w).__name__))
    expect(good, where, name, "an array of float32 or float64", got, error=DTypeError)


def check_beside(where: str, name: str, a: Any, w: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise unless it is None, or of w's dtype and this shape."""
    good = a is None or isinstance(a, np.ndarray) and a.shape == shape and a.dtype == w.dtype
    got = f"{getattr(a, 'dtype', type(a).__name__)} of shape {getattr(a, 'shape', None)}"
    error = DTypeError if getattr(a, "shape", shape) == shape else ShapeError
    expect(good, where, name, f"None or {w.dtype} of shape {shape}", got, error=error)


def described(layer: Any, *sizes: Any, activation: str = "{}") -> str:
    """Type and sizes, then what is not as by default: an activation, no bias."""
    parts = [str(n) for n in sizes]
    if getattr(layer, "activation", F.identity) is not F.identity:
        parts.append(activation.format(name_of(layer.activation)))
    return f"{type(layer).__name__}({', '.join([*parts, *(['bias=False'] if layer.bias is None else [])])})"
