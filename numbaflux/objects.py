"""The kernel cache: object files in verified containers, never pickles. Knows files and digests, nothing of compilers.

A container is  magic | 8-byte length | SHA-256 of the body | body,  and the body a list of (name, object file).
LLVM's loader crashes on a broken object file, so nothing is handed out before the digest was compared; what does
not agree is rebuilt.
A digest proves that a file is whole, not who wrote it: so the directories must belong to this user (or root, for a
site's).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

MAGIC = b"NUMBAFLUX-OBJ-1\n"
SUFFIX = ".nfo"
PATIENCE = 600.0  # seconds to wait for another process that compiles: more than it takes for all kernels
HEAD = len(MAGIC) + 8 + 32
Objects = dict[str, bytes]


def pack(objects: Objects) -> bytes:
    """The container of some objects.

    >>> unpack(pack({"entry": b"code"}))
    {'entry': b'code'}
    """
    body = b"".join(
        len(part).to_bytes(8, "little") + part for name, code in objects.items() for part in (name.encode(), code)
    )
    return MAGIC + len(body).to_bytes(8, "little") + hashlib.sha256(body).digest() + body


def unpack(data: bytes) -> Objects | None:
    """The objects of a container, or None where any byte of it is not as written."""
    body = memoryview(data)[HEAD:]
    head = MAGIC + len(body).to_bytes(8, "little") + hashlib.sha256(body).digest()
    if len(data) < HEAD or data[:HEAD] != head:
        return None
    parts, at = [], 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 8], "little")
        parts.append(bytes(body[at + 8 : at + 8 + size]))
        at += 8 + size
    return {name.decode(): code for name, code in zip(parts[::2], parts[1::2], strict=True)}


def trusted(folder: Path) -> bool:
    """Whether nobody but this user and root can put a file there: every folder of the path is theirs and closed to
    others."""
    ours = {os.getuid(), 0}
    for part in [folder, *folder.parents]:
        info = part.stat()
        open_to_others = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not info.st_mode & stat.S_ISVTX
        if info.st_uid not in ours or open_to_others:
            return False
    return True


def home() -> Path:
    """Where this user's kernels are kept: NUMBAFLUX_CACHE_DIR, else numbaflux in the user's cache folder."""
    named = os.environ.get("NUMBAFLUX_CACHE_DIR")
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(named) if named else Path(root) / "numbaflux"


def _locked(file: IO[bytes]) -> bool:
    """Whether nobody else holds the file now, and this process does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Store:
    """One directory to write and any number to read (NUMBAFLUX_CACHE_PATH, separated by colons): name -> objects."""

    def __init__(self, folder: Path | None = None, shared: Iterable[Path] | None = None) -> None:
        self.listeners: list = []  # called as listener(event, name) with "hit", "built" or "rejected"
        path = os.environ.get("NUMBAFLUX_CACHE_PATH", "")
        self.shared = [Path(p) for p in path.split(":") if p] if shared is None else list(shared)
        own = home() if folder is None else folder
        self.folder = self._open(own)
        self.folders = [f for f in map(self._readable, [own, *self.shared]) if f]

    @staticmethod
    def _open(folder: Path) -> Path | None:
        """The folder, made with mode 0700; None where it cannot be written or trusted: then kernels live in memory
        only."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = folder.resolve()
            return folder if trusted(folder) and os.access(folder, os.W_OK) else None
        except OSError:
            return None

    @staticmethod
    def _readable(folder: Path) -> Path | None:
        try:
            folder = folder.resolve(strict=True)
            return folder if trusted(folder) else None
        except OSError:
            return None

    def tell(self, event: str, name: str) -> None:
        for listener in self.listeners:
            listener(event, name)

    def read(self, name: str) -> Objects | None:
        """The objects kept under a name; None where there are none, or none that is whole."""
        for folder in self.folders:
            try:
                objects = unpack((folder / (name + SUFFIX)).read_bytes())
            except OSError:
                continue
            if objects is not None:
                return objects
            self.tell("rejected", name)
        return None

    def write(self, name: str, objects: Objects) -> None:
        """Keep objects under a name: whole or not at all. A full or read-only disk costs a rebuild later, not this
        run."""
        if self.folder is None:
            return
        try:
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(pack(objects))
                os.replace(temporary, self.folder / (name + SUFFIX))
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError:
            self.tell("unwritten", name)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process that compiles into this folder; the system lets go where a process dies. A file system
        without locks, or one that is slower than PATIENCE, costs no more than work done twice."""
        if self.folder is None:
            yield
            return
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                file = stack.enter_context(open(self.folder / ".lock", "ab"))
                end = time.monotonic() + PATIENCE
                while not _locked(file) and time.monotonic() < end:
                    time.sleep(0.05)
            yield

    def files(self) -> Iterator[Path]:
        """The containers of the writable directory."""
        return iter(sorted(self.folder.glob("*" + SUFFIX))) if self.folder else iter(())

    def clear(self) -> int:
        """Remove them all; how many there were."""
        files = list(self.files())
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)
