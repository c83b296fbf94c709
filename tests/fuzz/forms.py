"""What a way to break a file is, and the three kinds of them: edits by h5py, other datasets, changed bytes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

from tests.fuzz.forge import Datasets, Shop, blocks, repair

DOORS = ("read", "read_known", "load", "load_into", "inspect", "load_checkpoint")
MODEL_DOORS = ("load", "inspect", "load_checkpoint")  # those that look at the architecture


class Expected(NamedTuple):
    """Which doors must refuse, with what in the message; the others must find these datasets."""

    refused: tuple[str, ...] = DOORS
    about: str = ""
    holds: Datasets | None = None
    path: str | None = None  # what the doors are given, if it is not the file's path
    env: Mapping[str, str] = {}


Form = Callable[[Shop], Expected | None]  # None: not for this base


def edit(about: str, change: Callable[[h5py.File, Shop], object], **options: object) -> Form:
    """A valid file changed by h5py, or made with other options."""

    def form(shop: Shop) -> Expected:
        shop.forge(shop.base.datasets, change, **options)
        return Expected(about=about)

    return form


def instead(about: str, make: Callable[[h5py.Group, Shop], h5py.Dataset | None]) -> Form:
    """Something else in the place of the weight; a dataset is marked with the weight's digest."""

    def change(file: h5py.File, shop: Shop) -> None:
        del file[shop.base.path]
        made = make(file[shop.base.group], shop)
        if made is not None:
            shop.mark(made)

    return edit(about, change)


def holding(about: str, change: Callable[[dict[str, np.ndarray], Shop], Any], **options: object) -> Form:
    """Other datasets, in a file of right structure."""

    def form(shop: Shop) -> Expected:
        datasets = dict(shop.base.datasets)
        change(datasets, shop)
        shop.forge(datasets, **options)
        return Expected(about=about)

    return form


def patched(about: str, change: Callable[[bytearray, Shop], bytes | bytearray | None]) -> Form:
    """Other bytes; where the file is stamped, with right checksums of the blocks that the valid file has."""

    def form(shop: Shop) -> Expected:
        data = bytearray(shop.base.data)
        made = change(data, shop)
        out = data if made is None else bytearray(made)
        if shop.stamped:
            repair(out, [(a, b) for a, b in blocks(shop.base.data) if b + 4 <= len(out)])
        shop.write(bytes(out))
        return Expected(about=about if shop.stamped else "")

    return form
