"""Schedule: which number is set when."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.optim.rules import HYPER
from tests.callbacks.scripted import ONE, fresh, train


class Seen:
    """The rule's numbers at each step, as the step uses them."""

    def __init__(self, state, batches=3):
        self.state, self.batches, self.etas = state, batches, []

    def __iter__(self):
        for _ in range(self.batches):
            self.etas.append(self.state.rule.eta)
            assert self.state.hyper[HYPER.index("eta")] == self.state.rule.eta  # what the kernel reads
            yield ONE


def test_a_number_an_epoch():
    training = fresh()
    data = Seen(training[1])
    train([0] * 3, [nf.Schedule(lambda t: 1 / t)], training, data=data)
    assert data.etas == [1.0] * 3 + [0.5] * 3 + [1 / 3] * 3


def test_a_number_a_batch():
    training = fresh()
    data = Seen(training[1])
    train([0] * 3, [nf.Schedule(lambda t: t / 10, by="batch")], training, data=data)
    assert data.etas == [t / 10 for t in range(1, 10)]


@pytest.mark.parametrize("compile", [True, False])
def test_steps_follow_it(compile):
    model = nf.Dense(1, 1, bias=False)
    state, weights = nf.setup(nf.Descent(), model), []
    model.weight[...] = 1
    nf.train(
        lambda m, x: m(x).sum(),
        model,
        [ONE],
        state,
        epochs=4,
        progress=False,
        compile=compile,
        callbacks=[lambda event: weights.append(float(model.weight[0, 0])), nf.Schedule(lambda t: 2.0**-t)],
    )
    np.testing.assert_array_equal(weights, [0.5, 0.25, 0.125, 0.0625])  # fmt: skip


def test_another_number():
    training, seen = fresh(nf.Momentum(0.1)), []
    schedule = nf.Schedule([None, 0.5, 0.6, 0.7].__getitem__, name="rho")
    train([1, 1], [lambda event: seen.append(event.opt_state.rule), schedule], training)
    assert seen == [nf.Momentum(0.1, 0.5), nf.Momentum(0.1, 0.6)]


def test_numpy_numbers_are_numbers():
    training = fresh()
    train([1], [nf.Schedule(lambda t: np.float32(0.25))], training)
    train([1], [nf.Schedule(lambda t: 3)], training)
    assert training[1].rule == nf.Descent(3.0)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nf.Schedule(0.1), nf.DTypeError, "Schedule: schedule must be a function t -> number, got 0.1"),
        (lambda: nf.Schedule(abs, by="step"), nf.RangeError, "Schedule: by must be 'epoch' or 'batch', got 'step'"),
    ],
)
def test_wrong_arguments(make, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        make()


@pytest.mark.parametrize(
    ("schedule", "error", "text"),
    [
        (nf.Schedule(lambda t: "fast"), nf.DTypeError, r"Schedule: schedule\(1\) must be a number, got 'fast'"),
        (nf.Schedule(lambda t: np.ones(1)), nf.DTypeError, r"Schedule: schedule\(1\) must be a number, got array"),
        (nf.Schedule(lambda t: -1), nf.RangeError, r"Descent: eta must be a number in \[0, inf\), got -1.0"),
        (
            nf.Schedule(float, name="rho"),
            nf.RangeError,
            r"adjust: numbers must be of Descent: \['eta'\], got \['rho'\]",
        ),
    ],
)
def test_wrong_schedules_are_refused_before_the_first_step(schedule, error, text):
    training = fresh()
    with pytest.raises(error, match=f"^{text}"):
        train([1], [schedule], training)
    assert training[1].rule == nf.Descent(0.5) and training[1].step == 0


def test_it_shows_itself():
    assert repr(nf.Schedule(abs)) == "Schedule(schedule=<built-in function abs>, name='eta', by='epoch')"
