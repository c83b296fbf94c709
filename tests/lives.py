"""A training in several lives: stopped, gone on from its files in what might be another process; and what must not
differ from one that was left alone."""

import signal

import numpy as np
import pytest

import numbaflux as nf

N, EPOCHS, BATCHES = 45, 3, 6  # samples, epochs, batches of an epoch
draw = np.random.default_rng(0)
X = draw.normal(size=(N, 3)).astype(np.float32)
Y = np.tanh(X @ draw.normal(size=(3, 2))).astype(np.float32)
TIMES = ("seconds", "samples_per_second")


def loss(model, x, y):
    return nf.losses.mse(model(x), y)


def score(output, y):
    return float(np.abs(output - y).max())


def noisy(x, y, rng):
    return x + rng.normal(x.shape, std=0.05), y


def fresh(rule=None, seed=7, width=8):
    """A model that draws and keeps statistics, its optimiser state, and data that are shuffled and changed."""
    nf.seed(seed)
    model = nf.Chain(
        nf.Dense(3, width, nf.tanh), nf.BatchNorm(width), nf.Dropout(0.3), nf.Dense(width, 4), nf.Dropout(0.2, rng=5),
        nf.Dense(4, 2),
    )  # fmt: skip
    data = nf.DataLoader((X, Y), batchsize=8, shuffle=True, rng=3, transform=noisy)
    return model, data, nf.setup(rule or nf.Adam(0.02), model)


def bits(model, data, state, history):
    """All that must not differ."""
    vectors = [s.of(a).tobytes() for v in state.vectors.values() for a in v.states.values() for s in v.segments]
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in history]
    arrays = {path: a.tobytes() for path, a in nf.state(model).items()}
    generators = data.rng.state, nf.rng.default().state, model[4].rng.state
    return arrays, vectors, state.hyper.tobytes(), repr(state.rule), rows, generators


def train(training, callbacks=(), epochs=EPOCHS, **options):
    options = {"progress": False, "validation": (X, Y), "metrics": [score]} | options
    model, data, state = training
    return nf.train(loss, model, data, state, epochs, callbacks=callbacks, **options)


def undisturbed(make=fresh, callbacks=list, **options):
    training = make()
    return bits(*training, train(training, callbacks(), **options))


class SignalAt:
    """Sends this process a signal after so many batches."""

    def __init__(self, batches, number=signal.SIGUSR1):
        self.batches, self.number = batches, number

    def on_batch(self, event):
        if event.batches == self.batches:
            signal.raise_signal(self.number)


def lives(save, stops, make=fresh, callbacks=list, **options):
    """The bits of a training that a signal stops after each of these batches; save() makes its Checkpoint."""
    for stop in sorted(stops):
        with pytest.raises(SystemExit) as left:
            train(make(), [*callbacks(), save(), SignalAt(stop)], resume="auto", **options)
        assert left.value.code == 75
        nf.seed(stop)
    training = make()
    return bits(*training, train(training, [*callbacks(), save()], resume="auto", **options))
