"""What scan finds, and that nothing which it finds gets into a zoo, through add, sign or fetch."""

import dataclasses
import hashlib
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import hdf5
from numbaflux.zoo.index import FILE, MODEL, Stored, parse, render
from numbaflux.zoo.seen import seen
from tests.sources import ROOT
from tests.zoo.conftest import KEPT

NAME = "digits-cnn"
GOOD = KEPT / NAME / "1.0.0" / MODEL
CARD = {"summary": "What it does.", "data": "Made up.", "metrics": {"error": 0.5}, "licence": "MIT"}


@nf.layer
class Own:
    """A layer that numbaflux does not have."""

    weight: np.ndarray = nf.param()

    def __init__(self):
        self.weight = np.ones(2, np.float32)

    def __call__(self, x):
        return x * self.weight


def not_finite(path):
    model = nf.Dense(2, 1)
    model.weight[0] = np.nan
    nf.save(path, model)


def own_layer(path):
    nf.save(path, nf.Chain(nf.Dense(2, 2), Own()))


def damaged(path):
    data = bytearray(GOOD.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def misfit(path):
    """Well formed, but its arrays do not fit its layers."""
    file = hdf5.read(GOOD)
    hdf5.write(path, {name: array[:1] for name, array in file.tensors.items()}, file.documents)


def training(path):
    model = nf.Dense(2, 1)
    nf.save_checkpoint(path, model, nf.setup(nf.Adam(), model))


BAD = {
    "finite": (not_finite, "tensor weight must be finite, got 'NaN or Inf'"),
    "own layer": (own_layer, "must be numbaflux's own or one of layers=[...], got 'Own'"),
    "damaged": (damaged, "SHA-256"),
    "misfit": (misfit, "tensor"),
    "training": (training, "it must be a model alone (nf.save), got 'a training'"),
    "HDF5 of others": (lambda path: shutil.copy(ROOT / "tests/files/keras-words.weights.h5", path), "superblock"),
    "empty": (lambda path: path.write_bytes(b""), "its size must be"),
    "a pickle": (lambda path: path.write_bytes(b"\x80\x04" + bytes(100)), "the file must be HDF5"),
}


def test_good_model_passes_and_prints():
    found = nf.zoo.scan(GOOD, CARD)
    assert found.good and [row.check for row in found.rows] == ["size", "profile", "schema", "finite", "card"]
    assert found.content == hdf5.read(GOOD).digest
    lines = repr(found).splitlines()
    assert lines[0] == "model.h5: local" and lines[1].split() == ["size", "ok", "61,920", "bytes"]
    assert nf.zoo.scan(KEPT / "sunspots-lstm" / "1.0.0" / MODEL).good


@pytest.mark.parametrize("kind", BAD)
def test_bad_models_are_found_and_kept_out(kind, zoo, alice, tmp_path):
    make, message = BAD[kind]
    make(path := tmp_path / "bad.h5")
    found = nf.zoo.scan(path, CARD)
    assert not found.good and found.trust is None and any(message in row.note for row in found.rows if not row.good)
    before = (zoo / FILE).read_bytes()
    with pytest.raises(nf.zoo.Refused, match="bad.h5 must be one that passes every check of numbaflux zoo scan"):
        nf.zoo.add(zoo, path, CARD, name="bad", version="1.0.0")
    assert (zoo / FILE).read_bytes() == before and not (zoo / "bad").exists() and len(nf.zoo.verify(zoo)) == 2

    # Past the gate, by hand: neither sign nor fetch takes it.
    shutil.copy(path, zoo / NAME / "1.0.0" / MODEL)
    data = path.read_bytes()
    entry = dataclasses.replace(
        parse(before)[0], files={MODEL: Stored(max(len(data), 1), hashlib.sha256(data).hexdigest())},
        content=found.content or "0" * 64, signatures=(),
    )  # fmt: skip
    (zoo / FILE).write_bytes(render([entry]))
    with pytest.raises(nf.zoo.Refused):
        nf.zoo.sign(zoo, NAME, alice.private)
    with pytest.raises(nf.zoo.Refused):
        nf.zoo.fetch(zoo, NAME, tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_content_of_the_index_is_that_of_the_file(zoo, tmp_path):
    entry = parse((zoo / FILE).read_bytes())[0]
    (zoo / FILE).write_bytes(render([dataclasses.replace(entry, content="0" * 64, signatures=())]))
    with pytest.raises(nf.zoo.Refused, match="the content of digits-cnn/1.0.0 must be 0000000000000000"):
        nf.zoo.fetch(zoo, NAME, tmp_path / "got")


def test_too_large_a_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["numbaflux.zoo.scan"], "LIMIT", 1000)  # nf.zoo.scan is the function
    found = nf.zoo.scan(GOOD)
    assert [row.good for row in found.rows] == [False] * 4 and found.content == ""
    assert found.rows[0].note == "the file must be at most 1000 bytes, got 61920"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"summary": "s"}', '{"a": 1, "a": 2}', "\xff"])
def test_bad_card_in_a_file(text, zoo, tmp_path):
    (tmp_path / "card.json").write_bytes(text.encode("latin-1"))
    found = nf.zoo.scan(GOOD, tmp_path / "card.json")
    assert [row.check for row in found.rows if not row.good] == ["card"]
    with pytest.raises(nf.FileFormatError):
        nf.zoo.add(zoo, GOOD, tmp_path / "card.json", name="new", version="1.0.0")
    assert not (zoo / "new").exists()


def test_new_zoo(alice, tmp_path):
    (tmp_path / "notes.md").write_text("# Notes")
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    files = [tmp_path / "notes.md"]
    entry = nf.zoo.add(tmp_path / "new", GOOD, tmp_path / "card.json", name="a", version="0.1.0", days=10, files=files)
    assert (entry.trust, entry.card, entry.issued[:10], entry.expires[:10]) == (
        "digest",
        CARD,
        "2026-12-01",
        "2026-12-11",
    )
    assert sorted(entry.files) == [MODEL, "notes.md"]
    nf.zoo.sign(tmp_path / "new", "a", alice.private)
    found = nf.zoo.fetch(tmp_path / "new", "a", tmp_path / "got", trust="signed")
    assert (found.model.parent / "notes.md").read_text() == "# Notes"
    with pytest.raises(nf.zoo.Refused, match=r"a 0\.1\.0 must be a version that is not in the zoo"):
        nf.zoo.add(tmp_path / "new", GOOD, CARD, name="a", version="0.1.0")


@pytest.mark.parametrize("name", ["run.py", "x.h5", "x", "a b.txt", "model.pkl"])
def test_files_that_do_not_belong_into_a_zoo(name, zoo, tmp_path):
    (tmp_path / name).write_text("x")
    with pytest.raises(nf.FileFormatError, match="the name of a file must be"):
        nf.zoo.add(zoo, GOOD, CARD, name="new", version="1.0.0", files=[tmp_path / name])
    assert sorted(p.name for p in zoo.iterdir()) == [NAME, FILE, "sunspots-lstm"]


def test_files_of_one_name(zoo, tmp_path):
    """None takes the place of another, least of all of the model."""
    (tmp_path / "x").mkdir()
    for name in ("model.h5", "a.txt", "x/a.txt"):
        (tmp_path / name).write_text("x")
    for files in ([tmp_path / "model.h5"], [tmp_path / "a.txt", tmp_path / "x" / "a.txt"]):
        with pytest.raises(nf.FileFormatError, match="the files must be of different names"):
            nf.zoo.add(zoo, GOOD, CARD, name="new", version="1.0.0", files=files)
    assert not (zoo / "new").exists()


def test_what_is_not_there_to_publish(zoo, tmp_path):
    for model, files in ((tmp_path / "nowhere.h5", ()), (GOOD, [tmp_path / "nowhere.txt"]), (tmp_path, ())):
        with pytest.raises(nf.FileFormatError, match="must be a file"):
            nf.zoo.add(zoo, model, CARD, name="new", version="1.0.0", files=files)
    (zoo / "new" / "1.0.0").mkdir(parents=True)
    with pytest.raises(nf.FileFormatError, match="new/1.0.0 must be free, got a folder; remove"):
        nf.zoo.add(zoo, GOOD, CARD, name="new", version="1.0.0")


def test_signing_again(zoo, alice, mallory, clock):
    """Another signature beside the first; one's own anew in its place; new dates drop those of others."""
    keys = [s.key for s in nf.zoo.sign(zoo, NAME, mallory.private).signatures]
    assert keys == [alice.public.read_text(), mallory.public.read_text()]
    assert len(nf.zoo.sign(zoo, NAME, alice.private).signatures) == 2
    clock.later(89)
    entry = nf.zoo.sign(zoo, NAME, alice.private, days=30)
    assert (entry.issued[:10], entry.expires[:10], len(entry.signatures)) == ("2027-02-28", "2027-03-30", 1)
    assert nf.zoo.verify(zoo, NAME, trust="signed")[0].trust == "signed"
    clock.later(31)
    with pytest.raises(nf.zoo.Refused, match=r"valid still, got expired on 2027-03-30T12:00:00Z; days=365"):
        nf.zoo.sign(zoo, NAME, alice.private)
    nf.zoo.sign(zoo, NAME, alice.private, days=365)


def test_changed_model_is_not_signed(zoo, mallory):
    damaged(zoo / NAME / "1.0.0" / MODEL)
    before = (zoo / FILE).read_bytes()
    with pytest.raises(nf.zoo.Refused, match="SHA-256"):
        nf.zoo.sign(zoo, NAME, mallory.private)
    assert (zoo / FILE).read_bytes() == before


def test_several_at_once(zoo, tmp_path):
    """None of what they write is lost: not in the index, not in the memory of what was fetched."""
    versions = [f"2.0.{i}" for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda version: nf.zoo.add(zoo, GOOD, CARD, name=f"m{version[-1]}", version=version), versions))
        names = [entry.name for entry in nf.zoo.list(zoo)]
        assert names == [NAME, *(f"m{i}" for i in range(6)), "sunspots-lstm"] and len(nf.zoo.verify(zoo)) == 8
        list(pool.map(lambda name: nf.zoo.fetch(zoo, name, tmp_path / name), names))
    for entry in nf.zoo.list(zoo):
        assert seen(str(zoo.resolve()), entry.name) == (entry.version, entry.fingerprint, "digest")
