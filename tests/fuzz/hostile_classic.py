"""Hostile files for the reader of what h5py writes unless told otherwise (numbaflux/hdf5_classic.py)."""

import io
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from tests.fuzz.digests import digest
from tests.fuzz.hostile import Variant
from tests.fuzz.hostile_arrays import made
from tests.fuzz.hostile_bytes import put

ARRAYS = {"g/w": np.arange(12, dtype="<f4").reshape(3, 4), "g/b": np.linspace(-1, 1, 4), "x": np.float64(7.5)}
Fill = Callable[[h5py.File], object]


def _file(fill: Fill = lambda file: None, **options: object) -> bytes:
    held = io.BytesIO()
    with h5py.File(held, "w", **options) as file:
        for name, array in ARRAYS.items():
            file[name] = array
        fill(file)
    return held.getvalue()


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("canary.h5", "w", (3,))
    file.create_virtual_dataset("v", layout)


def _named(name: bytes) -> Fill:
    return lambda f: h5py.h5g.create(f.id, name)


# about -> what is done to a file
FILLS: dict[str, tuple[str, Fill]] = {
    "chunked": ("contiguous", lambda f: f.create_dataset("y", data=np.ones(9), chunks=(3,))),
    "compressed": ("filter", lambda f: f.create_dataset("y", data=np.ones(9), compression="gzip")),
    "virtual": ("", _virtual),
    "compact": ("contiguous", lambda f: made(h5py.h5t.IEEE_F32LE, lambda p: p.set_layout(h5py.h5d.COMPACT))(f, None)),
    "soft link": ("hard", lambda f: f.__setitem__("y", h5py.SoftLink("/x"))),
    "external link": ("", lambda f: f.__setitem__("y", h5py.ExternalLink("/etc/passwd", "/"))),
    "external storage": ("external", lambda f: f.create_dataset("y", (3,), "f4", external=[("/dev/zero", 0, 12)])),
    "text": ("datatype", lambda f: f.__setitem__("y", "text")),
    "big endian": ("datatype", lambda f: f.__setitem__("y", np.ones(3, ">f4"))),
    "compound": ("datatype", lambda f: f.__setitem__("y", np.zeros(3, [("a", "<f4")]))),
    "reference": ("datatype", lambda f: f.create_dataset("y", data=[f.ref], dtype=h5py.ref_dtype)),
    "committed": ("", lambda f: f.__setitem__("y", np.dtype("f4"))),
    "of a committed type": ("", lambda f: (f.__setitem__("t", np.dtype("f4")), f.create_dataset("y", (3,), f["t"]))),
    "empty": ("element", lambda f: f.__setitem__("y", np.ones((2, 0)))),
    "null": ("", lambda f: f.__setitem__("y", h5py.Empty("f4"))),
    "never written": ("inside", lambda f: f.create_dataset("y", (1 << 40,), "f4")),
    "nine dimensions": ("dataspace", lambda f: f.__setitem__("y", np.ones((1,) * 9))),
    "two names": ("itself", lambda f: f.__setitem__("y", f["x"])),
    "a loop": ("itself", lambda f: f.__setitem__("g/y", f["/"])),
    "deep": ("deep", lambda f: f.create_group("/".join("d" * 40))),
    "a point": ("name", _named(b"a.b")),
    "no ASCII": ("name", _named("\u00e9".encode())),
    "a long name": ("name", _named(b"n" * 300)),
    "new groups": ("version 1", lambda f: f.create_group("y", track_order=True)),
}


def _changed(at: int, form: str, *values: int) -> bytes:
    out = bytearray(_file())
    put(out, at, form, *values)
    return bytes(out)


def _found(mark: bytes, behind: int, form: str, *values: int) -> bytes:
    return _changed(_file().index(mark) + behind, form, *values)


def _edits() -> dict[str, tuple[str, bytes]]:
    """Bytes that no library writes, what a message must speak of."""
    data = _file()
    root = struct.unpack_from("<Q", data, 64)[0]
    layout = data.index(b"\3\1" + struct.pack("<QQ", data.index(ARRAYS["g/w"].tobytes()), 48))
    node = data.index(b"SNOD")
    return {
        "short": ("its size|the size", data[:90] + bytes(0)),
        "a superblock of 48 bytes": ("its size", _shortened(data)),
        "cut": ("size", data[: len(data) // 2]), "longer": ("size", data + b"\0"),
        "another mark": ("first byte", b"x" + data[1:]), "version": ("version 0", _changed(8, "B", 2)),
        "base": ("user block", _changed(24, "Q", 8)), "root outside": ("inside", _changed(64, "Q", 1 << 60)),
        "root nowhere": ("inside", _changed(64, "Q", 2**64 - 1)),
        "root is data": ("version 1", _changed(64, "Q", 96 + 1)),
        "header version": ("version 1", _changed(root, "B", 2)),
        "header size": ("inside", _changed(root + 8, "I", 2**32 - 1)),
        "header empty": ("", _changed(root + 8, "I", 0)),
        "message size": ("inside its header", _changed(root + 18, "H", 9999)),
        "message unknown": ("plain group", _changed(root + 16, "H", 99)),
        "message shared": ("not shared", _changed(root + 20, "B", 2)),
        "symbol table short": ("", _changed(root + 18, "H", 8)),
        "continuation": ("16 bytes", _changed(root + 16, "HH", 0x10, 8)),
        "heap": ("heap", _found(b"HEAP", 4, "B", 9)), "heap size": ("heap", _found(b"HEAP", 8, "Q", 1 << 50)),
        "heap place": ("heap", _found(b"HEAP", 24, "Q", 1 << 50)), "tree": ("B-tree", _found(b"TREE", 4, "B", 1)),
        "tree count": ("B-tree", _found(b"TREE", 6, "H", 0xFFFF)), "tree level": ("B-tree", _found(b"TREE", 5, "B", 1)),
        "tree itself": ("itself", _looped(data.index(b"TREE"))),
        "node": ("symbol node", _found(b"SNOD", 4, "B", 2)),
        "node count": ("symbol node", _found(b"SNOD", 6, "H", 9999)),
        "one name twice": ("there once", _found(b"SNOD", 48, "Q", *struct.unpack_from("<Q", data, node + 8))),
        "soft": ("hard", _found(b"SNOD", 8 + 16, "I", 2)),
        "layout size": ("size", _changed(layout + 10, "Q", 47)),
        "layout place": ("inside", _changed(layout + 2, "Q", len(data))),
        "layout version": ("contiguous", _changed(layout, "B", 4)),
    }  # fmt: skip


def _looped(tree: int) -> bytes:
    """A B-tree of two levels whose first branch is itself."""
    out = bytearray(_changed(tree + 5, "B", 1))
    put(out, tree + 32, "Q", tree)
    return bytes(out)


def _shortened(data: bytes) -> bytes:
    out = bytearray(data[:60])
    put(out, 40, "Q", 60)
    return bytes(out)


def variants(folder: Path) -> Iterator[Variant]:
    """The valid file, and every form."""
    right = {name: digest(np.asarray(array)) for name, array in ARRAYS.items()}
    forms = {name: (about, _file(fill)) for name, (about, fill) in FILLS.items()} | _edits()
    forms |= {
        "another superblock": ("version 0", _file(libver="latest")),
        "user block": ("first", _file(userblock_size=512)),
    }
    (folder / "classic.h5").write_bytes(_file())
    yield Variant(0, "as it is", "model", True, str(folder / "classic.h5"), [], "", right, {})
    for name, (about, data) in forms.items():
        path = folder / f"{re.sub('[^a-z0-9]', '-', name)}.h5"
        path.write_bytes(data)
        yield Variant(0, name, "model", True, str(path), ["classic"], about, {}, {})
