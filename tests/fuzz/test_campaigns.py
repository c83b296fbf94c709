"""`make fuzz`: what it runs, where it goes on, what it writes; and atheris' targets, shown to find a fault."""

import json
import time
from importlib.util import find_spec

import pytest

from tests.child import child
from tests.fuzz import __main__ as program
from tests.fuzz import campaign
from tests.fuzz.campaign import Outcome

ATHERIS = pytest.mark.skipif(not find_spec("atheris"), reason="machine: atheris has no wheel for it")


@pytest.fixture
def quick(monkeypatch):
    """Campaigns that try nothing."""
    monkeypatch.setattr(campaign, "hostile", lambda of, seed: Outcome(of, 500, 500, 1.0, [], worst=f"{seed} s"))
    monkeypatch.setattr(program, "target", lambda name, seconds, folder: Outcome(name, 7, 0, seconds, []))


def test_a_run_goes_on_where_the_last_one_ended(tmp_path, quick, monkeypatch, capsys):
    asked = []

    def numbers(kind, of, first, last, folder, until):
        asked.append((kind, of, first))
        return Outcome(f"{kind} {of}", 10, 9, 0.1, [], first + 10)

    monkeypatch.setattr(campaign, "numbers", numbers)
    assert program.main(0.001, kept=tmp_path) == program.main(0.001, kept=tmp_path) == 0
    assert asked[2:4] == [("mutations", "model", 0), ("mutations", "training", 0)]
    assert asked[6:] == [("mutations", "model", 10), ("mutations", "training", 10)]
    state = json.loads((tmp_path / "state.json").read_text())
    assert (state["runs"], state["mutations model"], state["mutations training"]) == (2, 20, 20)
    assert state["mutations"] == 40
    assert "| flips model | 10 | 9 | 0 | 0 |" in capsys.readouterr().out


def test_mutations_take_most_of_the_time_while_they_are_owed(tmp_path, quick, monkeypatch):
    lasts: list[float] = []
    findings: list[str] = []

    def numbers(kind, of, first, last, folder, until):
        if kind == "mutations":
            lasts.append(until - time.monotonic())
        return Outcome(f"{kind} {of}", last - first, 0, 0.1, list(findings), last)

    monkeypatch.setattr(campaign, "numbers", numbers)
    state: program.State = {}

    def ran() -> float:
        outcomes = list(program.run(100, state, tmp_path))
        assert "right, of this reader: " in program.table(outcomes, 1.0, state)
        return round(lasts[-1])

    assert ran() == 5400 and state["mutations"] == program.MUTATIONS
    assert ran() == 600  # the rest is for atheris
    findings.append("x")
    assert ran() == 600 and state["mutations"] == 0
    assert ran() == 5400


def test_a_new_machine_goes_on_from_the_committed_figures(tmp_path, monkeypatch):
    (tmp_path / "fuzz.json").write_text('{"state": {"runs": 4}}')
    monkeypatch.setattr(program, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(program, "RESULTS", tmp_path / "fuzz.json")
    assert program.begun(tmp_path / "kept" / "state.json") == {"runs": 4}
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "state.json").write_text('{"runs": 5}')
    assert program.begun(tmp_path / "kept" / "state.json") == {"runs": 5}
    assert program.begun(tmp_path / "state.json") == {}  # of somebody's own


def test_findings_are_counted_and_told(tmp_path, monkeypatch, capsys):
    wrong = Outcome("hostile files: model", 500, 499, 1.0, ["3 | external | load | foreign read | open /etc/passwd"])
    monkeypatch.setattr(program, "run", lambda minutes, state, kept: iter([wrong]))
    assert program.main(1.0, kept=tmp_path) == 1
    told = capsys.readouterr().out
    assert "foreign read" in told and "500 inputs, 1 findings" in told


def test_files_of_a_folder_alone(tmp_path, capsys):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" * 20)
    assert program.main(1.0, tmp_path / "files", tmp_path / "kept") == 0
    assert "files of files" in capsys.readouterr().out


def test_hours_of_atheris_are_added_up_until_the_reader_changes(tmp_path, monkeypatch):
    asked: list[tuple[str, float]] = []
    source, bad = tmp_path / "reader.py", set()

    def target(name, seconds, folder):
        asked.append((name, round(seconds, -1)))
        return Outcome(f"atheris: {name}", 1, 0, seconds, ["x"] if name in bad else [], busy=6 * 3600.0)

    monkeypatch.setattr(program, "target", target)
    monkeypatch.setattr(program, "SOURCES", (source,))
    monkeypatch.setattr(program, "CORES", 3)
    source.write_text("1")
    state: program.State = {}

    def ran() -> float:
        asked.clear()
        program._of_this_reader(state)
        names = {one.name for one in program._targets(state, program.time.monotonic() + 900, tmp_path)}
        assert names == {f"atheris: {name}" for name in program.TARGETS}
        return state["atheris"]["reader"] / 3600

    assert ran() == 6
    assert asked[0] == ("reader", 900.0)  # all the time, and the 12 others on two cores
    assert {seconds for _, seconds in asked[1:]} == {150.0, 180.0, 220.0, 300.0, 450.0, 900.0}
    assert ran() == 12 and state["atheris"]["json"] == 12 * 3600
    table = program.table([], 1.0, state)
    assert "\natheris on the reader: 12.0 CPU-hours without a finding so far, of 10.\n" in table
    assert ran() == 18  # it is owed no more
    assert {seconds for _, seconds in asked} == {180.0, 220.0, 300.0, 450.0, 900.0}
    bad.add("reader")
    assert ran() == 0
    bad.clear()
    assert ran() == 6
    source.write_text("2")
    assert ran() == 6  # of the reader as it is now


@ATHERIS
def test_the_targets_are_those_of_the_table_and_take_their_seeds():
    code = """
        import sys, tempfile, pathlib
        from tests.fuzz.targets import TARGETS
        folder = pathlib.Path(tempfile.mkdtemp())
        for name, target in TARGETS.items():
            for seed in target.seeds():
                path = folder / f"{name}{target.suffix}"
                path.write_bytes(seed)
                target.run(str(path) if target.suffix else seed)
        print(*TARGETS)
    """
    assert tuple(child(code).split()) == program.TARGETS


@ATHERIS
def test_a_target_ends_in_time(tmp_path):
    done = program.target("zoo", 1, tmp_path)
    assert done.findings == [] and done.tried > 100 and 0.5 < done.busy < 60
    assert list((tmp_path / "zoo").iterdir())  # the corpus, for the next time


@ATHERIS
@pytest.mark.parametrize("broken", ["[][0]", "bytearray(4 << 30)"])
def test_a_target_that_breaks_is_a_finding(broken, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        f"import numbaflux.hdf5_json as j\nj.parse_json = lambda text: {broken}\nj.__loader__ = None\n"
    )
    done = program.target("json", 1, tmp_path)
    assert done.findings and done.findings[0].startswith("json: json-crash-")
