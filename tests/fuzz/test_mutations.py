"""Changed copies of valid files: no flipped bit gets through, no mutation changes what is loaded unnoticed."""

import os
import random
import signal

import pytest

from numbaflux import FileFormatError, hdf5, hdf5_objects
from tests.child import child
from tests.fuzz import campaign, forge, mutations, remembered
from tests.fuzz.digests import digest
from tests.fuzz.forge import base

LONG = os.environ.get("NUMBAFLUX_LONG") == "1"
MUTATIONS = 500_000 if LONG else 2_000  # of each of two files


def test_flipped_bits_of_a_checkpoint_are_noticed(tmp_path):
    count = campaign.bits("training")
    assert count > 38_000
    some = count if LONG else 4_000
    done = campaign.numbers("flips", "training", 0, some, tmp_path)
    assert done.findings == [] and done.tried == done.refused == some


@pytest.mark.parametrize("of", ["model", "training"])
def test_mutations_with_right_checksums_and_digests(tmp_path, of):
    done = campaign.numbers("mutations", of, 0, MUTATIONS, tmp_path)
    assert done.findings == [] and done.tried == MUTATIONS
    assert MUTATIONS / 20 < MUTATIONS - done.refused < MUTATIONS / 2  # some are other content, stamped


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "m.h5"
    path.write_bytes(base("model").data)
    hdf5.read(path)
    for size in reversed(range(len(base("model").data))):
        os.truncate(path, size)
        with pytest.raises(FileFormatError, match="^m.h5: "):
            hdf5.read(path)


def test_a_number_is_one_file():
    file = mutations.valid("model")
    assert mutations.mutate(file, 7) == mutations.mutate(file, 7) != mutations.mutate(file, 8)
    assert all(mutations.mutate(file, number)[0] != file.data for number in range(500))
    data, valid = mutations.flip(file, 100)[0], base("model").data
    assert sum((a ^ b).bit_count() for a, b in zip(data, valid, strict=True)) == 1
    assert len({mutations.flip(file, number)[0] for number in range(500)}) == 500


def test_a_change_that_gets_through_is_noticed(tmp_path, monkeypatch):
    file, path = mutations.valid("model"), tmp_path / "m.h5"
    right = {place.name: digest(place.array) for place in file.places}
    monkeypatch.setattr(mutations, "DOORS", {"read": lambda path, base: {**right, "tensors.body.bias": "0" * 64}})
    path.write_bytes(file.data)
    assert mutations.wrong(path, file, other=False)[1].startswith("read: ")
    assert mutations.wrong(path, file, other=True) == ("loaded", "")
    monkeypatch.setattr(mutations, "DOORS", {"read": lambda path, base: [][0]})
    assert mutations.wrong(path, file, other=True)[1].startswith("read: IndexError")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)  # or this process would end a while later


def test_what_was_computed_before_is_what_would_be_computed_again(tmp_path, monkeypatch):
    file, path, reads = mutations.valid("training"), tmp_path / "m.h5", []
    plain, lookup3 = hdf5.read, hdf5_objects.lookup3
    with monkeypatch.context() as change:
        change.setattr(hdf5, "read", lambda *given, **named: (reads.append(1), plain(*given, **named))[1])
        came = set()
        for number in range(200):
            path.write_bytes(mutations.mutate(file, number)[0])
            reads.clear()
            wholly, each = mutations.wrong(path, file, other=True), len(reads)
            reads.clear()
            with remembered.checksums():
                assert mutations.wrong(path, file, other=True, wholly=False) == wholly
            came.add((wholly, each, len(reads)))
    assert came == {(("loaded", ""), 6, 2), (("refused", ""), 6, 1)}  # 2: one more with the file's SHA-256
    assert hdf5.read is plain and hdf5_objects.lookup3 is lookup3


def test_libhdf5_has_our_checksums():
    draw = random.Random(0)
    for size in range(1, 300):
        data = draw.randbytes(size)
        assert forge.checksum(data) == hdf5_objects.lookup3(data)


def test_what_another_door_takes_is_noticed(tmp_path, monkeypatch):
    file, path = mutations.valid("model"), tmp_path / "m.h5"
    right = {place.name: digest(place.array) for place in file.places}
    monkeypatch.setattr(mutations, "DOORS", {"read": lambda path, base: hdf5.read(path), "other": lambda *_: right})
    path.write_bytes(file.data[:-8])
    assert mutations.wrong(path, file, other=True)[1].startswith("other: ")
    assert mutations.wrong(path, file, other=True, wholly=False) == ("refused", "")


def test_a_foreign_read_is_a_finding(tmp_path):
    code = f"""
        from pathlib import Path
        from tests.fuzz import mutations
        plain, sound = mutations.DOORS["read"], mutations.valid("model").data

        def door(path, base):
            if Path(path).read_bytes() != sound:
                open("/etc/hostname").close()
            return plain(path, base)

        mutations.DOORS["read"] = door
        print(mutations.campaign("mutations", "model", 0, 3, Path({str(tmp_path)!r}))["findings"])
    """
    told = child(code)
    assert told.count("foreign read") == 3 and "/etc/hostname" in told


def test_a_process_that_dies_is_a_finding_and_its_file_is_kept(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho x > "$7/$3-$4-$5.h5"\nkill -SEGV $$\n')
    program.chmod(0o755)
    monkeypatch.setattr(campaign.sys, "executable", str(program))
    done = campaign.numbers("mutations", "model", 4000, 4001, tmp_path)
    assert done.findings == ["mutations model 4000 to 4001: crash by signal 11, by mutations-model-4000-wrong.h5"]
    assert (tmp_path / "mutations-model-4000-wrong.h5").exists()


def test_a_campaign_ends_in_time_and_says_where_to_go_on(tmp_path):
    done = campaign.numbers("mutations", "model", 500, 10**9, tmp_path, until=0.0)
    assert (done.tried, done.then) == (0, 500)
