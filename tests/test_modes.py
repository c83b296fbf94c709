"""nf.testmode and nf.trainmode: models that share arrays and always compute one way; what shapes alone change."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import testmode as in_testmode
from numbaflux import trainmode

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


@nf.layer
class Noisy:
    """A user's layer with a mode, and others inside."""

    inner: list
    options: dict
    active: bool | None = None

    def __call__(self, x):
        return self.inner[0](x) * (2.0 if self.active else 1.0)


def model():
    noisy = Noisy([nf.Dropout(0.5, rng=1)], {"active": None})
    return nf.Chain(nf.Dense(3, 3, rng=0), noisy, nf.Chain(body=nf.BatchNorm(3), active=nf.relu))


@pytest.mark.parametrize(("mode", "active"), [(in_testmode, False), (trainmode, True)])
def test_every_layer_that_has_a_mode_gets_it(mode, active):
    m = model()
    other = mode(m)
    assert [other[1].active, other[1].inner[0].active, other[2]["body"].active] == [active] * 3
    assert [m[1].active, m[1].inner[0].active, m[2]["body"].active] == [None] * 3
    assert other[1].options == {"active": None} and other[2]["active"] is nf.relu
    assert other[0] is m[0] and other[2]["body"].mean is m[2]["body"].mean
    assert other[1].inner[0].rng is m[1].inner[0].rng
    assert all(a is b for a, b in zip(nf.trainables(m), nf.trainables(other), strict=True))


def test_a_model_without_modes_is_itself():
    m = nf.Chain(nf.Dense(3, 2), nf.relu)
    assert in_testmode(m) is m and trainmode(m) is m and trainmode(nf.relu) is nf.relu


def test_modes_undo_each_other():
    m = model()
    np.testing.assert_array_equal(in_testmode(trainmode(m))(X), in_testmode(m)(X))
    assert not m[2]["body"].mean.any() and m[1].inner[0].rng.state == (1, 0)
    trainmode(in_testmode(m))(X)
    assert m[2]["body"].mean.any() and m[1].inner[0].rng.state == (1, 1)


def test_a_model_in_testmode_trains_what_is_left():
    m = in_testmode(model())
    state = nf.setup(nf.Descent(0.1), m)
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), m, state)
    losses = [step(X) for _ in range(10)]
    assert losses[-1] < losses[0] and not m[2]["body"].mean.any() and m[1].inner[0].rng.state == (1, 0)


def test_shapes_alone_change_and_draw_nothing():
    m = trainmode(model())
    assert nf.outputsize(m, (8, 3)) == (8, 3)
    nf.summary(m, (8, 3))
    assert not m[2]["body"].mean.any() and (m[2]["body"].var == 1).all() and m[1].inner[0].rng.state == (1, 0)


def test_shapes_of_indices():
    m = nf.Chain(nf.Embedding(9, 4), nf.Dense(4, 2))
    assert nf.outputsize(m, (5,), padbatch=True, dtype=np.int64) == (1, 5, 2)
    with pytest.raises(nf.DTypeError, match=r"^0.Embedding: x must be an array of integers, got float32"):
        nf.outputsize(m, (1, 5))
