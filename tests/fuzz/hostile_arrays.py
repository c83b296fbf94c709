"""Rows 8 to 21 of the mechanisms: how arrays are stored, of which type, what is attached to them."""

import functools
import zlib
from collections.abc import Callable

import h5py
import numpy as np

from tests.fuzz.forge import Shop
from tests.fuzz.forms import Form, edit, instead
from tests.fuzz.hostile_links import word

F32, SHAPE = h5py.h5t.IEEE_F32LE, (3, 4)
Setup = Callable[[h5py.h5p.PropDCID], object]


def made(datatype: h5py.h5t.TypeID, setup: Setup = lambda plist: None, shape: tuple[int, ...] = SHAPE) -> object:
    """A weight of this type and shape, made after setup(creation properties), its values not written."""

    def make(group: h5py.Group, shop: Shop) -> h5py.Dataset:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_obj_track_times(False)
        setup(plist)
        h5py.h5d.create(group.id, b"weight", datatype, h5py.h5s.create_simple(shape), plist)
        return group["weight"]

    return make


def weight(change: Callable[[np.ndarray], object] = lambda array: array, **options: object) -> object:
    """The weight written again, otherwise."""
    return lambda group, shop: group.create_dataset("weight", data=change(shop.base.weight), **options)


def _filters(*codes: int, chunk: bytes | None = None) -> object:
    """A weight behind filters, perhaps with this for its one chunk."""

    def make(group: h5py.Group, shop: Shop) -> h5py.Dataset:
        def setup(plist: h5py.h5p.PropDCID) -> None:
            plist.set_chunk(SHAPE)
            for code in codes:
                plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (6,) if code == h5py.h5z.FILTER_DEFLATE else ())

        dataset = made(F32, setup)(group, shop)
        data = shop.draw.randbytes(shop.draw.randrange(1, 400)) if chunk is None else chunk
        dataset.id.write_direct_chunk((0, 0), data)
        return dataset

    return make


@functools.cache
def _bomb(megabytes: int, times: int = 1) -> bytes:
    data = zlib.compress(bytes(megabytes << 20), 9)
    return data if times == 1 else zlib.compress(data, 9)


def _declared(*sizes: int, chunks: tuple[int, ...] | None = None) -> object:
    """A dataset that claims more than it stores, under a name of its own."""
    return lambda f, s: s.mark(f.create_dataset(f"tensors/{word(s)}", sizes, "<f4", chunks=chunks))


def _many(file: h5py.File, shop: Shop) -> None:
    for i in range(64):
        group = file.require_group(f"tensors/{word(shop)}/{i % 8}")
        shop.mark(group.create_dataset(f"x{i}", (1 << 28,), "<f4"))


def _changed(change: Callable[[h5py.h5t.TypeID], object], kind: h5py.h5t.TypeID = F32) -> h5py.h5t.TypeID:
    copy = kind.copy()
    change(copy)
    return copy


def _committed(file: h5py.File, shop: Shop) -> None:
    file["documents/kind"] = np.dtype("<f4")
    del file[shop.base.path]
    shop.mark(file[shop.base.group].create_dataset("weight", SHAPE, file["documents/kind"]))


def attached(about: str, name: str, value: object, place: str = "{path}", **options: object) -> Form:
    """An attribute more."""

    def change(file: h5py.File, shop: Shop) -> None:
        where = place.format(path=shop.base.path, group=shop.base.group)
        file[where].attrs.create(name, value, **options)

    return edit(about, change)


def _crowd(count: int, size: int = 1) -> object:
    return lambda f, s: [f[s.base.path].attrs.create(f"{word(s)}{i}", np.bytes_("x" * size)) for i in range(count)]


def kept(**options: object) -> Callable[[h5py.h5p.PropDCID], object]:
    """Creation properties by the names of their setters."""
    return lambda plist: [getattr(plist, f"set_{name}")(value) for name, value in options.items()]


_SEVEN = np.array([7], "<f4")
_FILTERED = "message"  # a filter pipeline, or the fill value that chunks bring
STORAGE = {
    8: ("unknown filter", {
        **{f"{code}": instead(_FILTERED, _filters(code)) for code in (256, 305, 32015, 32026, 65535)},
        "after deflate": instead(_FILTERED, _filters(1, 32004)),
    }),
    9: ("built-in filter", {
        "deflate": instead(_FILTERED, weight(chunks=SHAPE, compression="gzip")),
        "shuffle": instead(_FILTERED, weight(chunks=SHAPE, shuffle=True)),
        "lzf": instead(_FILTERED, weight(chunks=SHAPE, compression="lzf")),
        "fletcher32": instead(_FILTERED, weight(chunks=SHAPE, fletcher32=True)),
        "scale and offset": instead(_FILTERED, weight(chunks=SHAPE, scaleoffset=4)),
        "nbit": instead(_FILTERED, _filters(5)),
        **{f"garbage behind filter {code}": instead(_FILTERED, _filters(code)) for code in (1, 2, 3, 6, 32000)},
    }),
    10: ("decompression bomb", {
        "too long a chunk": instead(_FILTERED, _filters(1, chunk=_bomb(64))),
        "two stages": instead(_FILTERED, _filters(1, 1, chunk=_bomb(64, 2))),
        "cut": instead(_FILTERED, _filters(1, chunk=_bomb(64)[:1000])),
    }),
    11: ("shape bomb", {
        "4 TiB": edit("place", _declared(1 << 20, 1 << 20)),
        "256 GiB": edit("place", _declared(1 << 36)),
        "all of 64 bits": edit("place", _declared(1 << 31, 1 << 30)),
        "never written": instead("place", made(F32)),
    }),
    12: ("many bombs", {"64 of 1 GiB": edit("message", _many),
                        "4 of 1 GiB": edit("place", lambda f, s: [_declared(1 << 28)(f, s) for _ in range(4)])}),
    13: ("chunks", {
        "one": instead(_FILTERED, weight(chunks=SHAPE)),
        "rows": instead(_FILTERED, weight(chunks=(1, 4))),
        "of 4 GiB": edit(_FILTERED, _declared(1 << 29, chunks=(1 << 29,))),
        "of one value": edit(_FILTERED, _declared(1 << 20, 1 << 20, chunks=(1, 1))),
        "that grow": instead(_FILTERED, weight(maxshape=(None, 4))),
        "that grow both ways": instead(_FILTERED, weight(maxshape=(None, None), chunks=(2, 2))),
    }),
    14: ("fill value", {
        "own": instead("message 5", made(F32, kept(fill_value=_SEVEN))),
        "own, written": instead("message 5", weight(fillvalue=7.0)),
        "early": instead("message 5", made(F32, kept(alloc_time=h5py.h5d.ALLOC_TIME_EARLY))),
        "never": instead("message 5", made(F32, kept(fill_time=h5py.h5d.FILL_TIME_NEVER))),
        "always": instead("message 5", made(F32, kept(fill_time=h5py.h5d.FILL_TIME_ALLOC))),
        "compact layout": instead("message 5", made(F32, kept(layout=h5py.h5d.COMPACT))),
    }),
    15: ("dimensions", {
        "empty": instead("dataspace", made(F32, shape=(0, 4))),
        "none": edit("dataspace", lambda f, s: s.mark(f.create_dataset(f"tensors/{word(s)}", data=h5py.Empty("<f4")))),
        "nine": instead("dataspace", made(F32, shape=(1,) * 9)),
        "thirty-two": instead("dataspace", made(F32, shape=(1,) * 32)),
        "a maximum": instead("", weight(maxshape=(3, 4))),
    }),
    16: ("variable length", {
        "text as attribute": attached("attribute", "note", "text"),
        "text of the root": attached("attribute", "note", "text", "/"),
        "text for the digest": edit("attribute", lambda f, s: f[s.base.path].attrs.create("sha256", "text")),
        "strings": instead("message 5", lambda g, s: g.create_dataset("weight", data=["a", "b"])),
        "integers": instead("message 5", lambda g, s: g.create_dataset("weight", (3,), h5py.vlen_dtype("i4"))),
        "nothing": attached("attribute", "note", h5py.Empty("f4")),
    }),
    17: ("other classes of types", {
        "compound": instead("datatype", weight(lambda a: np.zeros(3, [("a", "<f4"), ("b", "<i4")]))),
        "nested compound": instead("datatype", weight(lambda a: np.zeros(3, [("a", [("b", "<f4", (2, 2))])]))),
        "complex": instead("datatype", weight(lambda a: a.astype(np.complex64))),
        "enumeration": instead("datatype", weight(lambda a: a > 0)),
        "opaque": instead("datatype", weight(lambda a: np.array([b"1234"], "V4"))),
        "fixed strings": instead("datatype", weight(lambda a: np.array([b"abc"]))),
        "array": instead("datatype", made(h5py.h5t.array_create(F32, (2,)))),
        "array of 32 dimensions": instead("datatype", made(h5py.h5t.array_create(F32, (1,) * 32))),
        "bitfield": instead("datatype", made(h5py.h5t.STD_B32LE)),
        "time": instead("datatype", made(h5py.h5t.UNIX_D32LE)),
    }),
    18: ("wrong type", {
        "exponent bias": instead("datatype", made(_changed(lambda t: t.set_ebias(100)))),
        "precision": instead("datatype", made(_changed(lambda t: t.set_precision(20), h5py.h5t.STD_I32LE))),
        "offset": instead("datatype", made(_changed(lambda t: (t.set_precision(8), t.set_offset(4)),
                                                    h5py.h5t.STD_I32LE))),
        "size": instead("datatype", made(_changed(lambda t: t.set_size(7), h5py.h5t.STD_I32LE))),
        "no normalisation": instead("datatype", made(_changed(lambda t: t.set_norm(h5py.h5t.NORM_NONE)))),
        "padding of ones": instead("datatype", made(_changed(lambda t: t.set_pad(1, 1)))),
        "mantissa": instead("datatype", made(_changed(lambda t: t.set_fields(31, 20, 11, 0, 20)))),
        "long double": instead("datatype", weight(lambda a: a.astype(np.longdouble))),
    }),
    19: ("big endian", {
        **{kind: instead("datatype", weight(lambda a, kind=kind: a.astype(kind))) for kind in (">f4", ">f8", ">i2")},
        "VAX": instead("datatype", made(_changed(lambda t: t.set_order(h5py.h5t.ORDER_VAX)))),
    }),
    20: ("committed type", {
        "of a dataset": edit("header", _committed),
        "alone": edit("", lambda f, s: f.__setitem__(f"tensors/{word(s)}", np.dtype("<f4"))),
    }),
    21: ("attributes", {
        "nine": edit("message 21", _crowd(9)),
        "eight": edit("attribute", _crowd(7)),
        "hundreds": edit("message 21", _crowd(300)),
        "of 60 kB": edit("message|header", _crowd(1, 60_000)),
        "of 300 bytes": edit("attribute", _crowd(1, 300)),
        "a number": attached("attribute", "note", 7),
        "an array": attached("attribute", "note", np.arange(4)),
        "a text more": attached("attributes", "note", np.bytes_("x")),
        "text that is no text": attached("attribute", "note", np.bytes_(b"\xff\xfe")),
        "a hostile name": attached("attribute", "\x1b[31m\u202e", np.bytes_("x")),
        "of a group": attached("group", "note", np.bytes_("x"), "{group}"),
        "of the root": attached("attributes", "note", np.bytes_("x"), "/"),
        "floats called bool": attached("attributes", "dtype", np.bytes_("bool")),
        "in order": instead("header", weight(track_order=True)),
        "time stamps": instead("header", weight(track_times=True)),
        "a group in order": edit("header", lambda f, s: f.create_group(f"tensors/{word(s)}", track_order=True)),
        "an empty group": edit("groups", lambda f, s: f.create_group(f"tensors/{word(s)}")),
    }),
}  # fmt: skip
