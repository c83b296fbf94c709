"""The generator's files: every door refuses each, or finds what was written; and the judge notices if one does not."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import campaign, judge
from tests.fuzz.digests import digest
from tests.fuzz.faulty import FAULTS
from tests.fuzz.forge import base
from tests.fuzz.hostile import BASES, MECHANISMS, Variant, variants

LONG = os.environ.get("NUMBAFLUX_LONG") == "1"
VARIANTS = 500


@pytest.mark.parametrize("of", ["model", "training"])
def test_every_variant_is_refused_or_holds_what_was_written(of):
    done = campaign.hostile(of, draws=5 if LONG else 1)
    assert not done.findings, "\n".join(done.findings[:20])
    assert done.refused >= VARIANTS, done


def test_variants_of_a_larger_file():
    done = campaign.hostile("large", rows=() if LONG else (3, *range(8, 16), 25, 29, 31))
    assert not done.findings, "\n".join(done.findings[:20])
    assert done.refused >= 150, done


def test_every_row_has_variants_with_right_digests_and_without(tmp_path):
    made = list(variants(tmp_path, "model"))
    assert list(MECHANISMS) == list(range(35))
    assert set(Counter(one.row for one in made)) == set(MECHANISMS)
    assert min(Counter(one.stamped for one in made).values()) > 200


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    one, other = ([Path(v.path).read_bytes() for v in variants(tmp_path / n, "model", rows=(29, 31))] for n in "ab")
    (tmp_path / "c").mkdir()
    third = [Path(v.path).read_bytes() for v in variants(tmp_path / "c", "model", seed=1, rows=(29, 31))]
    assert one == other != third


@pytest.mark.parametrize("of", BASES)
def test_the_valid_file_is_made_by_h5py_alone_and_taken(of, tmp_path):
    (tmp_path / "m.h5").write_bytes(base(of).data)
    right = {name: digest(array) for name, array in base(of).datasets.items()}
    variant = Variant(0, "as it is", of, True, str(tmp_path / "m.h5"), ["load_checkpoint"], "", right, {})
    (doors,) = judge.run([variant], tmp_path / "manifest")
    found = [one.door for one in judge.judge(variant, doors)]
    assert found == (["load_checkpoint"] if of == "training" else [])


def test_the_judge_notices(tmp_path):
    right = {name: digest(array) for name, array in base("model").datasets.items()}
    made = []
    for name in ("valid", *FAULTS, "valid again"):
        (tmp_path / f"{name}.h5").write_bytes(base("model").data)
        made.append(Variant(0, name, "model", True, str(tmp_path / f"{name}.h5"), [], "", right, {}))
    must = [one for one in made if one.name.startswith("dirty")]
    made = [one._replace(refused=["read"]) if one in must else one for one in made]
    reports = judge.run(made, tmp_path / "manifest", "tests.fuzz.faulty:FAULTY")
    for variant, doors in zip(made, reports, strict=True):
        found = {one.verdict for one in judge.judge(variant, doors)}
        if variant.name.startswith("valid"):
            assert not found
        else:
            expected = "foreign read" if variant.name.startswith("foreign") else variant.name
            assert any(expected.startswith(verdict) for verdict in found), (variant.name, doors)


def test_the_judge_notices_what_should_be_refused(tmp_path):
    (tmp_path / "m.h5").write_bytes(base("model").data)
    variant = Variant(1, "x", "model", True, str(tmp_path / "m.h5"), ["read", "load"], "a link", {}, {})
    (doors,) = judge.run([variant], tmp_path / "manifest")
    verdicts = {one.door: one.verdict for one in judge.judge(variant, doors)}
    assert verdicts["read"] == verdicts["load"] == "not refused" and verdicts["inspect"] == "silent change"
    refused = {"kind": "FileFormatError", "message": "m.h5: x", "found": {}, "seconds": 0, "memory": 0, "opened": []}
    assert [one.verdict for one in judge.judge(variant, {"read": refused})] == ["another reason"]


@pytest.mark.parametrize(
    ("message", "right"),
    [
        ("SHA-256 of documents.architecture must be 671e, got '671e92707684bd0x1a48f4f7\\\\x7f1e'", True),
        ("attributes of x must be sha256, got {'sha256': '671e92707684bd0x1a48f4f7'}", True),
        ("the tensors must be those of the architecture, got <object at 0x7f3a1a48f4f7>", False),
        ("it must be intact, got 'H5Dopen_by_name'", False), ("/tmp/a must be a file", False), ("a\nb", False),
        ("x" * 400, False),
    ],
)  # fmt: skip
def test_a_message_is_one_clean_line(message, right):
    assert judge.dirty("/tmp/m.h5", f"m.h5: {message}") is not right
    assert judge.dirty("/tmp/m.h5", message)


def test_files_of_somebody(tmp_path):
    for i, data in enumerate((b"", b"\x89HDF\r\n\x1a\n" + bytes(100), base("training").data)):
        (tmp_path / f"{i}.h5").write_bytes(data)
    done = campaign.given(tmp_path)
    assert (done.tried, done.refused) == (3, 2) and "2.h5" in done.findings[0]
