"""The names of the files that a Checkpoint's path stands for, and which of those that are there may be its own."""

import pytest

import numbaflux as nf
from numbaflux.callbacks.pattern import Pattern


@pytest.mark.parametrize(
    ("path", "hits", "misses"),
    [
        ("run.h5", {"run.h5": 0, "run-stopped.h5": 0}, ["run-1.h5", "xrun.h5", "run.h5.old", "runxh5"]),
        ("run-{epoch:03}.h5", {"run-007.h5": 0, "run-1234.h5": 0, "run-stopped.h5": 0}, ["run-.h5", "run-a.h5"]),
        ("{epoch}-{loss:.2e}-{score}.h5", {"1-1.50e-03-nan.h5": 0, "2--1.00e+00--inf.h5": 0}, ["1-2.h5", ".h5"]),
        ("{batches:08,}-{epoch}.h5", {"0,001,500-2.h5": 1500, "12-1.h5": 12}, ["-1.h5"]),
        ("{epoch}-{batches}", {"3-40": 40, "stopped": 0}, ["40"]),
        ("a{{b}}-{epoch: 4d}.h5", {"a{b}-   3.h5": 0, "a{b}-stopped.h5": 0}, ["a{{b}}-3.h5", "ab-3.h5"]),
        ("{epoch}{epoch:_}.h5", {"1_000.h5": 0}, []),
        ("{acc:.1%}.h5", {"98.5%.h5": 0}, []),
    ],
)
def test_found(tmp_path, monkeypatch, path, hits, misses):
    for name in (*hits, *misses):
        (tmp_path / name).write_text("")
    assert Pattern(str(tmp_path / path)).found() == {str(tmp_path / name): n for name, n in hits.items()}
    monkeypatch.chdir(tmp_path)
    assert Pattern(path).found() == hits


def test_every_name_is_found(tmp_path):
    for path in ("{epoch:05}", "{loss}", "{loss:+.3f}", "{loss:10.2g}", "{loss:.0%}", "x{epoch}y{loss:e}z"):
        for loss in (0.1, -3e30, 1e-7, float("nan"), float("inf"), -float("inf")):
            pattern = Pattern(str(tmp_path / path))
            name = pattern.name({"epoch": 12, "loss": loss})
            (tmp_path / name).write_text("")
            assert name in pattern.found(), name


def test_a_folder_that_is_not_there_holds_nothing():
    assert Pattern("nowhere/run-{epoch}.h5").found() == {}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("{loss}/run.h5", "^Checkpoint: path must be with names in the file's own name alone, got '{loss}/run.h5'$"),
        ("run}.h5", r"^Checkpoint: path must be a path with {names}, got 'run}.h5' \(Single '}' "),
    ],
)
def test_wrong_paths(path, text):
    with pytest.raises(nf.RangeError, match=text):
        Pattern(path).found()
