"""When nf.train looks at losses: how often they are reported, and that nothing else depends on it."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.looks import Sums, size_of


def loss(m, x, y):
    return nf.losses.mse(m(x), y)


def run(every, callbacks=(), **options):
    """The parameters afterwards, the optimiser's state, and the history: three batches, the last smaller."""
    x = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    model = nf.Chain(nf.Dense(3, 8, nf.tanh, rng=0), nf.Dense(8, 2, rng=1))
    state, data = nf.setup(nf.Adam(0.01), model), nf.DataLoader((x, x[:, :2]), batchsize=32)
    history = nf.train(loss, model, data, state, 1, callbacks=callbacks, progress=False, log_every=every, **options)
    return nf.trainables(model), history


def test_sums_are_in_the_order_of_steps():
    sums = Sums(0, 0.0)
    assert sums.mean is None
    sums.add([(2, 0.1), (1, 1e17)])
    sums.add([])
    sums.add([(1, -1e17)])
    assert (sums.samples, sums.mean) == (4, (2 * 0.1 + 1e17 - 1e17) / 4)


@pytest.mark.parametrize(
    "batch", [np.zeros((3, 2)), (np.zeros((3, 2)), 1), {"n": np.float32(1), "x": np.zeros((3, 1))}]
)
def test_size_of(batch):
    assert size_of(batch) == 3


class Told:
    """What a training reports of its batches."""

    def __init__(self, *_):
        self.means = []

    def batch(self, epoch, loss):
        self.means.append(loss)

    def epoch(self, row):
        pass

    def close(self, history):
        pass


@pytest.mark.parametrize("compile", [True, False])
def test_the_loss_is_reported_every_few_steps(monkeypatch, compile):
    found = {}
    for every in (None, 1, 2, 100):
        told = Told()
        monkeypatch.setitem(nf.train.__globals__, "reporter", lambda *_, told=told: told)
        params, history = run(every, compile=compile)
        found[every] = told.means, params, history.column("loss")
    means, params, losses = found[1]
    assert len(means) == 3 and means[-1] == losses[0] and len({*means}) == 3
    assert found[None][0] == means
    assert found[2][0] == [None, means[1], means[1]]
    assert found[100][0] == [None] * 3
    for _, other, column in found.values():
        assert column == losses and all(np.array_equal(p, q) for p, q in zip(other, params, strict=True))


def test_callbacks_are_told_of_each_loss_however_often_it_is_reported():
    seen = []

    class Batches:
        def on_batch(self, event):
            seen.append((event.batch, event.loss))

    wanted = []
    for every in (1, 50):
        seen.clear()
        run(every, [Batches()])
        wanted.append(list(seen))
    assert wanted[0] == wanted[1] and [batch for batch, _ in wanted[0]] == [1, 2, 3]


@pytest.mark.parametrize("every", [0, -1, 1.5, "often"])
def test_wrong_log_every(every):
    begun = []

    class Start:
        def on_start(self, event):
            begun.append(event)

    with pytest.raises((nf.RangeError, nf.DTypeError), match=r"^train: log_every must be "):
        run(every, [Start()])
    assert not begun
