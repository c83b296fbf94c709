"""HDF5 files of other programs, read by h5py in a process of its own: what such a file does to it stays there."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..hdf5_objects import fail, line, require
from ..op import FileFormatError
from .foreign import ARRAY, END, ERROR, MAX_NAME, MAX_RANK, READY, TYPES
from .layouts import Array

SCRIPT = Path(__file__).with_name("foreign.py")
START = 60.0  # seconds in which Python and h5py begin, on a busy machine too
PIECE = 1 << 20  # bytes of an array that are taken at once


@dataclass(frozen=True)
class Limits:
    """What reading a file may take: bytes of all its arrays together, seconds."""

    memory: int = 4 << 30
    seconds: float = 60.0


def arrays(path: str | os.PathLike[str], limits: Limits = Limits()) -> dict[str, Array]:
    """Every dataset of an HDF5 file by its path, layers/dense/vars/0, in the order of names: numbers, little-endian.

    h5py reads it in a process with limits of memory and time, without environment, plugins, and other files. Refused
    are links but hard ones, external and virtual data, filters but deflate and shuffle, other types than numbers.
    Whatever goes wrong there, a crash, an endless loop, is a FileFormatError of one line that names the file.

    >>> import h5py, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "made.h5")
    >>> with h5py.File(path, "w", libver="latest") as file:
    ...     _ = file.create_dataset("a/b", data=np.ones((2, 3), np.float32), compression="gzip")
    >>> {name: array.shape for name, array in arrays(path).items()}
    {'a/b': (2, 3)}
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # NONBLOCK: a pipe must not hang us
        try:
            kind = stat.filemode(os.fstat(descriptor).st_mode)[0]
            require(kind == "-", "it", "a regular file", kind)
            return _read(descriptor, limits)
        finally:
            os.close(descriptor)
    except FileFormatError as error:
        raise FileFormatError(line(name, error)) from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or "no name of a file"
        raise FileFormatError(line(ascii(name)[1:-1], f"cannot be read ({reason})")) from None
    except MemoryError:
        raise FileFormatError(line(name, "does not fit in memory")) from None


def _read(descriptor: int, limits: Limits) -> dict[str, Array]:
    """Start the process on an open file, and take what it sends, until the time is over."""
    paths = [os.path.abspath(one) for one in sys.path if one]
    command = [sys.executable, "-I", "-B", str(SCRIPT), json.dumps([paths, limits.memory, limits.seconds])]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}  # Python itself may need it
    child = subprocess.Popen(  # noqa: S603  # this Python, a file of ours
        command, stdin=descriptor, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True,
        env=kept | {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"},
    )  # fmt: skip
    try:
        with child.stdout as pipe:  # type: ignore[union-attr]
            return _Messages(pipe.fileno(), limits).arrays()
    except EOFError:
        code = child.wait()
        ended = _signal(-code) if code < 0 else f"code {code}"
        fail("it", "a file that h5py can read", f"an end of its process by {ended}")
    finally:
        child.kill()
        child.wait()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Messages:
    """What the process sends. Nobody vouches for it either: every length is checked before it is believed."""

    def __init__(self, pipe: int, limits: Limits) -> None:
        self.pipe, self.limits, self.room = pipe, limits, limits.memory
        self.end = time.monotonic() + START

    def arrays(self) -> dict[str, Array]:
        """All arrays by name, or the error that came in their place."""
        found: dict[str, Array] = {}
        require(self.bytes(1) == READY, "its reader", "ready", "something else")
        self.end = time.monotonic() + self.limits.seconds
        while (mark := self.bytes(1)) == ARRAY:
            name, array = self.array()
            require(name not in found, "a name", "there once", name)
            found[name] = array
        if mark == ERROR:
            text = self.bytes(min(self.number(2), 300)).decode("ascii", "replace")
            raise FileFormatError(text)
        require(mark == END, "what its reader sends", "arrays", mark)
        return dict(sorted(found.items()))

    def array(self) -> tuple[str, Array]:
        """Name and content of one."""
        title = self.bytes(self.number(2))
        name = title.decode("utf-8", "replace")
        require(name.isprintable() and bool(name), "a name", f"printable, parts of 1 to {MAX_NAME} characters", name)
        kind = self.bytes(2).decode("latin-1")
        require(kind in TYPES, "a type", "a number", kind)
        rank = self.number(1)
        require(rank <= MAX_RANK, "a shape", f"of 0 to {MAX_RANK} dimensions", rank)
        shape = tuple(self.number(8) for _ in range(rank))
        dtype = np.dtype(f"<{kind}")
        size = math.prod(shape) * dtype.itemsize
        require(0 < size <= self.room, "a size", f"1 to {self.room} bytes", size)
        self.room -= size
        data = np.empty(size, np.uint8)
        self.fill(memoryview(data))
        return name, data.view(dtype).reshape(shape)

    def number(self, size: int) -> int:
        return int.from_bytes(self.bytes(size), "little")

    def bytes(self, size: int) -> bytes:
        """The next bytes, few."""
        data = bytearray(size)
        self.fill(memoryview(data))
        return bytes(data)

    def fill(self, view: memoryview[Any]) -> None:
        """Fill memory with the next bytes; EOFError where the process has ended before."""
        done = 0
        while done < len(view):
            left = self.end - time.monotonic()
            ready = left > 0 and select.select([self.pipe], [], [], left)[0]
            require(bool(ready), "reading it", f"done in {self.limits.seconds:g} seconds", "more")
            count = os.readv(self.pipe, [view[done : done + PIECE]])
            if count == 0:
                raise EOFError
            done += count
