"""Changed copies of valid files, tried in this process: flipped bits, and mutations whose checksums, and digests, are
made right again. `python -m tests.fuzz.mutations KIND BASE FIRST LAST FOLDER` prints what came of those numbers as
JSON; each number is one file, the same at each call, so a campaign goes on where it was."""

import contextlib
import gc
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numbaflux import FileFormatError
from tests.fuzz import remembered
from tests.fuzz.digests import digest, file_digest, names
from tests.fuzz.doors import DOORS, ROOM, SECONDS, Watch
from tests.fuzz.forge import Base, base, blocks, forge, repair
from tests.fuzz.judge import dirty
from tests.fuzz.limits import confine

TOKEN = re.compile(rb'"[^"\\]*"|-?\d+(?:\.\d+)?|[\[\]{}:,]|true|false|null')
SPARE = [  # put into documents in the place of other tokens
    b"null", b"true", b"-1", b"0", b"0.5", b"1e400", b"[]", b"{}", b"[[", b"]", b"}", b":", b",", b'""', b'"x"', b'"."',
    b'"relu"', b'"Dense"', b'"Chain"', b'"tuple"', b'"dict"', b'"array"', b'"float"', b'"function"', b'"keywords"',
    b'"generator"', b'"seed"', b'"counter"', b'"layer"', b'"fields"', b'"body.weight"', b'"float32"', b'"nan"', b"NaN",
    b'"Adam"', b'"rule"', b'"../x"', b"18446744073709551616", b'"\\ud800"', b'{"tuple": []}', b'{"float": "inf"}',
]  # fmt: skip
SLACK = 200  # blanks behind each document: room for longer tokens
WHOLLY = 32  # of so many files one goes through every door by itself, whatever the first door makes of it; see wrong()


class Place(NamedTuple):
    """Where a dataset of a file lies, and its digest."""

    name: str
    at: int
    array: np.ndarray
    digest: int


class Valid(NamedTuple):
    """A file to change, with what is needed to make it right again."""

    base: Base
    data: bytes
    blocks: list[tuple[int, int]]
    places: list[Place]
    digest: int


@cache
def valid(name: str) -> Valid:
    """The base of this name, its documents with blanks behind."""
    known = base(name)
    datasets = {
        name: np.concatenate([array, np.full(SLACK, 32, np.uint8)]) if name.startswith("documents.") else array
        for name, array in known.datasets.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "valid.h5")
        forge(path, datasets)
        data = path.read_bytes()
    places = [Place(n, data.index(a.tobytes()), a, data.index(digest(a).encode())) for n, a in datasets.items()]
    whole = data.index(file_digest(datasets).encode())
    return Valid(Base(name, datasets, known.group, data), data, blocks(data), places, whole)


# ------------------------------------------------------------------------------------------------------------- changes


@cache
def _order(bits: int) -> list[int]:
    return random.Random(bits).sample(range(bits), bits)


def flip(file: Valid, number: int) -> tuple[bytes, bool]:
    """One bit of the file as it is in base(), in an order in which the first numbers are a sample of all."""
    out = bytearray(base(file.base.name).data)
    bit = _order(8 * len(out))[number]
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out), False


def mutate(file: Valid, number: int) -> tuple[bytes, bool]:
    """A mutation, and whether it has right digests of other content."""
    draw = random.Random(f"{file.base.name} {number}")
    out, stamped = bytearray(file.data), draw.random() < 0.4
    while out == file.data:
        for _ in range(draw.randint(1, 4)):
            if stamped and draw.random() < 0.7:
                draw.choice((_token, _token, _value))(out, file, draw)
            else:
                _header(out, file, draw)
        if stamped:
            _stamp(out, file)
        changed = [(first, last) for first, last in file.blocks if out[first : last + 4] != file.data[first : last + 4]]
        repair(out, changed)
    return bytes(out), stamped


def _header(out: bytearray, file: Valid, draw: random.Random) -> None:
    """One byte of a header, or a few, in a way that parsers dislike."""
    at = draw.randrange(*draw.choice(file.blocks))
    kind = draw.randrange(6)
    if kind == 0:
        out[at] = draw.randrange(256)
    elif kind == 1:
        out[at] ^= 1 << draw.randrange(8)
    elif kind == 2:
        out[at] = (out[at] + draw.choice((-1, 1))) % 256
    elif kind == 3:
        out[at] = draw.choice((0, 1, 127, 128, 255))
    else:
        start = draw.randrange(*draw.choice(file.blocks))
        size = min(draw.choice((1, 2, 4, 8) if kind == 4 else (16, 24, 40)), len(out) - max(at, start))
        out[at : at + size] = out[start : start + size]


def _token(out: bytearray, file: Valid, draw: random.Random) -> None:
    """A piece of a document's JSON in the place of another, the blanks behind taking up the difference."""
    place = draw.choice([place for place in file.places if place.name.startswith("documents.")])
    text = bytes(out[place.at : place.at + place.array.nbytes])
    found = list(TOKEN.finditer(text))
    if not found:
        return
    old = draw.choice(found)
    new = draw.choice(SPARE) if draw.random() < 0.6 else draw.choice(found)[0]
    made = (text[: old.start()] + new + text[old.end() :]).rstrip(b" ")
    if len(made) <= len(text):
        out[place.at : place.at + len(text)] = made.ljust(len(text))


def _value(out: bytearray, file: Valid, draw: random.Random) -> None:
    """A byte of an array or document."""
    place = draw.choice(file.places)
    out[place.at + draw.randrange(place.array.nbytes)] = draw.choice((0, 1, 34, 92, 127, 128, 255, draw.randrange(256)))


def _stamp(out: bytearray, file: Valid) -> None:
    """Make the digests those of the bytes that now lie there."""
    now = {}
    for name, at, array, where in file.places:
        now[name] = np.frombuffer(bytes(out[at : at + array.nbytes]), array.dtype).reshape(array.shape)
        out[where : where + 64] = digest(now[name]).encode()
    out[file.digest : file.digest + 64] = file_digest(now).encode()


KINDS: dict[str, Callable[[Valid, int], tuple[bytes, bool]]] = {"flips": flip, "mutations": mutate}

# ----------------------------------------------------------------------------------------------------------- what came


def wrong(path: Path, file: Valid, other: bool, wholly: bool = True) -> tuple[str, str]:
    """(what came of it, what is wrong with that); other: the file may hold other content under right digests. A door
    that takes too long ends the process. wholly: every door begins with the bytes; else with what the first, which does
    nothing but read, made of them."""
    try:
        with contextlib.nullcontext() if wholly else remembered.parsed():
            return _tried(path, file, other, wholly)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _tried(path: Path, file: Valid, other: bool, wholly: bool) -> tuple[str, str]:
    right = {place.name: digest(place.array) for place in file.places}
    found: Mapping[str, str] | None = None
    for name, door in DOORS.items():
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            got = door(str(path), file.base.name)
        except FileFormatError as error:
            if type(error) is not FileFormatError or dirty(str(path), str(error)):
                return "refused", f"{name}: {error!r}"
            if name == "read" and not wholly:
                return "refused", ""  # the others begin with it
            continue
        except BaseException as error:
            return "refused", f"{name}: {type(error).__name__}: {error}"
        found = got if name == "read" else found
        expected = _expected(name, found or {})
        if found is None or got != expected or not other and found != right:
            return "loaded", f"{name}: {sorted(set(got.items()) ^ set(expected.items()))[:2]}"
    return "refused" if found is None else "loaded", ""


def _expected(door: str, found: Mapping[str, str]) -> Mapping[str, str]:
    """What a door must give of what read found."""
    if door == "inspect":
        return {name: value for name, value in found.items() if name.startswith("tensors.")}
    return found if door.startswith("read") else names(found)


def campaign(kind: str, of: str, first: int, last: int, folder: Path) -> dict[str, Any]:
    """Try the files of these numbers; one with which something is wrong is kept in the folder."""
    file, path = valid(of), folder / f"{kind}-{of}-{first}.h5"
    counts = {"refused": 0, "loaded": 0}
    findings = []
    path.write_bytes(file.data)
    wrong(path, file, other=False)  # what is imported on the way is no finding below
    watch = Watch()
    with path.open("wb", buffering=0) as output:
        for number in range(first, last):
            data, other = KINDS[kind](file, number)
            os.pwrite(output.fileno(), data, 0)  # all of one size
            wholly = number % WHOLLY == 0
            fast = remembered.checksums() if kind == "mutations" and not wholly else contextlib.nullcontext()
            with fast, watch.on(str(path)):
                what, finding = wrong(path, file, other, wholly)
            if watch.seen:
                finding = finding or f"foreign read: {watch.seen[:3]}"
            if kind == "flips" and what == "loaded":
                finding = finding or "not refused"
            counts[what] += 1
            if finding:
                findings.append(f"{kind} {of} {number}: {finding}"[:300])
                shutil.copy(path, folder / f"{kind}-{of}-{number}-wrong.h5")
    path.unlink()
    return counts | {"findings": findings}


def main() -> None:
    gc.freeze()  # what was imported stays
    confine(ROOM)
    kind, of, first, last, folder = sys.argv[1:]
    print(json.dumps(campaign(kind, of, int(first), int(last), Path(folder))))


if __name__ == "__main__":
    main()
