"""Losses against PyTorch and NumPy in float64, their gradients, and what they refuse."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
G = nf.Generator(0)
LOGITS = {shape: 3 * G.normal(shape, dtype=np.float64) for shape in [(1, 2), (7, 5), (2, 3, 4), (33, 17)]}


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def labels_for(shape):
    return nf.Generator(1).integers(shape[:-1], 0, shape[-1])


def logsoftmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def onehot(labels, classes):
    return np.eye(classes)[labels]


# ----------------------------------------------------------------------------------------------------- cross-entropy


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", LOGITS)
def test_crossentropy_against_numpy(shape, dtype):
    logits, labels = LOGITS[shape].astype(dtype), labels_for(shape)
    hot = onehot(labels, shape[-1])
    wide = logits.astype(np.float64)
    value = -(hot * logsoftmax(wide)).sum(-1).mean()
    slope = (np.exp(logsoftmax(wide)) - hot) / labels.size
    for target in (labels, hot.astype(dtype)):
        got, grad = nf.withgradient(lambda x, target=target: nf.losses.logitcrossentropy(x, target), logits)
        assert got.dtype == dtype and grad.dtype == dtype
        eps = np.finfo(dtype).eps  # of a sum of exponentials that is 1 or more
        np.testing.assert_allclose(got, value, rtol=8 * eps, atol=2 * eps)
        np.testing.assert_allclose(grad, slope, rtol=0, atol=4 * np.finfo(dtype).eps)


def test_crossentropy_against_pytorch():
    torch = pytest.importorskip("torch")
    logits, labels = LOGITS[33, 17].astype(np.float32), labels_for((33, 17))
    x = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x, torch.tensor(labels))
    loss.backward()
    got, grad = nf.withgradient(lambda x: nf.losses.logitcrossentropy(x, labels), logits)
    np.testing.assert_allclose(got, loss.item(), rtol=1e-6)
    np.testing.assert_allclose(grad, x.grad.numpy(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", INTEGERS)
def test_labels_of_every_integer_type(kind):
    logits, labels = LOGITS[7, 5].astype(np.float32), labels_for((7, 5))
    expected = nf.losses.logitcrossentropy(logits, labels)
    assert nf.losses.logitcrossentropy(logits, labels.astype(kind)) == expected
    model = nf.Dense(4, 5, rng=0)
    step = nf.compile(lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), model, nf.setup(nf.Descent(0.0), model))
    x = np.ones((7, 4), np.float32)
    assert step(x, labels.astype(kind)) == nf.losses.logitcrossentropy(model(x), labels)


def test_labels_as_a_list():
    logits = LOGITS[7, 5].astype(np.float32)
    assert nf.losses.logitcrossentropy(logits, [0, 1, 2, 3, 4, 0, 1]) == nf.losses.logitcrossentropy(
        logits, np.array([0, 1, 2, 3, 4, 0, 1])
    )


def test_probabilities_as_targets():
    p = np.exp(logsoftmax(LOGITS[7, 5][::-1]))
    value = -(p * logsoftmax(LOGITS[7, 5])).sum(-1).mean()
    np.testing.assert_allclose(nf.losses.logitcrossentropy(LOGITS[7, 5], p), value, rtol=1e-14)


@pytest.mark.parametrize("big", [1e4, 1e30])
def test_large_logits_do_not_overflow(big):
    logits = np.array([[big, 0, -big]], np.float32)
    assert nf.losses.logitcrossentropy(logits, np.array([0])) == 0
    np.testing.assert_allclose(nf.losses.logitcrossentropy(logits, np.array([1])), big, rtol=1e-6)


@pytest.mark.parametrize(
    ("agg", "reduce"), [(F.sum, np.sum), (F.mean, np.mean), (F.identity, lambda x: x), (F.max, np.max)]
)
def test_agg_says_how_samples_become_one_number(agg, reduce):
    logits, labels = LOGITS[7, 5], labels_for((7, 5))
    each = -logsoftmax(logits)[np.arange(7), labels]
    np.testing.assert_allclose(nf.losses.logitcrossentropy(logits, labels, agg=agg), reduce(each), rtol=1e-14)
    hot = onehot(labels, 5)
    np.testing.assert_allclose(nf.losses.logitcrossentropy(logits, hot, agg=agg), reduce(each), rtol=1e-14)
    np.testing.assert_allclose(nf.losses.mse(logits, hot, agg=agg), reduce((logits - hot) ** 2), rtol=1e-14)


@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        (np.zeros(3, int), nf.ShapeError, "logitcrossentropy: labels must be of shape (2,), got (3,)"),
        (np.zeros((2, 1), int), nf.ShapeError,
         "logitcrossentropy: labels must be of shape (2,), got (2, 1); y.reshape(2,)"),
        (np.zeros((2, 4), int), nf.ShapeError,
         "logitcrossentropy: labels must be of shape (2,), got (2, 4); "
         "one-hot targets are floats: y.astype(np.float32)"),
        (np.zeros((2, 3), np.float32), nf.ShapeError,
         "logitcrossentropy: target must be of shape (2, 4) as the prediction, got (2, 3)"),
        (np.zeros(2, np.float32), nf.ShapeError,
         "logitcrossentropy: target must be of shape (2, 4) as the prediction, got (2,); "
         "labels are integers: y.astype(np.int64)"),
        (np.zeros((2, 4), complex), nf.DTypeError, None),
    ],
)  # fmt: skip
def test_wrong_targets_of_crossentropy(target, kind, text):
    logits = np.zeros((2, 4), np.float32)
    with raises(kind, text) if text else pytest.raises(kind):
        nf.losses.logitcrossentropy(logits, target)


@pytest.mark.parametrize(("labels", "place"), [([0, 4], 1), ([-1, 0], 0), ([0, 2**63], 1), ([2**32, 0], 0)])
def test_labels_out_of_range(labels, place):
    logits, labels = np.zeros((2, 4), np.float32), np.array(labels, np.int64 if min(labels) < 0 else np.uint64)
    text = f"crossentropy: labels must be in 0..3, got another at position {place}"
    for loss in (nf.losses.logitcrossentropy, nf.compile(nf.losses.logitcrossentropy)):
        with raises(nf.RangeError, text):
            loss(logits, labels)
    with raises(nf.RangeError, text):
        nf.gradient(lambda x: nf.losses.logitcrossentropy(x, labels), logits)


# --------------------------------------------------------------------------------------------------------------- mse


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (7, 1), (5, 3), (2, 3, 4)])
def test_mse_against_numpy(shape, dtype):
    a, b = nf.Generator(0).normal(shape, dtype=dtype), nf.Generator(1).normal(shape, dtype=dtype)
    difference = a.astype(np.float64) - b
    value, grads = nf.withgradient(nf.losses.mse, a, b)
    assert value.dtype == dtype
    np.testing.assert_allclose(value, (difference**2).mean(), rtol=8 * np.finfo(dtype).eps)
    for sign, grad in zip((1, -1), grads, strict=True):
        np.testing.assert_allclose(grad, sign * 2 * difference / a.size, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_mse_against_pytorch():
    torch = pytest.importorskip("torch")
    a, b = nf.Generator(0).normal((33, 5)), nf.Generator(1).normal((33, 5))
    x = torch.tensor(a, requires_grad=True)
    loss = torch.nn.functional.mse_loss(x, torch.tensor(b))
    loss.backward()
    value, grad = nf.withgradient(lambda x: nf.losses.mse(x, b), a)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-6)
    np.testing.assert_allclose(grad, x.grad.numpy(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        (np.zeros(4, np.float32), nf.ShapeError,
         "mse: target must be of shape (4, 1) as the prediction, got (4,); target.reshape(4, 1)"),
        (np.zeros((1, 4), np.float32), nf.ShapeError,
         "mse: target must be of shape (4, 1) as the prediction, got (1, 4); target.reshape(4, 1)"),
        (np.float32(0), nf.ShapeError, "mse: target must be of shape (4, 1) as the prediction, got ()"),
        (0.5, nf.ShapeError, "mse: target must be of shape (4, 1) as the prediction, got ()"),
        (np.zeros((4, 1)), nf.DTypeError,
         "sub: arguments must be of one dtype, got float32 and float64; x.astype(np.float32) or nf.f64(model)"),
        (np.zeros((4, 1), int), nf.DTypeError,
         "sub: arguments must be of one dtype, got float32 and int64; x.astype(np.float32) or nf.f64(model)"),
    ],
)  # fmt: skip
def test_wrong_targets_of_mse(target, kind, text):
    prediction = np.zeros((4, 1), np.float32)
    with raises(kind, text):
        nf.losses.mse(prediction, target)
    if isinstance(target, np.ndarray):
        with raises(kind, text):
            nf.compile(nf.losses.mse)(prediction, target)


def test_nan_and_inf_are_kept():
    a = np.array([[np.nan], [1]], np.float32)
    assert np.isnan(nf.losses.mse(a, np.ones_like(a)))
    assert np.isinf(nf.losses.mse(np.array([np.inf], np.float32), np.ones(1, np.float32)))
    assert np.isnan(nf.losses.logitcrossentropy(np.array([[np.nan, 1]], np.float32), np.array([1])))
