"""A zoo in a folder: what is not named, links, pipes and hostile names are refused; nothing is read elsewhere."""

import os
import shutil

import pytest

import numbaflux as nf
from numbaflux.cli import main
from numbaflux.zoo.folder import Folder
from numbaflux.zoo.index import FILE, MODEL, render

NAME = "digits-cnn"


def refused(zoo, folder, error=nf.zoo.Refused):
    with pytest.raises(error) as info:
        nf.zoo.fetch(zoo, NAME, folder / "got")
    assert not (folder / "got").exists() and str(info.value).isprintable()
    return str(info.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("notes.txt", "notes.txt must be in the index, got none"),
        ("other/1.0.0/model.h5", "other must be in the index"),
        (f"{NAME}/1.1.0/model.h5", f"{NAME}/1.1.0 must be in the index"),
        (f"{NAME}/1.0.0/run.py", f"the files of {NAME}/1.0.0 must be ['model.h5'], got ['model.h5', 'run.py']"),
        (f"{NAME}/1.0.0/.hidden", f"the files of {NAME}/1.0.0 must be"),
        (f"{NAME}/1.0.0/model.h5.bak", f"the files of {NAME}/1.0.0 must be"),
        ("\x1b[31mred", "must be in the index"),
    ],
)
def test_what_the_index_does_not_name_is_refused(path, message, zoo):
    (zoo / path).parent.mkdir(parents=True, exist_ok=True)
    (zoo / path).write_text("x")
    with pytest.raises(nf.zoo.Refused) as info:
        nf.zoo.verify(zoo)
    assert message in str(info.value)


def test_extra_file_beside_the_model_is_not_fetched(zoo, tmp_path):
    (zoo / NAME / "1.0.0" / "run.py").write_text("x")
    assert "run.py" in refused(zoo, tmp_path)


def elsewhere(zoo, tmp_path):
    """The same bytes, outside of the zoo."""
    return shutil.copytree(zoo, tmp_path / "elsewhere")


@pytest.mark.parametrize("path", [FILE, NAME, f"{NAME}/1.0.0", f"{NAME}/1.0.0/{MODEL}"])
def test_links_are_not_followed(path, zoo, tmp_path):
    other = elsewhere(zoo, tmp_path) / path
    shutil.rmtree(zoo / path) if (zoo / path).is_dir() else (zoo / path).unlink()
    (zoo / path).symlink_to(other)
    assert "must be in the zoo, got a link" in refused(zoo, tmp_path)


def test_link_to_the_zoo_itself_is_the_users_own(zoo, tmp_path):
    (tmp_path / "link").symlink_to(zoo)
    assert nf.zoo.fetch(tmp_path / "link", NAME, tmp_path / "got").trust == "digest"


@pytest.mark.parametrize("path", [FILE, f"{NAME}/1.0.0/{MODEL}"])
def test_pipes_and_folders_are_no_files(path, zoo, tmp_path):
    (zoo / path).unlink()
    os.mkfifo(zoo / path)
    assert "must be a regular file, got p" in refused(zoo, tmp_path)
    (zoo / path).unlink()
    (zoo / path).mkdir()
    assert "must be a regular file, got d" in refused(zoo, tmp_path)


def test_a_file_in_the_place_of_a_folder(zoo, tmp_path):
    shutil.rmtree(zoo / NAME)
    (zoo / NAME).write_text("x")
    assert "must be in the zoo" in refused(zoo, tmp_path)


def test_longer_and_shorter_files(zoo, tmp_path):
    path = zoo / NAME / "1.0.0" / MODEL
    data = path.read_bytes()
    path.write_bytes(data + b"x")
    assert "must be at most 61920 bytes, got 61921" in refused(zoo, tmp_path)
    path.write_bytes(data[:-1])
    assert "must be 61920 bytes, got 61919" in refused(zoo, tmp_path)


def test_file_that_grows_while_it_is_read(zoo):
    """Its size was right when it was opened."""
    chunks = Folder(zoo).chunks(FILE, (zoo / FILE).stat().st_size)
    with open(zoo / FILE, "ab") as file:
        next(chunks)
        file.write(b"x" * 10)
    with pytest.raises(nf.zoo.Refused, match="got more"):
        list(chunks)


def test_no_zoo(tmp_path):
    assert "must be a folder, or an address" in refused(tmp_path / "nowhere", tmp_path, nf.FileFormatError)
    assert "index.json must be in the zoo, got No such file" in refused(tmp_path, tmp_path, nf.FileFormatError)
    (tmp_path / FILE).write_text("{}")
    assert "the index must be an object" in refused(tmp_path, tmp_path, nf.FileFormatError)


@pytest.mark.parametrize("name", ["../zoo", "a/b", "", "Digits", ".", "digits-cnn\n", 3, None])
def test_names_that_are_none(name, zoo, tmp_path):
    with pytest.raises(nf.FileFormatError, match="the name of a model must be"):
        nf.zoo.fetch(zoo, name, tmp_path / "got")


@pytest.mark.parametrize("version", ["../1.0.0", "1", "1.0.0/", "latest", 1])
def test_versions_that_are_none(version, zoo, tmp_path):
    with pytest.raises(nf.FileFormatError, match="a version must be"):
        nf.zoo.fetch(zoo, NAME, tmp_path / "got", version)


def test_what_is_not_there(zoo, served, tmp_path):
    for words in (("other", None), (NAME, "2.0.0")):
        with pytest.raises(nf.zoo.Refused, match="none of this name and version"):
            nf.zoo.fetch(served, words[0], tmp_path / "got", words[1])
        with pytest.raises(nf.zoo.Refused, match="none of this name and version"):
            nf.zoo.verify(served, *words)


@pytest.mark.parametrize("trust", ["", "much", "Digest", None, 3, ["digest"]])
def test_levels_that_are_none(trust, zoo, tmp_path):
    with pytest.raises(nf.RangeError, match="zoo: trust must be one of local, digest, signed, trusted"):
        nf.zoo.fetch(zoo, NAME, tmp_path / "got", trust=trust)
    with pytest.raises(nf.RangeError, match="zoo: trust"):
        nf.zoo.verify(zoo, trust=trust)


def test_target_must_be_free(zoo, tmp_path):
    (tmp_path / "got").mkdir()
    with pytest.raises(nf.FileFormatError, match="zoo: folder must be one that does not exist"):
        nf.zoo.fetch(zoo, NAME, tmp_path / "got")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    with pytest.raises(nf.FileFormatError, match="one that does not exist"):
        nf.zoo.fetch(zoo, NAME, tmp_path / "dangling")
    with pytest.raises(nf.FileFormatError, match="zoo: folder must be in a folder that exists"):
        nf.zoo.fetch(zoo, NAME, tmp_path / "nowhere" / "got")
    assert list((tmp_path / "got").iterdir()) == [] and not (tmp_path / "new").exists()


def test_ctrl_c_leaves_nothing(zoo, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("numbaflux.zoo.checks.scan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nf.zoo.fetch(zoo, NAME, tmp_path / "got")
    assert [p.name for p in tmp_path.iterdir()] == ["zoo"]


def test_folder_that_is_missing(zoo):
    shutil.rmtree(zoo / NAME)
    with pytest.raises(nf.zoo.Refused, match="digits-cnn must be in the zoo, got No such file"):
        nf.zoo.verify(zoo)


def test_empty_zoo(zoo, capsys):
    """An index of nothing, beside the folders of what was taken out."""
    (zoo / FILE).write_bytes(render([]))
    assert nf.zoo.list(zoo) == () and main(["zoo", "list", str(zoo)]) == 0 and main(["zoo", "keys", "list"]) == 0
    assert capsys.readouterr().out == ""
    with pytest.raises(nf.zoo.Refused, match="digits-cnn must be in the index, got none"):
        nf.zoo.verify(zoo)
