"""Every reader alike: valid files against other libraries, doors that are shut, files damaged at random."""

import os
import random
import re
import socket
from pathlib import Path

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.data import READERS
from numbaflux.op import DTypeError, FileFormatError
from tests.data.readers.files import ORACLES, plain, same, valid

each = pytest.mark.parametrize("name", sorted(READERS))
MUTANTS = 400


@pytest.fixture(scope="module")
def samples():
    return valid()


@pytest.fixture
def file(samples, name, tmp_path):
    """A valid file of the reader called name, below a root."""
    path = tmp_path / "root" / "in" / "sample"
    path.parent.mkdir(parents=True)
    path.write_bytes(samples[name])
    return path


def message(name, *args, **options):
    """The one printable line that a reader refuses with."""
    with pytest.raises(FileFormatError) as info:
        READERS[name](*args, **options)
    text = str(info.value)
    assert text.isprintable() and len(text) <= 300
    assert info.value.__suppress_context__ or info.value.__context__ is None  # no words of other libraries
    return text


def test_every_reader_has_an_oracle_and_is_public():
    assert ORACLES.keys() == READERS.keys()
    assert all(getattr(nf.data, name) is reader for name, reader in READERS.items())


@each
def test_a_valid_file_is_read(name, file):
    assert same(plain(READERS[name](file)), ORACLES[name](file))
    assert same(plain(READERS[name](str(file))), ORACLES[name](file))


@each
def test_below_a_root_by_a_relative_path(name, file):
    root = file.parent.parent
    assert same(plain(READERS[name]("in/sample", root=root)), ORACLES[name](file))
    assert same(plain(READERS[name](Path("in") / "sample", root=str(root))), ORACLES[name](file))


@each
@pytest.mark.parametrize("path", ["../root/in/sample", "in/../in/sample", "/etc/hostname", "..", ".", "in/.."])
def test_no_way_out_of_a_root(name, file, path):
    assert "the path must be relative to its root, without .." in message(name, path, root=file.parent.parent)


@each
def test_no_links_below_a_root(name, file, tmp_path):
    root = file.parent.parent
    (root / "link").symlink_to("in/sample")
    (root / "folder").symlink_to("in")
    os.link(file, root / "twin")
    words = "the path must be of folders and a file, none a symbolic link, got"
    assert f"{words} 'link'" in message(name, "link", root=root)
    assert f"{words} 'folder'" in message(name, "folder/sample", root=root)
    assert "a file of one name below its root, got '2 hard links'" in message(name, "twin", root=root)
    assert same(plain(READERS[name](root / "link")), ORACLES[name](file))  # a path of the user's own may be one
    (tmp_path / "way").symlink_to(root)
    os.remove(root / "twin")
    assert same(plain(READERS[name]("in/sample", root=tmp_path / "way")), ORACLES[name](file))


@each
def test_what_is_no_file(name, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # nobody writes: opening it the usual way would wait forever
    assert message(name, tmp_path / "pipe") == "pipe: it must be a regular file, got 'a pipe'"
    assert message(name, "pipe", root=tmp_path) == "pipe: it must be a regular file, got 'a pipe'"
    assert message(name, tmp_path).endswith("it must be a regular file, got 'a folder'")
    assert message(name, "/dev/zero") == "zero: it must be a regular file, got 'a device'"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert "cannot be read (" in message(name, tmp_path / "socket")
    assert message(name, tmp_path / "none") == "none: cannot be read (No such file or directory)"
    assert message(name, tmp_path / ("n" * 300)).endswith("cannot be read (File name too long)")


@each
def test_a_disk_that_fails(name):
    """A regular file, of which Linux cannot read the first byte."""
    assert message(name, "/proc/self/mem") == "mem: cannot be read (Input/output error)"


def test_memory_that_is_not_there(samples, tmp_path, monkeypatch):
    def full(*args):
        raise MemoryError

    (tmp_path / "x").write_bytes(samples["idx"])
    monkeypatch.setattr(np, "empty", full)
    assert message("idx", tmp_path / "x") == "x: does not fit in memory"


@each
@pytest.mark.parametrize("url", ["http://a.org/x", "s3://bucket/x", "file:///etc/passwd", "HTTPS://A/b\33[31m"])
def test_urls_are_refused(name, url):
    text = message(name, url)
    assert text.startswith(f"{name}: path must be the name of a local file, got ")
    assert text.endswith("fetch it first: only `numbaflux zoo fetch` goes to the network")
    assert "root must be the name of a local file" in message(name, "x", root=url)


@each
@pytest.mark.parametrize("path", [None, 3, b"bytes", ["a"], 1.5, np.zeros(3)])
def test_what_is_no_path(name, path):
    with pytest.raises(DTypeError, match=f"^{name}: path must be text or a path, got {type(path).__name__}$"):
        READERS[name](path)
    assert message(name, "") == f"{name}: path must be the name of a local file, got ''"
    assert message(name, "a\0b") == f"{name}: path must be the name of a local file, got 'a\\x00b'"
    assert message(name, "\ud800") == f"{name}: path must be the name of a local file, got '\\ud800'"


@each
def test_a_name_cannot_write_to_the_terminal(name, samples, tmp_path):
    path = tmp_path / "\33[2Jred\n\u202efdp\udcff"
    path.write_bytes(b"nothing")
    assert message(name, path).startswith("?[2Jred??fdp?: ")


@each
def test_a_file_of_another_form_or_none(name, samples, tmp_path):
    path = tmp_path / "other"
    for other in (b"", b"\0", b"\n", b"PK\5\6" + bytes(18), *(samples[one] for one in samples if one != name)):
        path.write_bytes(other)
        if name == "npz" and other[:4] == b"PK\5\6":
            assert READERS[name](path) == {}  # of no arrays, as np.savez() writes it
        else:
            message(name, path)


@each
def test_the_file_that_was_opened_is_the_one_that_is_read(name, file, monkeypatch):
    """Another file in its place, put there between the opening and the reading, is not looked at."""
    expected, real = ORACLES[name](file), os.fstat
    if hasattr(expected, "items"):
        expected = {key: np.array(array) for key, array in expected.items()}

    def swapped(descriptor):
        if file.exists():
            file.rename(file.with_suffix(".old"))
            file.write_bytes(b"another")
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", swapped)
    found = READERS[name](file)
    monkeypatch.undo()
    assert file.read_bytes() == b"another" and same(plain(found), expected)


@each
def test_a_folder_that_becomes_a_link_leads_nowhere(name, file, monkeypatch):
    """The race that checking a path and opening it again loses."""
    root, real = file.parent.parent, os.open
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "sample").write_bytes(b"secret")

    def racing(path, flags, *args, **options):
        if path == "in" and not (root / "in").is_symlink():
            (root / "in").rename(root / "was")
            (root / "in").symlink_to(outside)
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", racing)
    assert "none a symbolic link, got 'in'" in message(name, "in/sample", root=root)


def _mutant(data, draw):
    """A file damaged: bits, bytes, cuts, parts twice or gone, numbers at their ends."""
    data, kind = bytearray(data), draw.randrange(6)
    at = draw.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
        for _ in range(draw.randrange(1, 9)):
            data[draw.randrange(len(data))] = draw.randrange(256)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        end = at + draw.randrange(1, 40)
        data[at:at] = data[at:end] or b"\0"
    elif kind == 4:
        del data[at : at + draw.randrange(1, 40)]
    else:
        number = draw.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])
        data[at : at + 8] = number.to_bytes(8, draw.choice(["little", "big"]))
    return bytes(data)


@each
def test_damaged_files_are_read_right_or_refused(name, samples, tmp_path):
    draw, path, taken = random.Random(name), tmp_path / "mutant", 0
    for _ in range(MUTANTS):
        path.write_bytes(_mutant(samples[name], draw))
        try:
            found = plain(READERS[name](path, **({"max_pixels": 10**5} if name == "image" else {})))
        except FileFormatError as error:
            text = str(error)
            assert text.isprintable() and len(text) <= 300 and text.startswith("mutant: ")
            assert re.search(r" must be .+, got |does not fit|cannot be read", text), text
        else:
            taken += 1
            assert same(found, ORACLES[name](path))
    assert taken < MUTANTS  # of a form without digests some damage cannot be seen


@each
def test_nothing_is_left_open(name, file, samples, tmp_path):
    bad = tmp_path / "bad"
    bad.write_bytes(samples[name][: len(samples[name]) // 2])
    READERS[name](file)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        READERS[name](file)
        message(name, bad)
        message(name, tmp_path)
        message(name, "in/none", root=file.parent.parent)
    assert len(os.listdir("/proc/self/fd")) == before
