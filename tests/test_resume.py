"""A training that stops and goes on from its file is the training that never stopped, bit for bit."""

import csv
import itertools

import numpy as np
import pytest

import numbaflux as nf
from tests.lives import TIMES, N, X, Y, loss, score


def fresh(rule=None):
    nf.seed(7)
    model = nf.Chain(nf.Dense(3, 8, nf.tanh), nf.Dense(8, 2))
    return model, nf.setup(rule or nf.Adam(0.02), model)


def loader(rng=None):
    return nf.DataLoader((X, Y), batchsize=8, shuffle=True, rng=rng)


def bits(state, history, data):
    """All that must not differ."""
    vectors = [
        s.of(a).tobytes() for v in state.vectors.values() for a in (v.params, *v.states.values()) for s in v.segments
    ]
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in history]
    frozen = [(s.path, s.frozen) for s in state.segments]
    return vectors, rows, state.hyper.tobytes(), repr(state.rule), frozen, data.rng.state, nf.rng.default().state


def train(model, state, data, epochs, callbacks=(), **options):
    options = {"progress": False, "validation": (X, Y), "metrics": [score]} | options
    return nf.train(loss, model, data, state, epochs, callbacks=callbacks, **options)


def whole(rule, epochs=4, callbacks=(), seed=3, prepare=None, **options):
    """The bits of a training that never stops."""
    model, state = fresh(rule)
    if prepare:
        prepare(model, state)
    data = loader(seed)
    return bits(state, train(model, state, data, epochs, callbacks, **options), data)


def halves(path, rule, epochs=4, stop=2, callbacks=list, seed=3, prepare=None, save=None, disturb=True, **options):
    """The bits of one that stops, and goes on in what might be another process."""
    model, state = fresh(rule)
    if prepare:
        prepare(model, state)
    train(model, state, loader(seed), stop, [*callbacks(), save or nf.Checkpoint(path)], **options)
    if disturb:
        nf.seed(99)
    data = loader(seed)
    run = nf.load_checkpoint(path)
    history = train(run.model, run.opt_state, data, epochs, callbacks(), resume=run, **options)
    return bits(run.opt_state, history, data)


RULES = [
    nf.Descent(0.1), nf.Momentum(0.05), nf.Adam(0.02), nf.AdamW(0.02, decay=0.1, couple=False),
    nf.OptimiserChain(nf.ClipNorm(0.1), nf.Momentum(0.05)), nf.OptimiserChain(nf.AccumGrad(4), nf.Adam(0.05)),
    nf.LAMB(0.05), nf.Muon(0.05), nf.EMA(nf.Adam(0.05)), nf.MixedPrecision(nf.Adam(0.05), "bfloat16"),
    nf.Scheduler(nf.Adam(), eta=nf.schedules.Warmup(nf.schedules.Exp(0.1, 0.9), 5)),
]  # fmt: skip


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_two_and_two_epochs_are_four(tmp_path, rule, compile):
    assert halves(tmp_path / "run.h5", rule, compile=compile) == whole(rule, compile=compile)


@pytest.mark.parametrize("seed", [None, 3])
def test_loaders_with_the_default_generator_or_their_own(tmp_path, seed):
    assert halves(tmp_path / "run.h5", None, seed=seed) == whole(None, seed=seed)


def test_without_the_file_the_bits_would_differ(tmp_path):
    """The comparison can fail: a new seed for the default generator, and nothing restored."""
    model, state = fresh()
    train(model, state, loader(), 2)
    nf.seed(99)
    data = loader()
    assert bits(state, train(model, state, data, 2), data) != whole(None, seed=None)


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("every", [1, 4, 7])
def test_in_the_middle_of_an_epoch(tmp_path, every, compile):
    """6 batches an epoch; the training is cut off after some batch of the second one."""
    path = tmp_path / "run.h5"

    class CutOff:
        def on_batch(self, event):
            if event.batches == 10:
                raise KeyboardInterrupt

    class Draw:
        """Random numbers that a step might take."""

        def on_batch(self, event):
            event.generators["default"].uniform(1)

    def callbacks():
        return [Draw(), nf.Schedule(lambda t: 0.1 / t, by="batch")]

    model, state = fresh()
    save = nf.Checkpoint(path, every=every, by="batch")
    train(model, state, loader(None), 4, [*callbacks(), save, CutOff()], compile=compile)
    nf.seed(99)
    data, run = loader(None), nf.load_checkpoint(path)
    done = 10 // every * every
    assert (run.epoch, run.step, run.sample) == (done // 6, done, 8 * (done % 6))
    history = train(run.model, run.opt_state, data, 4, callbacks(), resume=run, compile=compile)
    assert bits(run.opt_state, history, data) == whole(None, seed=None, callbacks=callbacks(), compile=compile)


def test_after_the_last_batch_of_an_epoch(tmp_path):
    path = tmp_path / "run.h5"
    nothing = {"validation": None, "metrics": ()}
    got = halves(path, None, save=nf.Checkpoint(path, every=12, by="batch"), **nothing)
    assert nf.load_checkpoint(path).sample == N and got == whole(None, **nothing)


def frozen(model, state):
    nf.freeze(state, "0")


def test_what_is_frozen_stays_frozen(tmp_path):
    assert halves(tmp_path / "run.h5", None, prepare=frozen) == whole(None, prepare=frozen)


@pytest.mark.parametrize("convert", [nf.f64])
def test_in_float64(tmp_path, convert):
    def twice(path):
        data = nf.DataLoader((X, Y), batchsize=8, shuffle=True, rng=1, dtype=np.float64)
        nf.seed(1)
        model = convert(nf.Dense(3, 2))
        state = nf.setup(nf.Adam(), model)
        if path is None:
            return bits(state, train(model, state, data, 4), data)
        train(model, state, data, 3, [nf.Checkpoint(path)])
        run = nf.load_checkpoint(path)
        return bits(run.opt_state, train(run.model, run.opt_state, data, 4, resume=run), data)

    assert twice(tmp_path / "run.h5") == twice(None)


# ---------------------------------------------------------------- callbacks go on too


def test_schedules_go_on(tmp_path):
    for by in ("epoch", "batch"):
        callbacks = [nf.Schedule(lambda t: 0.1 / t, by=by)]
        got = halves(tmp_path / "run.h5", None, callbacks=lambda c=callbacks: c)
        assert got == whole(None, callbacks=callbacks)


def test_early_stopping_and_plateaus_go_on(tmp_path):
    def callbacks():
        return [nf.EarlyStopping("score", 3, 0.05, "min"), nf.Plateau("score", 0.5, 1, 1, 0.0, 0.05, "min")]

    expected = whole(None, epochs=30, callbacks=callbacks())
    length = len(expected[1])
    assert length < 30 and expected[3] != "Adam(eta=0.02, beta=(0.9, 0.999), eps=1e-08)"
    for stop in range(1, length + 1):
        assert halves(tmp_path / "run.h5", None, 30, stop, callbacks) == expected


def test_logs_are_those_of_the_whole_training(tmp_path):
    path, log = tmp_path / "run.h5", tmp_path / "log.csv"
    halves(path, None, callbacks=lambda: [nf.CSVLog(log)])
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("1234")
    model, state = fresh()
    train(model, state, loader(3), 6, [nf.CSVLog(log), lambda event: 1 / (6 - event.epoch)][:1])
    run = nf.load_checkpoint(path)  # of epoch 2: what came after it in the log goes
    train(run.model, run.opt_state, loader(3), 3, [nf.CSVLog(log)], resume=run)
    assert [line.split(",")[0] for line in log.read_text().splitlines()] == ["epoch", "1", "2", "3"]


def test_best_and_kept_files_are_found_again(tmp_path):
    path = tmp_path / "run.h5"

    def save():
        return [nf.Checkpoint(tmp_path / "best-{epoch}.h5", best="score", mode="min", keep=2), nf.Checkpoint(path)]

    model, state = fresh()
    history = train(model, state, loader(3), 12, save())
    column = history.column("score")
    best = [i + 1 for i, x in enumerate(column) if x < min(column[:i], default=np.inf)]
    expected = {"run.h5", *(f"best-{i}.h5" for i in best[-2:])}
    assert {p.name for p in tmp_path.iterdir()} == expected and len(best) > 3
    for name in expected:
        (tmp_path / name).unlink()
    model, state = fresh()
    train(model, state, loader(3), 5, save())
    run = nf.load_checkpoint(path)
    train(run.model, run.opt_state, loader(3), 12, save(), resume=run)
    assert {p.name for p in tmp_path.iterdir()} == expected


def test_nothing_is_trained_when_all_is_done(tmp_path):
    path = tmp_path / "run.h5"
    assert halves(path, None, epochs=2, stop=2) == whole(None, epochs=2)


def test_a_loop_of_ones_own(tmp_path):
    def loop(model, state, data, start, epochs, path=None):
        step = nf.compile(loss, model, state)
        for epoch in range(start, epochs):
            for x, y in data:
                step(x, y)
            if path:
                nf.save_checkpoint(path, model, state, epoch=epoch + 1, data=data)

    model, state = fresh()
    data = loader(5)
    loop(model, state, data, 0, 4)
    expected = bits(state, [], data)
    model, state = fresh()
    loop(model, state, loader(5), 0, 3, tmp_path / "run.h5")
    nf.seed(99)
    run, data = nf.load_checkpoint(tmp_path / "run.h5"), loader(5)
    assert nf.rng.default().state == (99, 0)  # loading changes nothing
    run.restore_rng(data)
    loop(run.model, run.opt_state, data, run.epoch, 4)
    assert run.epoch == 3 and bits(run.opt_state, [], data) == expected


# ---------------------------------------------------------------- what does not fit


def test_other_arguments_are_refused(tmp_path):
    path = tmp_path / "run.h5"
    model, state = fresh()
    train(model, state, loader(), 1, [nf.Checkpoint(path)])
    run, (other, other_state) = nf.load_checkpoint(path), fresh()
    for arguments, resume, error, text in [
        ((other, run.opt_state), run, nf.PlanError, "model must be resume.model, got another"),
        ((run.model, other_state), run, nf.PlanError, "opt_state must be resume.opt_state, got another"),
        ((other, other_state), 3, nf.DTypeError, "resume must be 'auto' or what nf.load_checkpoint returned, got int; "
         r"nf.load_checkpoint\(path\)"),
    ]:  # fmt: skip
        with pytest.raises(error, match=f"^train: {text}$"):
            train(*arguments, loader(), 2, resume=resume)
    assert other_state.step == 0
    train(run.model, run.opt_state, loader(), 2, resume=run)
    text = "^train: resume must be as it was loaded, got one of 12 steps where the file has 6; load it again$"
    with pytest.raises(nf.PlanError, match=text):
        train(run.model, run.opt_state, loader(), 3, resume=run)


def test_less_data_than_before_is_refused(tmp_path):
    model, state = fresh()
    train(model, state, loader(), 1, [nf.Checkpoint(tmp_path / "run.h5", every=5, by="batch")])
    run = nf.load_checkpoint(tmp_path / "run.h5")
    text = "^train: data must be of 5 batches or more, as resume says, got 3$"
    with pytest.raises(nf.ShapeError, match=text):
        train(run.model, run.opt_state, list(itertools.islice(loader(), 3)), 2, resume=run)


def test_other_metrics_leave_gaps(tmp_path):
    model, state = fresh()
    train(model, state, loader(), 1, [nf.Checkpoint(tmp_path / "run.h5")], validation=None, metrics=())
    run = nf.load_checkpoint(tmp_path / "run.h5")
    history = train(run.model, run.opt_state, loader(), 2, resume=run)
    assert np.isnan(history.column("score")[0]) and history.column("score")[1] > 0
    assert len(repr(history).splitlines()) == 3 and len(history.plot().axes) == 2
