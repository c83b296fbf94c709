"""A file is the old one or the whole new one."""

import os

import pytest

import numbaflux as nf
from numbaflux.files import check_folder, replacing


def test_the_new_one_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 2
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="^stop$"), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError("stop")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_the_folder_must_be_there(tmp_path):
    assert check_folder("save", "path", tmp_path / "a.txt") == tmp_path / "a.txt"
    with pytest.raises(nf.FileFormatError, match="^save: path must be in a folder that exists, got .*no/a.txt$"):
        check_folder("save", "path", tmp_path / "no" / "a.txt")
