"""Where weights come from: a dict, a .safetensors or a Keras .weights.h5 file. No pickle is ever opened."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import hdf5_classic
from ..hdf5_objects import line
from ..op import DTypeError, FileFormatError, expect
from . import child
from .layouts import KERAS, KERAS_KINDS, KERAS_UNUSED, TORCH, TORCH_UNUSED, Array, Table

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
CURE = 'in PyTorch: safetensors.torch.save_file(torch.load(PATH, weights_only=True), "model.safetensors")'


class Source(NamedTuple):
    """Arrays by dotted names, the table that says what they become, and whether their order is that of the layers."""

    arrays: dict[str, Array]
    table: Table
    kinds: dict[type, str]
    ordered: bool
    channels_first: bool


def source(weights: Any) -> Source:
    """The arrays of a dict, or of a file by its suffix; FileFormatError, DTypeError for anything else."""
    if isinstance(weights, Mapping):
        return _torch(_checked(weights), ordered=True)
    path = os.fspath(weights) if isinstance(weights, str | os.PathLike) else None
    expected = "a dict of arrays, or a file named .safetensors or .weights.h5"
    if not isinstance(path, str):
        raise DTypeError(f"convert: weights must be {expected}, got {type(weights).__name__}")
    if path.endswith(".h5"):
        read = _hdf5(path)
        good = any("vars/" in name for name in read)
        expect(good, os.path.basename(path), "weights", "those of Keras 3, as layers/dense/vars/0",
               ", ".join(read) or "no arrays", error=FileFormatError)  # fmt: skip
        found = {name.replace("/vars/", "/").replace("/", "."): array for name, array in read.items()}
        return Source(_kept(found, KERAS_UNUSED), KERAS, KERAS_KINDS, ordered=False, channels_first=False)
    name, suffix = os.path.basename(path) or "convert", os.path.splitext(path)[1]
    expect(suffix not in PICKLES, name, "weights", "no pickle, which can run any code when it is opened", suffix, CURE,
           FileFormatError)  # fmt: skip
    cure = "in Keras: model.save_weights('model.weights.h5')" if suffix == ".keras" else ""
    expect(suffix == ".safetensors", name, "weights", expected, suffix or "no suffix", cure, FileFormatError)
    return _torch(_safetensors(path), ordered=False)


def _hdf5(path: str) -> dict[str, Array]:
    """The datasets of a file, read here where it is as Keras writes it, else by h5py in a process of its own."""
    try:
        return hdf5_classic.read(path)
    except FileFormatError:
        return child.arrays(path)


def _torch(arrays: dict[str, Array], ordered: bool) -> Source:
    return Source(_kept(arrays, TORCH_UNUSED), TORCH, {}, ordered, channels_first=True)


def _kept(arrays: dict[str, Array], unused: str) -> dict[str, Array]:
    return {name: a for name, a in arrays.items() if not re.fullmatch(unused, name)}


def _checked(given: Mapping[Any, Any]) -> dict[str, Array]:
    """Arrays of a dict, PyTorch's tensors included; nothing is copied."""
    found = {}
    for name, one in given.items():
        expect(isinstance(name, str), "convert", "weights", "a dict with texts as keys", repr(name), error=DTypeError)
        try:
            found[name] = np.asarray(one)
        except (TypeError, ValueError, RuntimeError):  # of another device or type, ragged, part of a graph
            found[name] = np.empty(0, object)
        good = found[name].dtype.kind in "fiub" and hasattr(one, "shape")
        got = f"{type(one).__name__} {getattr(one, 'dtype', '')}".strip()
        cure = "of a tensor: x.detach().cpu().float().numpy()"
        expect(good, "convert", name, "an array of numbers", got, cure, DTypeError)
    return found


def _safetensors(path: str) -> dict[str, Array]:
    """The arrays of a .safetensors file, whose header its library checks."""
    try:
        import safetensors
    except ImportError:
        expect(False, os.path.basename(path), "weights", "read by the package safetensors", "none installed",
               "pip install numbaflux[convert]", FileFormatError)  # fmt: skip
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: _float(file, name, path) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise FileFormatError(line(path, f"is no safetensors file: {error}")) from None
    except OSError as error:
        raise FileFormatError(line(path, f"cannot be read ({error.strerror or 'no such file'})")) from None


def _float(file: Any, name: str, path: str) -> Array:
    """An array of a type that NumPy has."""
    kind = file.get_slice(name).get_dtype()
    good = kind in ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
    expect(good, os.path.basename(path), name, "of a type that NumPy has", kind, "save it as float32: tensor.float()",
           FileFormatError)  # fmt: skip
    return np.asarray(file.get_tensor(name))
