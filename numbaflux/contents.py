"""What is in a file, without building the model: nf.inspect."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import hdf5, privacy
from .checkpoint import OWN, Builder, Path, architecture, metadata_of, naming, of_model
from .hdf5_json import parse_json
from .hdf5_objects import require
from .layers.layer import show
from .tree import PARAM

WIDTH = 160  # characters of a line


class Tensor(NamedTuple):
    """What is known of a stored array."""

    shape: tuple[int, ...]
    dtype: str
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What nf.inspect found: layers is a tree as text; training is empty but for a checkpoint. Prints itself.

    privacy: what the file tells of its author, machine and data, by kind.
    """

    file: str
    version: int
    digest: str
    layers: str
    tensors: dict[str, Tensor]
    training: dict[str, Any]
    metadata: dict[str, Any]
    privacy: dict[str, str]

    def __repr__(self) -> str:
        width = max((len(name) for name in self.tensors), default=0)
        rows = [f"{n:<{width}}  {t.dtype:<8} {t.shape!s:<16} {t.sha256}" for n, t in self.tensors.items()]
        head = [f"{self.file}: numbaflux format {self.version}", f"SHA-256 {self.digest}"]
        told = [json.dumps(x, indent=2).splitlines() if x else [] for x in (self.training, self.metadata)]
        parts = [head, self.layers.splitlines(), rows, *told]
        return "\n".join(printable(text) for part in parts if part for text in (*part, ""))


def printable(text: str) -> str:
    """One line for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)[:WIDTH]


def inspect(path: Path, *, sha256: str | None = None) -> Contents:
    """What is in a file: format, digests, layers, arrays, metadata; needs no classes. sha256, and errors, as nf.load.

    >>> import os, tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "model.h5")
    >>> nf.save(path, nf.Chain(nf.Dense(2, 3)), {"epochs": 5})
    >>> found = nf.inspect(path)
    >>> found.tensors["0.weight"].shape, found.metadata
    ((2, 3), {'epochs': 5})
    >>> found.privacy["metadata"]
    'epochs: 5'
    """
    file = hdf5.read(path, sha256)
    with naming(path):
        tree, own = architecture(file), of_model(file)
        model = Sketch(own, OWN).model(tree)
        training = parse_json(file.documents.get("training", "{}"), "training")
        require(isinstance(training, dict), "training", "a dict", training)
        told = metadata_of(file)
        shown = privacy.told(tree, own, training, told)
    layers = show(model) if hasattr(type(model), "__layer_fields__") else repr(model)
    tensors = {n: Tensor(a.shape, a.dtype.name, file.digests[f"tensors.{n}"]) for n, a in file.tensors.items()}
    name = os.path.basename(os.fspath(path))
    return Contents(name, file.version, file.digest, layers, tensors, training, told, shown)


class Sketch(Builder):
    """Builds a model to look at: arrays stay in the file's memory, something stands for what is not known."""

    def copied(self, stored: np.ndarray) -> np.ndarray:
        return stored

    def function(self, node: Any, path: str) -> Any:
        name = node["function"]
        return _stand_in(name) if isinstance(name, str) and name not in self.known else super().function(node, path)

    def layer_class(self, node: Any, path: str) -> Any:
        name, fields = node["layer"], node["fields"]
        if not isinstance(name, str) or name in self.known:
            return super().layer_class(node, path)
        good = isinstance(fields, dict) and all(n.isidentifier() and not n.startswith("__") for n in fields)
        require(good, "the fields of a layer", "names", fields)
        parts = {"__layer_fields__": dict.fromkeys(fields, PARAM), "__repr__": show, "__call__": lambda self, x: x}
        return type(printable(name), (), parts)


def _stand_in(name: str) -> Any:
    def function(x: Any, **keywords: Any) -> Any:
        return x

    function.__qualname__ = printable(name)
    return function
