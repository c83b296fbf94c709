"""nf.convert: fill a model with the weights of a PyTorch or Keras one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..models import fill, state
from ..op import DeviceError, DTypeError, Error, FileFormatError, ShapeError, expect
from ..tree import Leaf, leaves
from .flattened import channels, may_flatten, reordered
from .layouts import Array
from .matching import matched
from .sources import source


def convert(model: Any, weights: Any, *, names: Mapping[str, str] | None = None, example: Any = None) -> None:
    """Copy the weights of a PyTorch or Keras model into a model of the same layers, in place; nothing at any error.

    weights: a dict of arrays by PyTorch's names (a state_dict), a .safetensors file (pip install numbaflux[convert]),
    or a .weights.h5 file of Keras 3. Never a pickle. Axes are rearranged, floats take the model's type.
    Layers are matched by equal names if all have them, else in order; names={path of a layer or part: its name there}
    where that is not enough. Every array must find its place, every layer its arrays. Settings (eps, padding,
    activations) are the model's own.
    example: an input of the model, or a tuple of several, of which only shape and type count: where a flatten may stand
    before a Dense, the features of PyTorch are in another order, which depends on the shape.
    Raises ShapeError, DTypeError, PlanError, for a file FileFormatError; DeviceError for a read-only model.

    >>> import numbaflux as nf
    >>> model = nf.Chain(nf.Dense(2, 3, nf.relu), nf.Dense(3, 1, bias=False))
    >>> weights = {"fc1.weight": np.ones((3, 2)), "fc1.bias": np.zeros(3), "fc2.weight": np.ones((1, 3))}
    >>> nf.convert(model, weights)
    >>> model(np.ones((1, 2), np.float32)).tolist()
    [[6.0]]
    """
    pairs, inputs = texts_of(names, "convert"), inputs_of(example, "convert")
    with _naming(weights):
        given = source(weights)
        found = matched(model, given, pairs)
    ask = given.channels_first and not inputs and may_flatten(model)
    expect(not ask, "convert", "example", "an input of the model, for the order of flattened features", "None",
           "example=np.zeros((1, 28, 28, 1), np.float32), say", ShapeError)  # fmt: skip
    counts = channels(model, inputs) if given.channels_first and inputs else {}
    with _naming(weights):
        fill(model, _filled(model, found, counts), "convert")


def texts_of(names: Mapping[str, str] | None, where: str, least: int = 1) -> dict[str, str]:
    """What is called what, each of them once; least: characters of a path."""
    pairs = dict(names or {})
    texts = all(isinstance(text, str) for pair in pairs.items() for text in pair)
    texts = texts and all(len(path) >= least and name for path, name in pairs.items())
    expect(texts and len(set(pairs.values())) == len(pairs), where, "names", "a dict of different texts",
           repr(names), error=DTypeError)  # fmt: skip
    return pairs


def inputs_of(example: Any, where: str) -> tuple[Any, ...]:
    """The inputs of one call."""
    inputs = () if example is None else example if isinstance(example, tuple) else (example,)
    for x in inputs:
        expect(isinstance(x, np.ndarray), where, "example", "an array or a tuple of arrays", type(x).__name__,
               error=DTypeError)  # fmt: skip
    return inputs


def _filled(model: Any, found: Mapping[str, Array], counts: Mapping[int, int]) -> dict[str, Array]:
    """What the model's arrays shall be, by path; of a tied one what all its places agree on."""
    new = state(model)
    places: dict[int, list[Leaf]] = {}
    for leaf in leaves(model):
        places.setdefault(id(leaf.array), []).append(leaf)
    for same in places.values():
        made = [found[leaf.path] for leaf in same if leaf.path in found]
        path, own = same[0].path, same[0].array
        for array in made:
            expect(array.dtype.kind == "f", "convert", path, "of floats", str(array.dtype), error=DTypeError)
            alike = array is made[0] or np.array_equal(array, made[0], equal_nan=True)
            expect(alike, "convert", path, "the same in all places of a tied array", "others")
        if made:
            fits = id(own) in counts and made[0].shape == own.shape
            new[path] = (reordered(made[0], counts[id(own)]) if fits else made[0]).astype(own.dtype)
    return new


@contextlib.contextmanager
def _naming(weights: Any) -> Iterator[None]:
    """What is wrong with the content of a file is a FileFormatError that names it."""
    try:
        yield
    except (FileFormatError, DeviceError):
        raise
    except Error as error:
        if not isinstance(weights, str | os.PathLike):
            raise
        text = f"{os.path.basename(os.fspath(weights))}: {error}"
        raise FileFormatError("".join(c if c.isprintable() else "?" for c in text)) from None
