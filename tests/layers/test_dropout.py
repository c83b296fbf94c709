"""Dropout, AlphaDropout and nf.dropout: what they keep and how often, gradients, generators, files, messages."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import testmode as in_testmode
from numbaflux import trainmode

N = 200_000
ONES = np.ones(N, np.float32)
X = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


# ---------------------------------------------------------------- what is dropped


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_share_scale_and_independence(p, dtype):
    """Within four standard deviations: the share that is kept, that of neighbours, and of those 64 elements on."""
    y = nf.dropout(ONES.astype(dtype), p, rng=11)
    assert y.dtype == dtype
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - p)], rtol=2 * np.finfo(dtype).eps)
    kept, q = (y != 0).astype(np.float64), 1 - p
    assert abs(kept.mean() - q) < 4 * np.sqrt(p * q / N)
    for d in (1, 16, 64, 1000):  # a pair shares an element with two others: that is in its variance
        assert abs((kept[d:] * kept[:-d]).mean() - q**2) < 4 * np.sqrt((q**2 + 2 * q**3 - 3 * q**4) / N)
    assert y.mean() == pytest.approx(1, abs=4 * np.sqrt(p / (1 - p) / N))


def test_runs_are_as_long_as_chance_makes_them():
    kept = nf.dropout(ONES, 0.5, rng=3) != 0
    ends = np.flatnonzero(np.diff(kept))
    lengths = np.bincount(np.diff(ends), minlength=12)[1:12]
    expected = len(ends) * 0.5 ** np.arange(1, 12)
    assert np.all(abs(lengths - expected) < 4.5 * np.sqrt(expected))


def test_the_mask_depends_on_seed_count_and_place_alone():
    y = nf.dropout(ONES, 0.3, rng=nf.Generator(5, 8))
    for n in (1, 63, 1000, 4097):
        np.testing.assert_array_equal(nf.dropout(ONES[:n], 0.3, rng=nf.Generator(5, 8)), y[:n])
    np.testing.assert_array_equal(nf.dropout(ONES.reshape(100, 20, -1), 0.3, rng=nf.Generator(5, 8)).ravel(), y)
    np.testing.assert_array_equal(nf.dropout(ONES.astype(np.float64), 0.3, rng=nf.Generator(5, 8)) != 0, y != 0)
    for other in (nf.Generator(5, 9), nf.Generator(6, 8), nf.Generator(5 + 2**32, 8), nf.Generator(5, 8 + 2**32)):
        assert (nf.dropout(ONES, 0.3, rng=other) != y).mean() > 0.3
    for threads in (1, nf.native.pool().count):
        with nf.threads(threads):
            np.testing.assert_array_equal(nf.dropout(ONES, 0.3, rng=nf.Generator(5, 8)), y)


def test_none_and_all():
    g = nf.Generator(1)
    assert nf.dropout(X, 0, rng=g) is X and g.state == (1, 0)
    assert not nf.dropout(X, 1, rng=g).any() and g.state == (1, 1)
    layer = trainmode(nf.AlphaDropout(0, rng=g))
    assert layer(X) is X and not trainmode(nf.AlphaDropout(1))(X).any()


def test_what_is_not_a_number_shows():
    bad = np.full(1000, np.nan, np.float32)
    assert np.isnan(nf.dropout(bad, 0.5, rng=0)).all()


def test_dims_share_a_mask():
    x = np.ones((8, 30, 20, 40), np.float32)
    for dims in (0, (0, -1), (1, 2), [3]):
        y = nf.dropout(x, 0.5, dims=dims, rng=2)
        own = {d % 4 for d in np.atleast_1d(dims)}
        others = tuple(a for a in range(4) if a not in own)
        assert (y.min(others) == y.max(others)).all() and set(np.unique(y)) == {0, 2}
    layer = trainmode(nf.Dropout(0.5, dims=(0, -1), rng=2))
    np.testing.assert_array_equal(layer(x), nf.dropout(x, 0.5, dims=(0, -1), rng=2))


# ---------------------------------------------------------------- layers


def test_layers_only_act_in_training():
    for layer in (nf.Dropout(0.5, rng=0), nf.AlphaDropout(0.5, rng=0)):
        assert layer(X) is X and in_testmode(layer)(X) is X
        np.testing.assert_array_equal(nf.compile(layer)(X), X)
        assert layer.rng.state == (0, 0)
        assert (nf.gradient(lambda x: layer(x).sum(), X) == 0).any()  # noqa: B023
        assert (nf.gradient(lambda x: in_testmode(layer)(x).sum(), X) == 1).all()  # noqa: B023
        assert layer.rng.state == (0, 1)
    layer = nf.Dropout(0.5, active=True, rng=0)
    assert (layer(X) != X).any() and (in_testmode(layer)(X) == X).all()


def test_gradient_is_the_mask_again():
    layer = nf.Dropout(0.4, rng=9)
    y, back = nf.pullback(layer, X)
    np.testing.assert_array_equal(back(X), y)
    nf.check_gradients(lambda m, x: (m(x) ** 2).sum(), nf.Chain(nf.Dropout(0.4, rng=1), nf.AlphaDropout(0.2, rng=2)), X)
    nf.check_gradients(lambda x: (nf.Dropout(0.4, dims=(0, 2), rng=1)(x) ** 2).sum(), X)
    again = nf.gradient(lambda x: (nf.gradient(lambda x: (nf.Dropout(0.5, rng=3)(x) ** 3).sum(), x) ** 2).sum(), X)
    mask = nf.dropout(np.ones_like(X), 0.5, rng=3)
    np.testing.assert_allclose(again, 36 * mask**6 * X**3, rtol=1e-5)


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_alphadropout_keeps_mean_and_variance(p):
    x = np.random.default_rng(1).normal(size=N)
    y = trainmode(nf.AlphaDropout(p, rng=4))(x)
    assert abs(y.mean()) < 4 / np.sqrt(N) and abs(y.var() - 1) < 0.02
    low = -1.0507009873554805 * 1.6732632423543772
    scale = ((1 - p) * (1 + p * low**2)) ** -0.5
    shift = -scale * low * p
    dropped = np.isclose(y, scale * low + shift)
    assert abs(dropped.mean() - p) < 4 * np.sqrt(p / N)
    np.testing.assert_allclose(y[~dropped], (scale * x + shift)[~dropped], atol=1e-12)


def test_generators():
    shared = nf.Generator(3)
    one, two = nf.Dropout(0.5, rng=shared), nf.Dropout(0.5, rng=shared)
    nf.gradient(lambda x: two(one(x)).sum(), X)
    assert shared.state == (3, 2) and one.rng is two.rng is shared
    nf.seed(8)
    first = trainmode(nf.Dropout(0.5))(ONES)
    nf.seed(8)
    np.testing.assert_array_equal(trainmode(nf.Dropout(0.5))(ONES), first)
    assert (trainmode(nf.Dropout(0.5))(ONES) != first).any()
    np.testing.assert_array_equal(first, nf.dropout(ONES, 0.5, rng=8))


def test_save_load_show(tmp_path):
    shared = nf.Generator(3, 5)
    model = nf.Chain(nf.Dropout(0.5, dims=(0, -1), rng=shared), nf.Dropout(0.25), nf.AlphaDropout(0.1, True, shared))
    nf.save(tmp_path / "m.h5", model)
    again = nf.load(tmp_path / "m.h5")
    assert repr(again) == repr(model) and again[0].rng is again[2].rng and again[0].rng.state == (3, 5)
    assert again[1].rng is None and again[0].dims == (0, -1) and again[2].active is True
    np.testing.assert_array_equal(trainmode(again[0])(X), trainmode(model[0])(X))
    assert "Dropout(0.5, dims=(0, -1))" in repr(model) and "AlphaDropout(0.1)" in repr(model)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: nf.Dropout(1.5), nf.RangeError, "Dropout: p must be a number in [0, 1], got 1.5"),
        (lambda: nf.AlphaDropout(-0.1), nf.RangeError, "AlphaDropout: p must be a number in [0, 1], got -0.1"),
        (lambda: nf.dropout(X, 2, rng=0), nf.RangeError, "dropout: p must be a number in [0, 1], got 2"),
        (lambda: nf.Dropout(0.5, dims=(0, "c")), nf.DTypeError,
         "Dropout: dims must be None or a tuple of integers, got (0, 'c')"),
        (lambda: nf.Dropout(0.5, active=1.5), nf.DTypeError, "Dropout: active must be True, False or None, got 1.5"),
        (lambda: nf.Dropout(0.5, rng="x"), nf.DTypeError,
         "Dropout: rng must be None, a seed or a numbaflux Generator, got builtins.str; pass a seed: rng=0"),
        (lambda: nf.dropout(X, 0.5, dims=3, rng=0), nf.ShapeError, "dropout: axis must be in -3..2, got 3"),
        (lambda: nf.dropout(np.ones(3, int), 0.5, rng=0), nf.DTypeError,
         "dropout: x must be an array of float32 or float64, got int64; x.astype(np.float32)"),
        (lambda: nf.apply(nf.ops.random.DROPOUT, X, np.ones(2), p=0.5, offset=0), nf.DTypeError,
         "dropout: words must be two of uint64, got float64 of shape (2,)"),
    ],
)  # fmt: skip
def test_messages(make, kind, text):
    with raises(kind, text):
        make()


def test_a_file_cannot_bring_another_generator():
    layer = nf.Dropout(0.5)
    layer.rng = 3
    with raises(nf.DTypeError, "Dropout: rng must be None or a Generator, got int"):
        layer.check_fields()
