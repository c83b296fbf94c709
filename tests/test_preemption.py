"""SIGUSR1 and SIGTERM while nf.train runs: the step ends, a Checkpoint writes the training as it stands, code 75."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

import numbaflux as nf
from numbaflux import hdf5
from numbaflux.preemption import AGAIN, ASKING, Signals, answer
from tests.lives import BATCHES, EPOCHS, SignalAt, bits, fresh, train, undisturbed
from tests.sources import ROOT

CODES = {signal.SIGUSR1: 128 + 10, signal.SIGTERM: 128 + 15}


class Notes:
    """What it was told, and what the history said in the end."""

    def __init__(self):
        self.told, self.ended = [], ""

    def on_start(self, event):
        self.told.append("start")

    def on_end(self, event):
        self.told.append(("end", event.epoch, event.history.signal))
        self.ended = repr(event.history).splitlines()[-1]


def left(training, callbacks, **options):
    """The exit code of a training that a signal ends; handlers are those of before."""
    before = [signal.getsignal(one) for one in ASKING]
    with pytest.raises(SystemExit) as caught:
        train(training, callbacks, **options)
    assert [signal.getsignal(one) for one in ASKING] == before
    return caught.value.code


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("compile", [True, False])
def test_the_step_is_finished_saved_and_told(tmp_path, capsys, number, compile):
    path, notes, training = tmp_path / "run.h5", Notes(), fresh()
    code = left(training, [nf.Checkpoint(path), notes, SignalAt(BATCHES + 3, number)], compile=compile)
    assert code == AGAIN == 75
    name = signal.Signals(number).name
    line = f"train: stopped by {name} after epoch 2, batch 3; checkpoint {path}; exit code 75\n"
    assert capsys.readouterr().err == line
    assert notes.told == ["start", ("end", 1, name)] and notes.ended == f"stopped by {name} in epoch 2"
    run = nf.load_checkpoint(path)
    assert (run.epoch, run.step, run.position.batch, run.sample) == (1, BATCHES + 3, 3, 24)
    assert training[2].step == BATCHES + 3


@pytest.mark.parametrize("size", [1, 2])
def test_a_rank_that_leaves_is_not_ended_for_being_late(size):
    """srun -K1 sends TERM to the others when the first one has left; one process alone leaves the signal as it was."""
    before = signal.getsignal(signal.SIGTERM)
    with Signals(SimpleNamespace(rank=size - 1, size=size)) as signals:
        pass
    try:
        with pytest.raises(SystemExit) as caught:
            answer(("stopped", AGAIN), signals)
        assert caught.value.code == 75
        assert signal.getsignal(signal.SIGTERM) == (before if size == 1 else signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_after_an_epoch_the_line_names_it_alone(tmp_path, capsys):
    def at_the_end_of_the_second(event):
        if event.epoch == 2:
            signal.raise_signal(signal.SIGUSR1)

    path = tmp_path / "run-{epoch}.h5"
    assert left(fresh(), [nf.Checkpoint(path), at_the_end_of_the_second]) == 75
    file = tmp_path / "run-2.h5"
    assert capsys.readouterr().err == f"train: stopped by SIGUSR1 after epoch 2; checkpoint {file}; exit code 75\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-1.h5", "run-2.h5"]
    assert nf.load_checkpoint(file).position.batch == 0


def test_what_callbacks_behind_it_did_is_saved(tmp_path):
    """A turn's file is written again when training stops there."""
    path = tmp_path / "run.h5"

    class Behind:
        def on_epoch(self, event):
            nf.adjust(event.opt_state, eta=0.5)
            signal.raise_signal(signal.SIGUSR1)

    for by in ("epoch", "batch"):
        assert left(fresh(), [nf.Checkpoint(path, by=by), Behind()]) == 75
        assert nf.load_checkpoint(path).opt_state.rule.eta == 0.5


def test_after_the_last_epoch_too(tmp_path):
    """The job is run again, finds all done, and does what follows training."""
    save = lambda: nf.Checkpoint(tmp_path / "run.h5", every=2)  # noqa: E731
    at_the_end = lambda event: event.epoch == EPOCHS and signal.raise_signal(signal.SIGTERM)  # noqa: E731
    assert left(fresh(), [save(), at_the_end]) == 75
    training = fresh()
    assert bits(*training, train(training, [save()], resume="auto")) == undisturbed()


@pytest.mark.parametrize("number", CODES)
def test_without_a_checkpoint_nothing_is_saved(capsys, number):
    code = left(fresh(), [SignalAt(3, number)])
    assert code == CODES[number]
    told = (
        "nothing was saved (callbacks=[nf.Checkpoint(path)] would have saved it, and resume='auto' goes on from there)"
    )
    name = signal.Signals(number).name
    assert capsys.readouterr().err == f"train: stopped by {name} after epoch 1, batch 3; {told}; exit code {code}\n"


def test_a_disk_that_fails_is_no_75(tmp_path, capsys, monkeypatch):
    save = nf.Checkpoint(tmp_path / "run.h5")
    train(fresh(), [save], epochs=1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(hdf5, "write", full)
        assert left(fresh(), [save, SignalAt(9, signal.SIGTERM)], resume="auto") == 143
    first, last = capsys.readouterr().err.splitlines()
    assert first == (
        f"Checkpoint: {tmp_path / 'run.h5'} could not be written ([Errno 28] No space left on device); the last file "
        "stays, the next turn tries again"
    )
    assert last == (
        "train: stopped by SIGTERM after epoch 2, batch 3; the checkpoint could not be written; exit code 143"
    )
    assert nf.load_checkpoint(tmp_path / "run.h5").epoch == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"path": "run.h5"}, "run.h5"),
        ({"path": "run-{batches}.h5", "by": "batch", "every": 100}, "run-8.h5"),
        ({"path": "{epoch}-{batches:03}.h5", "by": "batch"}, "2-008.h5"),
        ({"path": "run-{epoch:03}-{loss:.2f}.h5"}, "run-stopped.h5"),
        ({"path": "{epoch}.h5"}, "stopped.h5"),
        ({"path": "best.h5", "best": "score", "mode": "min"}, "best-stopped.h5"),
        ({"path": "best-{epoch}-{score}", "best": "score", "mode": "min"}, "best-stopped"),
    ],
)  # fmt: skip
def test_names(tmp_path, options, name):
    save = lambda: nf.Checkpoint(**options | {"path": tmp_path / options["path"]})  # noqa: E731
    assert left(fresh(), [save(), SignalAt(8)]) == 75
    assert nf.load_checkpoint(tmp_path / name).position.batches == 8
    train(fresh(), [save()], epochs=8, resume="auto")
    assert not any("stopped" in path.name for path in tmp_path.iterdir())  # gone with the next turn


def test_the_latest_is_written_rather_than_the_best(tmp_path):
    saves = [nf.Checkpoint(tmp_path / "best.h5", best="loss"), nf.Checkpoint(tmp_path / "run.h5")]
    assert left(fresh(), [*saves, SignalAt(8)]) == 75
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.h5", "run.h5"]
    assert nf.load_checkpoint(tmp_path / "run.h5").position.batches == 8


def test_kept_files_by_batch_are_found_again(tmp_path):
    save = lambda: nf.Checkpoint(tmp_path / "run-{batches}.h5", by="batch", every=2, keep=2)  # noqa: E731
    assert left(fresh(), [save(), SignalAt(7)]) == 75
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-6.h5", "run-7.h5"]
    train(fresh(), [save()], resume="auto")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-16.h5", "run-18.h5"]


# ---------------------------------------------------------------- signals


def test_more_signals_change_nothing(tmp_path):
    class Storm:
        def on_batch(self, event):
            if event.batches == 4:
                for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
                    signal.raise_signal(number)

        def on_end(self, event):
            signal.raise_signal(signal.SIGTERM)

    notes = Notes()
    assert left(fresh(), [nf.Checkpoint(tmp_path / "run.h5"), Storm(), notes]) == 75
    assert notes.told[-1] == ("end", 0, "SIGTERM")


def test_a_signal_that_comes_when_training_is_over_is_handed_on(tmp_path):
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:

        class Late:
            def on_end(self, event):
                signal.raise_signal(signal.SIGTERM)

        history = train(fresh(), [Late()], epochs=1)
        assert got == [signal.SIGTERM] and history.signal == ""
        stop = lambda event: (event.stop(), signal.raise_signal(signal.SIGTERM))  # noqa: E731
        assert len(train(fresh(), [stop])) == 1 and len(got) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_errors_and_ctrl_c_are_as_before(tmp_path):
    save = nf.Checkpoint(tmp_path / "run.h5")
    history = train(fresh(), [save, SignalAt(8, signal.SIGINT)])
    assert history.interrupted and history.signal == "" and len(history) == 1

    def broken(event):
        signal.raise_signal(signal.SIGTERM)
        raise KeyError("mine")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError, match="mine"):
        train(fresh(), [save, broken])
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_leave_signals_alone():
    seen = []
    before = signal.getsignal(signal.SIGTERM)

    def run():
        train(fresh(), [lambda event: seen.append(signal.getsignal(signal.SIGTERM))], epochs=1)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_handler_of_c_is_left_alone(monkeypatch):
    known = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda one: None if one == signal.SIGUSR1 else known(one))
    with Signals(None) as signals:
        assert list(signals.before) == [signal.SIGTERM]


PROGRAM = """
import sys, time
import numbaflux as nf
from tests.lives import fresh, train
class Slow:
    def on_batch(self, event):
        print(event.batches, flush=True)
        time.sleep(0.01)
train(fresh(), [nf.Checkpoint(sys.argv[1]), Slow()], epochs=1000, resume="auto")
"""


@pytest.mark.parametrize("number", CODES)
def test_a_process_that_is_signalled(tmp_path, number):
    path, at = tmp_path / "run.h5", []
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    for life in range(2):
        command = [sys.executable, "-c", PROGRAM, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as child:
            first = int(child.stdout.readline())
            assert first == (at[-1] + 1 if life else 1)
            time.sleep(0.05)
            child.send_signal(number)
            last = [first, *map(int, child.stdout)][-1]
            err = child.stderr.read()
        pattern = (
            rf"train: stopped by {signal.Signals(number).name} after epoch \d+(, batch \d)?; checkpoint {path}; exit"
        )
        assert child.returncode == 75 and re.fullmatch(pattern + " code 75\n", err), err
        at.append(nf.load_checkpoint(path).position.batches)
        assert at[-1] == last
