"""check_gradients finds wrong gradients, wherever they are, and no others."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ops import elementwise as E

x32 = np.array([1, 2, 3], np.float32)


def wrong(where, by=1.5):
    """The square, with a gradient that is wrong in one element."""

    def rule(c, dy):
        factor = np.full(c.x.shape, 2.0)
        factor[where] *= by
        return F.mul(dy, F.mul(c.x, factor))

    op = nf.Op("wrong", lambda x: x, E.SQUARE.lower, (rule,))
    return lambda x: F.sum(nf.apply(op, x))


def test_right_gradients_pass():
    nf.seed(0)
    model = nf.Chain(nf.Dense(3, 5, nf.tanh), nf.Dense(5, 40, nf.sigmoid), nf.Dense(40, 2, nf.softmax))
    x, y = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    assert nf.check_gradients(lambda m, x: nf.losses.mse(m(x), m(x * 2)), model, x) is None
    nf.check_gradients(lambda x: (F.sum(x * x), "aux"), x32)
    nf.check_gradients(lambda a, b: a * b * b, 3.0, np.float32(2))
    labels = np.arange(7) % 2
    nf.check_gradients(lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), model, x, labels)


@pytest.mark.parametrize("at", [(0,), (2,)])
def test_a_wrong_element_is_named(at):
    expected, got = 2 * x32[at], 3 * x32[at]
    message = rf"^check_gradients: gradient of argument 0\[{at[0]}\] must be {expected:.6g}, got {got:.6g}$"
    with pytest.raises(nf.GradientError, match=message):
        nf.check_gradients(wrong(at), x32)


def test_a_wrong_element_of_a_large_array_is_found():
    x = np.random.default_rng(0).uniform(1, 2, (50, 60))
    with pytest.raises(
        nf.GradientError, match="^check_gradients: gradient of argument 0 along a random direction must be"
    ):
        nf.check_gradients(wrong((31, 7), by=1.01), x)


def test_where_in_a_model():
    model = {"body": [x32, {"w": x32 + 1}]}
    f = wrong((1,))
    with pytest.raises(
        nf.GradientError, match=r"^check_gradients: gradient of body.1.w\[1\] of argument 1 must be 6, got 9$"
    ):
        nf.check_gradients(lambda x, m: F.sum(x * m["body"][0]) + f(m["body"][1]["w"]), x32, model)


def test_what_stop_gradient_hides_is_found():
    with pytest.raises(nf.GradientError, match="gradient of argument 0"):
        nf.check_gradients(lambda x: F.sum(x * nf.stop_gradient(x)), x32)


def test_tied_arrays_are_moved_together():
    nf.check_gradients(lambda p: F.sum(p[0] * p[1] * p[1]), [x32, x32])
    nf.check_gradients(lambda a, b: F.sum(a * b * b), x32, x32)


def test_arguments_are_not_changed():
    model, x = nf.Dense(3, 2), x32.copy()
    weight, before = model.weight, model.weight.copy()
    nf.check_gradients(lambda m, x: F.sum(m(x)), model, x)
    assert model.weight is weight and weight.dtype == np.float32
    np.testing.assert_array_equal(weight, before)
    np.testing.assert_array_equal(x, x32)


def test_tolerance():
    f = wrong((1,), by=1.001)
    nf.check_gradients(f, x32, tolerance=0.01)
    with pytest.raises(nf.GradientError):
        nf.check_gradients(f, x32)


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(nf.NonFiniteError, match="^check_gradients: f must be finite, got inf"):
        nf.check_gradients(lambda x: F.sum(F.exp(x * 1000)), x32)
    with pytest.raises(nf.ShapeError, match="^gradient: loss must be a scalar"):
        nf.check_gradients(lambda x: x * 2, x32)
    with pytest.raises(nf.DTypeError, match="float64 and float32"):
        nf.check_gradients(lambda x: F.sum(x * x32), x32)
