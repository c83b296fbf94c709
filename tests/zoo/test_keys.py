"""Trusted keys: who they are, how long, and that nobody else can add one; and the memory of what was fetched."""

import contextlib
import errno
import json
import os
import stat
from pathlib import Path

import pytest

import numbaflux as nf
from numbaflux.zoo import keys

NAME = "digits-cnn"


def folder(kind, name):
    return Path(os.environ[f"XDG_{kind}_HOME"]) / "numbaflux" / name


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_come_and_go(alice, mallory, clock):
    assert keys.trusted() == {}
    added = keys.add(alice.public, "alice", days=30)
    assert (added.id, added.owner, added.expires) == (alice.id, "alice", "2026-12-31T12:00:00Z")
    keys.add(mallory.public, "mallory")
    assert {key.owner for key in keys.trusted().values()} == {"alice", "mallory"}
    assert [key.owner for key in keys.remove(mallory.id[:8])] == ["mallory"]
    assert keys.trusted() == {alice.id: added} and not added.expired
    clock.later(30)
    assert keys.trusted()[alice.id].expired
    assert not keys.add(alice.public, "alice", days=30).expired  # trusted anew
    assert [key.id for key in keys.remove("alice")] == [alice.id] and keys.trusted() == {}


def test_private_keys_are_closed_and_never_overwritten(tmp_path):
    named = keys.new(tmp_path / "me.pem")
    before = (tmp_path / "me.pem").read_bytes()
    assert mode(tmp_path / "me.pem") == 0o600 and len(named) == 64
    assert b"PRIVATE" not in (tmp_path / "me.pem.pub").read_bytes()
    with pytest.raises(FileExistsError):
        keys.new(tmp_path / "me.pem")
    assert (tmp_path / "me.pem").read_bytes() == before
    assert keys.add(tmp_path / "me.pem.pub", "me").id == named


def test_what_is_kept_is_closed_to_others(zoo, trusting, tmp_path):
    nf.zoo.fetch(zoo, NAME, tmp_path / "got", trust="trusted")
    for kind, name in (("CONFIG", f"keys/{trusting.id}.json"), ("STATE", "zoo.json")):
        path = folder(kind, name)
        assert mode(path) == 0o600
        while path.name != "numbaflux":
            path = path.parent
            assert mode(path) == 0o700


@pytest.mark.parametrize("bad", [0o770, 0o707])
def test_folder_that_others_can_write_is_refused(bad, zoo, trusting, tmp_path):
    folder("CONFIG", "keys").chmod(bad)
    with pytest.raises(nf.FileFormatError, match="writable for you alone.*chmod go-w"):
        nf.zoo.fetch(zoo, NAME, tmp_path / "got", trust="trusted")
    assert not (tmp_path / "got").exists()


def test_file_that_others_can_write_is_refused(zoo, trusting):
    path = folder("CONFIG", f"keys/{trusting.id}.json")
    path.chmod(0o666)
    with pytest.raises(nf.FileFormatError, match="a file of yours that nobody else can write"):
        keys.trusted()


def test_link_in_the_place_of_a_key_is_refused(zoo, trusting, tmp_path):
    path = folder("CONFIG", f"keys/{trusting.id}.json")
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(OSError):
        keys.trusted()


@pytest.mark.parametrize(
    "words",
    [
        {"pem": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
        {"id": "0" * 64},
        {"expires": "never"},
        {"owner": 3},
        {"more": "x"},
    ],
)
def test_kept_key_must_be_what_add_writes(words, trusting):
    path = folder("CONFIG", f"keys/{trusting.id}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | words))
    with pytest.raises(nf.FileFormatError, match=r"\.json.*; remove /"):
        keys.trusted()


def test_key_under_another_name_is_refused(trusting):
    path = folder("CONFIG", f"keys/{trusting.id}.json")
    path.rename(path.with_name(f"{'0' * 64}.json"))
    with pytest.raises(nf.FileFormatError, match="its name must be the id of its key"):
        keys.trusted()


def test_bad_words(alice, tmp_path):
    for owner in ("", "a/b", "\x1b[31m", "x" * 65):
        with pytest.raises(nf.RangeError, match="zoo: owner must be a name"):
            keys.add(alice.public, owner)
    for days in (0, -1, 36_501):
        with pytest.raises(nf.RangeError, match="zoo: days must be"):
            keys.add(alice.public, "alice", days)
    for name in ("alice", alice.id[:8], ""):
        with pytest.raises(nf.RangeError, match="the owner or the id of a trusted key"):
            keys.remove(name)
    with pytest.raises(OSError):
        keys.add(tmp_path / "nowhere.pub", "alice")
    assert keys.trusted() == {}


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"zoo": []}',
        '{"zoo": {"a": {"version": "1.0", "files": "", "trust": "digest"}}}',
        '{"zoo": {"a": {"version": "1.0.0", "files": "", "trust": "much"}}}',
        '{"zoo": {"a": {"version": "1.0.0", "files": "", "trust": []}}}',
        '{"zoo": {"a": {"version": "1.0.0", "trust": "digest"}}}',
    ],
)
def test_broken_memory_is_no_reason_to_forget(text, zoo, tmp_path):
    nf.zoo.fetch(zoo, NAME, tmp_path / "a")
    path = folder("STATE", "zoo.json")
    path.write_text(text)
    with pytest.raises(nf.FileFormatError, match=r"zoo\.json.*; remove .*zoo\.json, and what was seen is forgotten"):
        nf.zoo.fetch(zoo, NAME, tmp_path / "b")
    path.unlink()
    assert nf.zoo.fetch(zoo, NAME, tmp_path / "b").trust == "digest"


def test_memory_is_of_a_zoo_and_a_name(zoo, tmp_path):
    """A copy of the zoo, and another model, are others."""
    nf.zoo.fetch(zoo, NAME, tmp_path / "a")
    nf.zoo.fetch(zoo, "sunspots-lstm", tmp_path / "b")
    known = json.loads(folder("STATE", "zoo.json").read_text())
    assert {k: sorted(v) for k, v in known.items()} == {str(zoo.resolve()): [NAME, "sunspots-lstm"]}


def test_verify_leaves_no_traces(zoo):
    nf.zoo.verify(zoo)
    assert not folder("STATE", "").exists() and not folder("CONFIG", "").exists()


def test_relative_names_in_the_environment_are_not_taken(zoo, tmp_path, monkeypatch):
    """As the XDG specification says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    nf.zoo.fetch(zoo, NAME, tmp_path / "got")
    assert (tmp_path / "home" / ".local/state/numbaflux/zoo.json").exists() and not (tmp_path / "here").exists()


@pytest.mark.parametrize(("number", "taken"), [(errno.ENOLCK, True), (errno.ENOSYS, True), (errno.EIO, False)])
def test_file_systems_without_locks(number, taken, zoo, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with contextlib.nullcontext() if taken else pytest.raises(OSError):
        nf.zoo.fetch(zoo, NAME, tmp_path / "got")
    assert (tmp_path / "got").exists() == taken
