"""Memory of one instance of a plan: an arena; or, to find kernels that reach too far, each buffer before an
unreadable page."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .lowering import LINE, Storage, up

PAGE = mmap.PAGESIZE
Maker = Callable[[int], np.ndarray]  # of so many zeroed bytes


def aligned(nbytes: int) -> np.ndarray:
    """Zeroed bytes that start on a cache line."""
    raw = np.zeros(nbytes + LINE, np.uint8)
    at = -raw.ctypes.data % LINE
    return raw[at : at + nbytes]


def address_of(array: np.ndarray) -> int:
    """Where an array in one piece begins: array.ctypes.data, in half its time where the array may be written."""
    return ctypes.addressof(ctypes.c_char.from_buffer(array)) if array.flags.writeable else array.ctypes.data


def pages(nbytes: int) -> np.ndarray:
    """Zeroed bytes on pages that nothing else is on, so that they can be pinned; of a child that is forked its own."""
    return np.frombuffer(mmap.mmap(-1, max(nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8, nbytes)


def fenced() -> bool:
    """Whether plans made from now on are to run fenced: NUMBAFLUX_FENCE=1, for tests."""
    return os.environ.get("NUMBAFLUX_FENCE") == "1"


class Arena:
    """One block: what all workers share, then a part for each worker."""

    def __init__(
        self, shared: Mapping[int, int], size: int, private: Mapping[int, int], own: int, workers: int
    ) -> None:
        self.shared, self.private, self.size, self.own = shared, private, size, own
        self.bytes = aligned(size + workers * own)
        self.base = self.bytes.ctypes.data

    def address(self, storage: Storage, worker: int) -> int:
        if id(storage) in self.private:
            return self.base + self.size + worker * self.own + self.private[id(storage)]
        return self.base + self.shared[id(storage)]

    def begin(self) -> None:
        """Before each run."""


class Fence(Arena):
    """Each buffer in pages of its own, its end at an unreadable page; floats are NaN before each run."""

    def __init__(
        self, shared: Mapping[int, int], size: int, private: Mapping[int, int], own: int, workers: int
    ) -> None:
        super().__init__(shared, 0, private, 0, workers)
        self.held: dict[tuple[int, int], np.ndarray] = {}
        self.lasting: set[int] = set()

    def address(self, storage: Storage, worker: int) -> int:
        key = (id(storage), worker if id(storage) in self.private else 0)
        if key not in self.held:
            self.held[key] = before_fence(storage.nbytes)
            if storage.keep:
                self.lasting.add(id(storage))
        return self.held[key].ctypes.data

    def begin(self) -> None:
        for (storage, _), place in self.held.items():
            if storage not in self.lasting:
                place[...] = 0xFF  # NaN in every float dtype, -1 in every integer


def before_fence(nbytes: int) -> np.ndarray:
    """Bytes whose end touches a page that can be neither read nor written."""
    size = up(max(nbytes, 1), PAGE)
    region = mmap.mmap(-1, size + PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(start + size), ctypes.c_size_t(PAGE), 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    return np.frombuffer(region, np.uint8, nbytes, size - nbytes)
