"""Every object of an HDF5 file in memory, by plain Python: the profile of docs/format.md, nothing else of HDF5."""

from __future__ import annotations

import math
import os
import re
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

from .op import FileFormatError

ALIGNMENT = 8  # every object starts at a multiple, so arrays can be used where they lie
MAX_DEPTH = 32  # links from the root to a dataset
MAX_ENTRIES = 8  # links or attributes of one object; with more, libhdf5 leaves the compact form
MAX_PIECES = 65_536  # blocks of headers and arrays in a file: a bound on time and memory
MAX_RANK = 8
PART = "[A-Za-z0-9_-]{1,64}"
SUPERBLOCK = 48  # bytes

_LINK_NAME = re.compile(rf"{PART}|~[0-7]")
_UNDEFINED = b"\xff" * 8
_BLOCK_LIMIT = 4096  # bytes of one block of an object header: 8 links with names of 64 characters need 700
_NIL, _DATASPACE, _DATATYPE, _LINK, _LAYOUT, _ATTRIBUTE, _CONTINUATION = 0x00, 0x01, 0x03, 0x06, 0x08, 0x0C, 0x10
_LINK_INFO, _FILL, _GROUP_INFO, _ATTRIBUTE_INFO = 0x02, 0x05, 0x0A, 0x15
_CONSTANT = {  # messages with one lawful content
    _LINK_INFO: b"\0\0" + 2 * _UNDEFINED,  # links in the header alone
    _FILL: b"\x03\x0a",  # no value
    _GROUP_INFO: b"\0\0",
    _ATTRIBUTE_INFO: b"\0\0" + 2 * _UNDEFINED,  # attributes in the header alone
}
_FLAGS = {_DATATYPE: 1, _FILL: 1, _GROUP_INFO: 1, _ATTRIBUTE_INFO: 4}  # 0 for all others
_GROUP = {_LINK_INFO, _GROUP_INFO}
_DATASET = {_DATASPACE, _DATATYPE, _FILL, _LAYOUT, _ATTRIBUTE_INFO}
_MESSAGES = _GROUP | _DATASET | {_NIL, _LINK, _ATTRIBUTE}


class Object(NamedTuple):
    """A group (messages: its own; links) or a dataset (messages) with its attributes."""

    messages: dict[int, bytes]
    links: dict[str, int]
    attributes: dict[str, str]


class Dataset(NamedTuple):
    """Where an array lies and what it is."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int
    attributes: dict[str, str]


def fail(what: str, expected: str, got: object) -> NoReturn:
    """Raise "what must be expected, got got"; got is cut and printable."""
    raise FileFormatError(f"{what} must be {expected}, got {ascii(got)[:60]}")


def require(good: bool, what: str, expected: str, got: object) -> None:
    """fail unless good."""
    if not good:
        fail(what, expected, got)


def line(path: str, error: object) -> str:
    """One printable line of at most 300 characters, the base name of path first."""
    name = os.path.basename(path)
    text = f"{name if len(name) <= 80 else name[:77] + '...'}: {error}"
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


def datatypes() -> dict[str, bytes]:
    """The bytes of every lawful datatype message, by NumPy name; bool shares that of uint8."""
    table = {}
    for size in (1, 2, 4, 8):
        for name, sign in (("int", 8), ("uint", 0)):
            table[f"{name}{8 * size}"] = struct.pack("<BBHIHH", 0x10, sign, 0, size, 0, 8 * size)
    for size, exponent, mantissa in ((2, 5, 10), (4, 8, 23), (8, 11, 52)):
        head = struct.pack("<BBHIHH", 0x11, 0x20, 8 * size - 1, size, 0, 8 * size)
        bias = 2 ** (exponent - 1) - 1
        table[f"float{8 * size}"] = head + struct.pack("<BBBBI", mantissa, exponent, 0, mantissa, bias)
    return table


_NAMES = {message: name for name, message in datatypes().items()}


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash of 2006, HDF5's checksum of its headers.

    >>> hex(lookup3(b"Four score and seven years ago"))
    '0x17770551'
    """
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask
    words = struct.unpack(f"<{(len(data) + 11) // 12 * 3}I", data + bytes(-len(data) % 12))
    for i in range(0, len(words) - 3, 3):  # sums may pass 32 bits where the next thing that looks at them does not care
        a, b, c = a + words[i], b + words[i + 1], c + words[i + 2] & mask
        a = (a - c ^ (c << 4 | c >> 28)) & mask
        c += b
        b = (b - a ^ (a << 6 | a >> 26)) & mask
        a += c
        c = (c - b ^ (b << 8 | b >> 24)) & mask
        b += a
        a = (a - c ^ (c << 16 | c >> 16)) & mask
        c += b
        b = (b - a ^ (a << 19 | a >> 13)) & mask
        a += c
        c = (c - b ^ (b << 4 | b >> 28)) & mask
        b += a
    a, b, c = a + words[-3] & mask, b + words[-2] & mask, c + words[-1] & mask
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - (b << turn & mask | b >> 32 - turn) & mask
        a, b, c = b, c, a
    return b


def superblock(block: bytes, size: int) -> int:
    """Address of the root group of a file of this size, from its first 48 bytes."""
    require(block[:8] == b"\x89HDF\r\n\x1a\n", "the file", "HDF5 from its first byte", block[:8])
    require(block[8:12] == b"\3\x08\x08\0", "superblock", "version 3, closed, as numbaflux writes it", block[8:12])
    base, extension, end, root, checksum = struct.unpack("<Q8sQQI", block[12:])
    require(lookup3(block[:44]) == checksum, "superblock", "intact", "damage")
    require(base == 0 and extension == _UNDEFINED, "superblock", "without user block and extension", (base, extension))
    require(end == size, "the size of the file", f"{end} bytes", size)
    return int(root)


def objects(data: memoryview) -> tuple[dict[str, str], set[str], dict[str, Dataset]]:
    """Attributes of the root, paths of all groups, and all datasets by path, of a file in memory."""
    parser = _Parser(data)
    groups: set[str] = set()
    datasets: dict[str, Dataset] = {}
    head: dict[str, str] = {}
    stack = [("", superblock(bytes(data[:SUPERBLOCK]), len(data)))]
    while stack:
        path, at = stack.pop()
        what = path[-100:] or "root group"
        found = parser.object(at, what)
        if _LAYOUT in found.messages and path:
            datasets[path] = parser.dataset(found, what)
            continue
        own = _GROUP if path else _GROUP | {_ATTRIBUTE_INFO}
        require(set(found.messages) == own, what, "a group without options", sorted(found.messages))
        require(not path or not found.attributes, what, "a group without attributes", sorted(found.attributes))
        require(path.count("/") < MAX_DEPTH, what, f"at most {MAX_DEPTH} deep", "more")
        head = head if path else found.attributes
        groups.add(path)
        stack += [(f"{path}/{name}", address) for name, address in found.links.items()]
    parser.gaps()
    return head, groups, datasets


def places(names: Iterable[str]) -> dict[str, str]:
    """HDF5 path of every dotted name: a group for each part; crowded groups are split into buckets ~0 to ~7."""
    tree: dict[str, Any] = {}
    for name in sorted(names):
        *parents, last = name.split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
            require(node is not None, "a name", "no continuation of another", name)
        node[last] = None
    found: dict[str, str] = {}
    stack: list[tuple[str, str, dict[str, Any] | None]] = [("", "", tree)]
    while stack:
        name, path, children = stack.pop()
        if children is None:
            found[name[1:]] = path
            continue
        items = sorted(children.items())
        step = 1
        while step * MAX_ENTRIES < len(items):
            step *= MAX_ENTRIES
        if step == 1:
            stack += [(f"{name}.{part}", f"{path}/{part}", child) for part, child in items]
        else:
            starts = range(0, len(items), step)
            stack += [(name, f"{path}/~{i // step}", dict(items[i : i + step])) for i in starts]
    return found


class _Parser:
    """Reads objects; each byte of the file belongs to one of them or to the zeros that align the next."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.starts = [0]
        self.ends = [SUPERBLOCK]

    def claim(self, at: int, size: int, what: str) -> None:
        """Take bytes that no other object has."""
        inside = at % ALIGNMENT == 0 and size > 0 and at + size <= len(self.data)
        require(inside, f"{what}: place", f"a multiple of {ALIGNMENT} inside the file", (at, size))
        require(len(self.starts) < MAX_PIECES, "the number of pieces", f"at most {MAX_PIECES}", "more")
        i = bisect_left(self.starts, at)
        apart = self.ends[i - 1] <= at and (i == len(self.starts) or at + size <= self.starts[i])
        require(apart, f"{what}: place", "apart from every other object", (at, size))
        self.starts.insert(i, at)
        self.ends.insert(i, at + size)

    def block(self, at: int, size: int, signature: bytes, what: str) -> bytes:
        """One block of an object header without its checksum, which is verified."""
        require(8 <= size <= _BLOCK_LIMIT, f"{what}: header", f"of 8 to {_BLOCK_LIMIT} bytes", size)
        self.claim(at, size, what)
        block = bytes(self.data[at : at + size])
        require(block[:4] == signature, f"{what}: header", f"marked {signature.decode()}", block[:4])
        require(lookup3(block[:-4]) == int.from_bytes(block[-4:], "little"), f"{what}: header", "intact", "damage")
        return block[:-4]

    def messages(self, at: int, what: str) -> Iterator[tuple[int, int, bytes]]:
        """Number, flags and bytes of every message of the object at this address."""
        prefix = bytes(self.data[at : at + 8])
        plain = prefix[:5] == b"OHDR\2" and len(prefix) == 8 and prefix[5] in (0, 1)
        require(plain, f"{what}: header", "of version 2 without options", prefix)
        start = 7 + prefix[5]
        size = int.from_bytes(prefix[6:start], "little")
        blocks = [self.block(at, start + size + 4, b"OHDR", what)[start:]]
        while blocks:
            block, at = blocks.pop(), 0
            while at + 4 <= len(block):
                number, size, flags = struct.unpack_from("<BHB", block, at)
                body, at = block[at + 4 : at + 4 + size], at + 4 + size
                require(at <= len(block), f"{what}: message", "inside its header", size)
                if number == _CONTINUATION:
                    require(size == 16 and flags == 0, f"{what}: continuation", "of 16 bytes", size)
                    place, length = struct.unpack("<QQ", body)
                    blocks.append(self.block(place, length, b"OCHK", what)[4:])
                else:
                    yield number, flags, body
            require(not any(block[at:]), f"{what}: end of header", "zeros", block[at:])

    def object(self, at: int, what: str) -> Object:
        """The object at this address, every message of it known and lawful."""
        found = Object({}, {}, {})
        for number, flags, body in self.messages(at, what):
            require(number in _MESSAGES, f"{what}: message", "of docs/format.md", number)
            require(flags == _FLAGS.get(number, 0), f"{what}: flags of message {number}", "plain", flags)
            if number == _LINK:
                name, address = _link(body, what)
                require(name not in found.links and len(found.links) < MAX_ENTRIES, f"{what}: link", "new", name)
                found.links[name] = address
            elif number == _ATTRIBUTE:
                name, value = _attribute(body, what)
                fresh = name not in found.attributes and len(found.attributes) < MAX_ENTRIES
                require(fresh, f"{what}: attribute", "new", name)
                found.attributes[name] = value
            elif number == _NIL:
                require(not any(body), f"{what}: padding", "zeros", body)
            else:
                require(_CONSTANT.get(number, body) == body, f"{what}: message {number}", "without options", body)
                require(number not in found.messages, f"{what}: message {number}", "there once", "twice")
                found.messages[number] = body
        return found

    def dataset(self, found: Object, what: str) -> Dataset:
        """A contiguous, unfiltered, little-endian array with bytes of its own."""
        messages = found.messages
        require(not found.links and set(messages) == _DATASET, what, "a dataset without options", sorted(messages))
        shape = _dataspace(messages[_DATASPACE], what)
        dtype = _NAMES.get(messages[_DATATYPE], "")
        require(dtype != "", f"{what}: datatype", "int, uint or float, little-endian", messages[_DATATYPE])
        layout = messages[_LAYOUT]
        require(layout[:2] == b"\3\1" and len(layout) == 18, f"{what}: layout", "contiguous", layout)
        at, size = struct.unpack_from("<QQ", layout, 2)
        declared = math.prod(shape) * messages[_DATATYPE][4]  # byte 4 of a datatype: the size of a value
        require(size == declared, f"{what}: size", f"{declared} bytes", size)
        self.claim(at, size, what)
        return Dataset(dtype, shape, at, size, found.attributes)

    def gaps(self) -> None:
        """Whatever lies between objects is the padding of the next, and zero."""
        for end, start in zip(self.ends, [*self.starts[1:], len(self.data)], strict=True):
            padding = start - end < ALIGNMENT and not any(self.data[end:start])
            require(padding, f"the gap at byte {end}", f"less than {ALIGNMENT} zeros", f"{start - end} bytes")


def _link(body: bytes, what: str) -> tuple[str, int]:
    """Name and address of a hard link."""
    name = body[3:-8]
    require(body[:3] == bytes((1, 0, len(name) & 255)), f"{what}: link", "hard, with an ASCII name", body[:4])
    text = name.decode("latin-1")
    require(bool(_LINK_NAME.fullmatch(text)), f"{what}: link name", "1 to 64 of A-Z a-z 0-9 _ -", text)
    return text, int.from_bytes(body[-8:], "little")


def _attribute(body: bytes, what: str) -> tuple[str, str]:
    """Name and text of an attribute of fixed size."""
    name, _, rest = body[9:].partition(b"\0")
    value = rest[12:]
    text = struct.pack("<BBHI", 0x13, 1, 0, len(value)) + b"\2\0\0\0"
    same = struct.pack("<BBHHHB", 3, 0, len(name) + 1, 8, 4, 0) + name + b"\0" + text + value
    plain = body == same and len(body) <= 256 and (name + value).isascii() and b"\0" not in value
    require(plain, f"{what}: attribute", "one short ASCII text of fixed size", body[:9])
    return name.decode(), value.decode()


def _dataspace(body: bytes, what: str) -> tuple[int, ...]:
    """The shape in a dataspace message: fixed, without empty dimensions."""
    rank = body[1] if len(body) > 1 else 0
    fits = rank <= MAX_RANK and len(body) == 4 + 16 * rank
    require(fits, f"{what}: dataspace", f"of 0 to {MAX_RANK} dimensions", body)
    shape = struct.unpack_from(f"<{rank}Q", body, 4)
    fixed, kind = (1, 1) if rank else (0, 0)
    same = struct.pack(f"<BBBB{2 * rank}Q", 2, rank, fixed, kind, *shape, *shape)
    require(body == same and all(shape), f"{what}: dataspace", "simple, fixed, not empty", body)
    return shape
