"""Losses and activations at 0, subnormal numbers, 1e-30, 1e30, NaN, Inf, one class, one sample: values and gradients
beside formulas in 250 digits, in both dtypes."""

import functools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.activations import ACTIVATIONS
from tests import stability as S
from tests.stability import LOSSES, exact, mp, numbers, slopes, wrong

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def test_every_loss_and_activation_is_here():
    assert {f.__name__ for f in nf.losses.LOSSES} == LOSSES.keys() | {"ctc_loss"}
    others = {"glu", "logsumexp", "rrelu"}  # below; rrelu is leakyrelu where nothing is drawn
    assert {f.__name__ for f in ACTIVATIONS} <= S.ACTIVATIONS.keys() | others | {"sigmoid_fast", "tanh_fast"}


def arrays_of(oracle, dtype, samples=None):
    """Each argument of a loss as an array over samples."""
    return [numbers(column, dtype) for column in zip(*(samples or oracle.samples), strict=True)]


def in_digits(x):
    return [exact(v) for v in x] if np.ndim(x) else exact(x)


def each_loss(name, arrays):
    loss = getattr(nf.losses, name)
    signs = name == "cosine_embedding_loss"
    given = [a.astype(np.int64) if signs and i == 2 else a for i, a in enumerate(arrays)]
    return nf.withgradient(lambda p: (F.sum(y := loss(p, *given[1:], agg=F.identity)), y), given[0])


@pytest.mark.parametrize("name", LOSSES)
@DTYPES
def test_losses_and_their_gradients(name, dtype):
    oracle, eps = LOSSES[name], mp.mpf(float(np.finfo(dtype).eps))
    arrays = arrays_of(oracle, dtype)
    (_, values), grads = each_loss(name, arrays)
    found = []
    for i, value in enumerate(values):
        given = [in_digits(a[i]) for a in arrays]
        scale = oracle.scale(*given)
        right = oracle.each(*given, eps)
        at = [a[i].tolist() for a in arrays]
        found.append(f"{at}: {wrong(value, right, right, dtype, 16, scale)}")
        for place in range(len(given[0])) if oracle.rows else [None]:
            f = functools.partial(moved, oracle, given, place, eps)
            got = grads[i] if place is None else grads[i, place]
            sides = slopes(f, mp.mpf(0))
            steep = oracle.steep(*given, eps) + (scale if scale < 1e3 else 0)
            text = wrong(got, *sides, dtype, 64, 1 + steep)
            found.append(f"{at}: slope {place}: {text}")
    found = [line for line in found if not line.endswith(": ")]
    assert not found, "\n".join(found[:12]) + f"\n{len(found)} in all"


def moved(oracle, given, place, eps, step):
    first = given[0] + step if place is None else [v + step * (j == place) for j, v in enumerate(given[0])]
    return oracle.each(first, *given[1:], eps)


@pytest.mark.parametrize("name", LOSSES)
@DTYPES
def test_nan_in_losses_is_seen(name, dtype):
    """In any argument, at any place; never a finite number."""
    oracle = LOSSES[name]
    arrays = arrays_of(oracle, dtype, [oracle.samples[len(oracle.samples) // 2]])
    for which, array in enumerate(arrays):
        for place in np.ndindex(array.shape):
            given = [a.copy() for a in arrays]
            given[which][place] = np.nan
            assert np.isnan(getattr(nf.losses, name)(*given)), (which, place)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sign", [1, -1])
@DTYPES
def test_infinite_predictions(name, sign, dtype):
    """A finite loss only where that is the limit."""
    oracle, eps = LOSSES[name], mp.mpf(float(np.finfo(dtype).eps))
    for sample in oracle.samples[:: max(1, len(oracle.samples) // 12)]:
        arrays = arrays_of(oracle, dtype, [sample])
        for place in np.ndindex(arrays[0].shape):
            given = [a.copy() for a in arrays]
            given[0][place] = sign * np.inf
            got = getattr(nf.losses, name)(*given, agg=F.identity)
            if np.isfinite(got).all():
                with mp.workdps(60):
                    far = [infinite(a[0]) for a in given]
                    near = [[min(max(v, -1e200), 1e200) for v in a] if isinstance(a, list) else
                            min(max(a, -1e200), 1e200) for a in far]  # fmt: skip
                    right = oracle.each(*near, eps)
                assert wrong(np.ravel(got)[0], right, right, dtype, 64, 1) == "", given


def infinite(x):
    return [mp.mpf(float(v)) for v in x] if np.ndim(x) else mp.mpf(float(x))


@DTYPES
def test_one_class_and_one_sample(dtype):
    one, eps = np.ones((1, 1), dtype), float(np.finfo(dtype).eps)
    for target in (one, np.zeros(1, np.int64), nf.OneHot([0], 1)):
        assert nf.losses.logitcrossentropy(1e30 * one, target) == 0
        for name in ("crossentropy", "focal_loss"):
            assert abs(getattr(nf.losses, name)(one, target)) <= 2 * eps
        assert nf.losses.nll_loss(0 * one, target) == 0
    assert abs(nf.losses.kldivergence(one, one)) <= 2 * eps
    value, slope = nf.withgradient(lambda x: nf.losses.logitcrossentropy(x, np.zeros(1, np.int64)), one)
    assert value == 0 and slope == 0
    assert nf.losses.ctc_loss(np.zeros((1, 1, 1), dtype), [[]]) == 0


@DTYPES
def test_logits_that_rule_classes_out(dtype):
    """-inf, as masks are made."""
    x = np.array([[0, -np.inf, 0], [1e30, -np.inf, 1e30]], dtype)
    hot = np.array([[1, 0, 0], [0, 0, 1]], dtype)
    for target in (hot, np.array([0, 2])):
        value, slope = nf.withgradient(lambda x, target=target: nf.losses.logitcrossentropy(x, target), x)
        np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
        np.testing.assert_allclose(slope, [[-0.25, 0, 0.25], [0.25, 0, -0.25]], rtol=1e-6)
        assert nf.losses.logitcrossentropy(x, target[::-1] if target is hot else np.array([1, 2])) in (np.inf, value)


@DTYPES
def test_series_of_labels(dtype):
    """CTC where logits are far apart: the loss is the sum of what the labels lack."""
    far = np.array([[[1e30, 0, -1e30], [0, 1e30, 0]]], dtype)
    for labels, right in (([[0, 1]], 0), ([[1, 0]], 2e30), ([[0]], 1e30)):
        value, slope = nf.withgradient(lambda x, labels=labels: nf.losses.ctc_loss(x, labels), far)
        np.testing.assert_allclose(value, right, rtol=1e-6)
        assert np.isfinite(slope).all() and abs(slope).max() <= 1
    for place in np.ndindex(far.shape):
        bad = far.copy()
        bad[place] = np.nan
        assert np.isnan(nf.losses.ctc_loss(bad, [[0, 1]]))


# ------------------------------------------------------------------------------------------- activations, softmax


EDGES = (*S.REAL, -0.5, 3, -3, 20, -20, 89, -104, 710, -746)


@pytest.mark.parametrize("name", S.ACTIVATIONS)
@DTYPES
def test_activations_and_their_gradients(name, dtype):
    f, x = getattr(nf, name), numbers(EDGES, dtype)
    (_, values), grads = nf.withgradient(lambda x: (F.sum(y := f(x)), y), x)
    found = []
    for v, value, grad in zip(x, values, grads, strict=True):
        right, sides = S.ACTIVATIONS[name](exact(v)), slopes(S.ACTIVATIONS[name], exact(v))
        far = 8 if abs(right) > 1e-30 else 1024  # the error of a large exponent is that many times as large
        found += [f"{v}: {wrong(value, right, right, dtype, far, abs(exact(v)) if abs(v) < 1 else 0)}",
                  f"slope at {v}: {wrong(grad, *sides, dtype, 32, 1)}"]  # fmt: skip
    found = [line for line in found if not line.endswith(": ")]
    assert not found, "\n".join(found)
    assert np.isnan(f(np.array([np.nan], dtype)))


@pytest.mark.parametrize("name", S.ACTIVATIONS)
@DTYPES
def test_activations_of_infinities_are_limits(name, dtype):
    got = getattr(nf, name)(np.array([np.inf, -np.inf], dtype))
    with mp.workdps(60):
        right = [S.ACTIVATIONS[name](mp.mpf(v)) for v in (1e100, -1e100)]
    for value, limit in zip(got, right, strict=True):
        limit = float(limit) if abs(limit) < 1e50 else float(mp.sign(limit)) * np.inf
        assert np.isnan(value) or value == limit or abs(value - limit) < 1e-6


@DTYPES
def test_softmax_family(dtype):
    x = numbers(S.ROWS, dtype)
    soft, logs, whole = nf.softmax(x), nf.logsoftmax(x), nf.logsumexp(x, axis=1)
    slope = nf.gradient(lambda x: F.sum(F.mul(nf.softmax(x), np.array([1, 0, 0], dtype))), x)
    by_logs = nf.gradient(lambda x: F.sum(nf.logsoftmax(x)[:, 0]), x)
    by_sum = nf.gradient(lambda x: F.sum(nf.logsumexp(x, axis=1)), x)
    for i, row in enumerate(x):
        right = S.logsoftmax(in_digits(row))
        size, shares = abs(row).max(), [mp.exp(v) for v in right]
        for j in range(3):
            own = shares[0] * ((j == 0) - shares[j])
            checks = [(soft[i, j], shares[j], 1), (logs[i, j], right[j], 1 + size), (slope[i, j], own, 1),
                      (by_logs[i, j], (j == 0) - shares[j], 1), (by_sum[i, j], shares[j], 1)]  # fmt: skip
            for got, truth, scale in checks:
                assert wrong(got, truth, truth, dtype, 8, scale) == "", (row, j)
        truth = exact(row[0]) - right[0]
        assert wrong(whole[i], truth, truth, dtype, 8, 1 + size) == ""


@DTYPES
def test_nan_and_inf_in_the_softmax_family(dtype):
    x = np.array([[np.nan, 0, 1], [np.inf, 0, 1], [-np.inf, 0, 0], [-np.inf] * 3], dtype)
    soft, logs, whole = nf.softmax(x), nf.logsoftmax(x), nf.logsumexp(x, axis=1)
    assert np.isnan(soft[0]).all() and np.isnan(logs[0]).all() and np.isnan(whole[0])
    assert np.isnan(soft[1]).any() and np.isnan(logs[1]).any() and whole[1] == np.inf
    np.testing.assert_allclose(soft[2], [0, 0.5, 0.5])
    assert logs[2, 0] == -np.inf and np.isnan(soft[3]).all() and whole[3] == -np.inf
    one = np.array([[1e30]], dtype)
    assert nf.softmax(one) == 1 and nf.logsoftmax(one) == 0 and nf.logsumexp(one) == one
    assert np.isnan(nf.glu(np.array([[1, np.nan]], dtype))) and nf.glu(np.array([[1e30, 1e30]], dtype)) == dtype(1e30)
