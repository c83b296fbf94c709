"""Runs a plan's table entry by entry through numba's own dispatchers: slow, the same bits; for when object files
cannot be used."""

from __future__ import annotations

import ctypes
import importlib
from itertools import groupby, islice
from typing import Any

import numpy as np

from .lowering import Entry
from .schedule import Group


def resolve(kernel: Any) -> Any:
    """The njit function of an entry's kernel."""
    if not isinstance(kernel, str):
        return kernel
    module, _, name = kernel.rpartition(".")
    return getattr(importlib.import_module(f"numbaflux.kernels.cpu.{module}"), name)


def arguments(signature: tuple[str, ...], row: list[int], tile: int) -> list[Any]:
    """What native entries make of a row (kernels/table.py), as arrays and numbers."""
    out: list[Any] = []
    at = 0
    for code in signature:
        kind, _, rank = code.partition(":")
        if rank:
            pointer, move, total, block, *sizes = row[at : at + 3 + int(rank)]
            lead = total if block == 0 else max(0, min(total - tile * block, block))
            out.append(array_at(pointer + tile * move, (lead, *sizes), np.dtype(kind)))
            at += 3 + int(rank)
        elif code == "i":
            out.append(np.int64(row[at] + tile * row[at + 1]))
            at += 2
        else:
            word = np.array(row[at], np.int64)
            out.append(word.astype(np.int32).view(np.float32)[()] if code == "f4" else word.view(np.float64)[()])
            at += 1
    return out


def array_at(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array over memory that somebody else keeps."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = (ctypes.c_char * nbytes).from_address(address) if nbytes else b""
    return np.frombuffer(raw, dtype).reshape(shape) if nbytes else np.empty(shape, dtype)


def interpret(groups: list[Group], first: int, last: int, rows: dict[int, np.ndarray], status: Any) -> None:
    """Waves first..last in order, on one thread, with the float mode of the native runner."""
    from .kernels import runner

    mode = runner.flush_on()
    try:
        for _, wave in islice(groupby(groups, key=lambda g: g.wave), first, last):
            if status[0]:
                return
            for group, tile in ((g, tile) for g in wave for tile in range(g.tiles)):
                for e in group.entries:
                    _run(e, rows[id(e)], tile)
    finally:
        runner.flush_off(mode)


def _run(e: Entry, row: np.ndarray, tile: int) -> None:
    resolve(e.kernel)(*arguments(e.signature, row.tolist(), tile))
