"""What a campaign need not do anew, or slowly, for every file: for most files; each WHOLLYth goes without."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from numbaflux import hdf5, hdf5_objects
from tests.fuzz import forge


@contextlib.contextmanager
def checksums() -> Iterator[None]:
    """Within, the reader's checksums are computed by libhdf5: the same numbers, a hundred times as fast."""
    plain = hdf5_objects.lookup3
    hdf5_objects.lookup3 = forge.checksum
    try:
        yield
    finally:
        hdf5_objects.lookup3 = plain


@contextlib.contextmanager
def parsed() -> Iterator[None]:
    """Within, a file is read once, and a copy of what that made of it given to the doors behind the first: they are
    tried for what they do themselves. A file whose SHA-256 is given is read each time."""
    plain = hdf5.read
    known: dict[Any, hdf5.File] = {}

    def read(path: Any, sha256: str | None = None) -> hdf5.File:
        if sha256 is not None:
            return plain(path, sha256)
        if path in known:
            return _copied(known[path])
        made = plain(path)
        known[path] = _copied(made)
        return made

    hdf5.read = read
    try:
        yield
    finally:
        hdf5.read = plain


def _copied(file: hdf5.File) -> hdf5.File:
    tensors = {name: array.copy() for name, array in file.tensors.items()}
    for array in tensors.values():
        array.flags.writeable = False
    return replace(file, tensors=tensors, documents=dict(file.documents), digests=dict(file.digests))
