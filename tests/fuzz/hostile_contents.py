"""Mechanisms of a right structure: names, JSON, values, digests; and of paths: what is no file of ours at all."""

import json
import os
import struct
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from tests.fuzz.digests import file_digest
from tests.fuzz.forge import ZEROS, Shop, checksum
from tests.fuzz.forms import DOORS, MODEL_DOORS, Expected, Form, edit, holding
from tests.fuzz.hostile_arrays import attached

W = np.arange(12, dtype="<f4").reshape(3, 4)
Text = Callable[[str, Shop], str | bytes]


def more(about: str, name: str, array: np.ndarray = W) -> Form:
    """A dataset more, under a full name."""
    return holding(about, lambda datasets, shop: datasets.update({name: array}))


def text(name: str, about: str, change: Text) -> Form:
    """A document otherwise; doors that do not look at it find the rest as it is."""

    def form(shop: Shop) -> Expected | None:
        known = shop.base.datasets.get(f"documents.{name}")
        if known is None:
            return None
        told = change(known.tobytes().decode(), shop)
        array = np.frombuffer(told if isinstance(told, bytes) else told.encode("utf-8", "surrogatepass"), np.uint8)
        datasets = {**shop.base.datasets, f"documents.{name}": array}
        shop.forge(datasets)
        doors = MODEL_DOORS if name == "architecture" else ("inspect", "load_checkpoint")
        if change in UNKNOWN:
            doors = ("load", "load_checkpoint")
        unread = about == "Unicode" or not shop.stamped
        return Expected(about=about if shop.stamped else "") if unread else Expected(doors, about, datasets)

    return form


def _field(change: Callable[[dict[str, Any]], object]) -> Text:
    """The architecture with the node of body changed."""

    def made(told: str, shop: Shop) -> str:
        tree = json.loads(told)
        change(tree["dict"]["body"])
        return json.dumps(tree)

    return made


def _nested(opening: str, closing: str) -> Text:
    return lambda told, shop: opening * (n := shop.draw.choice([65, 1000, 60_000])) + "1" + closing * n


def _node(node: Any) -> Text:
    return lambda told, shop: json.dumps(node)


JSON = {  # about, and what becomes of the text
    "lists in lists": ("at most 64", _nested("[", "]")),
    "objects in objects": ("at most 64", _nested('{"a":', "}")),
    "an endless list": ("at most 64", lambda t, s: "[" * 60_000),
    "5000 digits": ("20 characters", lambda t, s: "[" + "9" * 5000 + "]"),
    "21 digits": ("20 characters", lambda t, s: "[" + "1" * 21 + "]"),
    "many decimals": ("64 characters", lambda t, s: "[0." + "1" * 5000 + "]"),
    "NaN": ("finite", lambda t, s: "[NaN]"),
    "Infinity": ("finite", lambda t, s: s.draw.choice(["[Infinity]", "[-Infinity]"])),
    "1e999": ("finite", lambda t, s: s.draw.choice(["[1e999]", "[-1e999]", "[1e99999999]"])),
    "a key twice": ("there once", lambda t, s: '{"a": 1, "a": 2}'),
    "a key twice, below": ("there once", lambda t, s: '[{"b": {"a": 1, "\\u0061": 2}}]'),
    "half a pair": ("surrogate", lambda t, s: '["\\ud800"]'),
    "no Unicode": ("Unicode", lambda t, s: b"\xff\xfe" + t.encode()),
    "over-long UTF-8": ("Unicode", lambda t, s: b"\xc0\xaf" + t.encode()),
    "surrogate bytes": ("Unicode", lambda t, s: '["\ud800"]'),
    "a mark in front": ("not JSON", lambda t, s: "\ufeff" + t),
    "a word behind": ("not JSON", lambda t, s: t + "x"),
    "two values": ("not JSON", lambda t, s: t + t),
    "cut": ("", lambda t, s: t[: s.draw.randrange(1, len(t))]),
    "an open string": ("closed", lambda t, s: '["' + '\\"' * 100_000),
    "many values": ("262144", lambda t, s: "[" + "0," * 300_000 + "0]"),
    "single quotes": ("not JSON", lambda t, s: "{'a': 1}"),
    "a comment": ("not JSON", lambda t, s: "//\n" + t),
    "control characters": ("not JSON", lambda t, s: '["\x00\x1b[2J"]'),
}

ARCHITECTURES = {
    "a module's function": ("function", _field(lambda n: n["fields"].update(activation={"function": "os.system"}))),
    "a builtin": ("function", _field(lambda n: n["fields"].update(activation={"function": "eval"}))),
    "a dunder": ("function", _field(lambda n: n["fields"].update(activation={"function": "__class__"}))),
    "a layer for a function": ("function", _field(lambda n: n["fields"].update(activation={"function": "Dense"}))),
    "a hostile name": ("function", _field(lambda n: n["fields"].update(activation={"function": "\x1b[2J\u202e" * 99}))),
    "a function of text": (
        "function",
        _field(lambda n: n["fields"].update(activation={"function": "leakyrelu", "keywords": {"a": "x"}})),
    ),
    "keywords unknown": (
        "function",
        _field(lambda n: n["fields"].update(activation={"function": "leakyrelu", "keywords": {"__class__": 1}})),
    ),
    "keywords no dict": (
        "function",
        _field(lambda n: n["fields"].update(activation={"function": "leakyrelu", "keywords": [1]})),
    ),
    "another layer": ("fields", _field(lambda n: n.update(layer="Conv"))),
    "a function for a layer": ("layer", _field(lambda n: n.update(layer="relu"))),
    "a layer of no text": ("layer", _field(lambda n: n.update(layer=[]))),
    "a field more": ("fields", _field(lambda n: n["fields"].update(__init__=1))),
    "a field less": ("fields", _field(lambda n: n["fields"].pop("bias"))),
    "fields no dict": ("fields", _field(lambda n: n.update(fields=[]))),
    "another shape": ("tensor", _field(lambda n: n["fields"]["weight"].update(shape=[4, 3]))),
    "another type": ("tensor", _field(lambda n: n["fields"]["weight"].update(dtype="float64"))),
    "another tensor": ("tensor", _field(lambda n: n["fields"]["weight"].update(array="../../x"))),
    "tied": ("bias", _field(lambda n: n["fields"].update(bias=n["fields"]["weight"]))),
    "nothing": ("tensors", _node(None)),
    "a number for a model": ("tensors", _node(12)),
    "an empty object": ("the model", _node({})),
    "a node of no kind": ("the model", _node({"py/object": "os.system"})),
    "a tuple of no list": ("tuple", _node({"tuple": {"a": 1}})),
    "a dict of no dict": ("dict", _node({"dict": []})),
    "another float": ("inf", _node([{"float": "1e999"}])),
    "a negative seed": ("seed", _node([{"generator": "a", "seed": -1, "counter": 0}])),
    "a generator unnamed": ("generator", _node([{"generator": 7, "seed": 1, "counter": 0}])),
}

# Names that might be a user's: inspect shows them.
UNKNOWN = [ARCHITECTURES[n][1] for n in ("a module's function", "a builtin", "a dunder", "a hostile name")]

NAMES = {
    **{repr(word): ("link name", "tensors." + word) for word in (
        "we ight", "a\\b", "a\nb", "\x1b[31m", "\u202eabc", "a\u200bb", "caf\u00e9", "\U0001f600", "a:b", "*", "~8",
        "~", "%s", "{0}", "$HOME", "-\x7f", "n" * 65, "nul\x01")},
    "60 kB": ("header", "tensors." + "n" * 60_000),
    "17 parts": ("place", "tensors" + ".d" * 17),
    "beside the two groups": ("place", "weight"),
    "in another group": ("place", "secrets.weight"),
    "a bucket without need": ("place", "tensors.~0.weight"),
    "a bucket in a bucket": ("place", "tensors.~0.~1.weight"),
}  # fmt: skip


def _dots(file: h5py.File, shop: Shop) -> None:
    """A name that h5py itself would not write: dots."""
    parent = file["tensors"].id
    h5py.h5g.create(parent, shop.draw.choice([b"...", b"..weight", b"a..b", b"\xff\xfe"]))


def _deep(levels: int) -> Form:
    return edit("", lambda f, s: s.mark(f.create_dataset("tensors/" + "d/" * levels + "x", data=W)))


def _values(change: Callable[[np.ndarray], object]) -> Form:
    """Other numbers under right digests are other content, and no attack on the reader; without, damage."""

    def form(shop: Shop) -> Expected:
        name = shop.base.path.replace("/", ".")
        changed = shop.base.weight.copy()
        change(changed)
        datasets = {**shop.base.datasets, name: changed}
        shop.forge(datasets)
        return Expected(shop_doors(shop), "", datasets) if shop.stamped else Expected(about="SHA-256 of the file")

    return form


def shop_doors(shop: Shop) -> tuple[str, ...]:
    """The doors that refuse a valid file of this kind."""
    return () if shop.base.name == "training" else ("load_checkpoint",)


def _path(make: Callable[[Shop], str], about: str = "", good: bool = False) -> Form:
    """The valid file, and another path given."""

    def form(shop: Shop) -> Expected:
        shop.write(shop.base.data)
        holds = shop.base.datasets if good else None
        return Expected(shop_doors(shop) if good else DOORS, about, holds, make(shop))

    return form


def _made(make: Callable[[str], object], about: str = "") -> Form:
    """Something else than a file."""

    def form(shop: Shop) -> Expected:
        make(str(shop.path))
        return Expected(about=about)

    return form


def _superblock(size: int) -> bytes:
    """The first bytes of a file of this size, its root right behind them."""
    head = b"\x89HDF\r\n\x1a\n\3\x08\x08\0" + struct.pack("<Q8sQQ", 0, b"\xff" * 8, size, 48)
    return head + struct.pack("<I", checksum(head))


def _sparse(size: int, head: bytes = b"") -> Callable[[str], object]:
    def make(path: str) -> None:
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(size)

    return make


def _link(shop: Shop) -> str:
    """A symbolic link to the file, which is read through."""
    os.symlink(shop.path, f"{shop.path}.link")
    return f"{shop.path}.link"


def _under(**env: str) -> Form:
    """The valid file, under environment variables that libhdf5 obeys."""

    def form(shop: Shop) -> Expected:
        shop.write(shop.base.data)
        return Expected(shop_doors(shop), "", shop.base.datasets, env=env)

    return form


def _wrong_digest(shop: Shop) -> Expected:
    """Only the digest of one array, or of the file, is another."""
    if shop.stamped:
        shop.forge(shop.base.datasets, lambda f, s: f[s.base.path].attrs.create("sha256", np.bytes_(ZEROS)))
        return Expected(about="SHA-256 of tensors")
    shop.forge(shop.base.datasets, head={"digest": shop.draw.choice([b"0", b"a", b"f"]) * 64})
    return Expected(about="SHA-256 of the file")


def _undigested(file: h5py.File, shop: Shop) -> None:
    del file[shop.base.path]
    file[shop.base.path] = shop.base.weight


def _capitals(shop: Shop) -> Expected:
    right = file_digest(shop.base.datasets) if shop.stamped else "a" * 64
    shop.forge(shop.base.datasets, head={"digest": right.upper().encode()})
    return Expected(about="SHA-256 of the file")


def _without_architecture(shop: Shop) -> Expected:
    datasets = {name: array for name, array in shop.base.datasets.items() if name != "documents.architecture"}
    shop.forge(datasets)
    return Expected(MODEL_DOORS, "documents", datasets) if shop.stamped else Expected()


def _bucketed(count: int, of: int) -> Form:
    """A crowded group, split as one of another count is; right where that is its own count."""

    def form(shop: Shop) -> Expected:
        parts = [f"t{i:03}" for i in range(count)]
        width = 64 if of > 64 else 8 if of > 8 else of
        plain, split = dict(shop.base.datasets), dict(shop.base.datasets)
        for i, part in enumerate(parts):
            plain[f"tensors.more.{part}"] = W
            inner = f"~{i // width}." if of > 8 else ""
            inner += f"~{i % 64 // 8}." if of > 64 and i < 64 else ""
            split[f"tensors.more.{inner}{part}"] = W
        shop.forge(split)
        right = shop.stamped and count == of
        reading = tuple(door for door in DOORS if not door.startswith("read"))
        return Expected(reading, "", plain) if right else Expected()

    return form


def _bool_of_two(shop: Shop) -> Expected:
    flag = {**shop.base.datasets, "tensors.flag": np.full(3, 2, "u1")}
    shop.forge(flag, lambda f, s: f["tensors/flag"].attrs.create("dtype", np.bytes_("bool")))
    return Expected(about="values")


CONTENTS = {
    0: ("digests and the head", {
        "a digest": _wrong_digest,
        "no version": edit("attribute", lambda f, s: None, head={"version": b""}),
        "later version": edit("version of the format", lambda f, s: None, head={"version": b"2"}),
        "another format": edit("attributes", lambda f, s: None, head={"format": b"keras"}),
        "format of any length": edit("attribute", lambda f, s: None, head={"format": "numbaflux"}),
        "digest no text": edit("attribute", lambda f, s: None, head={"digest": b"\xff" * 64}),
        "no digest": edit("attributes", lambda f, s: None, head={"digest": None}),
        "no digest of the weight": edit("dataset without options", _undigested),
        "digest in capitals": _capitals,
        "bool of 2": _bool_of_two,
        "a document of floats": more("documents.floats", "documents.floats", W),
        "a document of two dimensions": more("documents.table", "documents.table", np.ones((2, 2), "u1")),
        "documents too long": more("documents", "documents.long", np.full((8 << 20) + 1, 32, "u1")),
        "a name that goes on": holding("continuation", lambda d, s: d.update({"tensors.a": W, "tensors.~0.a.b": W})),
        **{f"{n} in buckets": _bucketed(n, n) for n in (9, 64, 65)},
        **{f"{n} in buckets of {k}": _bucketed(n, k) for n, k in ((9, 64), (9, 65), (64, 65), (65, 9), (8, 9))},
        "two of one name": holding("place", lambda d, s: d.update({"tensors.a.b": W, "tensors.~0.a.b": W})),
        "crowded": holding("message 2", lambda d, s: d.update({f"tensors.{i}": W for i in range(9)})),
        "no architecture": _without_architecture,
    }),
    22: ("JSON", {
        **{f"architecture: {name}": text("architecture", *one) for name, one in JSON.items()},
        **{f"metadata: {name}": text("metadata", *one) for name, one in JSON.items()},
        **{f"training: {name}": text("training", *one) for name, one in JSON.items()},
        **{f"architecture: {name}": text("architecture", *one) for name, one in ARCHITECTURES.items()},
        "metadata: no dict": text("metadata", "a dict", lambda t, s: "[1]"),
    }),
    23: ("nesting", {f"{n} groups": _deep(n) for n in (16, 31, 32, 60, 1200)}),
    24: ("names", {
        **{name: more(about, full) for name, (about, full) in NAMES.items()},
        "dots": edit("link name", _dots),
        "an attribute of 200": attached("attribute", "n" * 200, np.bytes_("x")),
    }),
    30: ("values", {
        "NaN": _values(lambda a: a.fill(np.nan)), "infinity": _values(lambda a: a.__setitem__((0, 0), np.inf)),
        "subnormal": _values(lambda a: a.fill(1e-45)), "largest": _values(lambda a: a.fill(3.4e38)),
        "one bit": _values(lambda a: a.view("u4").__setitem__((0, 0), a.view("u4")[0, 0] ^ 1)),
    }),
    32: ("special files", {
        "pipe": _made(os.mkfifo, "regular file"), "folder": _made(os.mkdir, "regular file"),
        "device": _made(lambda p: os.symlink("/dev/zero", p), "regular file"),
        "random": _made(lambda p: os.symlink("/dev/urandom", p), "regular file"),
        "terminal": _made(lambda p: os.symlink("/dev/tty", p), ""),
        "loop": _made(lambda p: os.symlink(p, p), "cannot be read"),
        "dangling": _made(lambda p: os.symlink(p + ".no", p), "cannot be read"),
        "sparse, 4 TiB": _made(_sparse(1 << 42), "its size"),
        "sparse, 3 GiB": _made(_sparse(3 << 30), "HDF5 from its first byte|does not fit in memory|its size"),
        "sparse, 3 GiB behind a superblock": _made(
            _sparse(3 << 30, _superblock(3 << 30)), "does not fit in memory|its size"),
        "nothing": _made(lambda p: None, "cannot be read"),
        "process": _made(lambda p: os.symlink("/proc/self/environ", p), "size"),
        "a link to the file": _path(_link, good=True),
    }),
    33: ("URLs and other texts for a path", {
        **{url: _path(lambda s, url=url: url + str(s.path), "path must be") for url in (
            "file://", "http://localhost:1", "https://localhost:1", "s3://bucket", "ftp://localhost:1")},
        "a zero byte": _path(lambda s: f"{s.path}\0.txt", "path must be"),
        "a folder": _path(lambda s: f"{s.folder}/", "path must be"),
        "empty": _path(lambda s: "", "path must be"),
        "half of a pair": _path(lambda s: f"{s.folder}/\ud800.h5", "path must be"),
        "too long": _path(lambda s: "n" * 5000, "cannot be read"),
        "hostile": _path(lambda s: f"{s.folder}/\x1b[2J\n{'n' * 200}", "cannot be read"),
    }),
    34: ("environment", {
        "plugins": _under(HDF5_PLUGIN_PATH="{folder}", HDF5_VOL_CONNECTOR="canary"),
        "drivers": _under(HDF5_DRIVER="split", HDF5_DRIVER_CONFIG="{folder}", HDF5_USE_FILE_LOCKING="BEST_EFFORT"),
        "prefixes": _under(HDF5_EXT_PREFIX="{folder}", HDF5_EXTFILE_PREFIX="{folder}", HDF5_VDS_PREFIX="{folder}"),
        "preload": _under(HDF5_PLUGIN_PRELOAD="{folder}/canary.bin", HDF5_DISABLE_VERSION_CHECK="2"),
    }),
}  # fmt: skip
