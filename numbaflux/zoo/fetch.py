"""A model out of a zoo: everything that is said of it is checked before it has a name on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import NamedTuple

from ..files import check_folder
from ..op import FileFormatError, expect
from ..ranges import check
from .checks import admit, take
from .index import FILE, MODEL, Entry, render
from .levels import rank, refuse
from .seen import remember
from .source import Zoo, chosen, entries, opened

LIMIT = 4 << 30  # bytes of a model's files together, unless told


class Found(NamedTuple):
    """A model that was checked: how far, and the file to load, if it is on this machine."""

    entry: Entry
    trust: str
    model: Path | None


def fetch(
    zoo: Zoo, name: str, folder: str | os.PathLike[str], version: str | None = None, *, trust: str = "digest",
    rollback: bool = False, limit: int = LIMIT,
) -> Found:  # fmt: skip
    """Copy a model, the newest version unless told, into a new folder, which is then a zoo of this one model.

    trust: the level that it must reach (levels.LEVELS), or more if it reached more before. rollback: take an older
    version, other files or less trust than seen before. limit: bytes in all. The folder is there when everything was
    checked, whole, or not at all. Refused: the model is not what it must be. FileFormatError: no such zoo.

    >>> import os, tempfile, numbaflux as nf
    >>> os.chdir(tempfile.mkdtemp())
    >>> nf.save("model.h5", nf.Dense(2, 1))
    >>> card = {"summary": "A line.", "data": "Made up.", "metrics": {"error": 0.1}, "licence": "MIT"}
    >>> entry = nf.zoo.add("zoo", "model.h5", card, name="line", version="1.0.0")
    >>> found = nf.zoo.fetch("zoo", "line", "line")
    >>> found.trust, type(nf.load(found.model)).__name__
    ('digest', 'Dense')
    """
    rank(trust)
    source, target = opened(zoo), check_folder("zoo", "folder", folder)
    expect(not os.path.lexists(target), "zoo", "folder", "one that does not exist", str(target), error=FileFormatError)
    entry = chosen(entries(source), name, version)[-1]
    check_size(entry, limit)
    reached = admit(source, entry, trust, rollback)
    temporary = target.with_name(f".numbaflux-{secrets.token_hex(16)}.tmp")
    try:
        (temporary / entry.folder).mkdir(parents=True)
        take(source, entry, temporary)
        (temporary / FILE).write_bytes(render([entry]))
        _synced(temporary)
        remember(source.name, entry, reached)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Found(entry, reached, target / entry.folder / MODEL)


def check_size(entry: Entry, limit: int) -> None:
    """Refused if the files of a model have more bytes together."""
    most = check("zoo.limit", limit)
    refuse(entry.size <= most, f"the size of {entry.folder}", f"at most {most} bytes", entry.size)


def _synced(folder: Path) -> None:
    """Bring files and folders to the disk."""
    for parent, _, names in os.walk(folder):
        for path in (*(os.path.join(parent, name) for name in names), parent):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
