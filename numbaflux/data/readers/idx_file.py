"""IDX, the form of MNIST: a header of sizes, then the numbers, big-endian; plain or packed by gzip."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hdf5_objects import require
from ...ranges import check
from .opened import MAX_BYTES, MAX_RATIO, PIECE, Opened, Path, filled, library, native, opened, unpacks

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_RANK = 8
GZIP = b"\x1f\x8b"


def idx(path: Path, root: Path | None = None, max_bytes: int = MAX_BYTES, max_ratio: float = MAX_RATIO) -> NDArray[Any]:
    """The array of an IDX file, as MNIST's are: train-images-idx3-ubyte, or the same packed by gzip, as it is.

    uint8, int8, int16, int32, float32 or float64 of 1 to 8 axes, none empty, in this machine's order of bytes.
    root: a folder that the path lies below; nothing leads out of it, no .., no symbolic link, no second name of a file.
    max_bytes: of the array; max_ratio: bytes unpacked of one packed byte. The header's sizes are held against both, and
    against the file, before memory is taken; unpacking ends where they do.
    FileFormatError for anything else, RangeError, DTypeError for other arguments. Source: Y. LeCun's page of MNIST.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "labels-idx1-ubyte")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    >>> idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    max_bytes = int(check("idx.max_bytes", max_bytes))
    max_ratio = float(check("idx.max_ratio", max_ratio))
    with opened("idx", path, root) as found:
        packed = found.file.peek(2)[:2] == GZIP
        stream: Any = Unpacked(found) if packed else found.file
        start = stream.read(4)
        plain = len(start) == 4 and start[:2] == b"\0\0" and start[2] in TYPES and 1 <= start[3] <= MAX_RANK
        require(plain, "its start", f"two zeros, a type of IDX, a rank of 1 to {MAX_RANK}", start)
        head = stream.read(4 * start[3])
        require(len(head) == 4 * start[3], "its header", f"{start[3]} sizes", f"{len(head)} bytes")
        shape = tuple(int.from_bytes(head[i : i + 4], "big") for i in range(0, len(head), 4))
        dtype = np.dtype(TYPES[start[2]])
        size = math.prod(shape) * dtype.itemsize
        require(0 < size <= max_bytes, "the array", f"1 to {max_bytes} bytes (max_bytes=)", size)
        whole = 4 + len(head) + size
        if packed:
            unpacks("its content", whole, found.size, max_ratio)
        else:
            require(whole == found.size, "its size", f"{whole} bytes, as its header says", found.size)
        array = np.empty(shape, dtype)
        filled(stream, array)
        if packed:
            stream.finish()
        return native(array)


class Unpacked:
    """What one member of gzip holds, never more of it than asked for."""

    def __init__(self, packed: Opened) -> None:
        self.file, self.inflate = packed.file, zlib.decompressobj(wbits=31)
        self.left = packed.size

    def read(self, size: int) -> bytes:
        """The next bytes; fewer at the end alone."""
        found = bytearray()
        while len(found) < size and (more := self._some(size - len(found))):
            found += more
        return bytes(found)

    def readinto(self, view: memoryview) -> int:
        """Fill the beginning of a view; returns how much of it."""
        some = self._some(len(view))
        view[: len(some)] = some
        return len(some)

    def finish(self) -> None:
        """Raise unless the content, checked by gzip's own sums, and the file end here."""
        extra = self._some(1)
        require(not extra and self.inflate.eof, "its content", "as long as its header says", "more, or a cut end")
        rest = len(self.inflate.unused_data) + self.left
        require(rest == 0, "the file", "one member of gzip, nothing behind it", f"{rest} bytes more")

    def _some(self, size: int) -> bytes:
        """1 to size bytes, none at the end."""
        with library("whole, packed by gzip"):
            while not self.inflate.eof:
                packed = self.inflate.unconsumed_tail
                if not packed and self.left:
                    packed = self.file.read(min(PIECE, self.left))
                    require(bool(packed), "its size", f"{self.left} bytes more", "none")
                    self.left -= len(packed)
                some = self.inflate.decompress(packed, size)
                if some or not (packed or self.left):
                    return some
        return b""
