"""HDF5 as data: numbaflux's own form by slices of the file, other files only where they are trusted, or by a child."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from typing import Any

import numpy as np

from ...convert import child
from ...digests import array_digests
from ...hdf5 import view
from ...hdf5_objects import SUPERBLOCK, require, superblock
from ...op import FileFormatError, expect
from ...ranges import check
from .opened import MAX_BYTES, Opened, Path, library, local, named, opened

CURE = "another program's file: trusted=True, if you know who made it, or limited=True"


class Arrays(dict[str, Any]):
    """The arrays of an HDF5 file by name; what is indexed is read. documents: texts of a file of numbaflux's form.

    nf.data.hdf5 makes one. It is data for nf.DataLoader, nf.splitobs and the like, as each of its arrays is.
    """

    def __init__(self, name: str, arrays: dict[str, Any], documents: dict[str, str], digests: dict[str, str]) -> None:
        super().__init__(arrays)
        self.documents = documents
        self._name, self._digests = name, digests

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {array.shape} {array.dtype}" for name, array in self.items())
        return f"Arrays({shown[:500]})"

    def verify(self, *names: str) -> None:
        """Read these arrays (all unless told) and raise FileFormatError unless their digests are the file's."""
        with named(self._name):
            known = all(name in self._digests for name in names) and bool(self._digests)
            require(known, "names", "of arrays with a digest, as numbaflux writes them", names)
            for name in names or self._digests:
                found = array_digests({name: np.asarray(self[name])})[name]
                good = hmac.compare_digest(found, self._digests[name])
                require(good, f"SHA-256 of {name[:100]}", self._digests[name], found)


def hdf5(
    path: Path, verify: bool = True, trusted: bool = False, limited: bool = False, root: Path | None = None,
    max_bytes: int = MAX_BYTES,
) -> Arrays:  # fmt: skip
    """The arrays of an HDF5 file by name, read where they are indexed: data larger than memory, for nf.DataLoader.

    A file of numbaflux's form (docs/format.md; numbaflux.hdf5.write makes one, nf.save too) is mapped: its arrays are
    np.memmap, read-only, and its structure is checked whole, without libhdf5. verify: each digest too, for which all is
    read once; verify=False leaves that to .verify(name), and until then values may be damaged. Neither sees what is
    written into the file later, and who cuts it while it is read ends the process: give others no right to write to it.
    Other files: trusted=True opens them by h5py, with all that HDF5 can do (other files, plugins, crashes), as its
    datasets by path; limited=True reads them whole by h5py in a process with limits, as nf.convert does.
    max_bytes: of all arrays together where limited. root: as in nf.data.idx. FileFormatError for anything else.

    >>> import tempfile
    >>> from numbaflux.hdf5 import write
    >>> path = os.path.join(tempfile.mkdtemp(), "set.h5")
    >>> digest = write(path, {"x": np.eye(3, dtype=np.float32), "y": np.arange(3)}, {"source": "made up"})
    >>> data = hdf5(path)
    >>> data["x"][1:], data.documents["source"]
    (memmap([[0., 1., 0.],
            [0., 0., 1.]], dtype=float32), 'made up')
    """
    expect(not (trusted and limited), "hdf5", "trusted", "without limited=True", "both")
    limits = child.Limits(memory=int(check("hdf5.max_bytes", max_bytes)))
    name = local("hdf5", "path", path)
    with opened("hdf5", path, root) as found:
        if trusted or limited:
            return Arrays(name, _trusted(found.file) if trusted else _limited(found.file, limits), {}, {})
        with _cured():
            file = view(_mapped(found), verify)
    return Arrays(name, file.tensors, file.documents, {key: file.digests[f"tensors.{key}"] for key in file.tensors})


@contextmanager
def _cured() -> Iterator[None]:
    """Errors about the form of a file say what to do with another program's."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{str(error)[:140]}; {CURE}") from None


def _mapped(found: Opened) -> np.memmap[Any, np.dtype[np.uint8]]:
    """The bytes of a file, which are read where they are looked at."""
    head = found.file.read(SUPERBLOCK)
    require(len(head) == SUPERBLOCK, "its size", f"{SUPERBLOCK} bytes or more", len(head))
    superblock(head, found.size)
    return np.memmap(found.file, np.uint8, "r", shape=(found.size,))


def _limited(file: BufferedReader, limits: child.Limits) -> dict[str, Any]:
    """Every array, as a process with limits reads the open file."""
    try:
        return child.arrays(f"/proc/self/fd/{file.fileno()}", limits)
    except FileFormatError as error:  # which begins with the number in place of the name
        raise FileFormatError(str(error).partition(": ")[2]) from None


def _trusted(file: BufferedReader) -> dict[str, Any]:
    """Every dataset, as h5py finds it in the open file."""
    import h5py  # only where it is asked for

    found: dict[str, Any] = {}
    with library("a whole HDF5 file"):
        own = FileIO(os.dup(file.fileno()))  # which h5py keeps
        h5py.File(own, "r").visititems(lambda name, one: found.update({name: one} if hasattr(one, "shape") else {}))
    return found
