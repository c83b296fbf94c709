"""CSVLog and JSONLog hold the history, at each moment."""

import csv
import json
import math

import pytest

import numbaflux as nf
from tests.callbacks.scripted import fresh, train


def cells(path):
    """A CSV file as rows of numbers by name."""
    with path.open(newline="") as file:
        return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]


def test_csv_is_the_history(tmp_path):
    path = tmp_path / "log.csv"
    history = train([3, 2, 0.1], [nf.CSVLog(path)], scores=[1.5, math.nan, math.inf])
    assert path.read_text().splitlines()[0] == "epoch,loss,validation_loss,score,seconds,samples_per_second"
    rows = cells(path)
    assert math.isnan(rows[1].pop("score")) and math.isnan(dict(history[1]).pop("score"))
    assert rows[0] == history[0] and rows[2] == history[2] and len(rows) == 3


def test_json_is_the_history(tmp_path):
    path = tmp_path / "log.jsonl"
    history = train([3, 2, 0.1], [nf.JSONLog(path)], scores=[1.5, math.nan, math.inf])
    rows = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert rows == [history[0], history[1] | {"score": None}, history[2] | {"score": None}]


@pytest.mark.parametrize("kind", [nf.CSVLog, nf.JSONLog])
def test_rows_are_on_the_disk_after_each_epoch(tmp_path, kind):
    path, lengths = tmp_path / "log", []
    path.write_text("old\n" * 9)

    class Look:
        def on_start(self, event):
            lengths.append(len(path.read_text().splitlines()))

        def on_epoch(self, event):
            lengths.append(len(path.read_text().splitlines()))

    train([1, 1, 1], [kind(path), Look()])
    head = kind is nf.CSVLog
    assert lengths == [9, 1 + head, 2 + head, 3 + head]


@pytest.mark.parametrize("kind", [nf.CSVLog, nf.JSONLog])
def test_an_old_file_stays_where_training_is_refused(tmp_path, kind):
    path = tmp_path / "log"
    path.write_text("old")
    with pytest.raises(nf.RangeError):
        train([1], [kind(path), nf.EarlyStopping("validation_loss")])
    assert path.read_text() == "old"


@pytest.mark.parametrize("kind", [nf.CSVLog, nf.JSONLog])
def test_a_file_that_cannot_be_written_is_refused_before_the_first_step(tmp_path, kind):
    training = fresh()
    with pytest.raises(FileNotFoundError):
        train([1], [kind(tmp_path / "none" / "log")], training)
    assert training[1].step == 0


@pytest.mark.parametrize("kind", [nf.CSVLog, nf.JSONLog])
def test_numbers_that_callbacks_add(tmp_path, kind):
    path = tmp_path / "log"

    def late(event):
        if event.epoch > 1:
            event.history[-1]["eta"] = event.opt_state.rule.eta

    history = train([3, 2, 1], [late, kind(path)])
    if kind is nf.CSVLog:
        assert [row["eta"] for row in cells(path)] == [None, 0.5, 0.5]
        assert path.read_text().splitlines()[0] == "epoch,loss,seconds,samples_per_second,eta"
    else:
        assert [json.loads(line) for line in path.read_text().splitlines()] == history


@pytest.mark.parametrize("kind", [nf.CSVLog, nf.JSONLog])
def test_the_file_is_closed_however_training_ends(tmp_path, kind):
    def fail(event):
        raise KeyError("mine")

    log = kind(tmp_path / "log")
    with pytest.raises(KeyError):
        train([1], [log, fail])
    assert log.file.closed
    train([1, 2], [log])  # and serves again
    assert log.file.closed and len((tmp_path / "log").read_text().splitlines()) == 2 + (kind is nf.CSVLog)


def test_names_are_quoted_as_csv_wants(tmp_path):
    def odd(event):
        event.history[-1]['a,"b'] = 1

    train([1], [odd, nf.CSVLog(tmp_path / "log.csv")])
    assert cells(tmp_path / "log.csv")[0]['a,"b'] == 1


@pytest.mark.parametrize("kind", [nf.CSVLog, nf.JSONLog])
def test_they_show_themselves_and_want_a_path(kind):
    assert repr(kind("a/b")) == f"{kind.__name__}('a/b')"
    with pytest.raises(TypeError):
        kind(3)
