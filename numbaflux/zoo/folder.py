"""A zoo in a folder: read through one descriptor a file, without following any link in it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ..op import FileFormatError, expect
from .levels import Refused, refuse

CHUNK = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # NONBLOCK: a pipe must not hang us


class Folder:
    """The files of a zoo by their paths in it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(path)
        good = os.path.isdir(self.path)
        expect(good, "zoo", "zoo", "a folder, or an address with https://", os.fspath(path), error=FileFormatError)

    @property
    def name(self) -> str:
        """What tells this zoo from others."""
        return self.path

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """The bytes of a file, at most limit; Refused for what is no file of that size."""
        with self._opened(path) as descriptor:
            info = os.fstat(descriptor)
            refuse(stat.S_ISREG(info.st_mode), path, "a regular file", stat.filemode(info.st_mode)[0])
            refuse(info.st_size <= limit, f"the size of {path}", f"at most {limit} bytes", info.st_size)
            left = limit + 1
            while left and (data := os.read(descriptor, min(CHUNK, left))):
                left -= len(data)
                refuse(left > 0, f"the size of {path}", f"at most {limit} bytes", "more")
                yield data

    def names(self, path: str) -> set[str]:
        """What lies in a folder of the zoo."""
        with self._opened(path) as descriptor:
            refuse(stat.S_ISDIR(os.fstat(descriptor).st_mode), path or "the zoo", "a folder", "another")
            return set(os.listdir(descriptor))

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """A descriptor of what lies there, each part of the path opened in the one before."""
        at = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in path.split("/") if path else ():
                above, at = at, _below(at, part, path)
                os.close(above)
            yield at
        finally:
            os.close(at)


def _below(folder: int, part: str, path: str) -> int:
    try:
        return os.open(part, _OPEN, dir_fd=folder)
    except OSError as error:
        reason = "a link" if os.path.islink(f"/proc/self/fd/{folder}/{part}") else error.strerror
        error_type = FileFormatError if path == "index.json" and isinstance(error, FileNotFoundError) else Refused
        raise error_type(f"{path} must be in the zoo, got {reason}") from None
