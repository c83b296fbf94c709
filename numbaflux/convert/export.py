"""nf.save_safetensors: the weights of a model in a file as PyTorch's have it, names and layouts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..files import check_folder, replacing
from ..op import DTypeError, FileFormatError, ShapeError, expect
from ..walk import getkeypath
from .convert import inputs_of, texts_of
from .flattened import channels, may_flatten, restored
from .layouts import TORCH, Array
from .matching import Layer, takers

WHERE = "save_safetensors"


def save_safetensors(
    path: str | os.PathLike[str], model: Any, *, names: Mapping[str, str] | None = None, example: Any = None
) -> None:
    """Write the weights of a model for PyTorch: net.load_state_dict(safetensors.torch.load_file(path)).

    Axes and names are PyTorch's: of a layer at body.0 body.0.weight, body.0.bias; names={path of a layer or part: its
    name there} for others. A recurrent layer has one bias, PyTorch's has two: the second is zero. nf.convert is the way
    back; settings are in no such file. example: as for nf.convert, where a flatten may stand before a Dense.
    Needs pip install numbaflux[convert]. The old file or the whole new one. Raises DTypeError for a layer that PyTorch
    does not have, ShapeError, FileFormatError for the path; OSError: the disk. Source: safetensors' format.

    >>> import tempfile, numbaflux as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> one, other = nf.Dense(2, 3), nf.Dense(2, 3)
    >>> nf.save_safetensors(path, one, names={"": "fc"})
    >>> nf.convert(other, path)
    >>> bool((one.weight == other.weight).all())
    True
    """
    pairs, inputs = texts_of(names, WHERE, 0), inputs_of(example, WHERE)
    target = check_folder(WHERE, "path", path)
    expect(target.suffix == ".safetensors", WHERE, "path", "a file named .safetensors", target.name,
           error=FileFormatError)  # fmt: skip
    try:
        from safetensors.numpy import save
    except ImportError:
        expect(False, WHERE, "path", "written by the package safetensors", "none installed",
               "pip install numbaflux[convert]", FileFormatError)  # fmt: skip
    found = takers(model, TORCH, WHERE, "save(path, model)")
    expect(bool(inputs) or not may_flatten(model), WHERE, "example",
           "an input of the model, for the order of flattened features", "None",
           "example=np.zeros((1, 28, 28, 1), np.float32), say", ShapeError)  # fmt: skip
    counts = channels(model, inputs) if inputs else {}
    heads = {one: _renamed(one, pairs) for one in found}
    expect(len(set(heads.values())) == len(heads), WHERE, "names", "such that layers keep names of their own",
           repr(names), error=DTypeError)  # fmt: skip
    arrays = {
        f"{heads[at]}.{name}".lstrip("."): a for at, one in found.items() for name, a in _theirs(one, counts).items()
    }
    content = save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata={"format": "pt"})
    with replacing(target) as file:
        file.write(content)


def _renamed(path: str, names: Mapping[str, str]) -> str:
    """The name of a layer there: that of the longest part that has one."""
    heads = [head for head in names if not head or path == head or path.startswith(f"{head}.")]
    if not heads:
        return path
    head = max(heads, key=len)
    return ".".join(part for part in (names[head], path[len(head) :].lstrip(".")) if part)


def _theirs(one: Layer, counts: Mapping[int, int]) -> dict[str, Array]:
    """The arrays of a layer by PyTorch's names for them."""
    found: dict[str, Array] = {}
    for field, row in one.rows.items():
        own = getkeypath(one.node, field)
        plain = restored(own, counts[id(own)]) if id(own) in counts else own
        array = row.back(one.node, plain) if row.back else plain
        first, *rest = row.names
        found[first] = np.concatenate([found[first], array]) if first in found else array
        found |= {name: np.zeros_like(array) for name in rest}
    return found
