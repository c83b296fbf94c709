"""What data are, in a few words and one number, by which others are told from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..onehot import OneHot
from .loader import DataLoader
from .samples import map_parts

SAMPLED = 64  # samples of an array, or batches of a list, that the digest of data looks at
BYTES = 4096  # of each


def digest(data: Any) -> dict[str, str]:
    """What training data are, so that others are told from them at a small part of the cost of reading them.

    is: kinds, shapes and dtypes, and a loader's options. sha256: of that and of the first 4 KiB of each of 64 samples,
    evenly spread, of every array in memory (a loader's, or those of a list of batches); of data that are made when they
    are asked for nothing more is known than their type and length.

    >>> x = np.zeros((1000, 2), np.float32)
    >>> one = digest([x, x])
    >>> x[999] = 1
    >>> one["is"], one["sha256"] == digest([x, x])["sha256"]
    ('list((1000, 2) float32; 2 batches)', False)
    """
    if isinstance(data, DataLoader):
        dtype = None if data.dtype is None else data.dtype.name
        options = {"shuffle": (data.shuffle, False), "partial": (data.partial, True), "dtype": (dtype, None)}
        told = [f"{name}={value}" for name, (value, usual) in options.items() if value != usual]
        held, end = [data.data], ", ".join([f"batchsize={data.batchsize}", *told])
    else:
        many = data if isinstance(data, list | tuple) else ()
        held = [many[i] for i in _spread(len(many))]
        end = f"{len(data)} batches" if hasattr(data, "__len__") else "batches"
    parts: list[Any] = []
    for batch in held:
        map_parts(parts.append, batch)
    kinds = [_kind(part) for part in parts]
    text = f"{type(data).__name__}({'; '.join([', '.join(dict.fromkeys(kinds)), end] if kinds else [end])})"
    known = hashlib.sha256(text.encode())
    for name, part in zip(kinds, parts, strict=True):
        known.update(name.encode())
        for piece in _pieces(part.indices if isinstance(part, OneHot) else part):
            known.update(piece)
    return {"is": text, "sha256": known.hexdigest()}


def _spread(n: int) -> list[int]:
    """Up to SAMPLED places from the first to the last of n."""
    return np.linspace(0, n - 1, min(n, SAMPLED)).astype(int).tolist()


def _kind(part: Any) -> str:
    """A part of a batch, or of all data, in few words."""
    if isinstance(part, OneHot):
        return f"{part.shape} OneHot"
    if isinstance(part, np.ndarray):
        return f"{part.shape} {part.dtype}"
    return f"{type(part).__name__} of {len(part)}" if hasattr(part, "__len__") else type(part).__name__


def _pieces(part: Any) -> Iterator[bytes]:
    """The beginnings of some samples of an array; of anything else nothing."""
    if isinstance(part, np.ndarray) and part.ndim and not part.dtype.hasobject:
        for i in _spread(len(part)):
            yield part[i].reshape(-1)[: max(1, BYTES // part.itemsize)].tobytes()
