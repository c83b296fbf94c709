"""Hostile HDF5 files: a valid one made by h5py alone, with right digests, and every way to break it."""

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from numbaflux.hdf5_objects import lookup3

LEAF = 65536
WEIGHT = np.arange(12, dtype="<f4").reshape(3, 4)
BIAS = np.linspace(-1, 1, 3)
TEXT = np.frombuffer(b'{"layer": "Dense"}', np.uint8)
DATASETS = {"documents.architecture": TEXT, "tensors.body.bias": BIAS, "tensors.body.weight": WEIGHT}


def digest(array: np.ndarray) -> str:
    """The digest of an array as docs/format.md words it."""
    data = array.tobytes()
    leaves = b"".join(hashlib.sha256(data[i : i + LEAF]).digest() for i in range(0, len(data), LEAF))
    return hashlib.sha256(f"{array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode() + leaves).hexdigest()


def file_digest(arrays: dict[str, np.ndarray]) -> str:
    """The digest of a file; buckets are no part of a name."""
    names = {".".join(part for part in name.split(".") if part[0] != "~"): name for name in arrays}
    lines = "".join(f"{digest(arrays[names[name]])}  {name}\n" for name in sorted(names))
    return hashlib.sha256(f"numbaflux 1\n{lines}".encode()).hexdigest()


def stamp(dataset: h5py.Dataset, array: np.ndarray | None = None) -> h5py.Dataset:
    dataset.attrs.create("sha256", np.bytes_(digest(dataset[()] if array is None else array)))
    return dataset


def add(file: h5py.File, name: str, array: np.ndarray, **options: object) -> h5py.Dataset:
    return stamp(file.create_dataset(name, data=array, **options), array)


def forge(
    path: Path,
    edit: Callable[[h5py.File], object] = lambda file: None,
    datasets: dict[str, np.ndarray] = DATASETS,
    head: dict[str, object] | None = None,
    **options: object,
) -> None:
    """A file with these datasets, then edited; every digest is that of the datasets before the edit."""
    options = {"libver": "v110", "alignment_threshold": 1, "alignment_interval": 8} | options
    # Through a Python file libhdf5 puts nothing between objects but their alignment.
    with open(path, "w+b") as output, h5py.File(output, "w", **options) as file:
        attributes = {"format": b"numbaflux", "version": b"1", "digest": file_digest(datasets).encode()}
        for key, value in (attributes | (head or {})).items():
            file.attrs.create(key, np.bytes_(value) if isinstance(value, bytes) else value)
        for name, array in datasets.items():
            add(file, name.replace(".", "/"), array)
        edit(file)


# ------------------------------------------------------------------------------------------------ edits through h5py


Edit = Callable[[h5py.File], object]
WEIGHT_PATH, GROUP = "tensors/body/weight", "tensors/body"
F32 = h5py.h5t.IEEE_F32LE


def _weight(array: np.ndarray = WEIGHT, **options: object) -> Edit:
    """Write the weight again, otherwise."""

    def edit(file: h5py.File) -> None:
        del file[WEIGHT_PATH]
        add(file, WEIGHT_PATH, array, **options)

    return edit


def _typed(datatype: h5py.h5t.TypeID, setup: Callable[[h5py.h5p.PropDCID], object] = lambda plist: None) -> Edit:
    """A weight of this type, made after setup(creation properties)."""

    def edit(file: h5py.File) -> None:
        del file[WEIGHT_PATH]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_obj_track_times(False)
        setup(plist)
        h5py.h5d.create(file[GROUP].id, b"weight", datatype, h5py.h5s.create_simple((3, 4)), plist)
        stamp(file[WEIGHT_PATH], WEIGHT)

    return edit


def _biased() -> h5py.h5t.TypeID:
    kind = F32.copy()
    kind.set_ebias(100)
    return kind


def _virtual(file: h5py.File) -> None:
    del file[WEIGHT_PATH]
    layout = h5py.VirtualLayout((3, 4), "<f4")
    layout[:] = h5py.VirtualSource(".", WEIGHT_PATH, (3, 4))
    stamp(file.create_virtual_dataset(WEIGHT_PATH, layout), WEIGHT)


def _external(file: h5py.File) -> None:
    del file[WEIGHT_PATH]
    stamp(file.create_dataset(WEIGHT_PATH, (3, 4), "<f4", external=[("/dev/zero", 0, 48)]), WEIGHT)


def _committed(file: h5py.File) -> None:
    file["documents/kind"] = np.dtype("<f4")
    del file[WEIGHT_PATH]
    stamp(file[GROUP].create_dataset("weight", (3, 4), file["documents/kind"]), WEIGHT)


def _link(name: str, target: object) -> Edit:
    return lambda file: file.__setitem__(name, file[target] if isinstance(target, str) else target)


def _mark(place: str, name: str, value: object, **options: object) -> Edit:
    return lambda file: file[place].attrs.create(name, value, **options)


# name -> what the message must speak of, and the edit
STRUCTURES: dict[str, tuple[str, Edit]] = {
    "external link": ("link", _link("tensors/far", h5py.ExternalLink("/etc/passwd", "/"))),
    "soft link": ("link", _link("tensors/soft", h5py.SoftLink("/tensors/body/weight"))),
    "dangling link": ("link", _link("tensors/soft", h5py.SoftLink("/nowhere"))),
    "cycle of groups": ("message", _link("tensors/body/up", "/")),
    "group in itself": ("message", _link("tensors/body/self", GROUP)),
    "second name of a dataset": ("message", _link("tensors/alias", WEIGHT_PATH)),
    "second name of a group": ("message", _link("tensors/alias", GROUP)),
    "virtual": ("header", _virtual),
    "external storage": ("message", _external),
    "chunked": ("message 5", _weight(chunks=(3, 4))),
    "deflate": ("message 5", _weight(chunks=(3, 4), compression="gzip")),
    "shuffle": ("message 5", _weight(chunks=(3, 4), shuffle=True)),
    "lzf": ("message 5", _weight(chunks=(3, 4), compression="lzf")),
    "fletcher32": ("message 5", _weight(chunks=(3, 4), fletcher32=True)),
    "scale and offset": ("message 5", _weight(chunks=(3, 4), scaleoffset=4)),
    "resizable": ("message 5", _weight(maxshape=(None, 4))),
    "big endian": ("datatype", _weight(WEIGHT.astype(">f4"))),
    "big endian integers": ("datatype", _weight(WEIGHT.astype(">i2"))),
    "compound": ("datatype", _weight(np.zeros(3, [("a", "<f4"), ("b", "<i4")]))),
    "complex": ("datatype", _weight(WEIGHT.astype(np.complex64))),
    "enumeration": ("datatype", _weight(np.array([True, False]))),
    "opaque": ("datatype", _weight(np.array([b"1234"], "V4"))),
    "fixed strings": ("datatype", _weight(np.array([b"abc"]))),
    "long double": ("datatype", _weight(WEIGHT.astype(np.longdouble))),
    "array type": ("datatype", _typed(h5py.h5t.array_create(F32, (2,)))),
    "wrong exponent bias": ("datatype", _typed(_biased())),
    "bitfield": ("datatype", _typed(h5py.h5t.STD_B32LE)),
    "committed datatype": ("header", _committed),
    "compact layout": ("message 5", _typed(F32, lambda p: p.set_layout(h5py.h5d.COMPACT))),
    "early allocation": ("message 5", _typed(F32, lambda p: p.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY))),
    "fill value": ("message 5", _typed(F32, lambda p: p.set_fill_value(np.array([7], "f4")))),
    "never written": ("place", _typed(F32)),
    "time stamps": ("header", _weight(track_times=True)),
    "many attributes": ("message 21", lambda f: [_mark(WEIGHT_PATH, f"a{i}", np.bytes_("x"))(f) for i in range(9)]),
    "text of any length": ("attribute", _mark(WEIGHT_PATH, "note", "text")),
    "numeric attribute": ("attribute", _mark(WEIGHT_PATH, "note", 7)),
    "array attribute": ("attribute", _mark(WEIGHT_PATH, "note", np.arange(4))),
    "extra attribute": ("attributes", _mark(WEIGHT_PATH, "note", np.bytes_("x"))),
    "attribute of a group": ("group", _mark(GROUP, "note", np.bytes_("x"))),
    "attribute of the root": ("attributes", _mark("/", "note", np.bytes_("x"))),
    "object reference": ("attribute", lambda f: _mark(WEIGHT_PATH, "r", f.ref, dtype=h5py.ref_dtype)(f)),
    "region reference": (
        "attribute",
        lambda f: _mark(WEIGHT_PATH, "r", f[WEIGHT_PATH].regionref[:2], dtype=h5py.regionref_dtype)(f),
    ),
    "references as data": (
        "datatype",
        lambda f: stamp(f.create_dataset("r", data=[f.ref], dtype=h5py.ref_dtype), BIAS),
    ),
    "strings of any length": ("message 5", lambda f: stamp(f.create_dataset("s", data=["a", "b"]), BIAS)),
    "empty group": ("groups", lambda f: f.create_group("tensors/empty")),
    "group in creation order": ("header", lambda f: f.create_group("tensors/ordered", track_order=True)),
    "empty dimension": ("dataspace", lambda f: stamp(f.create_dataset("tensors/none", (0, 4), "<f4"))),
    "no dataspace": ("dataspace", lambda f: stamp(f.create_dataset("tensors/null", data=h5py.Empty("<f4")), BIAS)),
    "float called bool": ("attributes", _mark(WEIGHT_PATH, "dtype", np.bytes_("bool"))),
    "wrong digest of an array": ("SHA-256 of tensors", _mark(WEIGHT_PATH, "sha256", np.bytes_("0" * 64))),
}

# name -> what the message must speak of, and datasets whose structure and digests are right
CONTENTS: dict[str, tuple[str, dict[str, np.ndarray]]] = {
    "unlawful name": ("link name", {"tensors.we ight": WEIGHT}),
    "hostile name": ("link name", {"tensors.\x1b[31m\n\u202e": WEIGHT}),
    "long name": ("link name", {"tensors." + "n" * 65: WEIGHT}),
    "name of 60000 bytes": ("header", {"tensors." + "n" * 60000: WEIGHT}),
    "too deep": ("deep", {"tensors" + ".d" * 40: WEIGHT}),
    "too many parts": ("place", {"tensors" + ".d" * 17: WEIGHT}),
    "dataset beside the two groups": ("place", {"weight": WEIGHT}),
    "dataset in another group": ("place", {"secrets.weight": WEIGHT}),
    "tensors is a dataset": ("place", {"tensors": WEIGHT}),
    "bucket without need": ("place", {"tensors.~0.weight": WEIGHT}),
    "two of one name": ("place", {"tensors.a.b": WEIGHT, "tensors.~0.a.b": WEIGHT}),
    "crowded group": ("message 2", {f"tensors.{i}": WEIGHT for i in range(9)}),
    "nine dimensions": ("dataspace", {"tensors.nine": np.ones((1,) * 9, "<f4")}),
    "document of two dimensions": ("documents.table", {"documents.table": np.ones((2, 2), "u1")}),
    "document of floats": ("documents.floats", {"documents.floats": BIAS}),
    "document is not Unicode": ("documents.bytes", {"documents.bytes": np.full(3, 0xFF, "u1")}),
    "documents too long": ("documents", {"documents.long": np.full((8 << 20) + 1, 32, "u1")}),
}

OPTIONS: dict[str, tuple[str, dict[str, object]]] = {
    "superblock 0": ("superblock", {"libver": "earliest"}),
    "user block": ("first byte", {"userblock_size": 512}),
    "unaligned": ("multiple of 8", {"alignment_interval": 1}),
    "pages": ("extension", {"fs_strategy": "page", "fs_persist": True}),
    "creation order": ("header", {"track_order": True}),
    "no version": ("attribute", {"head": {"version": b""}}),
    "later version": ("version of the format", {"head": {"version": b"2"}}),
    "another format": ("attributes", {"head": {"format": b"keras"}}),
    "format of any length": ("attribute", {"head": {"format": "numbaflux"}}),
    "digest is not text": ("attribute", {"head": {"digest": b"\xff" * 64}}),
    "wrong digest of the file": ("SHA-256 of the file", {"head": {"digest": b"0" * 64}}),
    "bool of 2": (
        "values",
        {
            "datasets": {"tensors.flag": np.full(3, 2, "u1")},
            "edit": _mark("tensors/flag", "dtype", np.bytes_("bool")),
        },
    ),
}


# ---------------------------------------------------------------------------------------------------- edits of bytes


def blocks(data: bytes) -> list[tuple[int, int]]:
    """First byte and place of the checksum of the superblock and of every block of an object header."""
    found = [(0, 44)]
    for at in range(48, len(data) - 8, 8):
        if data[at : at + 4] == b"OHDR":
            wide = data[at + 5] & 3
            found.append((at, at + 6 + (1 << wide) + int.from_bytes(data[at + 6 : at + 6 + (1 << wide)], "little")))
    return found


def repair(data: bytearray, places: list[tuple[int, int]]) -> None:
    """Give every block a right checksum."""
    for first, last in places:
        data[last : last + 4] = struct.pack("<I", lookup3(bytes(data[first:last])))


def patch(data: bytes, old: bytes, new: bytes, after: int = 0) -> bytes:
    """Replace one run of header bytes and repair the checksums."""
    assert len(old) == len(new)
    at = data.index(old, after)
    out = bytearray(data)
    out[at : at + len(old)] = new
    repair(out, blocks(data))
    return bytes(out)


def layout(array: np.ndarray, data: bytes) -> tuple[bytes, int]:
    """The layout message of the dataset that holds this array, and where the array lies."""
    at = data.index(array.tobytes())
    return b"\3\1" + struct.pack("<QQ", at, array.nbytes), at


def file_edits(data: bytes) -> dict[str, bytes]:
    """Broken copies of a valid file: its ends and its superblock."""
    text = data.index(TEXT.tobytes())  # 18 bytes and 6 of padding
    root = struct.unpack_from("<Q", data, 36)[0]
    return {
        "trailing byte": data + b"\0",
        "trailing bytes and a longer end": patch(data + bytes(640), data[28:36], struct.pack("<Q", len(data) + 640)),
        "zip behind": data + b"PK\5\6" + bytes(18),
        "shell in front": b"#!/bin/sh\n" + data,
        "empty": b"",
        "signature alone": data[:8],
        "zeros": bytes(4096),
        "text": b"not HDF5\n" * 100,
        "open for writing": patch(data, data[:12], data[:11] + b"\1"),
        "superblock 2": patch(data, data[:12], data[:8] + b"\2" + data[9:12]),
        "superblock 4": patch(data, data[:12], data[:8] + b"\4" + data[9:12]),
        "base address": patch(data, data[8:20], data[8:12] + struct.pack("<Q", 64)),
        "extension": patch(data, data[20:28], struct.pack("<Q", root)),
        "byte in a gap": data[: text + 20] + b"\1" + data[text + 21 :],
        "root outside": patch(data, data[36:44], struct.pack("<Q", 1 << 60)),
        "root is the superblock": patch(data, data[36:44], bytes(8)),
        "root is a dataset": patch(data, data[36:44], struct.pack("<Q", data.rindex(b"OHDR", 0, text))),
    }


def object_edits(data: bytes) -> dict[str, bytes]:
    """Broken copies of a valid file: links and datasets that no library would write."""
    weight, weight_at = layout(WEIGHT, data)
    bias, bias_at = layout(BIAS, data)
    shape = struct.pack("<QQ", 3, 4)
    link = data.index(b"\1\0\6weight")
    root = struct.unpack_from("<Q", data, 36)[0]

    def moved(at: int, size: int = 48) -> bytes:
        return patch(data, weight, b"\3\1" + struct.pack("<QQ", at, size))

    def dims(*sizes: int) -> bytes:
        return patch(data, shape + shape, struct.pack("<4Q", *sizes))

    return {
        "link to the root": patch(data, data[link + 9 : link + 17], struct.pack("<Q", root), link),
        "link to the superblock": patch(data, data[link + 9 : link + 17], bytes(8), link),
        "link past the end": patch(data, data[link + 9 : link + 17], struct.pack("<Q", len(data)), link),
        "link nowhere": patch(data, data[link + 9 : link + 17], b"\xff" * 8, link),
        "two datasets, the same bytes": moved(bias_at, 48),
        "data over the superblock": moved(0),
        "data over a header": moved(root),
        "data past the end": moved((len(data) + 7) // 8 * 8),
        "data at the end of the world": moved(2**64 - 48),
        "data without alignment": moved(weight_at + 1),
        "data undefined": moved(2**64 - 1),
        "layout of chunks": patch(data, weight, b"\3\2" + weight[2:]),
        "shared datatype": patch(data, b"\3\x14\0\1\x11\x20\x1f", b"\3\x14\0\3\x11\x20\x1f"),
        "layout of version 4": patch(data, weight, b"\4\1" + weight[2:]),
        "size 0": moved(weight_at, 0),
        "size of 4 TiB": moved(weight_at, 1 << 42),
        "shape of 4 TiB": dims(1 << 20, 1 << 20, 1 << 20, 1 << 20),
        "shape that wraps": dims(1 << 63, 24, 1 << 63, 24),
        "shape 0": dims(0, 4, 0, 4),
        "smaller shape": dims(3, 3, 3, 3),
        "other maximum": dims(3, 4, 3, 5),
        "unlimited": dims(3, 4, 2**64 - 1, 4),
    }


def special_files(folder: Path) -> dict[str, Path]:
    """Paths that are no regular file."""
    os.mkfifo(folder / "pipe.h5")
    (folder / "folder.h5").mkdir()
    (folder / "zero.h5").symlink_to("/dev/zero")
    (folder / "loop.h5").symlink_to(folder / "loop.h5")
    with open(folder / "sparse.h5", "wb") as file:
        file.truncate(1 << 36)
    names = ("pipe.h5", "folder.h5", "zero.h5", "loop.h5", "sparse.h5", "missing.h5", "no/such/folder.h5")
    return {name: folder / name for name in names}
