"""Files nobody should trust: each is refused by one error of one line, or holds what was written."""

import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from numbaflux.hdf5 import File, read
from numbaflux.op import FileFormatError
from tests.fuzz import forge

LONG = os.environ.get("NUMBAFLUX_LONG") == "1"
FLIPS = 3_000
MUTATIONS = 1_000_000 if LONG else 3_000


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("valid") / "valid.h5"
    forge.forge(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of few bytes: all of its bits are flipped in the long form."""
    path = tmp_path_factory.mktemp("small") / "small.h5"
    forge.forge(path, datasets={"tensors.w": forge.WEIGHT})
    read(path)
    return path.read_bytes()


def attempt(path: Path) -> File | str:
    """The content, or the message where it is refused as it must be."""
    try:
        return read(path)
    except FileFormatError as error:
        message = str(error)
        assert type(error) is FileFormatError
        assert message.startswith(f"{path.name}: ") and message.isprintable() and len(message) <= 300, message
        assert str(path.parent) not in message
        return message


def assert_refused(path: Path, about: str = "") -> None:
    message = attempt(path)
    assert isinstance(message, str) and about in message, message


def test_the_forged_file_is_valid(tmp_path, valid):
    path = tmp_path / "m.h5"
    path.write_bytes(valid)
    file = read(path)
    assert file.documents == {"architecture": forge.TEXT.tobytes().decode()}
    np.testing.assert_array_equal(file.tensors["body.weight"], forge.WEIGHT)
    np.testing.assert_array_equal(file.tensors["body.bias"], forge.BIAS)
    assert file.digest == forge.file_digest(forge.DATASETS)


@pytest.mark.parametrize("name", forge.STRUCTURES)
def test_structures_outside_the_profile(name, tmp_path):
    about, edit = forge.STRUCTURES[name]
    forge.forge(tmp_path / "m.h5", edit)
    assert_refused(tmp_path / "m.h5", about)


@pytest.mark.parametrize("name", forge.CONTENTS)
def test_names_places_and_documents(name, tmp_path):
    about, datasets = forge.CONTENTS[name]
    forge.forge(tmp_path / "m.h5", datasets=datasets)
    assert_refused(tmp_path / "m.h5", about)


@pytest.mark.parametrize("name", forge.OPTIONS)
def test_other_kinds_of_hdf5(name, tmp_path):
    about, options = forge.OPTIONS[name]
    forge.forge(tmp_path / "m.h5", **options)
    assert_refused(tmp_path / "m.h5", about)


def test_edited_bytes(tmp_path, valid):
    edits = forge.file_edits(valid) | forge.object_edits(valid)
    accepted = []
    for name, data in edits.items():
        path = tmp_path / "m.h5"
        path.write_bytes(data)
        tracemalloc.start()
        accepted += [name] if isinstance(attempt(path), File) else []
        assert tracemalloc.get_traced_memory()[1] < len(data) + (1 << 20), name
        tracemalloc.stop()
    assert accepted == []


def test_what_is_no_regular_file(tmp_path):
    for name, path in forge.special_files(tmp_path).items():
        assert isinstance(attempt(path), str), name


def test_every_truncation(tmp_path, small):
    path = tmp_path / "m.h5"
    path.write_bytes(small)
    for size in reversed(range(len(small))):
        os.truncate(path, size)
        assert_refused(path)


def flip(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def test_flipped_bits(tmp_path, valid):
    path = tmp_path / "m.h5"
    bits = random.Random(1).sample(range(8 * len(valid)), FLIPS)
    for bit in bits:
        path.write_bytes(flip(valid, bit))
        assert_refused(path)


@pytest.mark.long
def test_every_flipped_bit(tmp_path, valid):
    path = tmp_path / "m.h5"
    for bit in range(8 * len(valid)):
        path.write_bytes(flip(valid, bit))
        assert_refused(path)


def mutate(data: bytes, places: list[tuple[int, int]], draw: random.Random) -> bytes:
    """Change 1 to 4 bytes of headers, in ways parsers dislike, and repair the checksums."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(*draw.choice(places))
        kind = draw.randrange(5)
        if kind == 0:
            out[at] = draw.randrange(256)
        elif kind == 1:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            out[at] = (out[at] + draw.choice((-1, 1))) % 256
        elif kind == 3:
            out[at] = draw.choice((0, 1, 127, 128, 255))
        else:
            start = draw.randrange(*draw.choice(places))
            size = min(draw.choice((1, 2, 4, 8)), len(out) - max(at, start))
            out[at : at + size] = out[start : start + size]
    forge.repair(out, places)
    return bytes(out)


def test_mutations_with_right_checksums(tmp_path, valid):
    places = forge.blocks(valid)
    draw = random.Random(2)
    path = tmp_path / "m.h5"
    refused = 0
    for _ in range(MUTATIONS):
        data = mutate(valid, places, draw)
        path.write_bytes(data)
        file = attempt(path)
        refused += isinstance(file, str)
        if isinstance(file, File):
            assert file.documents == {"architecture": forge.TEXT.tobytes().decode()}
            assert {name: array.tolist() for name, array in file.tensors.items()} == {
                "body.weight": forge.WEIGHT.tolist(),
                "body.bias": forge.BIAS.tolist(),
            }
    assert refused > MUTATIONS // 2
