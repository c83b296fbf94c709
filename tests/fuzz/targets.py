"""Targets of atheris, which follows the branches it has seen: `python -m tests.fuzz.targets NAME SECONDS FOLDER`.

Whatever bytes come: an error of numbaflux of one printable line, or an answer. The corpus lies in FOLDER/NAME, and an
input that breaks this beside it, so that a later run goes on from what an earlier one found."""

import gzip
import io
import random
import struct
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import atheris
import h5py
import numpy as np

MODULES = [
    *(f"numbaflux.{name}" for name in (
        "adopt", "checkpoint", "contents", "hdf5", "hdf5_classic", "hdf5_json", "hdf5_objects", "resume", "saved_rules",
        "convert.sources", "zoo.card", "zoo.index",
    )),
    *(f"numbaflux.data.readers.{name}_file" for name in ("csv", "hdf5", "idx", "npy", "wav")),
    "numbaflux.data.readers.image_files",
]  # fmt: skip

with atheris.instrument_imports(include=MODULES):
    import numbaflux as nf
    from numbaflux import hdf5, hdf5_classic
    from numbaflux.convert import sources
    from numbaflux.data.readers import READERS
    from numbaflux.hdf5_json import parse_json
    from numbaflux.zoo import index
    from tests.fuzz.forge import base, blocks, repair
    from tests.fuzz.limits import confine

LONGEST = 1 << 15  # bytes of an input
MEMORY = 2 << 30  # bytes more


class Target(NamedTuple):
    """What is run on bytes (a file's path where suffix is one), and what it begins with."""

    run: Callable[[Any], object]
    seeds: Callable[[], list[bytes]]
    suffix: str = ""
    repaired: bool = False


def _documents(data: bytes) -> None:
    """Every door on a file of right structure, whose documents are the three parts of the input."""
    texts = data.decode("utf-8", "replace").split("\n@\n")
    documents = {
        name: text for name, text in zip(("architecture", "metadata", "training"), texts, strict=False) if text
    }
    tensors = {name[8:]: array for name, array in base("training").datasets.items() if name.startswith("tensors.")}
    if "training" not in documents:
        tensors = {name[6:]: array for name, array in tensors.items() if name.startswith("model.")}
    digests = {f"tensors.{name}": "0" * 64 for name in tensors}
    before, hdf5.read = hdf5.read, lambda path, *_: hdf5.File(tensors, documents, 1, "0" * 64, digests)
    try:
        for door in (nf.load, nf.inspect, nf.load_checkpoint):
            answered(door, "m.h5")
    finally:
        hdf5.read = before


def _documents_seeds() -> list[bytes]:
    found = []
    for of in ("model", "training"):
        known = base(of)
        names = [n for n in ("architecture", "metadata", "training") if n in known.documents]
        found.append(b"\n@\n".join(known.datasets[f"documents.{name}"].tobytes() for name in names))
    return found


def _doors(path: str) -> None:
    hdf5.read(path)  # as the others begin
    for door in (nf.load, nf.inspect):
        answered(door, path)


def _own() -> list[bytes]:
    return [base(of).data for of in ("model", "training")]


def _classic() -> list[bytes]:
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = np.ones((2, 3), "f4"), np.ones(3)
    return [held.getvalue()]


def _safetensors() -> list[bytes]:
    head = b'{"weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"__metadata__":{"by":"us"}}'
    return [struct.pack("<Q", len(head)) + head + bytes(24)]


def _array(save: Callable[..., None], *given: object, **named: object) -> list[bytes]:
    held = io.BytesIO()
    save(held, *given, **named)
    return [held.getvalue()]


def _wav() -> list[bytes]:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(64))
    return [held.getvalue()]


def _idx() -> list[bytes]:
    data = b"\0\0\x08\2" + struct.pack(">II", 2, 3) + bytes(6)
    return [data, gzip.compress(data, mtime=0), b"\0\0\x0d\1" + struct.pack(">I", 2) + bytes(8)]


def _image() -> list[bytes]:
    import PIL.Image

    made = PIL.Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    return [data for kind in ("png", "jpeg") for data in _array(made.save, format=kind)]


def _index() -> list[bytes]:
    card = {"summary": "x", "data": "none", "metrics": {"accuracy": 0.5}, "licence": "MIT"}
    files = {"model.h5": index.Stored(9, "0" * 64), "card.md": index.Stored(1, "a" * 64)}
    times = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
    entries = [index.Entry("a-model", version, files, "0" * 64, card, *times) for version in ("1.0.0", "1.0.1")]
    found = [index.render(()), index.render(entries)]
    assert len(index.parse(found[1])) == 2
    return found


_DATA: dict[str, Callable[[], list[bytes]]] = {
    "csv": lambda: [b"a,b\n1,2.5\n3,-4e-5\n", b'"1",2\r\n3,"4"\r\n'], "hdf5": _own, "idx": _idx, "image": _image,
    "npy": lambda: _array(np.save, np.ones((2, 3))), "wav": _wav,
    "npz": lambda: _array(np.savez_compressed, a=np.ones(3), b=np.arange(4)),
}  # fmt: skip

TARGETS: dict[str, Target] = {
    "reader": Target(_doors, _own, ".h5", repaired=True),
    "documents": Target(_documents, _documents_seeds),
    "json": Target(lambda data: parse_json(data.decode("utf-8", "replace")), lambda: [b'{"a": [1, "\\u00e9"]}']),
    "classic": Target(hdf5_classic.read, _classic, ".h5"),
    "safetensors": Target(sources.source, _safetensors, ".safetensors"),
    "zoo": Target(index.parse, _index),
    **{f"data-{name}": Target(READERS[name], _DATA[name], f".{name}", name == "hdf5") for name in READERS},
}  # fmt: skip


def answered(run: Callable[[Any], object], given: object) -> None:
    """Run it; the errors it may raise are those of numbaflux, of one clean line."""
    try:
        run(given)
    except nf.Error as error:
        assert str(error).isprintable() and len(str(error)) <= 600, repr(str(error))


def _repaired(data: bytes, size: int, seed: int) -> bytes:
    """Any mutation, three times of four with right checksums."""
    out = bytearray(atheris.Mutate(data, size))
    if random.Random(seed).random() < 0.75:
        repair(out, blocks(bytes(out)))
    return bytes(out)


def main(name: str, seconds: str, folder: str) -> None:
    """Run one target for so long."""
    target, corpus = TARGETS[name], Path(folder, name)
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(target.seeds()):
        (corpus / f"seed-{i}").write_bytes(seed)
    path = Path(folder, f"{name}{target.suffix}")

    def one(data: bytes) -> None:
        if target.suffix:
            path.write_bytes(data)
        answered(target.run, str(path) if target.suffix else data)

    confine(MEMORY)
    # rss_limit_mb=0: what it looks at begins with the most that the process had which started this one
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=30", "-rss_limit_mb=0", "-verbosity=0",
               "-print_final_stats=1", f"-artifact_prefix={folder}/{name}-", str(corpus)]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], one, **({"custom_mutator": _repaired} if target.repaired else {}))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
