"""Seven attacks on a zoo, each refused from a folder and over HTTPS; and the same models without an attack, taken."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.zoo.index import FILE, MODEL, Stored, parse, render
from tests.zoo.conftest import KEPT

NAME = "digits-cnn"


def change(zoo, mallory, **words):
    """Rewrite what the index says of the digits, as somebody does who can write all of the zoo but has no key."""
    entries = parse((zoo / FILE).read_bytes())
    changed = [dataclasses.replace(e, **words) if e.name == NAME else e for e in entries]
    (zoo / FILE).write_bytes(render(changed))


def changed(zoo, mallory, clock):
    """A bit of the model."""
    path = zoo / NAME / "1.0.0" / MODEL
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return "SHA-256 of digits-cnn/1.0.0/model.h5 must be"


def missing(zoo, mallory, clock):
    (zoo / NAME / "1.0.0" / MODEL).unlink()
    return "digits-cnn/1.0.0"


def extra(zoo, mallory, clock):
    """A file that was not signed, beside the model and in the index."""
    (zoo / NAME / "1.0.0" / "notes.txt").write_text("hello")
    entry = parse((zoo / FILE).read_bytes())[0]
    change(zoo, mallory, files=entry.files | {"notes.txt": Stored(5, "0" * 64)})
    return "the signature of digits-cnn 1.0.0 must be over what the index says"


def renamed(zoo, mallory, clock):
    """The model of sunspots, its signature with it, under the name of the digits."""
    shutil.rmtree(zoo / NAME)
    (zoo / "sunspots-lstm").rename(zoo / NAME)
    digits, sunspots = parse((zoo / FILE).read_bytes())
    (zoo / FILE).write_bytes(render([dataclasses.replace(sunspots, name=NAME)]))
    return "the signature of digits-cnn 1.0.0 must be over what the index says"


def wrong_key(zoo, mallory, clock):
    """All of it signed again, by another."""
    change(zoo, mallory, signatures=())
    nf.zoo.sign(zoo, NAME, mallory.private)
    return "digits-cnn 1.0.0 must be trusted, got signed by the unknown key"


def borrowed_key(zoo, mallory, clock):
    """Signed by another, with the key of the right one beside it."""
    entry = parse((zoo / FILE).read_bytes())[0]
    right = entry.signatures[0].key
    wrong_key(zoo, mallory, clock)
    entry = parse((zoo / FILE).read_bytes())[0]
    change(zoo, mallory, signatures=(entry.signatures[0]._replace(key=right),))
    return "the signature of digits-cnn 1.0.0 must be by the key that stands beside it"


def expired(zoo, mallory, clock):
    clock.later(91)
    return "digits-cnn 1.0.0 must be valid still, got expired on 2027-03-01"


def postdated(zoo, mallory, clock):
    clock.later(-2)
    return "digits-cnn 1.0.0 must be issued before now"


ATTACKS = [changed, missing, extra, renamed, wrong_key, borrowed_key, expired, postdated]


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(attack, zoo, served, mallory, clock, trusting, tmp_path):
    message = attack(zoo, mallory, clock)
    with pytest.raises(nf.zoo.Refused) as info:
        nf.zoo.fetch(served, NAME, tmp_path / "got", trust="trusted")
    assert message in str(info.value) and str(info.value).isprintable()
    with pytest.raises(nf.zoo.Refused):
        nf.zoo.verify(served, NAME, trust="trusted")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["zoo"]  # nothing half done is left


def test_rolled_back_zoo_is_refused(zoo, served, alice, trusting, tmp_path):
    old = (zoo / FILE).read_bytes()
    model, card = zoo / "sunspots-lstm" / "1.0.0" / MODEL, parse(old)[1].card
    nf.zoo.add(zoo, model, card, name=NAME, version="1.1.0")
    nf.zoo.sign(zoo, NAME, alice.private)
    assert nf.zoo.fetch(served, NAME, tmp_path / "new", trust="trusted").entry.version == "1.1.0"
    (zoo / FILE).write_bytes(old)  # as signed, as it was, but older
    with pytest.raises(nf.zoo.Refused, match=r"digits-cnn must be version 1\.1\.0, seen before, or later, got 1\.0\.0"):
        nf.zoo.fetch(served, NAME, tmp_path / "old", trust="trusted")
    with pytest.raises(nf.zoo.Refused, match="seen before, or later"):
        nf.zoo.verify(served, NAME, trust="trusted")
    assert not (tmp_path / "old").exists()
    found = nf.zoo.fetch(served, NAME, tmp_path / "old", trust="trusted", rollback=True)
    assert (found.entry.version, found.trust) == ("1.0.0", "trusted")


def test_older_version_needs_the_flag_when_a_newer_was_seen(zoo, served, tmp_path):
    nf.zoo.add(zoo, zoo / NAME / "1.0.0" / MODEL, parse((zoo / FILE).read_bytes())[0].card, name=NAME, version="1.1.0")
    assert nf.zoo.fetch(served, NAME, tmp_path / "a", "1.0.0").entry.version == "1.0.0"
    assert nf.zoo.fetch(served, NAME, tmp_path / "b").entry.version == "1.1.0"
    with pytest.raises(nf.zoo.Refused, match="seen before, or later"):
        nf.zoo.fetch(served, NAME, tmp_path / "c", "1.0.0")
    assert nf.zoo.fetch(served, NAME, tmp_path / "c", "1.0.0", rollback=True).entry.version == "1.0.0"
    assert len(nf.zoo.verify(served)) == 3  # older versions beside the newest are no attack


def test_other_files_under_a_version_seen_before_are_refused(zoo, served, tmp_path):
    nf.zoo.fetch(served, NAME, tmp_path / "a")
    shutil.copy(zoo / "sunspots-lstm" / "1.0.0" / MODEL, zoo / NAME / "1.0.0" / MODEL)
    _, sunspots = parse((zoo / FILE).read_bytes())
    change(zoo, None, files=sunspots.files, content=sunspots.content, signatures=())
    with pytest.raises(nf.zoo.Refused, match="must be of the files seen before"):
        nf.zoo.fetch(served, NAME, tmp_path / "b")


def test_stripped_signature_is_refused_where_it_was_trusted_before(zoo, served, trusting, tmp_path):
    nf.zoo.fetch(served, NAME, tmp_path / "a", trust="trusted")
    change(zoo, None, signatures=())
    with pytest.raises(nf.zoo.Refused, match=r"must be trusted, got no more than digest.*it was so before; rollback"):
        nf.zoo.fetch(served, NAME, tmp_path / "b")
    assert nf.zoo.fetch(served, NAME, tmp_path / "b", rollback=True).trust == "digest"


def test_more_trust_than_before_is_taken_whatever_was_seen_with_less(zoo, served, trusting, alice, tmp_path):
    """Who can only write the zoo cannot keep its true owner's models out by a high version."""
    card = parse((zoo / FILE).read_bytes())[0].card
    nf.zoo.add(zoo, zoo / NAME / "1.0.0" / MODEL, card, name=NAME, version="9.0.0")
    assert nf.zoo.fetch(served, NAME, tmp_path / "a").entry.version == "9.0.0"
    found = nf.zoo.fetch(served, NAME, tmp_path / "b", "1.0.0", trust="trusted")
    assert (found.entry.version, found.trust) == ("1.0.0", "trusted")


def test_expired_key_is_no_trusted_one(zoo, served, alice, clock, tmp_path):
    nf.zoo.keys.add(alice.public, "alice", days=10)
    assert nf.zoo.verify(served, NAME, trust="trusted")[0].trust == "trusted"
    clock.later(10)
    with pytest.raises(nf.zoo.Refused, match="got signed by the key of alice, expired on 2026-12-11"):
        nf.zoo.fetch(served, NAME, tmp_path / "a", trust="trusted")
    assert nf.zoo.fetch(served, NAME, tmp_path / "a", trust="signed").trust == "signed"


def test_damage_is_refused_at_every_level(zoo, served, tmp_path):
    changed(zoo, None, None)
    for trust in ("local", "digest", "signed"):
        with pytest.raises(nf.zoo.Refused, match="SHA-256"):
            nf.zoo.fetch(served, NAME, tmp_path / "got", trust=trust)


def test_every_signature_must_fit(zoo, served, mallory, trusting, tmp_path):
    """A good one does not excuse a bad one."""
    nf.zoo.sign(zoo, NAME, mallory.private)
    assert nf.zoo.verify(served, NAME, trust="trusted")[0].trust == "trusted"  # two signatures, one of them trusted
    entry = parse((zoo / FILE).read_bytes())[0]
    bundle = json.loads(json.dumps(entry.signatures[1].bundle))
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = entry.signatures[0].bundle["dsseEnvelope"]["signatures"][0]["sig"]
    change(zoo, None, signatures=(entry.signatures[0], entry.signatures[1]._replace(bundle=bundle)))
    with pytest.raises(nf.zoo.Refused, match="the signature of digits-cnn 1.0.0: does not fit"):
        nf.zoo.verify(served, NAME, trust="trusted")


def test_what_was_fetched_is_a_zoo_and_predicts_as_before(served, trusting, tmp_path):
    found = nf.zoo.fetch(served, NAME, tmp_path / "got", trust="trusted")
    assert found.trust == "trusted" and found.model == tmp_path / "got" / NAME / "1.0.0" / MODEL
    assert [e.entry.name for e in nf.zoo.verify(tmp_path / "got", trust="trusted")] == [NAME]
    x = np.random.default_rng(0).uniform(0, 16, (3, 8, 8, 1)).astype(np.float32)
    assert np.array_equal(nf.load(found.model)(x), nf.load(KEPT / NAME / "1.0.0" / MODEL)(x))


def test_kept_zoo_of_format_1_stays_readable():
    """It was made once, by a release that others may have."""
    found = nf.zoo.verify(KEPT, trust="signed")
    assert [(f.entry.name, f.entry.version, f.trust) for f in found] == [
        ("digits-cnn", "1.0.0", "signed"),
        ("sunspots-lstm", "1.0.0", "signed"),
    ]
    assert found[0].entry.card["metrics"]["test accuracy"] > 0.97
    metrics = found[1].entry.card["metrics"]
    assert metrics["test RMSE"] < 0.7 * metrics["test RMSE of persistence"]
