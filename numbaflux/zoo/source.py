"""Where a zoo is read from, and what its index names."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

from ..hdf5_objects import line
from ..op import FileFormatError
from .folder import Folder
from .index import FILE, MAX_INDEX, Entry, check_name, check_version, parse
from .levels import Refused, refuse

Zoo: TypeAlias = "str | os.PathLike[str]"
Source: TypeAlias = "Folder | Any"  # or Site, which is imported when an address comes


def opened(zoo: Zoo) -> Source:
    """Where a zoo is read from: a folder, or an address with https://."""
    if isinstance(zoo, str) and "://" in zoo:
        from .site import Site  # nobody else needs ssl

        return Site(zoo)
    return Folder(zoo)


def entries(source: Source) -> tuple[Entry, ...]:
    """The index of a zoo."""
    try:
        return parse(b"".join(source.chunks(FILE, MAX_INDEX)))
    except Refused:
        raise
    except FileFormatError as error:
        raise FileFormatError(line(source.name, error)) from None


def listed(zoo: Zoo) -> tuple[Entry, ...]:
    """The models that the index of a zoo names, by name and version. Nothing of them is checked but their form.

    zoo: a folder, or an address with https://. FileFormatError: no zoo, or no index of the one lawful form.

    >>> import os, tempfile, numbaflux as nf
    >>> os.chdir(tempfile.mkdtemp())
    >>> nf.save("model.h5", nf.Dense(2, 1))
    >>> card = {"summary": "A line.", "data": "Made up.", "metrics": {"error": 0.1}, "licence": "MIT"}
    >>> entry = nf.zoo.add("zoo", "model.h5", card, name="line", version="1.0.0")
    >>> [(one.name, one.version, one.trust, one.card["licence"]) for one in nf.zoo.list("zoo")]
    [('line', '1.0.0', 'digest', 'MIT')]
    """
    return entries(opened(zoo))


def chosen(known: tuple[Entry, ...], name: str, version: str | None) -> list[Entry]:
    """The versions of a model, or the one asked for, the newest last; Refused if there is none."""
    check_name(name)
    if version is not None:
        check_version(version)
    found = [e for e in known if e.name == name and version in (None, e.version)]
    refuse(bool(found), "a model of the zoo", f"{name} {version or ''}".strip(), "none of this name and version")
    return found
