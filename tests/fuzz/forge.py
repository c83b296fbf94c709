"""Files by h5py alone, with right digests, and what is needed to break them."""

import ctypes
import functools
import json
import random
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

import numbaflux as nf
from numbaflux import hdf5
from tests.fuzz.digests import MODELS, digest, file_digest

Datasets = Mapping[str, np.ndarray]
ZEROS = "0" * 64


@dataclass(frozen=True, eq=False)
class Base:
    """A valid file: what it holds by full name; group: where body.weight and body.bias lie."""

    name: str
    datasets: dict[str, np.ndarray]
    group: str
    data: bytes = b""

    @property
    def path(self) -> str:
        return f"{self.group}/weight"

    @property
    def weight(self) -> np.ndarray:
        return self.datasets[self.path.replace("/", ".")]

    @property
    def bias(self) -> np.ndarray:
        return self.datasets[f"{self.group}/bias".replace("/", ".")]

    def document(self, name: str) -> Any:
        """A document's JSON."""
        return json.loads(self.datasets[f"documents.{name}"].tobytes())

    @property
    def documents(self) -> list[str]:
        return [name.partition(".")[2] for name in self.datasets if name.startswith("documents.")]


@functools.cache
def base(name: str) -> Base:
    """The valid file of this name, its bytes as forge makes them."""
    model = MODELS[name]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "valid.h5")
        if name == "training":
            history = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
            nf.save_checkpoint(path, model, nf.setup(nf.Adam(), model), epoch=2, history=history, metadata={"by": "us"})
        else:
            nf.save(path, model, metadata={"by": "us", "numbers": [1, 2.5, None]})
        file = hdf5.read(path)
        texts = {f"documents.{n}": np.frombuffer(text.encode(), np.uint8) for n, text in file.documents.items()}
        datasets = texts | {f"tensors.{n}": np.array(array) for n, array in file.tensors.items()}
        group = "tensors/model/body" if name == "training" else "tensors/body"
        datasets[f"{group}/bias".replace("/", ".")][:] = np.linspace(-1, 1, 4)  # so that its bytes stand there once
        forge(path, datasets)
        return Base(name, datasets, group, path.read_bytes())


def forge(
    path: Path, datasets: Datasets, edit: Callable[[h5py.File], object] = lambda file: None,
    head: Mapping[str, object] | None = None, **options: object,
) -> None:  # fmt: skip
    """A file with these datasets, then edited; every digest is that of the datasets before the edit."""
    options = {"libver": "v110", "alignment_threshold": 1, "alignment_interval": 8} | options
    # Through a Python file libhdf5 puts nothing between objects but their alignment.
    with open(path, "w+b") as output, h5py.File(output, "w", **options) as file:
        attributes = {"format": b"numbaflux", "version": b"1", "digest": file_digest(datasets).encode()}
        for key, value in (attributes | dict(head or {})).items():
            if value is not None:
                file.attrs.create(key, np.bytes_(value) if isinstance(value, bytes) else value)
        for name, array in datasets.items():
            dataset = file.create_dataset(name.replace(".", "/"), data=array)
            dataset.attrs.create("sha256", np.bytes_(digest(array)))
        edit(file)


class Shop(NamedTuple):
    """Where one hostile file is made. stamped: every digest and checksum is made right again after the change."""

    base: Base
    folder: Path  # of the file, and of what it must not open
    name: str
    stamped: bool
    draw: random.Random

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def forge(self, datasets: Datasets, edit: Any = None, head: Mapping[str, object] | None = None,
              **options: object) -> None:  # fmt: skip
        """A file with these datasets, then edit(file, shop)."""
        own = {} if self.stamped else {"digest": ZEROS.encode()}
        change = (lambda file: edit(file, self)) if edit else lambda file: None
        forge(self.path, datasets, change, own | dict(head or {}), **options)

    def mark(self, dataset: h5py.Dataset, array: np.ndarray | None = None) -> None:
        """Give a dataset the digest of what it claims to hold, by default the weight."""
        right = digest(self.base.weight if array is None else array)
        dataset.attrs.create("sha256", np.bytes_(right if self.stamped else ZEROS))

    def write(self, data: bytes) -> None:
        self.path.write_bytes(data)


# ----------------------------------------------------------------------------------------------------------- checksums


def blocks(data: bytes) -> list[tuple[int, int]]:
    """First byte and place of the checksum of the superblock and of every block of an object header."""
    found = [(0, 44)]
    at = data.find(b"OHDR")
    while at >= 0:
        wide = 1 << (data[at + 5 : at + 6] + b"\0")[0] % 4
        last = at + 6 + wide + int.from_bytes(data[at + 6 : at + 6 + wide], "little")
        if last + 4 <= len(data):
            found += [(at, last), *_continuations(data, at, last)]
        at = data.find(b"OHDR", at + 4)
    return [(first, last) for first, last in found if first < last <= len(data) - 4]


def _continuations(data: bytes, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The blocks that the messages of an object header name."""
    at = first + 7 + (data[first + 5] & 1)
    while at + 4 <= last:
        number, size = data[at], int.from_bytes(data[at + 1 : at + 3], "little")
        if number == 0x10:
            place, length = struct.unpack_from("<QQ", data, at + 4)
            yield place, place + length - 4
        at += 4 + size


_LOOKUP3 = ctypes.CDLL(h5py.h5.__file__).H5_checksum_lookup3  # found in libhdf5, which that is linked to
_LOOKUP3.argtypes, _LOOKUP3.restype = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32), ctypes.c_uint32


def checksum(data: bytes) -> int:
    """A checksum of headers by libhdf5 itself."""
    return int(_LOOKUP3(data, len(data), 0))


def repair(data: bytearray, places: list[tuple[int, int]]) -> None:
    """Give every block a right checksum."""
    for first, last in places:
        data[last : last + 4] = struct.pack("<I", checksum(bytes(data[first:last])))
