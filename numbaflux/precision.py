"""Models of another dtype: float32 and float64 to compute with, float16 for files and wires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .managed import beside
from .op import expect
from .tree import PARAM, arrays, replaced


def f32(model: Any) -> Any:
    """A new model with every array of floats as float32, copied; ties are kept.

    >>> import numbaflux as nf
    >>> nf.f32(nf.f64(nf.Dense(2, 1))).weight.dtype
    dtype('float32')
    """
    return _copied(model, lambda path, kind, x: x.astype(np.float32))


def f64(model: Any) -> Any:
    """A new model with every array of floats as float64, copied; ties are kept.

    >>> import numbaflux as nf
    >>> nf.f64(nf.Dense(2, 1)).weight.dtype
    dtype('float64')
    """
    return _copied(model, lambda path, kind, x: x.astype(np.float64))


def f16(model: Any) -> Any:
    """A new model with what is trained as float16, copied; ties are kept. Half the bytes, for files and wires.

    It does not compute: calling it or nf.setup raises DTypeError, and nf.f32 makes a model of it that does. nf.save and
    nf.load take it as it is. Running statistics and constants keep their dtype. A number changes by up to one part in
    2048, below 3e-8 to 0. Raises RangeError for a number too large for float16.

    >>> import os, tempfile, numbaflux as nf
    >>> model, path = nf.Dense(200, 100), os.path.join(tempfile.mkdtemp(), "small.h5")
    >>> nf.save(path, nf.f16(model))
    >>> again = nf.f32(nf.load(path))
    >>> bool(np.allclose(again.weight, model.weight, 1e-3, 1e-6)), os.path.getsize(path) < 0.6 * model.weight.nbytes
    (True, True)
    """
    return _copied(model, _half)


def computing(model: Any) -> Any:
    """The model itself, or of one with weights of float16 what nf.f32 makes of it: fields that must fit each other do
    so there.

    >>> computing({"w": np.ones(1, np.float16)})
    {'w': array([1.], dtype=float32)}
    """
    return f32(model) if any(array.dtype == np.float16 for array in arrays(model).values()) else model


def _half(path: str, kind: str, x: np.ndarray) -> np.ndarray:
    if kind != PARAM:
        return x.copy()
    with np.errstate(over="ignore"):
        small = x.astype(np.float16)
    lost = np.isfinite(x) & ~np.isfinite(small)
    got = f"{x[lost][0]:g}" if lost.any() else ""
    expect(not got, "f16", path or "model", "of numbers between -65504 and 65504", got)
    return small


def _copied(model: Any, convert: Callable[[str, str, np.ndarray], np.ndarray]) -> Any:
    """A copy with each array of floats converted, once wherever it stands."""
    made: dict[int, np.ndarray] = {}

    def new(path: str, kind: str, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        if id(x) not in made:
            made[id(x)] = beside(x, convert(path, kind, x) if x.dtype.kind == "f" else x.copy())
        return made[id(x)]

    return replaced(model, new)
