"""The bytes of a file, each read once, through one descriptor."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .digests import SPAN, parallel
from .hdf5_objects import SUPERBLOCK, require

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def whole(path: str, head: Callable[[bytes, int], object] | None = None) -> Array:
    """All bytes of a regular file that fits in memory, read by threads; after head(its first bytes, its size)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # NONBLOCK: a pipe must not hang us
    try:
        size = _size(descriptor)
        first = np.empty(SUPERBLOCK, np.uint8)
        _fill(descriptor, first, 0, size)
        if head is not None:
            head(first.tobytes(), size)  # before memory is taken
        data = np.empty(size, np.uint8)
        data[:SUPERBLOCK] = first
        starts = range(SUPERBLOCK, size, SPAN)
        parallel(lambda at: _fill(descriptor, data[at : at + SPAN], at, size), list(starts))
        return data
    finally:
        os.close(descriptor)


def _size(descriptor: int) -> int:
    status = os.fstat(descriptor)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    require(stat.S_ISREG(status.st_mode), "it", "a regular file", stat.filemode(status.st_mode)[0])
    require(SUPERBLOCK <= status.st_size <= memory, "its size", f"{SUPERBLOCK} to {memory} bytes", status.st_size)
    return status.st_size


def _fill(descriptor: int, part: Array, at: int, size: int) -> None:
    """The bytes from a place on, of a file that somebody may cut meanwhile."""
    done = 0
    while done < len(part):
        count = os.preadv(descriptor, [part[done:]], at + done)
        require(count > 0, "its size", f"{size} bytes", at + done)
        done += count
