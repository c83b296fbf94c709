"""The one door to files of data: a regular file, opened once, perhaps below a root that nothing leads out of."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...files import nameable
from ...hdf5_objects import fail, line, require
from ...op import DTypeError, Error, FileFormatError, expect

Path: TypeAlias = str | os.PathLike[str]

MAX_BYTES = 2**32  # of what a reader makes of a file, unless told
MAX_RATIO = 200.0  # bytes made of one compressed byte, unless told
PIECE = 2**20  # bytes read or unpacked at once

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # NONBLOCK: a pipe must not hang us
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


class Opened(NamedTuple):
    """A file to read, and its size when it was opened."""

    file: BufferedReader
    size: int


@contextmanager
def opened(where: str, path: Path, root: Path | None = None) -> Iterator[Opened]:
    """A regular file; within root (a folder) where one is named: by a relative path without .., through no symbolic
    link, to a file of one name. Whatever is wrong with the file, inside of `with` too, is a FileFormatError that begins
    with its name; a path of another type is a DTypeError.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with open(os.path.join(folder, "a.csv"), "wb") as file:
    ...     _ = file.write(b"1,2")
    >>> with opened("csv", "a.csv", root=folder) as (file, size):
    ...     file.read(), size
    (b'1,2', 3)
    >>> with opened("csv", "../a.csv", root=folder):
    ...     pass
    Traceback (most recent call last):
    numbaflux.op.FileFormatError: a.csv: the path must be relative to its root, without .., got '../a.csv'
    """
    name, top = local(where, "path", path), None if root is None else local(where, "root", root)
    with named(name):
        descriptor = os.open(name, _FLAGS) if top is None else _below(top, name, _FLAGS)
        try:
            status = os.fstat(descriptor)
            regular = stat.S_ISREG(status.st_mode)
            require(regular, "it", "a regular file", _KINDS.get(stat.S_IFMT(status.st_mode), "a device"))
            alone = top is None or status.st_nlink == 1
            require(alone, "it", "a file of one name below its root", f"{status.st_nlink} hard links")
            with open(descriptor, "rb", closefd=False) as file:
                yield Opened(file, status.st_size)
        finally:
            os.close(descriptor)


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


@contextmanager
def named(name: str) -> Iterator[None]:
    """Errors that come inside, of the file's form or of the disk, as a FileFormatError of one line that names it."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(line(name, error)) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "no reason given"
        raise FileFormatError(line(name, f"cannot be read ({reason})")) from None
    except MemoryError:
        raise FileFormatError(line(name, "does not fit in memory")) from None


@contextmanager
def library(what: str) -> Iterator[None]:
    """Calls of a library that takes a file apart: what it raises, of whatever type, says that the file is not what."""
    try:
        yield
    except (Error, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is None:  # said of the content, not by the disk
            fail("it", what, "damage, or another form")
        raise
    except Exception:  # its words may hold bytes of the file
        fail("it", what, "damage, or another form")


class Guarded:
    """A stream of a library, whose errors say that the file is not what."""

    def __init__(self, stream: Any, what: str) -> None:
        self.stream, self.what = stream, what

    def read(self, size: int) -> bytes:
        with library(self.what):
            return bytes(self.stream.read(size))

    def readinto(self, view: memoryview) -> int:
        with library(self.what):
            return int(self.stream.readinto(view))


def local(where: str, argument: str, path: Any) -> str:
    """A path as text; URLs, bytes, and what no file system can hold are refused."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(name, str):
        raise DTypeError(f"{where}: {argument} must be text or a path, got {type(path).__name__}")
    plain = bool(name) and nameable(name) and "://" not in name
    cure = "fetch it first: only `numbaflux zoo fetch` goes to the network" if "://" in name else ""
    expect(plain, where, argument, "the name of a local file", ascii(name)[:80], cure, FileFormatError)
    return name


def _below(root: str, name: str, flags: int) -> int:
    """A descriptor of what lies below a folder, found step by step: no step follows a link."""
    parts = PurePosixPath(name).parts
    inside = bool(parts) and not name.startswith("/") and ".." not in parts
    require(inside, "the path", "relative to its root, without ..", name)
    here = os.open(root, _FOLDER)
    try:
        for i, part in enumerate(parts, 1):
            step = os.open(part, (flags if i == len(parts) else _FOLDER) | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = step
    except OSError as error:
        os.close(here)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):  # how O_NOFOLLOW says that it met a link
            fail("the path", "of folders and a file, none a symbolic link", part)
        raise
    return here


def folder(path: str, root: str | None = None) -> int:
    """A descriptor of a folder, below root where one is named; the caller closes it."""
    return os.open(path, _FOLDER) if root is None else _below(root, path, _FOLDER)


def unpacks(what: str, size: int, packed: int, max_ratio: float) -> None:
    """Raise unless so many packed bytes may hold size bytes."""
    require(size <= max_ratio * packed, what, f"at most {max_ratio:g} times its {packed} bytes (max_ratio=)", size)


def filled(stream: Any, array: NDArray[Any]) -> None:
    """Fill a contiguous array with the next bytes of a stream; fewer are an error."""
    view = memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")
    done = 0
    while done < len(view):
        count = stream.readinto(view[done : done + PIECE])
        require(bool(count), "its content", f"{len(view)} bytes", done)
        done += count


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's order of bytes, changed where it lies."""
    foreign = array.dtype.byteorder == (">" if sys.byteorder == "little" else "<")
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("=")) if foreign else array
