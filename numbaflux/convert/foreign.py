"""What runs in the process of convert/child.py: h5py on a file nobody vouches for (standard input); arrays go to
standard output. Such a file can crash libhdf5, or hold it forever. Nothing of numbaflux is imported.

Two imports first, then limits: memory, time, no file to write, none to open. Then the file. Whatever reads other files,
calls plugins or takes memory beyond the data is refused before anything is read.
"""

from __future__ import annotations

import json
import math
import os
import resource
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

import numpy as np

MAX_OBJECTS = 65_536
MAX_DEPTH = 32
MAX_RANK = 8
MAX_NAME = 255
ROOM = 256 << 20  # bytes of memory beside the arrays: for libhdf5
DEFLATE, SHUFFLE = 1, 2  # numbers of filters
INFLATED = 1100  # times the stored bytes: more than deflate can make of them, so what is not stored is not read
READY, ARRAY, ERROR, END = b"R", b"A", b"E", b"."
TYPES = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)] + ["f2", "f4", "f8"]


class Refused(Exception):
    """What is said of a file that is not read."""


def refuse(what: str, expected: str, got: object) -> NoReturn:
    """The words of every error."""
    raise Refused(f"{what} must be {expected}, got {ascii(got)[:60]}")


def require(good: bool, what: str, expected: str, got: object) -> None:
    """refuse unless good."""
    if not good:
        refuse(what, expected, got)


def confine(memory: int, seconds: float) -> None:
    """From now on: so much memory more, so much time, nothing to write but the pipes, no file to open, no core dump."""
    with open("/proc/self/statm", "rb") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    lower(resource.RLIMIT_AS, now + memory + ROOM)
    lower(resource.RLIMIT_CPU, math.ceil(seconds + time.process_time()))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        lower(limit, 0)


def lower(limit: int, value: int) -> None:
    """Set a limit, which nothing in this process raises again."""
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


class Reader:
    """Walks a file by h5py's low level, along hard links alone; each object once."""

    def __init__(self, h5py: Any, memory: int) -> None:
        self.h5py, self.room = h5py, memory
        self.seen: set[int] = set()
        self.kinds = self.types()

    def types(self) -> list[tuple[Any, np.dtype[Any]]]:
        """Every lawful type in a file, and what NumPy calls it. (h5py takes other floats for the nearest of these.)"""
        h5t, found = self.h5py.h5t, []
        for name in TYPES:
            size = 8 * int(name[1])
            for order in ("LE", "BE"):
                stored = f"IEEE_F{size}{order}" if name[0] == "f" else f"STD_{name[0].upper()}{size}{order}"
                found.append((getattr(h5t, stored), np.dtype(f"<{name}")))
        return found

    def datasets(self, file: Any) -> Iterator[tuple[str, Any]]:
        """Path and dataset of all there are."""
        h5o, stack = self.h5py.h5o, [("", file.id)]
        while stack:
            path, group = stack.pop()
            for name in self.names(group, path or "the root group"):
                below = f"{path}/{name}" if path else name
                made = h5o.open(group, name.encode())
                address = h5o.get_info(made).addr
                require(address not in self.seen, below[-100:], "no second name of an object", "a hard link to another")
                require(len(self.seen) < MAX_OBJECTS, "the number of objects", f"at most {MAX_OBJECTS}", "more")
                self.seen.add(address)
                if isinstance(made, self.h5py.h5g.GroupID):
                    require(below.count("/") < MAX_DEPTH, below[-100:], f"at most {MAX_DEPTH} deep", "more")
                    stack.append((below, made))
                else:
                    good = isinstance(made, self.h5py.h5d.DatasetID)
                    require(good, below[-100:], "a group or a dataset", type(made).__name__)
                    yield below, made

    def names(self, group: Any, what: str) -> list[str]:
        """The links of a group, all of them hard."""
        found: list[str] = []
        for raw in group:
            require(len(found) < MAX_OBJECTS, what, f"of at most {MAX_OBJECTS} members", "more")
            kind = group.links.get_info(raw).type
            hard = kind == self.h5py.h5l.TYPE_HARD
            require(hard, f"link {raw!r} of {what[-100:]}"[:160], "hard", "soft" if kind == 1 else "external")
            name = raw.decode("utf-8", "replace")
            good = name.isprintable() and len(name) <= MAX_NAME
            require(good, "a name", f"1 to {MAX_NAME} printable characters", name)
            found.append(name)
        return sorted(found)

    def array(self, what: str, dataset: Any) -> np.ndarray[Any, Any]:
        """The content of a dataset, little-endian, once everything that could do more than read it was refused."""
        h5d, plist, shape = self.h5py.h5d, dataset.get_create_plist(), dataset.shape
        layout = plist.get_layout()
        require(layout in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED), what, "plain or chunked", "virtual")
        require(plist.get_external_count() == 0, what, "in this file", "external storage")
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        known = set(filters) <= {DEFLATE, SHUFFLE} and len(set(filters)) == len(filters)
        require(known, what, "without filters but deflate and shuffle, once each", filters)
        stored = dataset.get_type()
        dtype = next((dtype for kind, dtype in self.kinds if stored.equal(kind)), None)
        if dtype is None:
            refuse(what, "of int, uint or float of 1 to 8 bytes", stored.dtype if stored.get_class() < 2 else "another")
        require(shape is not None and len(shape) <= MAX_RANK, what, f"of 0 to {MAX_RANK} dimensions", shape)
        size, there = math.prod(shape) * dtype.itemsize, dataset.get_storage_size()
        require(size > 0, what, "of at least one element", shape)
        require(size <= self.room, what, f"such that all arrays take at most the limit, {self.room} bytes more", size)
        most = INFLATED * there if DEFLATE in filters else there
        require(size <= most, what, "stored as large as it is said to be", f"{there} bytes for {size}")
        if layout == h5d.CHUNKED:
            chunk = math.prod(plist.get_chunk()) * dtype.itemsize
            require(chunk <= self.room, f"{what}: a chunk", "as small as the limit", chunk)
        self.room -= size
        found = np.empty(shape, dtype)
        dataset.read(self.h5py.h5s.ALL, self.h5py.h5s.ALL, found)
        return found


def send(out: BinaryIO, name: str, array: np.ndarray[Any, Any]) -> None:
    """One array, each part behind its length."""
    title = name.encode()
    head = struct.pack(f"<H{len(title)}s2sB{array.ndim}Q", len(title), title, array.dtype.str[1:].encode(), array.ndim,
                       *array.shape)  # fmt: skip
    out.write(ARRAY + head)
    out.write(memoryview(array.reshape(-1).view(np.uint8)))


def fail(out: BinaryIO, text: str) -> None:
    """The one error, in place of what would follow."""
    said = text.encode("ascii", "replace")[:300]
    out.write(ERROR + struct.pack("<H", len(said)) + said)


def main(words: list[str]) -> None:
    """Paths to import from, bytes, and seconds, as JSON."""
    paths, memory, seconds = json.loads(words[0])
    sys.path[:] = paths
    import h5py

    source = os.fdopen(0, "rb", buffering=0)
    with os.fdopen(os.dup(1), "wb", buffering=0) as out:
        confine(memory, seconds)
        out.write(READY)
        try:
            with h5py.File(source, "r", locking=False) as file:
                reader = Reader(h5py, memory)
                for path, dataset in reader.datasets(file):
                    send(out, path, reader.array(path[-100:], dataset))
            out.write(END)
        except Refused as error:
            fail(out, str(error))
        except MemoryError:
            fail(out, "it must need no more memory than the limit, got more")
        except Exception as error:  # whatever h5py makes of libhdf5's words, which hold paths and bytes of the file
            fail(out, f"it must be a whole HDF5 file, got {type(error).__name__} from libhdf5")


if __name__ == "__main__":
    main(sys.argv[1:])
