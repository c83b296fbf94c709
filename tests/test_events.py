"""What nf.train tells its callbacks, in which order, and what happens when one of them fails."""

import signal
import subprocess
import sys

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.events import Listeners
from tests.sources import ROOT

X = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)


def loss(model, x):
    return (model(x) ** 2).mean()


def fresh():
    nf.seed(0)
    model = nf.Dense(3, 2)
    return model, nf.DataLoader(X, batchsize=4), nf.setup(nf.Descent(0.1), model)


def run(callbacks, epochs=2, training=None, **options):
    return nf.train(loss, *(training or fresh()), epochs=epochs, callbacks=callbacks, progress=False, **options)


class Told:
    """Notes what it is told; fails where it is to."""

    def __init__(self, notes=None, name="", fail=(), error=None):
        self.notes, self.name, self.fail, self.error = [] if notes is None else notes, name, fail, error

    def _note(self, method, event):
        self.notes.append((self.name + method, event.epoch, event.batch, event.batches))
        if method in self.fail:
            raise self.error or KeyError("mine")

    def on_start(self, event):
        self._note("start", event)

    def on_batch(self, event):
        self._note("batch", event)

    def on_epoch(self, event):
        self._note("epoch", event)

    def on_end(self, event):
        self._note("end", event)


def test_who_is_told_what_and_when():
    told, plain = Told(), []
    run([told, lambda event: plain.append((event.epoch, event.batch, event.batches))])
    assert told.notes == [
        ("start", 0, 0, 0),
        ("batch", 1, 1, 1), ("batch", 1, 2, 2), ("batch", 1, 3, 3), ("epoch", 1, 0, 3),
        ("batch", 2, 1, 4), ("batch", 2, 2, 5), ("batch", 2, 3, 6), ("epoch", 2, 0, 6),
        ("end", 2, 0, 6),
    ]  # fmt: skip
    assert plain == [(1, 0, 3), (2, 0, 6)]


def test_what_an_event_holds():
    events = []

    class All:
        on_start = on_batch = on_epoch = on_end = staticmethod(events.append)

    def size(output, y):
        return 2

    model = nf.Dense(3, 2)
    data, state = nf.DataLoader((X, X[:, :2]), batchsize=4, shuffle=True, rng=3), nf.setup(nf.Adam(), model)
    history = nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, data, state, epochs=1, callbacks=[All()],
                       validation=(X, X[:, :2]), metrics=[size], progress=False)  # fmt: skip
    assert [e.loss is None for e in events] == [True, False, False, False, False, True]
    sizes, losses = [4, 4, 2], [e.loss for e in events[1:4]]
    assert history[0]["loss"] == sum(n * x for n, x in zip(sizes, losses, strict=True)) / 10 == events[4].loss
    for event in events:
        assert event.model is model and event.opt_state is state and event.history is history
        assert event.columns == ("epoch", "loss", "validation_loss", "size", "seconds", "samples_per_second")
        assert event.generators["data"] is data.rng and "default" in event.generators
    assert list(history[0]) == list(events[0].columns)
    assert [(e.position.epoch, e.position.batch, e.position.sample) for e in events] == [
        (0, 0, 0), (0, 1, 4), (0, 2, 8), (0, 3, 10), (1, 0, 0), (1, 0, 0),
    ]  # fmt: skip
    assert events[2].position.begun["data"] == (3, 0) and events[3].position.total == pytest.approx(
        10 * history[0]["loss"]
    )


def test_nothing_listens_to_batches_unless_asked_to():
    class Epochs:
        def on_epoch(self, event):
            pass

    assert Listeners([]).batch is Listeners([print, Epochs(), nf.CSVLog("x"), nf.Checkpoint("x")]).batch is None
    assert Listeners([nf.Schedule(float), nf.EarlyStopping(), nf.Plateau()]).batch is None
    for one in (Told(), nf.throttle(print, 1), nf.Schedule(float, by="batch"), nf.Checkpoint("x", by="batch")):
        assert Listeners([print, one]).batch is not None


@pytest.mark.parametrize("compile", [True, False])
def test_batch_callbacks_change_no_bits(compile):
    plain, told = fresh(), fresh()
    one = run([], training=plain, compile=compile)
    two = run([Told()], training=told, compile=compile)
    assert one.column("loss") == two.column("loss")
    np.testing.assert_array_equal(plain[0].weight, told[0].weight)


# ---------------------------------------------------------------- stopping


def test_stop_in_a_batch_ends_the_epoch_there():
    class Second:
        def on_batch(self, event):
            if event.epoch == 2 and event.batch == 2:
                event.stop()

    training = fresh()
    history = run([Second()], epochs=5, training=training, validation=X)
    assert history.column("epoch") == [1, 2] and not history.interrupted
    assert training[2].step == 5 and history[1]["validation_loss"] > 0


def test_stop_at_the_start_trains_nothing():
    class Never:
        def on_start(self, event):
            event.stop()

    training = fresh()
    assert run([Never()], training=training) == [] and training[2].step == 0


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("method", ["batch", "epoch"])
def test_a_failing_callback_ends_training_between_steps(method):
    notes, training, same = [], fresh(), fresh()
    failing = Told(notes, "b.", fail=(method,))
    with pytest.raises(KeyError, match="mine") as caught:
        run([Told(notes, "a."), failing, Told(notes, "c.")], training=training)
    steps = {"batch": 1, "epoch": 3}[method]
    assert caught.value.__notes__ == [
        f"train: raised by on_{method} of the callback {failing!r}, epoch 1" + ", batch 1" * (method == "batch")
    ]
    assert [note[0] for note in notes[-3:]] == ["a.end", "b.end", "c.end"]
    assert training[2].step == steps
    nf.train(loss, same[0], list(same[1])[:steps], same[2], epochs=1, progress=False)
    np.testing.assert_array_equal(training[0].weight, same[0].weight)
    run([], epochs=1, training=training)  # and it can be trained on


def test_where_the_start_fails_only_those_that_began_are_told_of_the_end():
    notes, training = [], fresh()
    with pytest.raises(KeyError):
        run([Told(notes, "a."), Told(notes, "b.", fail=("start",)), Told(notes, "c.")], training=training)
    assert [note[0] for note in notes] == ["a.start", "b.start", "a.end"] and training[2].step == 0


def test_all_are_told_of_the_end_though_some_fail_there():
    notes = []
    with pytest.raises(KeyError):
        run([Told(notes, "a.", fail=("end",)), Told(notes, "b.", fail=("end",)), Told(notes, "c.")])
    assert [note[0] for note in notes[-3:]] == ["a.end", "b.end", "c.end"]


def test_the_end_comes_when_training_fails():
    told, training = Told(), fresh()
    with pytest.raises(nf.NonFiniteError, match="^train: epoch 1, batch 2: step: loss"):
        nf.train(loss, training[0], [X, X * np.float32(np.nan)], training[2], callbacks=[told], progress=False)
    assert [note[0] for note in told.notes] == ["start", "batch", "end"]


@pytest.mark.parametrize("method", ["start", "batch", "epoch"])
def test_the_end_comes_after_ctrl_c(method):
    notes = []
    history = run([Told(notes, fail=(method,), error=KeyboardInterrupt()), Told(notes, "b.")])
    began = [] if method == "start" else ["end", "b.end"]
    assert [note[0] for note in notes if note[0].endswith("end")] == began
    assert history.interrupted and len(history) == (method == "epoch")


SIGNALLED = """
import os, signal, sys
import numpy as np
import numbaflux as nf

x = np.ones((4096, 8), np.float32)
model = nf.Dense(8, 1)
class Told:
    def on_epoch(self, event):
        print("epoch", flush=True)
    def on_end(self, event):
        print("end", event.history.interrupted, flush=True)
nf.train(lambda m, x: (m(x) ** 2).mean(), model, nf.DataLoader(x, batchsize=8), nf.setup(nf.Adam(), model),
         epochs=10**9, callbacks=[nf.CSVLog(sys.argv[1]), Told()], progress=False)
print("returned", flush=True)
"""


def test_the_end_comes_after_a_signal(tmp_path):
    command = [sys.executable, "-c", SIGNALLED, str(tmp_path / "log.csv")]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "epoch\n"
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=300)
    lines = [line for line in out.splitlines() if line != "epoch"]
    assert child.returncode == 0 and lines == ["end True", "returned"]
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,loss") and len(rows) >= 2


# ---------------------------------------------------------------- bad input


class Typo:
    def on_epochs(self, event):
        pass


class Half:
    on_epoch = 3


KIND = "functions of an event, or objects with on_start, on_batch, on_epoch or on_end"


@pytest.mark.parametrize(
    ("callback", "text"),
    [
        (nf.EarlyStopping, f"train: callbacks must be {KIND}, got the class EarlyStopping; EarlyStopping\\(...\\)"),
        (Typo(), "train: methods of Typo must be of on_start, on_batch, on_epoch, on_end, got on_epochs"),
        (Half(), "train: Half.on_epoch must be a method, got 3"),
        (7, f"train: callbacks must be {KIND}, got 7"),
    ],
)
def test_what_is_no_callback(callback, text):
    training = fresh()
    with pytest.raises(nf.DTypeError, match=f"^{text}$"):
        run([callback], training=training)
    assert training[2].step == 0
