"""resume="auto": from the newest whole file into the program's own model and optimiser state, bit for bit."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import numbaflux as nf
from tests.lives import BATCHES, EPOCHS, X, Y, bits, fresh, lives, train, undisturbed
from tests.toys import Block

ETA = nf.schedules.Warmup(nf.schedules.Exp(0.05, 0.9), 5)
RULES = [
    nf.Adam(0.02), nf.EMA(nf.Adam(0.05)), nf.Scheduler(nf.Adam(), eta=ETA), nf.Muon(0.05),
    nf.OptimiserChain(nf.AccumGrad(4), nf.ClipNorm(0.5), nf.Momentum(0.05)),
]  # fmt: skip


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def schedule():
    return [nf.Schedule(lambda t: 0.1 / t, by="batch")]


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_rule_goes_on_bit_for_bit(tmp_path, rule, compile):
    got = lives(lambda: nf.Checkpoint(tmp_path / "run.h5"), [2, 9, 13], lambda: fresh(rule), compile=compile)
    assert got == undisturbed(lambda: fresh(rule), compile=compile)


def test_schedules_and_callbacks_go_on(tmp_path):
    def make():
        return fresh(nf.OptimiserChain(nf.AccumGrad(3), nf.Adam(0.05)))

    got = lives(lambda: nf.Checkpoint(tmp_path / "run.h5"), [4, 11], make, schedule)
    assert got == undisturbed(make, schedule)
    plateau = lambda: [nf.Plateau("score", 0.5, 1, 1, 0.0, 0.05, "min")]  # noqa: E731
    got = lives(lambda: nf.Checkpoint(tmp_path / "other.h5"), [20, 33], callbacks=plateau, epochs=8)
    assert got == undisturbed(callbacks=plateau, epochs=8)
    assert got[3] != repr(nf.Adam(0.02))  # eta was changed, and is the file's


SAVES = {
    "one file": {"path": "run.h5"},
    "by epoch": {"path": "run-{epoch:03}-{loss:.2f}.h5", "keep": 2},
    "by batch": {"path": "run-{batches}.h5", "by": "batch", "every": 4, "keep": 2},
    "the best": {"path": "best.h5", "best": "score", "mode": "min"},
    "the best, by name": {"path": "best-{epoch}.h5", "best": "loss", "keep": 1},
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(
    rule=st.sampled_from(RULES), save=st.sampled_from(sorted(SAVES)), compile=st.booleans(),
    stops=st.sets(st.integers(1, EPOCHS * BATCHES), max_size=3),
)  # fmt: skip
def test_stopped_anywhere(tmp_path, rule, save, compile, stops):
    folder = tmp_path / f"{len(files(tmp_path))}"
    folder.mkdir()
    options = SAVES[save] | {"path": folder / SAVES[save]["path"]}
    got = lives(lambda: nf.Checkpoint(**options), stops, lambda: fresh(rule), compile=compile)
    assert got == undisturbed(lambda: fresh(rule), compile=compile)


def test_what_is_not_restored_would_differ(tmp_path):
    """The comparison can fail: the same lives from the state of the files' models alone."""
    save = nf.Checkpoint(tmp_path / "run.h5")
    train(fresh(), [save], epochs=1)
    training = fresh(seed=8)
    nf.load_into(training[0], tmp_path / "run.h5")
    assert bits(*training, train(training, epochs=2)) != undisturbed()


def test_no_file_is_a_training_anew(tmp_path, capsys):
    training = fresh()
    history = train(training, [nf.Checkpoint(tmp_path / "run-{epoch}.h5")], resume="auto")
    assert bits(*training, history) == undisturbed() and capsys.readouterr().err == ""


def test_nothing_is_trained_when_all_is_done(tmp_path):
    save = lambda: [nf.Checkpoint(tmp_path / "run.h5")]  # noqa: E731
    train(fresh(), save())
    training = fresh()
    assert bits(*training, train(training, save(), resume="auto")) == undisturbed()


def test_the_same_model_again_in_one_process(tmp_path):
    """A notebook's cell that is run again: what was trained on since is set back."""
    training, save = fresh(), lambda: [nf.Checkpoint(tmp_path / "run.h5")]  # noqa: E731
    train(training, save(), epochs=2)
    train(training, epochs=1)
    assert bits(*training, train(training, save(), resume="auto")) == undisturbed()


def test_compiled_steps_and_frozen_layers_see_what_was_loaded(tmp_path):
    model, data, state = fresh()
    nf.freeze(state, "0")
    train((model, data, state), [nf.Checkpoint(tmp_path / "run.h5")], epochs=1)
    other, more, its = fresh(seed=1)
    predict = nf.compile(other)
    before = predict(X)
    train((other, more, its), [nf.Checkpoint(tmp_path / "run.h5")], epochs=1, resume="auto")
    np.testing.assert_array_equal(predict(X), nf.compile(model)(X))
    assert not np.array_equal(before, predict(X))
    assert [s.path for s in its.segments if s.frozen] == ["0.weight", "0.bias"]


def test_from_one_way_of_resuming_to_the_other(tmp_path):
    """A rule whose numbers were changed is that of the beginning, whoever loaded it meanwhile."""
    path = tmp_path / "run.h5"
    train(fresh(), [nf.Checkpoint(path), *schedule()], epochs=1)
    run = nf.load_checkpoint(path)
    train((run.model, fresh()[1], run.opt_state), [nf.Checkpoint(path), *schedule()], epochs=2, resume=run)
    training = fresh()
    history = train(training, [nf.Checkpoint(path), *schedule()], resume="auto")
    assert history.column("epoch") == [1, 2, 3] and bits(*training, history) == undisturbed(callbacks=schedule)


def test_layers_of_ones_own(tmp_path):
    def make():
        nf.seed(1)
        model = nf.Chain(Block(), nf.Dense(2, 2))
        return model, nf.DataLoader((X, Y), batchsize=8), nf.setup(nf.Descent(0.01), model)

    save = lambda: [nf.Checkpoint(tmp_path / "run.h5")]  # noqa: E731
    one, other = make(), make()
    train(one, save(), epochs=2)
    assert train(other, save(), epochs=2, resume="auto").column("epoch") == [1, 2]
    assert {k: v.tobytes() for k, v in nf.state(one[0]).items()} == {
        k: v.tobytes() for k, v in nf.state(other[0]).items()
    }


# ---------------------------------------------------------------- which file


def times(folder, names):
    """Let files be written one after another, a second between."""
    for i, name in enumerate(names):
        os.utime(folder / name, ns=(10**18 + i * 10**9,) * 2)


def started(training, callbacks):
    """Where a training that goes on by itself starts."""
    at = []

    class Look:
        def on_start(self, event):
            at.append(event.batches)
            event.stop()

    train(training, [*callbacks, Look()], resume="auto")
    return at[0]


def test_the_newest_of_all_checkpoints(tmp_path):
    def saves():
        return [
            nf.Checkpoint(tmp_path / "best-{epoch}.h5", best="loss", keep=1),
            nf.Checkpoint(tmp_path / "run-{epoch}.h5"),
            nf.Checkpoint(tmp_path / "b-{batches}.h5", by="batch", every=5),
        ]

    train(fresh(), saves())
    names = files(tmp_path)
    assert {"run-3.h5", "b-15.h5"} <= set(names)
    assert started(fresh(), saves()) == 18
    times(tmp_path, [*names, "b-10.h5"])
    assert started(fresh(), saves()) == 10
    for name in names:  # all at one moment: the furthest
        os.utime(tmp_path / name, ns=(10**18,) * 2)
    assert started(fresh(), saves()) == 18


def test_files_that_are_torn_or_foreign_are_skipped(tmp_path, capsys):
    save = lambda: [nf.Checkpoint(tmp_path / "run-{epoch}.h5")]  # noqa: E731
    train(fresh(), save(), epochs=3)
    whole = (tmp_path / "run-3.h5").read_bytes()
    (tmp_path / "run-3.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "run-4.h5").write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    (tmp_path / "run-5.h5").write_bytes(b"")
    (tmp_path / "run-6.h5").write_text("notes of mine" * 9)
    (tmp_path / "run-7.h5").mkdir()
    nf.save(tmp_path / "run-8.h5", fresh()[0])
    (tmp_path / "run-9.h5").symlink_to("nowhere")
    (tmp_path / "run-of-last-week.h5").write_text("never looked at")
    times(tmp_path, [f"run-{i}.h5" for i in range(1, 9)])
    training = fresh()
    history = train(training, save(), resume="auto")
    assert bits(*training, history) == undisturbed()
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in said] == [f" skipped run-{i}.h5" for i in (8, 7, 6, 5, 4, 3)]
    assert all(line.startswith("train: skipped run-") and len(line) < 320 for line in said)
    assert said[0].endswith("the file must be a checkpoint, got 'a model alone, for nf.load'")


def test_nothing_whole_is_a_training_anew(tmp_path, capsys):
    (tmp_path / "run.h5").write_bytes(b"\x89HDF\r\n\x1a\n" * 20)
    training = fresh()
    assert bits(*training, train(training, [nf.Checkpoint(tmp_path / "run.h5")], resume="auto")) == undisturbed()
    assert capsys.readouterr().err.startswith("train: skipped run.h5: ")


def test_a_copied_folder_goes_on(tmp_path):
    (tmp_path / "one").mkdir()
    train(fresh(), [nf.Checkpoint(tmp_path / "one" / "run-{epoch}.h5", keep=1)], epochs=2)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    training = fresh()
    history = train(training, [nf.Checkpoint(tmp_path / "two" / "run-{epoch}.h5", keep=1)], resume="auto")
    assert bits(*training, history) == undisturbed() and files(tmp_path / "two") == ["run-3.h5"]
