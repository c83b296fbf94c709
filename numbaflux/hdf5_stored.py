"""A file on the disk, each byte of which is read once, through one descriptor."""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any, TypeAlias

import numpy as np

from .digests import SPAN, parallel
from .hdf5_objects import SUPERBLOCK, require
from .native import pool

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
PAGE = mmap.PAGESIZE
STEP = 4 << 20  # bytes touched at a time


@dataclass(frozen=True)
class Stored:
    """Bytes that come when they are asked for: of a file that somebody may change meanwhile, so nobody asks twice."""

    descriptor: int
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self.size)
        found = bytearray(max(stop - start, 0))
        self.fetch(memoryview(found), start)
        return bytes(found)

    def fetch(self, into: memoryview | Array, at: int) -> None:
        """Fills memory with the bytes from a place on."""
        done = 0
        while done < len(into):
            count = os.preadv(self.descriptor, [into[done:]], at + done)
            require(count > 0, "its size", f"{self.size} bytes", at + done)
            done += count

    def whole(self, first: bytes = b"") -> Array:
        """All bytes, by threads; the first are known already."""
        data = np.empty(self.size, np.uint8)
        data[: len(first)] = np.frombuffer(first, np.uint8)
        starts = range(len(first), self.size, SPAN)
        parallel(lambda at: self.fetch(data[at : at + SPAN], at), list(starts))
        return data


@contextlib.contextmanager
def touching(data: Array) -> Iterator[Callable[[], object]]:
    """A thread has the system give memory, page by page, while others do something else, until a call says enough."""
    if pool().count < 2 or data.size < SPAN:
        yield lambda: None
        return
    over = Event()

    def touch() -> None:
        for at in range(0, data.size, STEP):
            if over.is_set():
                return
            data[at : at + STEP : PAGE] = 0  # without Python's lock

    with ThreadPoolExecutor(1) as thread:
        work = thread.submit(touch)

        def enough() -> None:
            over.set()
            work.result()

        try:
            yield enough
        finally:
            over.set()


@contextlib.contextmanager
def opened(path: str) -> Iterator[Stored]:
    """A regular file that fits in memory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # NONBLOCK: a pipe must not hang us
    try:
        status = os.fstat(descriptor)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        require(stat.S_ISREG(status.st_mode), "it", "a regular file", stat.filemode(status.st_mode)[0])
        require(SUPERBLOCK <= status.st_size <= memory, "its size", f"{SUPERBLOCK} to {memory} bytes", status.st_size)
        yield Stored(descriptor, status.st_size)
    finally:
        os.close(descriptor)
