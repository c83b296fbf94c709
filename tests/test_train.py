"""nf.train: what it computes, against plain NumPy and against single steps; how it ends, what it refuses."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.events import Event

N, BATCH = 70, 32  # two whole batches and one of 6
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3)).astype(np.float32)
Y = np.tanh(X @ rng.normal(size=(3, 2))).astype(np.float32)


def loss(model, x, y):
    return nf.losses.mse(model(x), y)


def fresh(rule=None, seed=0):
    nf.seed(seed)
    model = nf.Chain(nf.Dense(3, 8, nf.tanh), nf.Dense(8, 2))
    return model, nf.setup(rule or nf.Adam(0.01), model)


def loader(**options):
    return nf.DataLoader((X, Y), batchsize=BATCH, **options)


def run(model, state, data=None, f=loss, **options):
    return nf.train(f, model, loader() if data is None else data, state, progress=False, **options)


def values(model):
    return [p.copy() for p in nf.trainables(model)]


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def forward(model, x):
    """The model in float64 NumPy."""
    w1, b1, w2, b2 = (p.astype(np.float64) for p in values(model))
    return np.tanh(x.astype(np.float64) @ w1 + b1) @ w2 + b2


# ---------------------------------------------------------------- what it computes


def test_loss_falls_and_history_has_a_row_an_epoch():
    model, state = fresh()
    history = run(model, state, epochs=30)
    assert [row["epoch"] for row in history] == list(range(1, 31))
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]
    assert state.step == 30 * 3
    assert list(history[0]) == ["epoch", "loss", "seconds", "samples_per_second"]
    assert all(type(row["loss"]) is float and row["seconds"] > 0 for row in history)
    assert not history.interrupted
    assert history[0]["samples_per_second"] == pytest.approx(N / history[0]["seconds"])


def test_ten_epochs_unless_told_and_none_if_told():
    model, state = fresh()
    before = values(model)
    assert run(model, state, epochs=0) == []
    assert same(values(model), before)
    assert len(run(model, state)) == 10


@pytest.mark.parametrize("compile", [True, False])
def test_training_is_the_steps_one_after_another(compile):
    model, state = fresh()
    history = run(model, state, loader(shuffle=True, rng=5), epochs=3, compile=compile)
    other, other_state = fresh()
    data = loader(shuffle=True, rng=5)
    for epoch in range(3):
        total = 0.0
        for x, y in data:
            value, grads = nf.withgradient(lambda m: loss(m, x, y), other)  # noqa: B023
            nf.update(other_state, other, grads)
            total += len(x) * float(value)
        assert history[epoch]["loss"] == total / N
    assert same(values(model), values(other))


def test_epoch_loss_is_the_mean_over_samples():
    model, state = fresh(nf.Descent(0.0))  # a rate of nothing: the model stays, so the oracle is one number
    history = run(model, state, epochs=2)
    assert history[1]["loss"] == pytest.approx(np.mean((forward(model, X) - Y) ** 2), rel=1e-6)


def test_frozen_parameters_stay_in_both_ways():
    results = []
    for compile in (True, False):
        model, state = fresh()
        nf.freeze(state, "0")
        before = values(model)
        run(model, state, epochs=2, compile=compile)
        after = values(model)
        assert same(after[:2], before[:2]) and not same(after[2:], before[2:])
        results.append(after)
    assert same(*results)


def test_batches_that_are_no_tuples_are_passed_whole():
    tuple_, dict_, array = fresh(), fresh(), fresh()
    expected = run(*tuple_, epochs=2, validation=(X, Y))
    got = run(
        *dict_, nf.DataLoader({"x": X, "y": Y}, batchsize=BATCH), lambda m, b: loss(m, b["x"], b["y"]), epochs=2,
        validation={"x": X, "y": Y},
    )  # fmt: skip
    assert got.column("loss") == expected.column("loss")
    assert got.column("validation_loss") == expected.column("validation_loss")
    both = np.concatenate([X, Y], axis=1)
    got = run(
        *array, nf.DataLoader(both, batchsize=BATCH), lambda m, b: loss(m, b[:, :3], b[:, 3:]), epochs=2,
        validation=both,
    )  # fmt: skip
    assert got.column("loss") == expected.column("loss")
    assert got.column("validation_loss") == expected.column("validation_loss")
    assert same(values(tuple_[0]), values(dict_[0])) and same(values(tuple_[0]), values(array[0]))


def test_any_iterable_of_batches_and_a_loss_with_more_results():
    model, state = fresh()
    expected = run(model, state, epochs=2)
    for compile in (True, False):
        other, other_state = fresh()
        batches = [(X[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, N, BATCH)]
        got = run(
            other, other_state, batches, lambda m, x, y: (loss(m, x, y), {"output": m(x)}), epochs=2, compile=compile,
            validation=batches,
        )  # fmt: skip
        assert got.column("loss") == expected.column("loss")
        assert got[-1]["validation_loss"] == pytest.approx(np.mean((forward(other, X) - Y) ** 2), rel=1e-6)


# ---------------------------------------------------------------- validation and metrics


def largest_error(output, y):
    return np.abs(output - y).max()


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("kind", ["tuple", "loader"])
def test_validation_is_over_all_samples(kind, compile):
    model, state = fresh()
    given = (X, Y) if kind == "tuple" else nf.DataLoader((X, Y), batchsize=13)
    history = run(model, state, epochs=2, validation=given, metrics=[largest_error], compile=compile)
    error = forward(model, X) - Y
    assert history[-1]["validation_loss"] == pytest.approx(np.mean(error**2), rel=1e-6)
    assert history[-1]["largest_error"] == pytest.approx(np.abs(error).max(), rel=1e-5)
    assert list(history[0]) == ["epoch", "loss", "validation_loss", "largest_error", "seconds", "samples_per_second"]
    assert history.metrics == ["largest_error"]


def test_validation_arrays_take_the_type_of_the_loader():
    model, state = fresh()
    data = nf.DataLoader((X.astype(np.float64), Y.astype(np.float64)), batchsize=BATCH, dtype=np.float32)
    history = run(model, state, data, epochs=1, validation=(X.astype(np.float64), Y.astype(np.float64)))
    assert history[0]["validation_loss"] == pytest.approx(np.mean((forward(model, X) - Y) ** 2), rel=1e-6)


def test_validation_changes_nothing():
    one, two = fresh(), fresh()
    run(*one, epochs=2)
    run(*two, epochs=2, validation=(X, Y), metrics=[largest_error])
    assert same(values(one[0]), values(two[0]))


# ---------------------------------------------------------------- callbacks


def test_callbacks_are_told_and_can_stop():
    model, state = fresh()
    events = []

    def stop_at_three(event):
        events.append(event)
        if event.epoch == 3:
            event.stop()

    history = run(model, state, epochs=9, callbacks=[stop_at_three])
    assert len(history) == 3 and not history.interrupted
    assert [(e.epoch, e.batches) for e in events] == [(1, 3), (2, 6), (3, 9)]
    last = events[-1]
    assert isinstance(last, Event)
    assert last.model is model and last.opt_state is state and last.history is history
    with pytest.raises(AttributeError):
        last.epoch = 5


def test_callbacks_see_the_history_up_to_their_epoch_and_may_change_the_rate():
    model, state = fresh(nf.Descent(0.1))
    lengths = []

    def freeze_in(event):
        lengths.append(len(event.history))
        nf.adjust(event.opt_state, eta=0.0)

    run(model, state, epochs=1)
    before = values(model)
    nf.adjust(state, eta=0.0)
    run(model, state, epochs=2, callbacks=(freeze_in,))
    assert lengths == [1, 2]
    assert same(values(model), before)


def test_error_of_a_callback_is_not_swallowed():
    model, state = fresh()

    def fail(event):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(model, state, callbacks=[fail])


# ---------------------------------------------------------------- how it ends


class Spoilt:
    """The batches of the loader; in one batch of one epoch something happens instead."""

    def __init__(self, epoch, batch, happen):
        self.epoch, self.batch, self.happen, self.count = epoch, batch, happen, 0

    def __iter__(self):
        self.count += 1
        for i, (x, y) in enumerate(loader(), 1):
            yield self.happen(x, y) if (self.count, i) == (self.epoch, self.batch) else (x, y)


def with_nan(x, y):
    return x, np.where(np.arange(len(y))[:, None] == 4, np.float32(np.nan), y)


def interrupt(x, y):
    raise KeyboardInterrupt


@pytest.mark.parametrize("compile", [True, False])
def test_loss_that_is_not_finite_ends_before_its_step(compile):
    model, state = fresh()
    with pytest.raises(nf.NonFiniteError) as info:
        run(model, state, Spoilt(2, 3, with_nan), compile=compile)
    message = "train: epoch 2, batch 3: step: loss must be finite, got NaN or Inf; nothing was changed; "
    assert str(info.value).startswith(message + "input 1, which sub in the loss reads, of shape ")
    assert str(info.value).endswith(" the first nan at (4, 0)")
    other, other_state = fresh()
    run(other, other_state, [*loader(), *list(loader())[:2]], epochs=1)
    assert state.step == 5
    assert same(values(model), values(other))


@pytest.mark.parametrize("compile", [True, False])
def test_gradient_that_is_not_finite_is_named(compile):
    def rooted(m, x, y):
        return np.sqrt((m(x) * np.float32(0)).sum())  # 0, and its derivative is not finite

    model, state = fresh()
    before = values(model)
    with pytest.raises(
        nf.NonFiniteError, match=r"^train: epoch 1, batch 1: step: gradient of [01]\.\w+ must be finite"
    ):
        run(model, state, f=rooted, compile=compile)
    assert same(values(model), before) and state.step == 0


@pytest.mark.parametrize("compile", [True, False])
def test_interrupt_keeps_the_last_whole_step(compile):
    model, state = fresh()
    history = run(model, state, Spoilt(3, 2, interrupt), validation=(X, Y), compile=compile)
    assert history.interrupted and len(history) == 2
    assert repr(history).endswith("\ninterrupted in epoch 3")
    other, other_state = fresh()
    run(other, other_state, [*loader(), *loader(), next(iter(loader()))], epochs=1)
    assert state.step == 7
    assert same(values(model), values(other))
    assert len(run(model, state, epochs=2)) == 2  # and it can be trained on


# ---------------------------------------------------------------- bad input


def mean_error(output, y):
    return float(np.mean(output - y))


def test_no_batches():
    with pytest.raises(nf.ShapeError, match="^train: data must be of one batch or more, got none in epoch 1$"):
        run(*fresh(), [])
    model, state = fresh()
    with pytest.raises(nf.ShapeError, match="none in epoch 2; it must give its batches anew each time"):
        run(model, state, (batch for batch in loader()))
    assert state.step == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"data": (X, Y)},
            nf.DTypeError,
            r"data must be batches, got tuple of arrays; nf.DataLoader\(data, batchsize=",
        ),
        ({"data": X}, nf.DTypeError, "data must be batches, got ndarray of arrays; nf.DataLoader"),
        ({"data": 3}, nf.DTypeError, "data must be batches, got int; "),
        ({"loss": "mse"}, nf.DTypeError, r"loss must be a function loss\(model, \*batch\), got str"),
        ({"opt_state": nf.Adam()}, nf.DTypeError, "opt_state must be what nf.setup returned for the model, got Adam"),
        ({"epochs": -1}, nf.RangeError, r"epochs must be an integer in \[0, inf\), got -1"),
        ({"epochs": 2.5}, nf.DTypeError, "epochs must be an integer in .*, got 2.5"),
        (
            {"callbacks": print},
            nf.DTypeError,
            r"callbacks must be a list or tuple of functions of an event, or objects .*, got .*; callbacks=\[...\]",
        ),
        (
            {"callbacks": ["log"]},
            nf.DTypeError,
            "callbacks must be functions of an event, or objects with on_start, .*, got 'log'",
        ),
        ({"metrics": mean_error}, nf.DTypeError, "metrics must be a list or tuple of functions, got function"),
        ({"metrics": [mean_error]}, nf.DTypeError, "validation must be given where there are metrics, got None"),
        ({"metrics": [1], "validation": (X, Y)}, nf.DTypeError, r"metrics must be functions \(output, y\) -> number"),
        (
            {"metrics": [mean_error, mean_error], "validation": (X, Y)},
            nf.RangeError,
            "metrics must be functions of different names, got a second mean_error; def a function of another name",
        ),
        (
            {"metrics": [loss], "validation": (X, Y)},
            nf.RangeError,
            "metrics must be .*different names, got a second loss",
        ),
        ({"validation": 5}, nf.DTypeError, "validation must be a DataLoader or arrays, got int"),
    ],
)
def test_wrong_arguments_are_named_before_the_first_step(options, error, message):
    model, state = fresh()
    before = values(model)
    arguments = {"loss": loss, "model": model, "data": loader(), "opt_state": state, "progress": False} | options
    with pytest.raises(error, match=f"^train: {message}"):
        nf.train(**arguments)
    assert same(values(model), before) and state.step == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"validation": []}, nf.ShapeError, "validation must be of one sample or more, got none"),
        (
            {"validation": [{"x": X, "y": Y}], "metrics": [mean_error]},
            nf.DTypeError,
            r"validation must be of batches \(x, y\) where there are metrics, got dict",
        ),
        (
            {"validation": (X, Y), "metrics": [np.subtract]},
            nf.DTypeError,
            "metric subtract must be a function that returns a number, got ndarray",
        ),
    ],
)
def test_wrong_validation_is_named(options, error, message):
    def either(m, *batch):
        return loss(m, *batch) if len(batch) == 2 else loss(m, batch[0]["x"], batch[0]["y"])

    with pytest.raises(error, match=f"^train: {message}$"):
        run(*fresh(), f=either, epochs=1, **options)
