"""Every loss: against its formula, PyTorch, published values; gradients; zeros, large numbers, labels."""

import functools
import inspect

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from tests.losses.test_several import SEVERAL
from tests.test_losses import INTEGERS, LOGITS, labels_for, logsoftmax, onehot, raises


def softmax(x):
    return np.exp(logsoftmax(x))


def drawn(kind, shape, seed):
    """Numbers as a loss takes them: real, positive, from 0 to 1, of two classes, or shares of classes."""
    x = nf.Generator(seed).normal(shape, dtype=np.float64)
    return {
        "real": lambda: x, "positive": lambda: np.exp(x), "share": lambda: 1 / (1 + np.exp(-x)),
        "bit": lambda: (x > 0).astype(float), "sign": lambda: np.where(x > 0, 1.0, -1.0), "shares": lambda: softmax(x),
        "hot": lambda: onehot(labels_for(shape), shape[-1]),
    }[kind]()  # fmt: skip


def log_eps(p, eps):
    return np.log(p + eps)


def binary_focal(p, y, eps, gamma=2.0):
    q = np.where(y == 1, p, 1 - p) + eps
    return -((1 - q) ** gamma) * np.log(q)


# name -> (prediction, target, loss of elements or samples in float64; e is eps of the type)
EACH = {
    "mae": ("real", "real", lambda p, y, e: abs(p - y)),
    "mse": ("real", "real", lambda p, y, e: (p - y) ** 2),
    "msle": ("positive", "positive", lambda p, y, e: (log_eps(p, e) - log_eps(y, e)) ** 2),
    "huber_loss": ("real", "real", lambda p, y, e: np.where(abs(p - y) < 1, (p - y) ** 2 / 2, abs(p - y) - 0.5)),
    "quantile_loss": ("real", "real", lambda p, y, e: abs(p - y) / 2),
    "poisson_loss": ("positive", "positive", lambda p, y, e: p - y * np.log(p)),
    "hinge_loss": ("real", "sign", lambda p, y, e: np.maximum(0, 1 - p * y)),
    "squared_hinge_loss": ("real", "sign", lambda p, y, e: np.maximum(0, 1 - p * y) ** 2),
    "siamese_contrastive_loss": (
        "positive", "bit", lambda p, y, e: (1 - y) * p**2 + y * np.maximum(0, 1 - p) ** 2),
    "binarycrossentropy": (
        "share", "share", lambda p, y, e: -y * log_eps(p, e) - (1 - y) * log_eps(1 - p, e)),
    "logitbinarycrossentropy": (
        "real", "share", lambda p, y, e: (1 - y) * p + np.log(1 + np.exp(-p))),
    "binary_focal_loss": ("share", "bit", binary_focal),
    "crossentropy": ("shares", "shares", lambda p, y, e: -(y * log_eps(p, e)).sum(-1)),
    "logitcrossentropy": ("real", "shares", lambda p, y, e: -(y * logsoftmax(p)).sum(-1)),
    "nll_loss": ("real", "shares", lambda p, y, e: -(y * p).sum(-1)),
    "kldivergence": ("shares", "shares", lambda p, y, e: (y * np.log(y) - y * log_eps(p, e)).sum(-1)),
    "focal_loss": ("shares", "hot", lambda p, y, e: -(y * (1 - p - e) ** 2 * log_eps(p, e)).sum(-1)),
}  # fmt: skip
WHOLE = {
    "dice_coeff_loss": ("share", "bit", lambda p, y: 1 - (2 * (y * p).sum() + 1) / ((y**2).sum() + (p**2).sum() + 1)),
    "tversky_loss": ("share", "bit", lambda p, y: 1 - ((y * p).sum() + 1) / (
        (y * p + 0.7 * (1 - y) * p + 0.3 * y * (1 - p)).sum() + 1)),
}  # fmt: skip
KINDS = {name: row[:2] for name, row in (EACH | WHOLE).items()}
# name -> PyTorch's name, keywords there, keywords here
PEERS = {
    "mae": ("l1_loss", {}, {}),
    "mse": ("mse_loss", {}, {}),
    "huber_loss": ("huber_loss", {"delta": 0.75}, {"delta": 0.75}),
    "poisson_loss": ("poisson_nll_loss", {"log_input": False, "eps": 0.0}, {}),
    "binarycrossentropy": ("binary_cross_entropy", {}, {"eps": 0}),
    "logitbinarycrossentropy": ("binary_cross_entropy_with_logits", {}, {}),
    "logitcrossentropy": ("cross_entropy", {}, {}),
}


def loss_of(name):
    return getattr(nf.losses, name)


def pair(name, shape, dtype=np.float64):
    return [drawn(kind, shape, seed).astype(dtype) for seed, kind in enumerate(KINDS[name], 2)]


def test_every_loss_has_a_formula_here():
    """Or, of three arrays, in tests/losses/test_several.py, or of series in test_ctc.py there."""
    assert {f.__name__ for f in nf.losses.LOSSES} == KINDS.keys() | SEVERAL.keys() | {"ctc_loss"}


@pytest.mark.parametrize("loss", nf.losses.LOSSES, ids=lambda loss: loss.__name__)
def test_every_loss_takes_agg(loss):
    """Behind its arrays; values are below, in test_several.py and in test_ctc.py."""
    assert "agg" in list(inspect.signature(loss).parameters)[2:4]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 2), (7, 5), (2, 3, 4)])
def test_values_against_formulas(name, shape, dtype):
    p, y = pair(name, shape, dtype)
    got, wide, eps = loss_of(name)(p, y), (p.astype(float), y.astype(float)), np.finfo(dtype).eps
    right = EACH[name][2](*wide, eps).mean() if name in EACH else WHOLE[name][2](*wide)
    assert got.dtype == dtype and np.shape(got) == ()
    np.testing.assert_allclose(got, right, rtol=30 * eps, atol=10 * eps)


@pytest.mark.parametrize("name", EACH)
def test_agg_takes_elements_or_samples_to_the_loss(name):
    p, y = pair(name, (7, 5))
    each = EACH[name][2](p, y, np.finfo(float).eps)
    np.testing.assert_allclose(loss_of(name)(p, y, agg=F.identity), each, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(loss_of(name)(p, y, agg=F.max), each.max(), rtol=1e-11)
    np.testing.assert_allclose(loss_of(name)(p, y, agg=F.sum), each.sum(), rtol=1e-11)
    assert each.shape == ((7,) if "shares" in KINDS[name] or name == "focal_loss" else (7, 5))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 2)])
def test_agg_takes_ratios_of_samples_to_the_loss(name, shape):
    p, y = pair(name, shape)
    each = [WHOLE[name][2](*sample) for sample in zip(p, y, strict=True)]
    np.testing.assert_allclose(loss_of(name)(p, y, agg=F.identity), each, rtol=1e-11)
    np.testing.assert_allclose(loss_of(name)(p, y, agg=F.mean), np.mean(each), rtol=1e-11)
    assert nf.compile(lambda p, y: loss_of(name)(p, y, F.max))(p, y) == loss_of(name)(p, y, agg=F.max)
    nf.check_gradients(lambda p: loss_of(name)(p, y, agg=F.sum), p)


@pytest.mark.parametrize("name", PEERS)
def test_values_and_gradients_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    peer, theirs, ours = PEERS[name]
    p, y = pair(name, (33, 5))
    t = torch.tensor(p, requires_grad=True)
    right = getattr(torch.nn.functional, peer)(t, torch.tensor(y), **theirs)
    right.backward()
    got, grad = nf.withgradient(lambda p: loss_of(name)(p, y, **ours), p)
    np.testing.assert_allclose(got, right.item(), rtol=1e-12)
    np.testing.assert_allclose(grad, t.grad.numpy(), rtol=1e-10, atol=1e-15)


def test_more_of_pytorchs():
    torch = pytest.importorskip("torch")
    p, y = pair("kldivergence", (33, 5))
    right = torch.nn.functional.kl_div(torch.tensor(np.log(p)), torch.tensor(y), reduction="batchmean").item()
    np.testing.assert_allclose(nf.losses.kldivergence(p, y, eps=0), right, rtol=1e-12)
    labels = labels_for((33, 5))
    right = torch.nn.functional.nll_loss(torch.tensor(np.log(p)), torch.tensor(labels)).item()
    np.testing.assert_allclose(nf.losses.crossentropy(p, labels, eps=0), right, rtol=1e-12)
    np.testing.assert_allclose(nf.losses.nll_loss(np.log(p), labels), right, rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_against_differences(name):
    """Of predictions and of targets, and gradients of gradients."""
    p, y = pair(name, (3, 4))
    nf.check_gradients(loss_of(name), p, y)
    nf.check_gradients(lambda p: F.sum(F.mul(nf.gradient(lambda p: loss_of(name)(p, y), p), p)), p)


HEADS = {"positive": F.exp, "share": nf.sigmoid, "shares": nf.softmax, "real": F.identity}


@pytest.mark.parametrize("name", KINDS)
def test_a_compiled_step_has_the_gradients_of_an_eager_one(name):
    _, y = pair(name, (9, 4), np.float32)
    model, x = nf.Dense(6, 4, HEADS[KINDS[name][0]], rng=0), nf.Generator(0).normal((9, 6))
    loss, grads = nf.withgradient(lambda m: loss_of(name)(m(x), y), model)
    step = nf.compile(lambda m, x, y: loss_of(name)(m(x), y), model, nf.setup(nf.Descent(0.0), model))
    assert step(x, y) == loss
    np.testing.assert_array_equal(step.gradients()["weight"], grads.weight)
    wide = nf.gradient(lambda m: loss_of(name)(m(x.astype(float)), y.astype(float)), nf.f64(model))
    np.testing.assert_allclose(grads.weight, wide.weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_shapes_are_not_broadcast(name):
    p, y = np.full((4, 1), 0.5, np.float32), np.ones(4, np.float32)
    with pytest.raises(
        nf.ShapeError, match=rf"^{name}: target must be of shape \(4, 1\) as the prediction, got \(4,\); "
    ):
        loss_of(name)(p, y)
    with pytest.raises(
        nf.ShapeError, match=rf"^{name}: target must be of shape \(4, 2\) as the prediction, got \(2, 2\)"
    ):
        loss_of(name)(np.ones((4, 2), np.float32), np.ones((2, 2), np.float32))


# ---------------------------------------------------------------------------------------------------- published values


def test_values_in_flux_documentation():
    truth = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(nf.losses.mae(np.array([1.1, 1.9, 3.1]), truth), 0.1, rtol=1e-12)
    np.testing.assert_allclose(nf.losses.mse(np.array([1.1, 1.9, 3.1]), truth), 0.01, rtol=1e-12)
    np.testing.assert_allclose(nf.losses.msle(1.1 * truth, truth), 0.009084041, rtol=1e-5)
    np.testing.assert_allclose(nf.losses.msle(0.9 * truth, truth), 0.011100831, rtol=1e-5)
    p, hot = softmax(np.arange(-7.0, 8).reshape(5, 3)), onehot(np.array([0, 1, 2, 1, 0]), 3)
    np.testing.assert_allclose(nf.losses.crossentropy(p, hot), 1.6076053, rtol=1e-6)
    smooth = nf.losses.label_smoothing(hot, 0.15)
    np.testing.assert_allclose(smooth[0], [0.9, 0.05, 0.05], rtol=1e-12)
    np.testing.assert_allclose(nf.losses.crossentropy(p, smooth), 1.5776052, rtol=1e-6)
    logits, bits = np.array([2, -1, np.pi]), np.array([1.0, 0, 1])
    np.testing.assert_allclose(nf.losses.logitbinarycrossentropy(logits, bits), 0.160832, rtol=1e-5)
    np.testing.assert_allclose(nf.losses.binarycrossentropy(1 / (1 + np.exp(-logits)), bits), 0.160832, rtol=1e-5)
    np.testing.assert_allclose(nf.losses.kldivergence(np.full((2, 2), 0.5), np.eye(2)), np.log(2), rtol=1e-12)


# --------------------------------------------------------------------------------------------------- labels, smoothing


@pytest.mark.parametrize("name", ["crossentropy", "focal_loss", "logitcrossentropy", "nll_loss"])
@pytest.mark.parametrize("kind", INTEGERS)
def test_labels_are_one_hot_numbers(name, kind):
    p, labels = softmax(LOGITS[2, 3, 4]).astype(np.float32), labels_for((2, 3, 4)).astype(kind)
    right, slope = nf.withgradient(lambda p: loss_of(name)(p, onehot(labels, 4).astype(np.float32)), p)
    compact = nf.OneHot(labels, 4)
    for target in (labels, compact):
        got, grad = nf.withgradient(lambda p, target=target: loss_of(name)(p, target), p)
        np.testing.assert_allclose(got, right, rtol=1e-6)
        np.testing.assert_allclose(grad, slope, rtol=1e-5, atol=1e-7)
        assert nf.compile(loss_of(name))(p, target) == got


@pytest.mark.parametrize("name", ["mse", "kldivergence", "binarycrossentropy", "dice_coeff_loss"])
def test_one_hot_labels_stand_for_their_numbers(name):
    p, labels = softmax(LOGITS[7, 5]).astype(np.float32), labels_for((7, 5))
    right = loss_of(name)(p, onehot(labels, 5).astype(np.float32))
    assert loss_of(name)(p, nf.OneHot(labels, 5)) == right
    assert nf.compile(loss_of(name))(p, nf.OneHot(labels, 5)) == right
    with pytest.raises(
        nf.ShapeError, match=rf"^{name}: target must be of shape \(7, 5\) as the prediction, got \(7, 6\)"
    ):
        loss_of(name)(p, nf.OneHot(labels, 6))


@pytest.mark.parametrize("name", ["crossentropy", "focal_loss", "nll_loss"])
@pytest.mark.parametrize(("labels", "place"), [([0, 4], 1), ([-1, 0], 0)])
def test_labels_of_probabilities_out_of_range(name, labels, place):
    p = np.full((2, 4), 0.25, np.float32)
    for loss in (loss_of(name), nf.compile(loss_of(name))):
        with raises(nf.RangeError, f"{name}: labels must be in 0..3, got another at position {place}"):
            loss(p, np.array(labels))


def test_label_smoothing():
    y = onehot(np.array([1, 0]), 4).astype(np.float32)
    got = nf.losses.label_smoothing(y, 0.2)
    np.testing.assert_allclose(got, [[0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-6)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(nf.losses.label_smoothing(nf.OneHot([1, 0], 4), 0.2), got)
    np.testing.assert_allclose(nf.losses.label_smoothing(y.T, 0.2, axis=0), got.T, rtol=1e-6)
    np.testing.assert_allclose(nf.losses.label_smoothing(np.array([0.0, 1.0]), 0.2, axis=None), [0.1, 0.9])
    for alpha in (0, 1, -0.5):
        with raises(nf.RangeError, f"label_smoothing: alpha must be a number in (0, 1), got {alpha}"):
            nf.losses.label_smoothing(y, alpha)
    with raises(nf.ShapeError, "label_smoothing: axis must be in -2..1, got 2"):
        nf.losses.label_smoothing(y, 0.1, axis=2)


# ------------------------------------------------------------------------------------------------- zeros, large numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_times_the_logarithm_of_zero(dtype):
    x, y = np.array([0, 0, 0.5, 1, 0], dtype), np.array([0, 2, 4, 1, -1], dtype)
    np.testing.assert_allclose(nf.losses.xlogy(x, y), [0, 0, 0.5 * np.log(4), 0, 0], rtol=1e-6)
    by_x, by_y = nf.gradient(lambda x, y: F.sum(nf.losses.xlogy(x, y)), x, y)
    np.testing.assert_allclose(by_x, [0, np.log(2), np.log(4), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(by_y, [0, 0, 0.125, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(nf.losses.xlogx(x), [0, 0, 0.5 * np.log(0.5), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(
        nf.gradient(lambda x: F.sum(nf.losses.xlogx(x)), x), [0, 0, 1 + np.log(0.5), 1, 0], rtol=1e-6
    )
    assert np.isnan(nf.losses.xlogy(dtype(0), dtype(np.nan))) and np.isnan(nf.losses.xlogx(dtype(-1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_certainty_that_is_wrong_costs_what_eps_allows(dtype):
    """Predictions of 0 and 1: losses and gradients are finite, and right where nothing is wrong."""
    eps = np.finfo(dtype).eps
    p, hot = np.array([[1, 0]], dtype), np.array([[0, 1]], dtype)
    for name in ("crossentropy", "binarycrossentropy", "kldivergence", "focal_loss", "binary_focal_loss"):
        wrong, slope = nf.withgradient(lambda p, name=name: loss_of(name)(p, hot), p)
        np.testing.assert_allclose(wrong, -np.log(eps), rtol=1e-6)
        assert np.isfinite(slope).all()
        right, slope = nf.withgradient(lambda y, name=name: loss_of(name)(p, y), p)
        np.testing.assert_allclose(right, 0, atol=2 * eps)
        assert np.isfinite(slope).all()
    assert nf.losses.crossentropy(p, hot, eps=0) == np.inf
    assert nf.losses.crossentropy(p, p, eps=0) == nf.losses.kldivergence(p, p, eps=0) == 0
    assert nf.losses.poisson_loss(np.ones(2, dtype), np.zeros(2, dtype)) == 1
    assert np.isfinite(nf.gradient(lambda y: nf.losses.poisson_loss(np.ones(2, dtype), y), np.zeros(2, dtype))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_of_two_classes(dtype):
    x = np.array([1e4, -1e4, 1e4, -1e4, 0, 0], dtype)
    y = np.array([1, 0, 0, 1, 0, 1], dtype)
    f = functools.partial(nf.losses.logitbinarycrossentropy, agg=F.identity)
    np.testing.assert_allclose(f(x, y), [0, 0, 1e4, 1e4, np.log(2), np.log(2)], rtol=1e-6)
    slope = nf.gradient(lambda x: F.sum(f(x, y)), x)
    np.testing.assert_allclose(slope, [0, 0, 1, -1, 0.5, -0.5], rtol=1e-6)
    certain = f(np.array([20, -20], dtype), np.array([1, 0], dtype))
    np.testing.assert_allclose(certain, np.log1p(np.exp(-20)), rtol=1e-6)  # not the difference of 20 and 20


# --------------------------------------------------------------------------------------------------- what names mean


def test_gamma_zero_is_no_focus():
    p, y = pair("binary_focal_loss", (7, 5))
    np.testing.assert_allclose(
        nf.losses.binary_focal_loss(p, y, gamma=0), nf.losses.binarycrossentropy(p, y), rtol=1e-12
    )
    p, y = pair("focal_loss", (7, 5))
    np.testing.assert_allclose(nf.losses.focal_loss(p, y, gamma=0), nf.losses.crossentropy(p, y), rtol=1e-12)
    for gamma in (0.5, 1, 3):
        right = binary_focal(*pair("binary_focal_loss", (7, 5)), 0, gamma).mean()
        got = nf.losses.binary_focal_loss(*pair("binary_focal_loss", (7, 5)), gamma=gamma, eps=0)
        np.testing.assert_allclose(got, right, rtol=1e-12)


def test_beta_weighs_what_is_found_wrongly():
    y = np.array([1.0, 1, 0, 0])
    found, missed = np.array([1.0, 1, 1, 0]), np.array([1.0, 0, 0, 0])
    for beta in (0.7, 0.2):
        np.testing.assert_allclose(nf.losses.tversky_loss(found, y, beta=beta), 1 - 3 / (3 + beta), rtol=1e-12)
        np.testing.assert_allclose(nf.losses.tversky_loss(missed, y, beta=beta), 1 - 2 / (2 + 1 - beta), rtol=1e-12)


def test_numbers_that_losses_take():
    d, y = np.array([0.5, 0.5]), np.array([0.0, 1.0])
    np.testing.assert_allclose(nf.losses.siamese_contrastive_loss(d, y, margin=2), (0.25 + 2.25) / 2)
    np.testing.assert_allclose(nf.losses.dice_coeff_loss(d, y, smooth=0), 1 - 1 / (1 + 0.5))
    np.testing.assert_allclose(nf.losses.huber_loss(np.array([3.0]), np.zeros(1), delta=2), 2 * (3 - 1))
    np.testing.assert_allclose(nf.losses.msle(np.zeros(1), np.ones(1), eps=1), np.log(2) ** 2)
    with raises(nf.RangeError, "siamese_contrastive_loss: margin must be a number in [0, inf), got -1"):
        nf.losses.siamese_contrastive_loss(d, y, margin=-1)
    with pytest.raises(nf.DTypeError, match="^loss: agg must be a function of an array: np.mean, .*, got 'mean'$"):
        nf.losses.mse(d, y, agg="mean")
