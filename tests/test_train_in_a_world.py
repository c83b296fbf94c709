"""nf.train with a world of ranks: rank 0 writes and picks the file, flags are agreed on, counts are those of all."""

import json
import signal
import threading

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import hdf5
from tests.fake_world import World, together
from tests.lives import N, SignalAt, X, Y, loss

EPOCHS, BATCHES = 3, 6


class Slices:
    """Each rank's slice of batches of 8, whatever the number of ranks; all of it where there is no world."""

    def __init__(self, world):
        self.world = world

    def __iter__(self):
        for x, y in nf.DataLoader((X, Y), batchsize=8):
            rank, size = (0, 1) if self.world is None else (self.world.rank, self.world.size)
            mine = slice(len(x) * rank // size, len(x) * (rank + 1) // size)
            yield x[mine], y[mine]


def make(world):
    model = nf.Chain(nf.Dense(3, 4, nf.tanh, rng=0), nf.Dense(4, 2, rng=1))
    state = nf.setup(nf.Descent(0.0), model)  # ranks that do not add up gradients stay alike when nothing moves
    state.world = world
    return model, Slices(world), state


def train(world, callbacks, epochs=EPOCHS, **options):
    model, data, state = make(world)
    return nf.train(loss, model, data, state, epochs, callbacks=callbacks, progress=False, compile=False, **options)


def codes(results):
    assert all(isinstance(result, SystemExit) for result in results), results
    return [result.code for result in results]


def stopped_by_signal(folder, at, ranks, **options):
    """The exit codes of ranks whose first one alone gets a signal."""

    def work(world):
        callbacks = [nf.Checkpoint(folder / "run.h5", **options)]
        train(world, [*callbacks, SignalAt(at)] if world.rank == 0 else callbacks, resume="auto")

    return codes(together(ranks, work))


def test_all_leave_and_the_first_writes(tmp_path, capsys):
    assert stopped_by_signal(tmp_path, 8, 3) == [75, 75, 75]
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]
    line = f"train: stopped by SIGUSR1 after epoch 2, batch 2; checkpoint {tmp_path / 'run.h5'}; exit code 75\n"
    assert capsys.readouterr().err == line
    run = nf.load_checkpoint(tmp_path / "run.h5")
    assert (run.epoch, run.sample, run.position.batch) == (1, 16, 2)
    assert run.metadata["record"]["ranks"] == 3


def test_files_do_not_depend_on_the_number_of_ranks(tmp_path):
    """Two ranks, then three, then one, then two: the history is that of one process that was left alone."""
    for at, ranks in ((3, 2), (8, 3), (13, 1)):
        assert stopped_by_signal(tmp_path, at, ranks) == [75] * ranks
        assert nf.load_checkpoint(tmp_path / "run.h5").position.sample == 8 * (at % BATCHES)
    save = lambda: nf.Checkpoint(tmp_path / "run.h5")  # noqa: E731
    results = together(2, lambda world: train(world, [save()], resume="auto"))
    expected = train(None, [])
    for history in results:
        np.testing.assert_allclose(history.column("loss"), expected.column("loss"), rtol=1e-6)
        assert history.column("epoch") == [1, 2, 3]


def test_history_is_of_all_samples(tmp_path):
    results = together(2, lambda world: train(world, []))
    assert [history.column("loss") for history in results] == [results[0].column("loss")] * 2
    rates = [row["samples_per_second"] * row["seconds"] for history in results for row in history]
    assert rates == pytest.approx([N] * len(rates))


def test_without_a_checkpoint(capsys):
    assert codes(together(2, lambda world: train(world, [SignalAt(8)] if world.rank == 0 else []))) == [138, 138]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_full_disk_is_told_by_the_first_and_known_to_all(tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(hdf5, "write", full)
        best = {"best": "loss", "keep": 1}
        results = together(2, lambda world: train(world, [nf.Checkpoint(tmp_path / "best-{epoch}.h5", **best)]))
        assert [len(history) for history in results] == [EPOCHS] * 2 and not list(tmp_path.iterdir())
        assert len(capsys.readouterr().err.splitlines()) == EPOCHS  # none was written, so each is the best
        assert stopped_by_signal(tmp_path, 3, 2) == [138, 138]


def test_as_many_checkpoints_on_each(tmp_path):
    save = lambda world: [nf.Checkpoint(tmp_path / "run.h5")][: 1 - world.rank]  # noqa: E731
    text = "train: callbacks must be with as many Checkpoints on each rank, got [1, 0]; pass nf.Checkpoint on all"
    for error in together(2, lambda world: train(world, save(world))):
        assert isinstance(error, nf.PlanError) and str(error).startswith(text)


def test_folders_that_are_not_shared(tmp_path, monkeypatch):
    """Rank 0 sees the file, the others do not."""
    path, read = tmp_path / "run.h5", hdf5.read
    train(None, [nf.Checkpoint(path)], epochs=1)

    def blind(path):
        if threading.current_thread() is not threading.main_thread():
            raise nf.FileFormatError("run.h5: cannot be read (No such file or directory)")
        return read(path)

    monkeypatch.setattr(hdf5, "read", blind)
    text = f"train: the file of rank 0 must be one that each rank can read, got {path}, which ranks [1, 2] cannot; the "
    for error in together(3, lambda world: train(world, [nf.Checkpoint(path)], resume="auto")):
        assert isinstance(error, nf.FileFormatError) and str(error) == text + "folder must be shared by all hosts"


def test_what_the_first_cannot_read_is_an_error_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "VERSION", 2)
    train(None, [nf.Checkpoint(tmp_path / "run.h5")], epochs=1)
    monkeypatch.setattr(hdf5, "VERSION", 1)
    results = together(2, lambda world: train(world, [nf.Checkpoint(tmp_path / "run.h5")], resume="auto"))
    for error in results:
        assert isinstance(error, nf.FileFormatError)
        assert str(error) == "run.h5: the version of the format must be 1, got '2'"


def test_no_file_is_a_training_anew_on_all(tmp_path):
    results = together(2, lambda world: train(world, [nf.Checkpoint(tmp_path / "run.h5")], resume="auto"))
    assert [history.column("epoch") for history in results] == [[1, 2, 3]] * 2


def test_what_is_asked_of_a_world_each_step():
    """One agreement a step and one an epoch; the samples of an epoch once."""
    worlds = []

    def work(world):
        worlds.append(world)
        train(world, [], epochs=2)

    together(2, work)
    epoch = ["any"] * BATCHES + ["the end of an epoch", "any"]
    assert all(world.calls == ["gather", *epoch, *epoch] for world in worlds)


def test_a_signal_to_another_rank(tmp_path, capsys):
    """Its handler sets the flag there: here a thread, in which the test does what a handler does."""
    flags = {}

    class Flag:
        def on_start(self, event):
            flags[event.opt_state.world.rank] = event.stop.__self__.signals

        def on_batch(self, event):
            if event.opt_state.world.rank == 1 and event.batches == 4:
                flags[1].catch(signal.SIGTERM, None)

    results = together(2, lambda world: train(world, [nf.Checkpoint(tmp_path / "run.h5"), Flag()]))
    assert codes(results) == [75, 75]
    assert "stopped by SIGTERM after epoch 1, batch 4;" in capsys.readouterr().err


def test_positions_in_files_are_plain_numbers(tmp_path):
    assert stopped_by_signal(tmp_path, 2, 2, by="batch") == [75, 75]
    training = json.loads(hdf5.read(tmp_path / "run.h5").documents["training"])
    assert training["sample"] == 16 and isinstance(training["total"], float)


def test_the_fake_world_tells_ranks_that_part():
    def work(world: World):
        return world.any(True) if world.rank else world.gather([1])

    assert any(isinstance(result, AssertionError) for result in together(2, work))
