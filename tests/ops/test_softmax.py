"""Softmax and crossentropy: sums, shifts, extremes, PyTorch's values and gradients, labels out of range."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ops.softmax import CROSSENTROPY, SOFTMAX
from tests.cases import DTYPES

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def drawn(*shape, dtype=np.float64, seed=0):
    return (4 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


@every_dtype
@pytest.mark.parametrize("c", [1, 2, 10, 17, 1000])
def test_probabilities_sum_to_one_and_shifts_do_not_show(c, dtype):
    x = np.round(drawn(33, c, dtype=dtype) * 8) / 8
    y = nf.softmax(x)
    np.testing.assert_allclose(y.sum(1), 1, rtol=c * np.finfo(dtype).eps)
    np.testing.assert_array_equal(nf.softmax(x + 1024), y)  # exact: the numbers are eighths


@every_dtype
def test_extremes(dtype):
    huge = np.finfo(dtype).max / 4
    x = np.array([[huge, 0, -huge], [-huge, -huge, -huge], [1e4, 1e4, -1e4]], dtype)
    np.testing.assert_allclose(nf.softmax(x), [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]], rtol=1e-6)
    assert np.isfinite(nf.logsoftmax(x)).all()
    loss = nf.apply(CROSSENTROPY, x, np.array([0, 1, 0]))
    np.testing.assert_allclose(loss, [0, np.log(3), np.log(2)], rtol=1e-6)


def test_crossentropy_is_torchs():
    torch = pytest.importorskip("torch")
    x, labels, w = drawn(31, 10), np.arange(31) % 10, drawn(31, seed=1)
    t = torch.tensor(x, requires_grad=True)
    right = torch.nn.functional.cross_entropy(t, torch.tensor(labels), reduction="none")
    (right * torch.tensor(w)).sum().backward()
    loss, back = nf.pullback(lambda x: nf.apply(CROSSENTROPY, x, labels), x)
    np.testing.assert_allclose(loss, right.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(back(w), t.grad.numpy(), rtol=1e-11, atol=1e-13)


def test_the_hessian_of_crossentropy_is_torchs():
    torch = pytest.importorskip("torch")
    x, labels = drawn(3, 5), np.array([4, 0, 2])

    def loss(t):
        return torch.nn.functional.cross_entropy(t, torch.tensor(labels), reduction="sum")

    right = torch.autograd.functional.hessian(loss, torch.tensor(x)).numpy()
    ours = nf.jacobian(lambda x: nf.gradient(lambda v: F.sum(nf.apply(CROSSENTROPY, v, labels)), x), x)
    np.testing.assert_allclose(ours, right, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("labels", "position"), [([0, 5, 1], 1), ([-1, 0, 9], 0), ([0, 4, 2**62], 2)])
def test_labels_out_of_range_stop_the_call(labels, position):
    x, good = drawn(3, 5), np.array([0, 4, 1])
    compiled = nf.compile(lambda x, labels: nf.apply(CROSSENTROPY, x, labels))
    for f in (compiled, lambda x, labels: nf.apply(CROSSENTROPY, x, labels)):
        before = f(x, good)
        with pytest.raises(
            nf.RangeError, match=rf"^crossentropy: labels must be in 0..4, got another at position {position}$"
        ):
            f(x, np.array(labels))
        np.testing.assert_array_equal(f(x, good), before)


@pytest.mark.parametrize(
    ("x", "labels", "error", "message"),
    [
        (
            drawn(3, 5),
            np.zeros(2, np.int64),
            nf.ShapeError,
            r"crossentropy: labels must be of shape \(3,\), got \(2,\)",
        ),
        (drawn(3, 5), np.zeros(3), nf.DTypeError, "crossentropy: labels must be an array of integers, got float64"),
        (
            drawn(3, 0),
            np.zeros(3, np.int64),
            nf.ShapeError,
            r"softmax: x must be of at least one class, got shape \(3, 0\)",
        ),
        (
            np.ones((3, 5), np.int64),
            np.zeros(3, np.int64),
            nf.DTypeError,
            "softmax: x must be an array of float32 or float64",
        ),
    ],
)
def test_arguments_that_do_not_fit(x, labels, error, message):
    with pytest.raises(error, match="^" + message):
        nf.apply(CROSSENTROPY, x, labels)


def test_softmax_needs_an_axis():
    with pytest.raises(nf.ShapeError, match=r"^softmax: x must be of at least one class, got shape \(\)"):
        nf.apply(SOFTMAX, np.float32(1))
