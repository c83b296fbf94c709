"""Mechanisms that no library writes: changed bytes of the superblock, of headers, of what lies between and behind."""

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from tests.fuzz.forge import Shop
from tests.fuzz.forms import Expected, Form, edit, patched

Patch = Callable[[bytearray, Shop], bytes | bytearray | None]
NOWHERE = b"\xff" * 8


def put(data: bytearray, at: int, form: str, *values: int) -> None:
    struct.pack_into("<" + form, data, at, *values)


def layout(array: np.ndarray, data: bytes) -> tuple[int, int]:
    """Where the layout message of the dataset of this array lies, and the array."""
    at = data.index(array.tobytes())
    return data.index(b"\3\1" + struct.pack("<QQ", at, array.nbytes)), at


def root(data: bytes) -> int:
    return int(struct.unpack_from("<Q", data, 36)[0])


def _super(form: str, at: int, *values: int) -> Patch:
    return lambda data, shop: put(data, at, form, *values)


def _longer(change: Callable[[Shop], bytes], told: bool) -> Patch:
    """Something behind the end; told: the superblock says so."""

    def patch(data: bytearray, shop: Shop) -> bytearray:
        data += change(shop)
        if told:
            put(data, 28, "Q", len(data))
        return data

    return patch


def _moved(place: Callable[[bytes, Shop], int], size: int | None = None) -> Patch:
    """The weight's data elsewhere."""

    def patch(data: bytearray, shop: Shop) -> None:
        at, _ = layout(shop.base.weight, data)
        put(data, at + 2, "QQ", place(bytes(data), shop) % 2**64, shop.base.weight.nbytes if size is None else size)

    return patch


def _sized(size: Callable[[Shop], int]) -> Patch:
    def patch(data: bytearray, shop: Shop) -> None:
        put(data, layout(shop.base.weight, data)[0] + 10, "Q", size(shop) % 2**64)

    return patch


def _link(place: Callable[[bytes, Shop], int]) -> Patch:
    """The link to the weight leads elsewhere."""

    def patch(data: bytearray, shop: Shop) -> None:
        put(data, data.index(b"\1\0\6weight") + 9, "Q", place(bytes(data), shop) % 2**64)

    return patch


def _dims(*sizes: int) -> Patch:
    def patch(data: bytearray, shop: Shop) -> None:
        put(data, data.index(struct.pack("<4Q", 3, 4, 3, 4)), "4Q", *sizes)

    return patch


def _replaced(old: bytes, new: bytes) -> Patch:
    """Bytes of the weight's header."""

    def patch(data: bytearray, shop: Shop) -> None:
        start = data.rindex(b"OHDR", 0, layout(shop.base.weight, data)[0])
        at = data.index(old, start)
        data[at : at + len(old)] = new

    return patch


def _cut(data: bytearray, shop: Shop) -> bytes:
    """The first bytes, and an end of the file that fits them where the superblock is left."""
    size = shop.draw.randrange(len(data))
    if size >= 48:
        put(data, 28, "Q", size)
    return bytes(data[:size])


def _wide(_: bytearray, shop: Shop) -> bytes:
    """Old-style groups under a superblock of version 3: B-trees that can be their own siblings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "old.h5")
        with h5py.File(path, "w") as file:
            for name, array in shop.base.datasets.items():
                file[name.replace(".", "/")] = array
        old = bytearray(path.read_bytes())
    start = int.from_bytes(old[64:72], "little")
    for at in range(96, len(old) - 8, 8):
        if old[at : at + 4] == b"TREE":
            put(old, at + 8, "QQ", at, at)
    old[:48] = shop.base.data[:12] + struct.pack("<Q8sQQI", 0, NOWHERE, len(old), start, 0)
    return bytes(old)


def _flat(*files: str, **options: object) -> Form:
    """One file of several that a driver of libhdf5 writes."""

    def form(shop: Shop) -> Expected:
        with tempfile.TemporaryDirectory() as folder:
            with h5py.File(Path(folder, files[0]), "w", libver="v110", **options) as file:
                for name, array in shop.base.datasets.items():
                    file[name.replace(".", "/")] = array
            shop.write(Path(folder, files[-1]).read_bytes())
        return Expected()

    return form


def _lone(data: bytes) -> Form:
    return patched("", lambda valid, shop: data)


def _signature(data: bytes, shop: Shop) -> int:
    return data.index(shop.draw.choice([b"OHDR", b"\x89HDF", b"sha256"]))


BYTES = {
    11: ("shape bomb", {
        "size of 4 TiB": patched("size", _sized(lambda s: 1 << 42)),
        "size 0": patched("size", _sized(lambda s: 0)),
        "any size": patched("size", _sized(lambda s: s.draw.randrange(49, 2**64))),
        "shape of 2**80": patched("size", _dims(1 << 20, 1 << 60, 1 << 20, 1 << 60)),
    }),
    15: ("dimensions", {
        "that wrap": patched("size", _dims(1 << 63, 24, 1 << 63, 24)),
        "0": patched("dataspace", _dims(0, 4, 0, 4)),
        "fewer": patched("size", _dims(3, 3, 3, 3)),
        "another maximum": patched("dataspace", _dims(3, 4, 3, 5)),
        "unlimited": patched("dataspace", _dims(3, 4, 2**64 - 1, 4)),
        "rank 255": patched("dataspace", _replaced(b"\2\2\1\1", b"\2\xff\1\1")),
        "rank 1": patched("dataspace", _replaced(b"\2\2\1\1", b"\2\1\1\1")),
        "version 1": patched("dataspace", _replaced(b"\2\2\1\1", b"\1\2\1\1")),
        "null": patched("dataspace", _replaced(b"\2\2\1\1", b"\2\2\1\2")),
    }),
    19: ("big endian", {"by one bit": patched("datatype", _replaced(b"\x11\x20\x1f", b"\x11\x21\x1f"))}),
    20: ("shared message", {
        "datatype": patched("flags", _replaced(b"\3\x14\0\1\x11", b"\3\x14\0\3\x11")),
        "message unknown": patched("message", _replaced(b"\3\x14\0\1\x11", b"\x1e\x14\0\1\x11")),
        "flag of an unknown message": patched("flags", _replaced(b"\3\x14\0\1\x11", b"\3\x14\0\x81\x11")),
        "message past its block": patched("inside", _replaced(b"\3\x14\0\1\x11", b"\3\xff\xff\1\x11")),
        "dataspace twice": patched("", _replaced(b"\3\x14\0\1\x11", b"\1\x14\0\0\x11")),
        "header too long": patched("header", lambda d, s: put(d, root(d) + 6, "B", 255)),
        "header with times": patched("header", lambda d, s: put(d, root(d) + 5, "B", 0x20)),
        "header of version 1": patched("header", lambda d, s: put(d, root(d) + 4, "B", 1)),
        "layout of chunks": patched("layout", lambda d, s: put(d, layout(s.base.weight, d)[0] + 1, "B", 2)),
        "layout of version 4": patched("layout", lambda d, s: put(d, layout(s.base.weight, d)[0], "B", 4)),
        "layout virtual": patched("layout", lambda d, s: put(d, layout(s.base.weight, d)[0], "BB", 4, 3)),
        "link of another kind": patched("link", lambda d, s: put(d, d.index(b"\1\0\6weight") + 1, "B", 8)),
    }),
    25: ("user block, polyglot, trailing bytes", {
        "user block": edit("first byte", lambda f, s: None, userblock_size=512),
        "shell in front": patched("first byte", lambda d, s: b"#!/bin/sh\n" + d),
        "512 bytes in front": patched("first byte", lambda d, s: s.draw.randbytes(512) + d),
        "one byte behind": patched("size of the file", _longer(lambda s: b"\0", False)),
        "zip behind": patched("size of the file", _longer(lambda s: b"PK\5\6" + bytes(18), False)),
        "zeros inside the end": patched("gap", _longer(lambda s: bytes(8 * s.draw.randrange(1, 99)), True)),
        "garbage inside the end": patched("gap", _longer(lambda s: s.draw.randbytes(s.draw.randrange(8, 999)), True)),
        "a byte in a gap": patched("gap", lambda d, s: put(d, _gap(d, s), "B", s.draw.randrange(1, 256))),
    }),
    26: ("open for writing", {f"flags {n}": patched("superblock", _super("B", 11, n)) for n in (1, 2, 4, 5, 255)}),
    27: ("drivers", {
        "family": _flat("f%d.h5", "f0.h5", driver="family", memb_size=1 << 20),
        "split": _flat("s.h5", "s.h5-m.h5", driver="split"),
        "split, raw part": _flat("s.h5", "s.h5-r.h5", driver="split"),
    }),
    28: ("superblock", {
        "pages": edit("extension", lambda f, s: None, fs_strategy="page", fs_persist=True),
        "free space": edit("extension", lambda f, s: None, fs_strategy="fsm", fs_persist=True),
        "extension at the root": patched("extension", lambda d, s: put(d, 20, "Q", root(d))),
        "extension anywhere": patched("extension", lambda d, s: put(d, 20, "Q", s.draw.randrange(2**64 - 1))),
        "base address": patched("user block", lambda d, s: put(d, 12, "Q", s.draw.choice([1, 64, 2**63]))),
        **{f"version {n}": patched("superblock", _super("B", 8, n)) for n in (0, 1, 2, 4, 255)},
        **{f"addresses of {n} bytes": patched("superblock", _super("BB", 9, n, n)) for n in (0, 2, 4, 16, 255)},
        "root outside": patched("root", lambda d, s: put(d, 36, "Q", s.draw.choice([1 << 60, 2**64 - 1, len(d)]))),
        "root anywhere": patched("root", lambda d, s: put(d, 36, "Q", s.draw.randrange(1, root(d)))),
        "root is the superblock": patched("root", _super("Q", 36, 0)),
        "root is a dataset": patched("root", lambda d, s: put(d, 36, "Q", d.rindex(
            b"OHDR", 0, layout(s.base.weight, d)[0]))),
        "version 0": edit("superblock", lambda f, s: None, libver="earliest"),
        "creation order": edit("header", lambda f, s: None, track_order=True),
        "unaligned": edit("multiple of 8", lambda f, s: None, alignment_interval=1),
        "old groups, own siblings": patched("", _wide),
    }),
    29: ("truncation", {
        "with a right end": patched("", _cut),
        "alone": patched("size", lambda d, s: bytes(d[: s.draw.randrange(48, len(d))])),
        "to the superblock": patched("its size", lambda d, s: bytes(d[: s.draw.randrange(48)])),
        "empty": _lone(b""), "signature": _lone(b"\x89HDF\r\n\x1a\n"), "zeros": _lone(bytes(4096)),
        "text": _lone(b"not HDF5\n" * 100),
    }),
    31: ("addresses", {
        "bytes of the bias": patched("apart", _moved(lambda d, s: layout(s.base.bias, d)[1])),
        "over the superblock": patched("apart", _moved(lambda d, s: 0)),
        "over a header": patched("apart", _moved(lambda d, s: root(d))),
        "over any signature": patched("place", _moved(_signature)),
        "past the end": patched("inside", _moved(lambda d, s: (len(d) + 7) // 8 * 8)),
        "the end of the world": patched("inside", _moved(lambda d, s: -48)),
        "undefined": patched("inside", _moved(lambda d, s: -1)),
        "unaligned": patched("multiple", _moved(lambda d, s: layout(s.base.weight, d)[1] + s.draw.randrange(1, 8))),
        "anywhere": patched("place", _moved(lambda d, s: s.draw.randrange(2**64))),
        "nothing, nowhere": patched("size", _moved(lambda d, s: -1, 0)),
        "link to the root": patched("", _link(lambda d, s: root(d))),
        "link to the superblock": patched("header", _link(lambda d, s: 0)),
        "link past the end": patched("header", _link(lambda d, s: len(d))),
        "link nowhere": patched("header", _link(lambda d, s: -1)),
        "link anywhere": patched("header", _link(lambda d, s: s.draw.randrange(2**64))),
        "link to data": patched("header", _link(lambda d, s: layout(s.base.weight, d)[1])),
    }),
}  # fmt: skip


def _gap(data: bytearray, shop: Shop) -> int:
    """A byte between the architecture's text and the next object."""
    text = shop.base.datasets["documents.architecture"].tobytes()
    end = data.index(text) + len(text)
    return end if end % 8 else data.index(b"\0" * 4, 48)
