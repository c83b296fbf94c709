"""Rows 1 to 7 of the mechanisms: what leads elsewhere. Links, storage outside of the file, references."""

import string

import h5py
import numpy as np

from tests.fuzz.forge import Shop
from tests.fuzz.forms import edit, instead

# What lies beside the file, or in the system; nothing of it may be opened.
INSIDE = ("canary.h5", "canary.bin", "pipe", "missing.h5")
OUTSIDE = ("/etc/passwd", "/dev/zero", "/proc/self/environ", "/proc/self/fd/0")


def target(shop: Shop) -> str:
    """A file to be lured into, by a relative or an absolute path."""
    name = shop.draw.choice(INSIDE)
    return shop.draw.choice([name, str(shop.folder / name), f"./../{shop.folder.name}/{name}", *OUTSIDE])


def word(shop: Shop) -> str:
    return "".join(shop.draw.choices(string.ascii_lowercase, k=5))


def _far(shop: Shop) -> h5py.ExternalLink:
    return h5py.ExternalLink(target(shop), shop.draw.choice(["/", "/w", "/tensors/body/weight"]))


def _linked(file: h5py.File, shop: Shop, link: object) -> None:
    file[f"{shop.draw.choice(['tensors', 'documents', shop.base.group])}/{word(shop)}"] = link


def _placed(link: object) -> object:
    """A link in the place of the weight."""
    return lambda group, shop: group.__setitem__("weight", link(shop))


def _chain(file: h5py.File, shop: Shop) -> None:
    before, chain = shop.base.path, file["tensors"].create_group("chain")
    for i in range(40):
        if i % 8 == 0:
            here = chain.create_group(str(i))
        here[f"s{i}"] = h5py.SoftLink(f"/{before}")
        before = f"tensors/chain/{i // 8 * 8}/s{i}"


def _doubled(file: h5py.File, shop: Shop) -> None:
    """21 groups, each linked twice from the one before: 2**20 paths."""
    here = file["tensors"].create_group("d")
    for _ in range(20):
        below = here.create_group("a")
        here["b"] = below
        here = below


def _link(name: str, place: str) -> object:
    """Another name of something in the file; {group} and {path} are those of the weight."""

    def change(file: h5py.File, shop: Shop) -> None:
        known = {"group": shop.base.group, "path": shop.base.path}
        file[name.format(**known)] = file[place.format(**known)]

    return change


def _numbered(group: h5py.Group, shop: Shop) -> h5py.Dataset:
    """Any number of files, by number."""
    space = h5py.h5s.create_simple((3, 4), (h5py.h5s.UNLIMITED, 4))
    space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (3, 4), (3, 4))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(space, b"canary%b.h5", b"w", h5py.h5s.create_simple((3, 4)))
    h5py.h5d.create(group.id, b"weight", h5py.h5t.IEEE_F32LE, space, plist)
    return group["weight"]


LINKS = {
    1: ("external link", {
        "more": edit("link", lambda f, s: _linked(f, s, _far(s))),
        "for the weight": instead("link", _placed(_far)),
        "two in a row": edit("link", lambda f, s: [_linked(f, s, _far(s)) for _ in range(2)]),
        "for a document": edit("link", lambda f, s: f.__setitem__("documents/" + word(s), _far(s))),
        "at the root": edit("link", lambda f, s: f.__setitem__(word(s), _far(s))),
    }),
    2: ("external link to the file itself", {
        "the weight": instead("link", _placed(lambda s: h5py.ExternalLink(s.name, "/" + s.base.path))),
        "the bias": instead("link", _placed(lambda s: h5py.ExternalLink(str(s.path), f"/{s.base.group}/bias"))),
        "the root": edit("link", lambda f, s: _linked(f, s, h5py.ExternalLink(s.name, "/"))),
    }),
    3: ("external storage", {
        "whole": instead("message", lambda g, s: g.create_dataset("weight", (3, 4), "<f4",
                                                                   external=[(target(s), s.draw.randrange(64), 48)])),
        "two files": instead("message", lambda g, s: g.create_dataset(
            "weight", (3, 4), "<f4", external=[(target(s), 0, 24), (target(s), 0, 24)])),
        "without end": instead("message", lambda g, s: g.create_dataset(
            "weight", (3, 4), "<f4", external=[(target(s), 0, h5py.h5f.UNLIMITED)])),
        "more": edit("message", lambda f, s: s.mark(f.create_dataset(
            "tensors/" + word(s), (1 << s.draw.randrange(20),), "u1", external=[(target(s), 0, 1 << 20)]))),
    }),
    4: ("virtual dataset", {
        "of itself": instead("header", lambda g, s: _virtual(g, ".", "/" + s.base.path)),
        "of itself by name": instead("header", lambda g, s: _virtual(g, s.name, "/" + s.base.path)),
        "of another file": instead("header", lambda g, s: _virtual(g, target(s), "w")),
        "of many files": instead("header", _numbered),
        "more": edit("header", lambda f, s: s.mark(_virtual(f["tensors"], target(s), "/", word(s)))),
    }),
    5: ("soft link", {
        "more": edit("link", lambda f, s: _linked(f, s, h5py.SoftLink("/" + s.base.path))),
        "to itself": instead("link", _placed(lambda s: h5py.SoftLink("/" + s.base.path))),
        "to the other": instead("link", _placed(lambda s: h5py.SoftLink("bias"))),
        "dangling": instead("link", _placed(lambda s: h5py.SoftLink("/" + word(s)))),
        "out of the tree": instead("link", _placed(lambda s: h5py.SoftLink("../" * s.draw.randrange(9) + "etc"))),
        "chain of 40": edit("link", _chain),
        "a loop of two": edit("link", lambda f, s: [
            f.__setitem__(f"tensors/{a}", h5py.SoftLink(f"/tensors/{b}")) for a, b in ("pq", "qp")]),
    }),
    6: ("hard link", {
        "up": edit("message", _link("{group}/up", "/")),
        "in itself": edit("message", _link("{group}/self", "{group}")),
        "second name of the weight": edit("message", _link("tensors/alias", "{path}")),
        "second name beside it": edit("message", _link("{group}/tied", "{path}")),
        "second name of a group": edit("message", _link("tensors/alias", "{group}")),
        "tensors are documents": edit("message", _link("documents/alias", "tensors")),
        "2**20 paths": edit("message", _doubled),
    }),
    7: ("reference", {
        "to an object, as attribute": edit("attribute", lambda f, s: f[s.base.path].attrs.create(
            "r", f[s.base.group].ref, dtype=h5py.ref_dtype)),
        "to a region, as attribute": edit("attribute", lambda f, s: f[s.base.path].attrs.create(
            "r", f[s.base.path].regionref[:2], dtype=h5py.regionref_dtype)),
        "of a group": edit("attribute", lambda f, s: f[s.base.group].attrs.create("r", f.ref, dtype=h5py.ref_dtype)),
        "to objects, as data": instead("datatype", lambda g, s: g.create_dataset(
            "weight", data=[g.ref] * 6, dtype=h5py.ref_dtype)),
        "to regions, as data": instead("datatype", lambda g, s: g.create_dataset(
            "weight", data=[g["bias"].regionref[:1]], dtype=h5py.regionref_dtype)),
    }),
}  # fmt: skip


def _virtual(group: h5py.Group, file: str, name: str, place: str = "weight") -> h5py.Dataset:
    layout = h5py.VirtualLayout((3, 4), "<f4")
    layout[:] = h5py.VirtualSource(file, name, (3, 4))
    return group.create_virtual_dataset(place, layout, fillvalue=np.float32(7))
