"""Hostile files: every mechanism by which HDF5 files have crashed readers, filled memory, hung, or read other files.

The numbers of the rows are those of the table in docs/security.md; row 0 is the format's own digests and head.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from tests.fuzz.digests import digest
from tests.fuzz.forge import Shop, base
from tests.fuzz.forms import Form
from tests.fuzz.hostile_arrays import STORAGE
from tests.fuzz.hostile_bytes import BYTES
from tests.fuzz.hostile_contents import CONTENTS, shop_doors
from tests.fuzz.hostile_links import LINKS

BASES = ("model", "training", "large")


def _joined() -> dict[int, tuple[str, dict[str, Form]]]:
    rows: dict[int, tuple[str, dict[str, Form]]] = {}
    for table in (LINKS, STORAGE, BYTES, CONTENTS):
        for row, (name, forms) in table.items():
            known = rows.setdefault(row, (name, {}))[1]
            assert not set(known) & set(forms), set(known) & set(forms)
            known.update(forms)
    return dict(sorted(rows.items()))


MECHANISMS = _joined()  # row -> its name, and the forms it comes in


class Variant(NamedTuple):
    """A file and what must come of it. holds: digests of the datasets that doors not in refused must find."""

    row: int
    name: str
    base: str
    stamped: bool
    path: str
    refused: list[str]
    about: str
    holds: dict[str, str]
    env: dict[str, str]


def lay_canaries(folder: Path) -> None:
    """What a file may try to open."""
    with h5py.File(folder / "canary.h5", "w") as file:
        file["w"] = np.full((3, 4), 66, "<f4")
    (folder / "canary.bin").write_bytes(b"BBBB" * 64)
    os.mkfifo(folder / "pipe")


def _told(row: int, label: str, shop: Shop, form: Form) -> Variant | None:
    """One variant, made; None where the form is not for this base."""
    got = form(shop)
    if got is None:
        return None
    holds = {name: digest(array) for name, array in (got.holds or {}).items()}
    env = {name: value.format(folder=shop.folder) for name, value in got.env.items()}
    path = str(shop.path) if got.path is None else got.path
    return Variant(row, label, shop.base.name, shop.stamped, path, list(got.refused), got.about, holds, env)


def _mark(path: Path) -> str:
    """What makes a file the same as another."""
    plain = path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 30
    return hashlib.sha256(path.read_bytes()).hexdigest() if plain else str(path)


def variants(folder: Path, of: str, draws: int = 1, seed: int = 0, rows: tuple[int, ...] = ()) -> Iterator[Variant]:
    """Every form of every mechanism on one base, stamped and not, with so many draws of its numbers; no file twice."""
    valid = base(of)
    known: set[object] = set()
    (folder / f"{of}.h5").write_bytes(valid.data)
    right = {name: digest(array) for name, array in valid.datasets.items()}
    good = Shop(valid, folder, "", True, random.Random())
    yield Variant(0, "as it is", of, True, str(folder / f"{of}.h5"), list(shop_doors(good)), "", right, {})
    for row in rows or MECHANISMS:
        for label, form in MECHANISMS[row][1].items():
            for k in range(2 * draws):
                name = f"{of}-{row}-{len(known)}-{k}.h5"
                shop = Shop(valid, folder, name, k % 2 == 0, random.Random(f"{seed} {of} {row} {label} {k}"))
                made = _told(row, label, shop, form)
                mark = (_mark(shop.path), made.path.removesuffix(name) if made else "", str(made and made.env))
                if made and mark not in known:
                    known.add(mark)
                    yield made
                elif shop.path.is_file():
                    shop.path.unlink()
