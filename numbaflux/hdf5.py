"""Arrays and texts in a strict profile of HDF5 (docs/format.md): written by h5py, read and verified without it."""

from __future__ import annotations

import contextlib
import errno
import hmac
import mmap
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import FileIO
from typing import Any, TypeAlias, TypeVar

import numpy as np

from .digests import FORMAT, VERSION, array_digests, check_digest, expect_digest, file_digest
from .files import nameable
from .hdf5_objects import (
    ALIGNMENT,
    MAX_PIECES,
    MAX_RANK,
    PART,
    Dataset,
    datatypes,
    fail,
    line,
    objects,
    places,
    require,
    superblock,
)
from .hdf5_stored import whole
from .op import FileFormatError

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
T = TypeVar("T")
Head = Callable[[bytes, int], object]  # looks at a file's first bytes and its size

MAX_TEXT = 8 << 20  # bytes of all documents together
DAY = 86_400  # seconds after which a temporary file is nobody's

_TYPES = (*datatypes(), "bool")
_NAME = re.compile(rf"{PART}(\.{PART}){{0,15}}")
OF_FORMAT = "the version of the format"  # begins what is said of a file from another time
_TEMPORARY = re.compile(r"\.numbaflux-[0-9a-f]{32}\.tmp")


@dataclass(frozen=True, eq=False)
class File:
    """What a file holds, by name in sorted order; tensors are read-only, aligned views of one buffer, which nobody else
    has: who reads the file may make them writeable.

    digests: of each tensor (`tensors.<name>`) and document (`documents.<name>`); digest: of all.
    """

    tensors: dict[str, Array]
    documents: dict[str, str]
    version: int
    digest: str
    digests: dict[str, str]


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], documents: Mapping[str, str], mode: int = 0o666
) -> str:
    """Write arrays and texts by dotted names, whole or not at all; returns the SHA-256 of the content.

    Arrays have 0 to 8 dimensions, none empty, of the types in docs/format.md. mode: permissions before umask.
    FileFormatError: a name, type or size the format does not have. OSError: the disk; an old file is then untouched.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.h5")
    >>> digest = write(path, {"body.0.weight": np.ones((2, 3), np.float32)}, {"note": "hello"})
    >>> file = read(path)
    >>> file.documents["note"], file.tensors["body.0.weight"].shape, file.digest == digest
    ('hello', (2, 3), True)
    """
    target = _checked(path)
    try:
        arrays = _collect(tensors, documents)
        paths = places(arrays)
        digests = array_digests(arrays)
        _replace(target, lambda output: _fill(output, arrays, paths, digests), mode)
    except FileFormatError as error:
        raise FileFormatError(line(target, error)) from None
    return file_digest(digests)


def check(tensors: Mapping[str, Array], documents: Mapping[str, str]) -> None:
    """Raise FileFormatError for what write would refuse.

    >>> check({"weight": np.ones(2, complex)}, {})
    Traceback (most recent call last):
    numbaflux.op.FileFormatError: tensor weight must be of type int8, uint8, ... got 'complex128'
    """
    places(_collect(tensors, documents))


def read(path: str | os.PathLike[str], sha256: str | None = None) -> File:
    """Read a file that `write` made; nothing is handed out before its structure and every digest is checked.

    sha256: the digest of the whole file, as sha256sum prints it, from somewhere you trust: it is checked first.
    Symbolic links are followed. Memory: the size of the file and a little. Anything wrong is a FileFormatError.
    """
    known = check_digest(sha256)
    if not known:
        return parsed(path, view, superblock)

    def trusted(data: Array) -> File:
        expect_digest(data, known)  # nothing looks at a byte before
        return view(data)

    return parsed(path, trusted)


def view(data: Array, hashed: bool = True) -> File:
    """What the bytes of a file hold, in memory or mapped into it: views, checked as read does. hashed=False: but for
    the digests of tensors, which the file is believed."""
    return _verified(data, *objects(memoryview(data)), hashed=hashed)


def parsed(path: str | os.PathLike[str], parse: Callable[[Array], T], head: Head | None = None) -> T:
    """parse(all bytes of a file), after head(its first bytes, its size); every error names the file."""
    target = _checked(path)
    try:
        return parse(whole(target, head))
    except FileFormatError as error:
        raise FileFormatError(line(target, error)) from None
    except OSError as error:
        raise FileFormatError(line(target, f"cannot be read ({error.strerror})")) from None
    except MemoryError:
        raise FileFormatError(line(target, "does not fit in memory")) from None


# --------------------------------------------------------------------------------------------- names, digests, messages


def lawful(name: str) -> bool:
    """Whether a tensor or document may have this name.

    >>> lawful("body.0.weight"), lawful("body/0")
    (True, False)
    """
    return bool(_NAME.fullmatch(name))


def _checked(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str) or "://" in name or not os.path.basename(name) or not nameable(name):
        raise FileFormatError(f"path must be text that names a file (no URL, no folder), got {ascii(name)[:200]}")
    return name


# -------------------------------------------------------------------------------------------------------------- writing


def _collect(tensors: Mapping[str, Any], documents: Mapping[str, Any]) -> dict[str, Array]:
    """All datasets by full name, little-endian and in C order."""
    arrays: dict[str, Array] = {}
    for name in (*tensors, *documents):
        require(lawful(name), "a name", "up to 16 parts of A-Z a-z 0-9 _ - joined by dots", name)
    for name, array in tensors.items():
        what = f"tensor {name[:100]}"
        require(isinstance(array, np.ndarray | np.generic), what, "a NumPy array", type(array).__name__)
        require(array.dtype.name in _TYPES, what, f"of type {', '.join(_TYPES)}", array.dtype.name)
        require(array.ndim <= MAX_RANK and array.size > 0, what, "of 0 to 8 dimensions, none empty", array.shape)
        arrays[f"tensors.{name}"] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    for name, text in documents.items():
        good = isinstance(text, str) and 0 < len(text) <= MAX_TEXT
        require(good, f"document {name[:100]}", f"text of 1 to {MAX_TEXT} bytes", type(text).__name__)
        with _unicode(f"document {name[:100]}"):
            arrays[f"documents.{name}"] = np.frombuffer(text.encode(), np.uint8)
    _check_sizes({name: array.nbytes for name, array in arrays.items()})
    require(len(arrays) <= MAX_PIECES, "the number of arrays", f"at most {MAX_PIECES}", len(arrays))
    return arrays


@contextlib.contextmanager
def _unicode(what: str) -> Any:
    try:
        yield
    except UnicodeError:
        fail(what, "valid Unicode", "something else")


def _check_sizes(sizes: Mapping[str, int]) -> None:
    size = sum(size for name, size in sizes.items() if name.startswith("documents."))
    require(size <= MAX_TEXT, "the size of all documents", f"at most {MAX_TEXT} bytes", size)


def _fill(output: _Output, arrays: dict[str, Array], paths: dict[str, str], digests: dict[str, str]) -> None:
    """Write all datasets by h5py, then see that our own parser takes what this libhdf5 made of them."""
    import h5py  # reading needs none of it

    head = {"format": FORMAT, "version": str(VERSION), "digest": file_digest(digests)}
    options = {"libver": "v110", "alignment_threshold": 1, "alignment_interval": ALIGNMENT}
    timeless = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    timeless.set_obj_track_times(False)
    with h5py.File(output, "w", track_order=False, **options) as file:
        for key, value in head.items():
            file.attrs.create(key, np.bytes_(value))
        groups = {"": file.id}
        for name in sorted(arrays):
            *parents, last = paths[name][1:].split("/")
            here = ""
            for part in parents:
                above, here = here, f"{here}/{part}"
                if here not in groups:
                    groups[here] = h5py.h5g.create(groups[above], part.encode(), gcpl=timeless)
            _create(h5py, groups[here], last, arrays[name], digests[name])
    if not output.failure:
        with mmap.mmap(output.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            objects(view)


def _create(h5py: Any, group: Any, name: str, array: Array, digest: str) -> None:
    """One dataset with its attributes, by h5py's low level: three times as fast for a model of many layers."""
    timeless = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    timeless.set_obj_track_times(False)
    marks = {"sha256": digest}
    if array.dtype == np.bool_:  # HDF5 has no such type
        array, marks["dtype"] = array.view(np.uint8), "bool"
    space = h5py.h5s.create_simple(array.shape) if array.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    dataset = h5py.h5d.create(group, name.encode(), h5py.h5t.py_create(array.dtype), space, timeless)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
    for key, value in marks.items():
        text = np.array(value.encode())
        kind = h5py.h5t.py_create(text.dtype)
        h5py.h5a.create(dataset, key.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR)).write(text)


class _Output(FileIO):
    """A file that keeps its first failure for later: libhdf5 cannot close a file after a failed write."""

    failure: BaseException | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.failure is None:
            try:
                done += super().write(view[done:])
            except BaseException as error:  # Ctrl-C as well
                self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except BaseException as error:
            self.failure = self.failure or error
            return size or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except BaseException as error:
            self.failure = self.failure or error
            return offset


def _replace(target: str, fill: Callable[[_Output], None], mode: int) -> None:
    """Put a new file in the place of target in one step that survives a crash; a link is replaced, not followed."""
    special = os.path.exists(target) and not os.path.isfile(target)
    require(not special, "the target", "a file or nothing", "a folder or device")
    folder = os.path.dirname(target) or "."
    _sweep(folder)
    temporary = os.path.join(folder, f".numbaflux-{secrets.token_hex(16)}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)  # EXCL: never an old file
    try:
        with _Output(descriptor, "r+b") as output:
            try:
                fill(output)
            finally:
                if output.failure:
                    raise output.failure
            os.fsync(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no such thing
            raise
    finally:
        os.close(descriptor)


def _sweep(folder: str) -> None:
    """Remove what killed writers left."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process was faster, or the file is not ours
                if _TEMPORARY.fullmatch(entry.name) and time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY:
                    os.unlink(entry.path)


# -------------------------------------------------------------------------------------------------------------- reading


def _verified(
    data: Array, head: dict[str, str], groups: set[str], datasets: dict[str, Dataset], hashed: bool = True
) -> File:
    """The content, after comparing names, places and digests with what the writer makes of it."""
    known = set(head) == {"format", "version", "digest"} and head["format"] == FORMAT
    require(known, "the root's attributes", "format, version and digest of numbaflux", sorted(head.items()))
    require(head["version"] == str(VERSION), OF_FORMAT, f"{VERSION}", head["version"])
    paths = {".".join(part for part in path[1:].split("/") if part[0] != "~"): path for path in sorted(datasets)}
    for name, place in places(paths).items():
        kind, _, rest = name.partition(".")
        good = kind in ("tensors", "documents") and lawful(rest) and paths[name] == place
        require(good, f"the place of {name[:100]}", f"{place[:60]}", paths[name])
    parents = {path.rsplit("/", i)[0] for path in datasets for i in range(1, path.count("/") + 1)} | {""}
    require(groups == parents, "groups", "those of the datasets, not more", sorted(groups - parents))
    require(len(paths) == len(datasets), "the number of names", f"{len(datasets)}", len(paths))
    arrays = {name: _array(data, datasets[paths[name]], name) for name in sorted(paths)}
    _check_sizes({name: array.nbytes for name, array in arrays.items()})
    stored = {name: datasets[paths[name]].attributes["sha256"] for name in arrays}
    chosen = {name: array for name, array in arrays.items() if hashed or name.startswith("documents.")}
    digests = stored | array_digests(chosen)
    for name, digest in digests.items():
        require(hmac.compare_digest(digest, stored[name]), f"SHA-256 of {name[:100]}", digest, stored[name])
    digest = file_digest(digests)
    require(hmac.compare_digest(digest, head["digest"]), "SHA-256 of the file", digest, head["digest"])
    tensors = {name[8:]: array for name, array in arrays.items() if name.startswith("tensors.")}
    texts = {name[10:]: _text(array, name) for name, array in arrays.items() if name.startswith("documents.")}
    return File(tensors, texts, VERSION, digest, digests)


def _array(data: Array, dataset: Dataset, name: str) -> Array:
    """View of one dataset's bytes."""
    marks = dataset.attributes
    flag = dataset.dtype == "uint8" and marks.get("dtype") == "bool"
    require(set(marks) == ({"sha256", "dtype"} if flag else {"sha256"}), f"attributes of {name[:100]}", "sha256", marks)
    dtype = np.dtype(np.bool_) if flag else np.dtype(dataset.dtype).newbyteorder("<")
    array = data[dataset.start : dataset.start + dataset.size].view(dtype).reshape(dataset.shape)
    require(not flag or int(array.view(np.uint8).max()) <= 1, f"values of {name[:100]}", "0 or 1", "more")
    array.flags.writeable = False
    return array


def _text(array: Array, name: str) -> str:
    require(array.dtype == np.uint8 and array.ndim == 1, name[:100], "bytes of text", array.dtype.name)
    with _unicode(name[:100]):
        return array.tobytes().decode()
