"""The readers have no branch that the hostile files do not take; and the classic reader stands up to its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import hostile, hostile_classic, judge

# What of numbaflux/hdf5.py writes: no file is read there. The last is what runs at the import.
WRITERS = {"write", "check", "_collect", "_fill", "_create", "_replace", "_sweep", ""}
READERS = ("hdf5", "hdf5_classic", "hdf5_json", "hdf5_objects")
RC = """[run]
branch = true
parallel = true
data_file = {folder}/data
include = {names}
"""


@pytest.fixture(scope="module")
def covered(tmp_path_factory) -> dict:
    """What coverage tells of the readers, after every hostile file went through their doors."""
    folder = tmp_path_factory.mktemp("covered")
    rc = folder / "rc"
    rc.write_text(RC.format(folder=folder, names=",".join(f"*/numbaflux/{name}.py" for name in READERS)))
    python = (sys.executable, "-m", "coverage", "run", f"--rcfile={rc}")
    hostile.lay_canaries(folder)
    for variants, doors in (
        (hostile.variants(folder, "model"), "tests.fuzz.doors:READING"),
        (hostile_classic.variants(folder), "tests.fuzz.doors:CLASSIC"),
    ):
        made = list(variants)
        reports = judge.run(made, folder / "manifest", doors, python)
        wrong = [one for v, doors in zip(made, reports, strict=True) for one in judge.judge(v, doors)]
        assert [one for one in wrong if one.verdict != "slow"] == []  # watched, they are slow
    for command in (["combine", "--quiet"], ["json", "--quiet", f"-o{folder}/told.json"]):
        done = subprocess.run([*python[:-2], *command, f"--rcfile={rc}"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((folder / "told.json").read_text())["files"]
    return {Path(name).stem: file for name, file in told.items()}


@pytest.mark.parametrize("reader", READERS)
def test_every_branch_of_the_reader_is_taken(covered, reader):
    parts = covered[reader]["functions"]
    if reader == "hdf5":
        assert set(parts) >= WRITERS
        parts = {name: p for name, p in parts.items() if name not in WRITERS and not name.startswith("_Output.")}
    missing = {name: (part["missing_lines"], part["missing_branches"]) for name, part in parts.items()}
    assert {name: lines for name, lines in missing.items() if lines != ([], [])} == {}
    assert sum(part["summary"]["num_branches"] for part in parts.values()) > 5


def test_the_classic_reader_refuses_its_hostile_files(tmp_path):
    made = list(hostile_classic.variants(tmp_path))
    reports = judge.run(made, tmp_path / "manifest", "tests.fuzz.doors:CLASSIC")
    assert [one for v, doors in zip(made, reports, strict=True) for one in judge.judge(v, doors)] == []
    assert len(made) > 50
