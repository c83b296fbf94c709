"""Reading a file: each byte once, none of it believed before it is checked, whatever becomes of the file meanwhile."""

import hashlib
import os

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import hdf5
from numbaflux.digests import SPAN
from numbaflux.op import FileFormatError


def content():
    rng = np.random.default_rng(0)
    sizes = {"a.weight": SPAN + 12_345, "a.bias": 3, "b.weight": 5 * SPAN // 4, "b.flags": 9}
    tensors = {name: rng.integers(0, 256, size, dtype=np.uint8) for name, size in sizes.items()}
    return tensors | {"b.flags": tensors["b.flags"] > 100}, {"note": "x" * 70_001, "other": "y"}


@pytest.fixture
def path(tmp_path):
    hdf5.write(tmp_path / "m.h5", *content())
    return tmp_path / "m.h5"


@pytest.fixture
def reads(monkeypatch):
    """Places and sizes of all that is read."""
    found, preadv = [], os.preadv

    def reading(descriptor, buffers, at):
        count = preadv(descriptor, buffers, at)
        found.append((at, count))
        return count

    monkeypatch.setattr(os, "preadv", reading)
    return found


@pytest.fixture(params=[1, 2])
def threads(request):
    with nf.threads(min(request.param, len(os.sched_getaffinity(0)))):
        yield request.param


@pytest.mark.parametrize("known", [False, True])
def test_each_byte_is_read_once(path, reads, threads, known):
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if known else None
    file = hdf5.read(path, sha256=digest)
    at = 0
    for start, count in sorted(reads):
        assert start == at
        at += count
    assert at == path.stat().st_size
    for name, array in content()[0].items():
        assert file.tensors[name].dtype == array.dtype and np.array_equal(file.tensors[name], array)
    assert file.documents == content()[1]


def test_little_is_read_of_a_file_with_a_wrong_superblock(path, reads):
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="superblock must be intact, got 'damage'"):
        hdf5.read(path)
    assert sum(count for _, count in reads) == 48


@pytest.mark.parametrize("at_least", [1, 1000, SPAN // 8])
def test_a_file_that_is_cut_while_it_is_read(path, monkeypatch, threads, at_least):
    size, preadv = path.stat().st_size, os.preadv

    def cutting(descriptor, buffers, at):
        if len(buffers[0]) >= at_least:
            os.truncate(path, 100)
        return preadv(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", cutting)
    with pytest.raises(FileFormatError, match=f"^m.h5: its size must be {size} bytes, got [0-9]+$"):
        hdf5.read(path)


def test_short_reads_go_on(path, monkeypatch):
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: preadv(fd, [buffers[0][:99_991]], at))
    assert np.array_equal(hdf5.read(path).tensors["a.weight"], content()[0]["a.weight"])


def test_what_changes_after_it_was_read_is_not_seen(path, monkeypatch):
    """The bytes that were hashed are those that are handed out."""
    preadv = os.preadv

    def changing(descriptor, buffers, at):
        count = preadv(descriptor, buffers, at)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes(count))
        return count

    monkeypatch.setattr(os, "preadv", changing)
    file = hdf5.read(path)
    assert not any(path.read_bytes())
    assert all(np.array_equal(file.tensors[name], array) for name, array in content()[0].items())
