"""Datasets of an HDF5 file as h5py writes it unless told otherwise (Keras's weights are), by plain Python:
groups in B-trees, arrays in one piece. Everything else of HDF5 is refused; attributes are passed over."""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Iterator

import numpy as np

from .hdf5 import Array, parsed
from .hdf5_objects import MAX_DEPTH, MAX_PIECES, MAX_RANK, datatypes, require

SUPERBLOCK = 96  # bytes
_NAME = re.compile(r"[^/.\0]{1,255}", re.ASCII)
_NIL, _DATASPACE, _DATATYPE, _FILL_OLD, _FILL, _LAYOUT = 0x00, 0x01, 0x03, 0x04, 0x05, 0x08
_ATTRIBUTE, _CONTINUATION, _SYMBOLS, _MODIFIED = 0x0C, 0x10, 0x11, 0x12
_PASSED = {_NIL, _FILL_OLD, _FILL, _ATTRIBUTE, _MODIFIED}  # say nothing about where an array lies
_READ = {_DATASPACE, _DATATYPE, _LAYOUT, _SYMBOLS}
_WORDS = {0x07: "external storage", 0x0B: "a filter (compression)"}
_TYPES = {message + bytes(-len(message) % 8): name for name, message in datatypes().items()}  # to multiples of 8


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Every dataset of a file by its path, layers/dense/vars/0, in the order of names: read-only views of its bytes.

    Memory: the size of the file. Anything that is not as it must be is a FileFormatError that names file and dataset.

    >>> import h5py, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "made.h5")
    >>> with h5py.File(path, "w") as file:
    ...     file["layers/dense/vars/0"] = np.ones((2, 3), np.float32)
    >>> {name: array.shape for name, array in read(path).items()}
    {'layers/dense/vars/0': (2, 3)}
    """
    return parsed(path, lambda data: _Parser(data).datasets(), superblock)


def superblock(block: bytes, size: int) -> None:
    """Raise unless a file of this size begins as h5py begins one; takes its first 48 bytes."""
    require(block[:8] == b"\x89HDF\r\n\x1a\n", "the file", "HDF5 from its first byte", block[:8])
    plain = block[8:16] == b"\0\0\0\0\0\x08\x08\0"
    require(plain, "superblock", "version 0 with addresses of 8 bytes, as h5py writes it", block[8:16])
    base, _, end = struct.unpack("<QQQ", block[24:48])
    require(base == 0, "superblock", "without user block", base)
    require(end == size, "the size of the file", f"{end} bytes", size)


class _Parser:
    """Reads objects of a file in memory; each at most once, so that no loop of links is followed."""

    def __init__(self, data: Array) -> None:
        data.flags.writeable = False
        self.data = data
        self.seen: set[int] = set()
        self.taken = 0  # bytes of structure so far: pieces that lie over one another would cost more than the file

    def datasets(self) -> dict[str, Array]:
        """All arrays by path."""
        require(len(self.data) >= SUPERBLOCK, "its size", f"{SUPERBLOCK} bytes or more", len(self.data))
        found: dict[str, Array] = {}
        stack = [("", self.number(64, "superblock"))]
        while stack:
            path, at = stack.pop()
            what = path[-100:] or "root group"
            messages = self.object(at, what)
            if _SYMBOLS in messages:
                require(set(messages) == {_SYMBOLS}, what, "a group or a dataset", sorted(messages))
                require(path.count("/") < MAX_DEPTH, what, f"at most {MAX_DEPTH} deep", "more")
                links = self.links(messages[_SYMBOLS], what)
                stack += [(f"{path}/{name}" if path else name, address) for name, address in links]
            else:
                found[path] = self.dataset(messages, what)
        return dict(sorted(found.items()))

    def part(self, at: int, size: int, what: str) -> bytes:
        """Bytes that lie inside of the file."""
        whole = len(self.data)
        require(at + size <= whole, what, f"inside the {whole} bytes of the file", (at, size))
        self.taken += size
        require(self.taken <= whole, what, "apart from other structure", f"{self.taken} bytes in {whole}")
        return self.data[at : at + size].tobytes()

    def number(self, at: int, what: str) -> int:
        """An address or a size."""
        return int.from_bytes(self.part(at, 8, what), "little")

    def once(self, at: int, what: str) -> None:
        """Note a piece of structure; none is read twice."""
        require(at not in self.seen, what, "no part of itself or another", f"address {at}")
        require(len(self.seen) < MAX_PIECES, "the number of pieces", f"at most {MAX_PIECES}", "more")
        self.seen.add(at)

    # -------------------------------------------------------------------------------------------------------- objects

    def messages(self, at: int, what: str) -> Iterator[tuple[int, int, bytes]]:
        """Number, flags and body of each message of the object at this address."""
        head = self.part(at, 16, f"{what}: header")
        require(head[:2] == b"\1\0", f"{what}: header", "of version 1", head[:2])
        blocks = [(at + 16, int.from_bytes(head[8:12], "little"))]
        while blocks:
            start, size = blocks.pop(0)
            self.once(start, f"{what}: header")
            block, here = self.part(start, size, f"{what}: header"), 0
            while here + 8 <= size:
                number, length, flags = struct.unpack_from("<HHB", block, here)
                body = block[here + 8 : here + 8 + length]
                require(len(body) == length, f"{what}: message {number}", "inside its header", length)
                here += 8 + length
                if number == _CONTINUATION:
                    require(length == 16, f"{what}: continuation", "of 16 bytes", length)
                    blocks.append((int.from_bytes(body[:8], "little"), int.from_bytes(body[8:], "little")))
                else:
                    yield number, flags, body

    def object(self, at: int, what: str) -> dict[int, bytes]:
        """The messages of an object that say what it is."""
        found: dict[int, bytes] = {}
        for number, flags, body in self.messages(at, what):
            if number in _PASSED:
                continue
            got = _WORDS.get(number, f"message {number}")
            require(number in _READ, what, "a plain group, or a dataset in one piece", got)
            require(not flags & 2 and number not in found, f"{what}: message {number}", "there once, not shared", flags)
            found[number] = body
        return found

    def dataset(self, messages: dict[int, bytes], what: str) -> Array:
        """View of an array that lies in one piece, uncompressed, little-endian."""
        require(set(messages) == _READ - {_SYMBOLS}, what, "a group or a dataset", sorted(messages))
        shape = _dataspace(messages[_DATASPACE], what)
        name = _TYPES.get(messages[_DATATYPE], "")
        require(name != "", f"{what}: datatype", "int, uint or float, little-endian", messages[_DATATYPE])
        layout = messages[_LAYOUT]
        whole = layout[:2] == b"\3\1" and len(layout) >= 18
        require(whole, f"{what}: layout", "contiguous (not chunked, compact or virtual)", layout[:2])
        at, size = struct.unpack_from("<QQ", layout, 2)
        dtype = np.dtype(name).newbyteorder("<")
        require(size == math.prod(shape) * dtype.itemsize, f"{what}: size", f"that of {name} {shape}", f"{size} bytes")
        require(at + size <= len(self.data), f"{what}: place", "inside the file", (at, size))
        return self.data[at : at + size].view(dtype).reshape(shape)

    # --------------------------------------------------------------------------------------------------------- groups

    def links(self, body: bytes, what: str) -> Iterator[tuple[str, int]]:
        """Name and address of everything in a group."""
        require(len(body) >= 16, f"{what}: symbol table", "of 16 bytes", len(body))
        tree, heap = struct.unpack_from("<QQ", body)
        head = self.part(heap, 32, f"{what}: heap")
        require(head[:5] == b"HEAP\0", f"{what}: heap", "of version 0", head[:5])
        size, _, start = struct.unpack_from("<QQQ", head, 8)
        names = self.part(start, size, f"{what}: heap")
        known: set[str] = set()
        for node in self.nodes(tree, what):
            for offset, address, cached in self.entries(node, what):
                name = names[offset : offset + 256].partition(b"\0")[0].decode("latin-1")
                require(bool(_NAME.fullmatch(name)) and name.isascii(), f"{what}: a name", "of ASCII, no / or .", name)
                require(name not in known and cached != 2, f"{what}: link {name}", "hard, there once", "another")
                known.add(name)
                yield name, address

    def nodes(self, root: int, what: str) -> Iterator[int]:
        """Addresses of the symbol nodes below a B-tree node."""
        todo = [root]
        while todo:
            at = todo.pop()
            self.once(at, f"{what}: B-tree")
            head = self.part(at, 24, f"{what}: B-tree")
            require(head[:5] == b"TREE\0", f"{what}: B-tree", "of a group", head[:5])
            level, count = head[5], int.from_bytes(head[6:8], "little")
            keys = self.part(at + 24, 8 + 16 * count, f"{what}: B-tree")
            below = [int.from_bytes(keys[8 + 16 * i : 16 + 16 * i], "little") for i in range(count)]
            if level:
                todo += below
            else:
                yield from below

    def entries(self, at: int, what: str) -> Iterator[tuple[int, int, int]]:
        """(place of the name, address, kind of cache) of each entry of a symbol node."""
        self.once(at, f"{what}: symbol node")
        head = self.part(at, 8, f"{what}: symbol node")
        require(head[:5] == b"SNOD\1", f"{what}: symbol node", "of version 1", head[:5])
        count = int.from_bytes(head[6:8], "little")
        body = self.part(at + 8, 40 * count, f"{what}: symbol node")
        for i in range(count):
            yield struct.unpack_from("<QQI", body, 40 * i)


def _dataspace(body: bytes, what: str) -> tuple[int, ...]:
    """The shape in a dataspace message of version 1: not empty, perhaps with maximal sizes, which do not matter."""
    rank = body[1] if len(body) > 1 else 0
    plain = body[:1] == b"\1" and rank <= MAX_RANK and len(body) >= 8 + 8 * rank
    require(plain, f"{what}: dataspace", f"of version 1, 0 to {MAX_RANK} dimensions", body[:8])
    shape: tuple[int, ...] = struct.unpack_from(f"<{rank}Q", body, 8)
    require(all(shape), f"{what}: shape", "of at least one element", shape)
    return shape
