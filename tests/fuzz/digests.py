"""The digests of docs/format.md a second time, by the words there, and the models that hostile files are made of."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

import numbaflux as nf

LEAF = 65536
T = TypeVar("T")


def digest(array: np.ndarray) -> str:
    """The digest of an array as docs/format.md words it."""
    return _digest(array.dtype, array.shape, array.tobytes())


@lru_cache(64)  # campaigns ask for the same few arrays again and again
def _digest(dtype: np.dtype, shape: tuple[int, ...], data: bytes) -> str:
    leaves = b"".join(hashlib.sha256(data[i : i + LEAF]).digest() for i in range(0, len(data), LEAF))
    return hashlib.sha256(f"{dtype.name} {'x'.join(map(str, shape))}\n".encode() + leaves).hexdigest()


def file_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The digest of a file; buckets are no part of a name."""
    names = {".".join(part for part in name.split(".") if part[0] != "~"): name for name in arrays}
    lines = "".join(f"{digest(arrays[names[name]])}  {name}\n" for name in sorted(names))
    return hashlib.sha256(f"numbaflux 1\n{lines}".encode()).hexdigest()


def _model() -> Any:
    return {"body": nf.Dense(3, 4, nf.tanh, rng=0)}


def _large() -> Any:
    return {
        "body": nf.Dense(3, 4, rng=0),
        "wide": nf.Chain(nf.Dense(200, 150, nf.relu, rng=1), nf.Dense(150, 1, rng=2)),
    }


# Each has body.weight of (3, 4) and body.bias of (4,).
MODELS = {"model": _model, "training": _model, "large": _large}


def names(datasets: Mapping[str, T]) -> dict[str, T]:
    """The model's tensors of a file, by name."""
    before = "tensors.model." if "documents.training" in datasets else "tensors."
    return {name[len(before) :]: array for name, array in datasets.items() if name.startswith(before)}
