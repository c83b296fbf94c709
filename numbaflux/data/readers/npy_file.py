"""NumPy's own files: one array, or several in a zip. Never a pickle."""

from __future__ import annotations

import math
import re
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hdf5_objects import fail, require
from ...ranges import check
from .opened import MAX_BYTES, MAX_RATIO, Guarded, Opened, Path, filled, library, native, opened, unpacks

ZIP = "a zip of arrays, as np.savez writes it"
MAX_HEAD = 4096  # bytes of a header
MAX_RANK = 32
MAX_ARRAYS = 4096  # in an archive
MAX_DIRECTORY = 2**20  # bytes of the list at the end of an archive

_TYPE = r"[<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,3})"
_SIZE = r"(?:0|[1-9]\d{0,18}) *"
_ITEM = rf" *'(descr|fortran_order|shape)' *: *('{_TYPE}'|True|False|\([\d, ]*\)) *"
_HEAD = re.compile(rf"\{{{_ITEM},{_ITEM},{_ITEM},? *\}} *\n?", re.ASCII)
_SHAPE = re.compile(rf"\( *(?:(?:{_SIZE}, *)++(?:{_SIZE})?+)?+\)", re.ASCII)


def npy(path: Path, root: Path | None = None, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """The array of a .npy file, as np.save writes it: booleans, integers, floats, complex numbers or texts.

    Objects, which are pickles, are refused, as are structures. root: as in nf.data.idx. max_bytes: of the array. The
    header is matched, never evaluated, and its shape must be that of the file, before memory is taken. The array is in
    this machine's order of bytes, and in Fortran's order where the file is. FileFormatError for anything else.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "x.npy")
    >>> np.save(path, np.eye(2, dtype=np.float32))
    >>> npy(path)
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    max_bytes = int(check("npy.max_bytes", max_bytes))
    with opened("npy", path, root) as found:
        return _array(found.file, found.size, max_bytes)


def npz(
    path: Path, root: Path | None = None, max_bytes: int = MAX_BYTES, max_ratio: float = MAX_RATIO
) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name, as np.savez or np.savez_compressed writes it; each as nf.data.npy reads it.

    root: as in nf.data.idx. max_bytes: of all arrays together; max_ratio: bytes for one packed byte of an array.
    At most 4096 arrays, one after another with nothing else in the file. FileFormatError for anything else.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "set.npz")
    >>> np.savez_compressed(path, x=np.zeros((2, 3), np.float32), y=np.array([0, 1]))
    >>> {name: array.shape for name, array in npz(path).items()}
    {'x': (2, 3), 'y': (2,)}
    """
    max_bytes = int(check("npz.max_bytes", max_bytes))
    max_ratio = float(check("npz.max_ratio", max_ratio))
    with opened("npz", path, root) as found:
        _directory(found)
        with library(ZIP):
            archive = zipfile.ZipFile(found.file)
        arrays = {}
        for name, member in _members(archive, found.size, max_bytes, max_ratio).items():
            with library(ZIP):
                stream = Guarded(archive.open(member), ZIP)
            arrays[name] = _array(stream, member.file_size, max_bytes, f"array {name[:60]}: ")
        return arrays


def _array(stream: Any, size: int, max_bytes: int, what: str = "") -> NDArray[Any]:
    """The array that a stream of so many bytes is."""
    start = stream.read(8)
    known = len(start) == 8 and start[:6] == b"\x93NUMPY" and start[6] in (1, 2, 3) and start[7] == 0
    require(known, f"{what}its start", "NumPy's mark and version 1 to 3", start)
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    require(length <= MAX_HEAD, f"{what}its header", f"of at most {MAX_HEAD} bytes", length)
    dtype, fortran, shape = _head(stream.read(length).decode("latin-1"), what)
    bytes_ = math.prod(shape) * dtype.itemsize
    most = math.prod(max(n, 1) for n in shape) * dtype.itemsize  # an axis of no length must not hide a huge one
    require(most <= max_bytes, f"{what}the array", f"of at most {max_bytes} bytes (max_bytes=)", most)
    whole = 8 + width + length + bytes_
    require(whole == size, f"{what}its size", f"{whole} bytes, as its header says", size)
    array: NDArray[Any] = np.empty(shape[::-1] if fortran else shape, dtype)
    filled(stream, array)
    array = _lawful(native(array), what)
    return array.T if fortran else array


def _head(text: str, what: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Type, order and shape."""
    match = _HEAD.fullmatch(text)
    items = dict(zip(match.groups()[::2], match.groups()[1::2], strict=True)) if match else {}
    kinds = {key: value[0] for key, value in items.items()}
    good = kinds.get("descr") == "'" and kinds.get("fortran_order") in ("T", "F") and kinds.get("shape") == "("
    expected = "that of a plain array (no objects, which are pickles)"
    require(good and bool(_SHAPE.fullmatch(items["shape"])), f"{what}its header", expected, text.strip())
    shape = tuple(int(n) for n in re.findall(r"\d+", items["shape"], re.ASCII))
    require(len(shape) <= MAX_RANK, f"{what}its shape", f"of 0 to {MAX_RANK} axes", len(shape))
    return np.dtype(items["descr"][1:-1]), items["fortran_order"] == "True", shape


def _lawful(array: NDArray[Any], what: str) -> NDArray[Any]:
    """The array, if its bytes are values of its type: a boolean is 0 or 1, a letter stands in Unicode."""
    if array.dtype.kind == "b" and array.size:
        require(int(array.view(np.uint8).max()) <= 1, f"{what}its booleans", "0 or 1", "more")
    if array.dtype.kind == "U" and array.size:
        letters = array.reshape(-1).view(np.uint32)
        require(int(letters.max()) <= 0x10FFFF, f"{what}its texts", "Unicode", hex(int(letters.max())))
    return array


def _directory(found: Opened) -> None:
    """Raise unless the end of a zip is whole and lists little: zipfile would take memory for whatever stands there."""
    found.file.seek(max(found.size - 98, 0))
    before, end = (tail := found.file.read(98))[:-22], tail[-22:]
    plain = len(end) == 22 and end[:8] == b"PK\5\6\0\0\0\0" and end[20:] == b"\0\0"
    require(plain, "its end", "that of a zip, without a comment", end)
    # zipfile believes the larger record, of files above 4 GiB, wherever one stands before the end.
    listed = before[40:48] if before[56:60] == b"PK\6\7" else end[12:16]
    size = int.from_bytes(listed, "little")
    require(size <= MAX_DIRECTORY, "its list of arrays", f"of at most {MAX_DIRECTORY} bytes", size)


def _members(archive: Any, size: int, max_bytes: int, max_ratio: float) -> dict[str, Any]:
    """The entries by the names of their arrays, all sizes within bounds and apart from one another."""
    entries = archive.infolist()
    require(len(entries) <= MAX_ARRAYS, "it", f"of at most {MAX_ARRAYS} arrays", len(entries))
    found: dict[str, Any] = {}
    end = total = 0
    for one in sorted(entries, key=lambda entry: entry.header_offset):
        name = one.filename.removesuffix(".npy")
        parts = name.split("/")
        good = name != one.filename and name.isprintable() and len(name) <= 200 and not {"", ".", ".."} & set(parts)
        require(good and name not in found, "a name in it", "printable, ending in .npy, there once", one.filename)
        plain = one.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not one.flag_bits & 0x41
        require(plain, f"array {name[:60]}", "stored or deflated, not encrypted", one.compress_type)
        total += one.file_size
        room = max_bytes + MAX_HEAD * len(entries)
        require(total <= room, "the arrays", f"of at most {max_bytes} bytes (max_bytes=)", total)
        ratio = max_ratio if one.compress_type else 1.0
        unpacks(f"array {name[:60]}", one.file_size, one.compress_size, ratio)
        first = one.header_offset == 0 if not found else one.header_offset >= end
        require(first, f"array {name[:60]}", "behind the one before it, the first at the start", one.header_offset)
        end = one.header_offset + 30 + len(one.orig_filename) + one.compress_size
        found[name] = one
    if end > archive.start_dir:
        fail("the arrays", "before the list of them", f"bytes up to {end} of {size}")
    return found
