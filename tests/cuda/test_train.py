"""nf.train and nf.lbfgs on GPUs that are not there."""

import numpy as np
import pytest

import numbaflux as nf
from tests.cuda.nets import batch, close, loss, net, rows


def trained(put, callbacks=(), data=None, epochs=2, **options):
    m, (x, y) = put(net()), batch(net, 5)
    state = nf.setup(nf.Momentum(0.05), m)
    data = data or nf.DataLoader((x, y), 3, shuffle=True, rng=3)
    return m, nf.train(loss, m, data, state, epochs, callbacks=callbacks, progress=False, **options)


def test_train(gpus):
    told = []

    class Told:
        def on_batch(self, event):
            told.append((event.batch, event.loss, event.model[0].weight.copy()))

    x, y = batch(net, 5)
    options = {"validation": (x, y), "metrics": [nf.metrics.accuracy]}
    m, right = trained(nf.cpu, [Told()], **options)
    wanted, told[:] = list(told), []
    there, history = trained(nf.gpu, [Told()], **options)
    close(m, there, 1e-4)
    for a, b in zip(right, history, strict=True):
        for name in ("loss", "validation_loss", "accuracy"):
            np.testing.assert_allclose(b[name], a[name], rtol=1e-5)
    for (i, value, w), (j, other, v) in zip(wanted, told, strict=True):
        assert i == j
        np.testing.assert_allclose(other, value, rtol=1e-5)
        np.testing.assert_allclose(v, w, rtol=1e-4, atol=1e-6)
    assert m[1].rng.state == there[1].rng.state


def test_train_takes_the_next_batch_there_while_a_step_is_at_work(gpus):
    at = []

    class Data:
        def __len__(self):
            return 6

        def __getitem__(self, i):
            at.append(gpus[0].calls[-1])  # what was asked last
            return rows(3, seed=i), i % 2

    data = nf.DataLoader(Data(), 2, prefetch=1)
    data._takes_time = lambda: False  # made when asked for, so that it is known when
    for every, last in ((1, "download"), (2, "record")):  # of the status; of who reads the batch: not waited for
        at.clear()
        trained(nf.gpu, data=data, epochs=1, log_every=every)
        assert at[2] == last and at[4] == last
    at.clear()
    data.prefetch = 0
    trained(nf.gpu, data=data, epochs=1)
    assert at[2] == at[4] == "wait"


def test_train_step_by_step_and_stopped(gpus):
    m, right = trained(nf.cpu, epochs=1, compile=False)
    there, history = trained(nf.gpu, epochs=1, compile=False)
    close(m, there, 1e-4)
    np.testing.assert_allclose(history[0]["loss"], right[0]["loss"], rtol=1e-5)
    there, history = trained(nf.gpu, [lambda event: event.stop()], epochs=9)
    assert len(history) == 1


class Breaking:
    """Data of which the fourth sample cannot be had."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 5

    def __getitem__(self, i):
        if i == 3:
            raise self.error
        return rows(3, seed=i), 0


def test_train_ends_after_the_step_that_is_at_work(gpus):
    seen = []

    class Told:
        def on_batch(self, event):
            seen.append((event.batch, event.opt_state.step))

    with pytest.raises(OSError, match="disk"):
        trained(nf.gpu, [Told()], nf.DataLoader(Breaking(OSError("disk")), 2, workers=1))
    m, history = trained(nf.gpu, [Told()], nf.DataLoader(Breaking(KeyboardInterrupt()), 2, workers=1))
    assert history.interrupted and seen == [(1, 1)] * 2


def test_train_names_what_is_not_finite(gpus):
    x, y = batch(net, 5)
    x[4] = np.nan
    with pytest.raises(nf.NonFiniteError, match=r"^train: epoch 1, batch 2: step: loss .* input 0, which dense in lay"):
        trained(nf.gpu, data=nf.DataLoader((x, y), 3))


def test_training_goes_on_from_its_file(gpus, tmp_path):
    right, _ = trained(nf.gpu, epochs=2)
    trained(nf.gpu, [nf.Checkpoint(tmp_path / "run.h5")], epochs=1)
    there, history = trained(nf.gpu, [nf.Checkpoint(tmp_path / "run.h5")], epochs=2, resume="auto")
    assert len(history) == 2 and nf.get_device(there) == nf.gpu_device()
    close(right, there, 0, 0)


def test_lbfgs(gpus):
    x = rows(4, 2)
    found = []
    for put in (nf.cpu, nf.gpu):
        m = put(nf.Dense(2, 1, rng=0))
        nf.lbfgs(lambda m, x: ((m(x) - x[:, :1]) ** 2).mean(), m, x, iterations=2)
        found.append(m)
    close(*found, 1e-3, 1e-5)
    assert nf.get_device(m) == nf.gpu_device()
