"""Checkpoint: which files it writes when, which it keeps, what it refuses before the first step."""

import os
import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import hdf5
from tests.callbacks.scripted import fresh, train


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_file_replaced_each_epoch(tmp_path):
    epochs = []

    def look(event):
        run = nf.load_checkpoint(tmp_path / "run.h5")
        epochs.append((run.epoch, run.step, len(run.history), run.history[-1] == event.history[-1]))

    train([3, 2, 1], [nf.Checkpoint(tmp_path / "run.h5"), look])
    assert epochs == [(1, 1, 1, True), (2, 2, 2, True), (3, 3, 3, True)] and names(tmp_path) == ["run.h5"]


def test_every_so_many_epochs_a_file_by_name(tmp_path):
    train([3, 2, 1, 0, 5], [nf.Checkpoint(tmp_path / "run-{epoch:03}-{loss:.1f}.h5", every=2)])
    assert names(tmp_path) == ["run-002-2.0.h5", "run-004-0.0.h5"]


def test_every_so_many_batches(tmp_path):
    data = [np.ones((1, 1), np.float32)] * 5
    training = fresh()
    train([0] * 2, [nf.Checkpoint(tmp_path / "{epoch}-{batches}.h5", every=3, by="batch")], training, data=data)
    assert names(tmp_path) == ["1-3.h5", "2-6.h5", "2-9.h5"]
    run = nf.load_checkpoint(tmp_path / "2-9.h5")
    assert (run.epoch, run.sample, run.step, run.position.batch) == (1, 4, 9, 4)


def test_the_best_alone(tmp_path):
    scores, written = [5, 3, np.nan, 4, 2, 2, 1], []

    def look(event):
        written.append(nf.load_checkpoint(tmp_path / "best.h5").epoch)

    train([1] * 7, [nf.Checkpoint(tmp_path / "best.h5", best="score", mode="min"), look], scores=scores)
    assert written == [1, 2, 2, 2, 5, 5, 7]
    path = tmp_path / "high-{epoch}.h5"
    train([1] * 7, [nf.Checkpoint(path, best="score", mode="max", every=2)], scores=scores)  # of epochs 2, 4, 6
    assert names(tmp_path) == ["best.h5", "high-2.h5", "high-4.h5"]


def test_the_best_validation_loss_needs_no_mode(tmp_path):
    train([3, 2, 4], [nf.Checkpoint(tmp_path / "{epoch}.h5", best="loss")])
    assert names(tmp_path) == ["1.h5", "2.h5"]


def test_the_latest_stay(tmp_path):
    (tmp_path / "other-1.h5").write_text("mine")
    seen = []
    look = lambda event: seen.append(names(tmp_path)[1:])  # noqa: E731
    train([1] * 4, [nf.Checkpoint(tmp_path / "run-{epoch}.h5", keep=2), look])
    assert seen == [["run-1.h5"], ["run-1.h5", "run-2.h5"], ["run-2.h5", "run-3.h5"], ["run-3.h5", "run-4.h5"]]
    assert (tmp_path / "other-1.h5").read_text() == "mine"


def test_a_file_that_somebody_removed_is_no_error(tmp_path):
    def remove(event):
        os.unlink(tmp_path / f"run-{event.epoch}.h5")

    train([1] * 3, [nf.Checkpoint(tmp_path / "run-{epoch}.h5", keep=1), remove])
    assert names(tmp_path) == []


def test_metadata_and_a_path_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train([1], [nf.Checkpoint("run.h5", metadata={"data": "made up"})])
    found = nf.load_checkpoint("run.h5").metadata
    assert found["data"] == "made up" and set(found) == {"data", "record"}


class Full:
    """A disk that has no room for the second file, say."""

    def __init__(self, monkeypatch, *turns):
        self.write, self.turns, self.turn = hdf5.write, turns, 0
        monkeypatch.setattr(hdf5, "write", self)

    def __call__(self, *args, **options):
        self.turn += 1
        if self.turn in self.turns:
            raise OSError(28, "No space left on device")
        return self.write(*args, **options)


def test_a_disk_that_fails_is_told_and_tried_again(tmp_path, monkeypatch, capsys):
    epochs, path = [], tmp_path / "run.h5"
    look = lambda event: epochs.append(nf.load_checkpoint(path).epoch)  # noqa: E731
    Full(monkeypatch, 2, 3)
    assert len(train([4, 3, 2, 1], [nf.Checkpoint(path), look])) == 4
    assert epochs == [1, 1, 1, 4] and names(tmp_path) == ["run.h5"]
    line = (
        f"Checkpoint: {path} could not be written ([Errno 28] No space left on device); the last file stays, the next"
    )
    assert capsys.readouterr().err == f"{line} turn tries again\n" * 2


def test_what_could_not_be_written_was_not_the_best(tmp_path, monkeypatch):
    Full(monkeypatch, 2, 3)  # epochs 2 and 4 cannot be written, so that 5 is better than any file
    train([5, 1, 9, 2, 3, 1.5], [nf.Checkpoint(tmp_path / "{epoch}.h5", best="loss")])
    assert names(tmp_path) == ["1.h5", "5.h5", "6.h5"]


def test_kept_files_stay_while_nothing_can_be_written(tmp_path, monkeypatch):
    Full(monkeypatch, 3, 4)
    seen = []
    look = lambda event: seen.append(names(tmp_path))  # noqa: E731
    train([1] * 5, [nf.Checkpoint(tmp_path / "{epoch}.h5", keep=2), look])
    assert seen == [["1.h5"], ["1.h5", "2.h5"], ["1.h5", "2.h5"], ["1.h5", "2.h5"], ["2.h5", "5.h5"]]


# ---------------------------------------------------------------- what is refused


def test_a_model_that_cannot_be_saved_is_refused_before_the_first_step(tmp_path):
    model = nf.Chain(nf.Dense(1, 1), lambda x: x)
    state = nf.setup(nf.Adam(), model)
    with pytest.raises(nf.DTypeError, match="^save: 1 must be a function that its module has under its name, got '"):
        train([1], [nf.Checkpoint(tmp_path / "run.h5")], (model, state))
    assert state.step == 0 and names(tmp_path) == []


REFUSED = [
    ({"path": "{epochs}.h5"}, "Checkpoint: path must be with {epoch}, {loss}, {seconds}, {samples_per_second} alone, "
     "got '{epochs}.h5' (KeyError('epochs'))"),
    ({"path": "{}.h5"}, "Checkpoint: path must be with {epoch}, "),
    ({"path": "{epoch:d"}, "Checkpoint: path must be with {epoch}, "),
    ({"path": "{loss:d}"}, "Checkpoint: path must be with {epoch}, "),
    ({"path": "{epoch.real.nothing}"}, "Checkpoint: path must be with {epoch}, "),
    ({"path": "{epoch[0]}"}, "Checkpoint: path must be with {epoch}, "),
    ({"path": "{loss}", "by": "batch"}, "Checkpoint: path must be with {batches}, {epoch} alone, got '{loss}' "),
    ({"path": "none/run.h5"}, "Checkpoint: path must be in a folder that can be written to, got 'none/run.h5'"),
    ({"best": "score", "mode": "max"}, "Checkpoint: monitor must be one of epoch, loss, seconds, samples_per_second, "
     "got 'score'; pass validation= and metrics= to train"),
    ({"metadata": {"a": object()}}, "save: metadata.a must be plain JSON"),
    ({"metadata": [1]}, "save: metadata must be a dict, got list"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "text"), REFUSED, ids=[str(options) for options, _ in REFUSED])
def test_wrong_arguments_are_refused_before_the_first_step(tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    training = fresh()
    with pytest.raises(nf.Error, match="^" + re.escape(text)):
        train([1], [nf.Checkpoint(**({"path": "run.h5"} | options))], training)
    assert training[1].step == 0 and names(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"by": "step"}, "Checkpoint: by must be 'epoch' or 'batch', got 'step'"),
        ({"by": "batch", "best": "loss"},
         "Checkpoint: best must be None where by='batch', got 'loss'; the history has a row an epoch"),
        ({"mode": "min"}, "Checkpoint: mode must be None where best is not given, got 'min'"),
        ({"metadata": {"record": 1}},
         "Checkpoint: metadata must be without 'record', got it; that is where the run's record goes"),
        ({"keep": 2}, "Checkpoint: path must be one with {epoch} where keep is given, got 'run.h5'"),
        ({"best": "accuracy"}, "Checkpoint: mode must be 'min' or 'max', got None; nothing tells whether accuracy is "
         "to fall or to rise"),
    ],
)  # fmt: skip
def test_wrong_arguments(options, text):
    with pytest.raises(nf.RangeError, match="^" + re.escape(text) + "$"):
        nf.Checkpoint("run.h5", **options)


def test_a_path_is_a_path():
    with pytest.raises(TypeError):
        nf.Checkpoint(3)


def test_it_shows_itself(tmp_path):
    assert repr(nf.Checkpoint("a-{epoch}.h5", keep=3)) == (
        "Checkpoint(path='a-{epoch}.h5', every=1, best=None, mode=None, keep=3, by='epoch', metadata=None)"
    )
