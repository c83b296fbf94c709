"""Folders of this user, closed to others: where trusted keys and the memory of what was fetched are kept."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from ..objects import trusted
from ..op import FileFormatError, expect

MAX_FILE = 8 << 20  # bytes


def home(kind: str) -> Path:
    """numbaflux's folder in the user's folder of this kind, config or state; whether it is there or not."""
    default = {"config": ".config", "state": ".local/state"}[kind]
    named = os.environ.get(f"XDG_{kind.upper()}_HOME", "")
    root = Path(named) if os.path.isabs(named) else Path.home() / default
    return root / "numbaflux"


def closed(folder: Path) -> Path:
    """The folder, made if needed with mode 0700; FileFormatError where others could put files into it."""
    for part in (*reversed(folder.parents), folder):
        part.mkdir(mode=0o700, exist_ok=True)
    cure = f"chmod go-w {folder} and the folders above it"
    expect(trusted(folder.resolve()), "zoo", str(folder), "writable for you alone, as all folders above it", "others",
           cure, FileFormatError)  # fmt: skip
    return folder


def read(path: Path) -> bytes | None:
    """A file of this user that nobody else can write to; None if there is none."""
    if not path.parent.is_dir():
        return None
    closed(path.parent)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        good = stat.S_ISREG(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
        good = good and info.st_size <= MAX_FILE
        expect(good, "zoo", str(path), "a file of yours that nobody else can write", stat.filemode(info.st_mode),
               error=FileFormatError)  # fmt: skip
        return file.read(MAX_FILE)


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a new file in the place of path, whole, on the disk when this returns."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While this holds, no other process is in it with the same folder; some network file systems know no locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise
        yield
    finally:
        os.close(descriptor)
