"""normalise and Normalise against NumPy in float64 and scikit-learn; in gradients, plans, files; every message."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

import numbaflux as nf
from numbaflux.layers import normalise as module_function
from numbaflux.op import DTypeError, Error, NonFiniteError, RangeError, ShapeError

G = nf.Generator(0)
X = G.normal((40, 5), 3, 2)
IMAGES = G.normal((6, 4, 3, 2), -1, 4)
AXES = [0, 1, (0, 2), (0, 1, 2), -1, None]


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_values(axis):
    x = IMAGES.astype(np.float64)
    expected = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    np.testing.assert_allclose(nf.normalise(x, axis), expected, rtol=1e-12)
    np.testing.assert_allclose(nf.normalise(IMAGES, axis), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(nf.compile(lambda x: nf.normalise(x, axis))(IMAGES), nf.normalise(IMAGES, axis))
    nf.check_gradients(lambda x: (nf.normalise(x, axis, 0.1) ** 3).sum(), x)


def test_eps_and_a_constant_feature():
    x = np.full((4, 1), 7, np.float32)
    assert not nf.normalise(x).any()
    np.testing.assert_allclose(
        nf.normalise(X, eps=10.0), (X - X.mean(0)) / np.sqrt(X.var(0) + 10), rtol=1e-4, atol=1e-6
    )


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 3))
def test_fit_against_scikit_learn(n, c, seed):
    x = nf.Generator(seed).normal((n, c), 5, 3, np.float64)
    layer, scaler = nf.Normalise.fit(x, eps=1e-12), StandardScaler().fit(x)
    np.testing.assert_allclose(layer.mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(layer.std, np.sqrt(scaler.var_ + 1e-12), rtol=1e-9)
    if n > 1:
        np.testing.assert_allclose(layer(x), scaler.transform(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(None, (2,)), ((0, 1, 2), (2,)), (0, (4, 3, 2)), ((0, 1), (3, 2)), ((0, 2), (4, 1, 2)), ((0, -1), (4, 3, 1)),
     ((0, 1, 2, 3), (1,))],
)  # fmt: skip
def test_axes(axis, shape):
    layer = nf.Normalise.fit(IMAGES, axis)
    assert layer.mean.shape == layer.std.shape == shape and layer.mean.dtype == np.float32
    over = (0, 1, 2) if axis is None else axis
    x = IMAGES.astype(np.float64)
    expected = (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_blocks_give_what_the_whole_gives(monkeypatch):
    # Of a large mean: a variance from sums of squares would have lost all digits.
    x = nf.Generator(1).normal((1000, 3), 1e4, 1e-2, np.float64)
    whole = nf.Normalise.fit(x)
    import sys

    monkeypatch.setattr(sys.modules["numbaflux.layers.normalise"], "_BLOCK", 7 * 3 * 8)
    blocks = nf.Normalise.fit(x)
    np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(blocks.std, np.sqrt(x.var(0) + 1e-5), rtol=1e-9)


def test_types_of_data(tmp_path):
    bytes_ = G.integers((20, 3), 0, 256).astype(np.uint8)
    layer = nf.Normalise.fit(bytes_)
    np.testing.assert_allclose(layer.mean, bytes_.mean(0), rtol=1e-6)
    assert layer.std.dtype == np.float32 and nf.Normalise.fit(X.astype(np.float64)).std.dtype == np.float64
    np.save(tmp_path / "x.npy", X)
    on_disk = nf.Normalise.fit(np.load(tmp_path / "x.npy", mmap_mode="r"))
    np.testing.assert_array_equal(on_disk.std, nf.Normalise.fit(X).std)
    assert nf.Normalise.fit(X[:, 0]).mean.shape == ()


def test_it_stands_in_a_model_and_is_not_trained(tmp_path):
    model = nf.Chain(nf.Normalise.fit(X), nf.Dense(5, 1, rng=0))
    mean, std = model[0].mean.copy(), model[0].std.copy()
    data = nf.DataLoader((X, X[:, :1].copy()), 20)
    history = nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, data, nf.setup(nf.Adam(0.05), model), 30,
                       progress=False)  # fmt: skip
    assert history[-1]["loss"] < history[0]["loss"] / 10
    np.testing.assert_array_equal(model[0].mean, mean)
    np.testing.assert_array_equal(nf.compile(model)(X), model(X))
    nf.save(tmp_path / "m.h5", nf.Chain(model, nf.normalise))
    again = nf.load(tmp_path / "m.h5")
    np.testing.assert_array_equal(again[0](X), model(X))
    np.testing.assert_array_equal(again[0][0].std, std)
    assert again[1] is nf.normalise is module_function
    assert "Normalise(5)" in repr(model) and "10 not trained" in repr(model)
    assert nf.f64(model)[0].mean.dtype == np.float64


@pytest.mark.parametrize(("axis", "shape"), [(0, (5, 3)), (1, (5, 3)), ((0, 1), (4, 3, 2)), (None, (6,))])
def test_rescaled_values(axis, shape):
    x = nf.Generator(0).normal(shape, dtype=np.float64)
    low, high = x.min(axis=axis, keepdims=True), x.max(axis=axis, keepdims=True)
    np.testing.assert_allclose(nf.rescale(x, axis), (x - low) / (high - low + 1e-5), rtol=1e-12, atol=1e-15)
    y = nf.rescale(x, axis, eps=1e-12)
    assert y.min() == 0 and abs(y.max() - 1) < 1e-10
    nf.check_gradients(lambda x: (nf.rescale(x, axis) ** 2).sum(), x)


def test_rescale_is_saved_by_name_and_a_constant_is_zero(tmp_path):
    model = nf.Chain(nf.rescale, nf.Dense(2, 1))
    nf.save(tmp_path / "m.h5", model)
    assert nf.load(tmp_path / "m.h5")[0] is nf.rescale
    assert nf.rescale(np.full((3, 1), 7, np.float32)).tolist() == [[0.0]] * 3
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert np.array_equal(nf.compile(nf.rescale)(x), nf.rescale(x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nf.Normalise.fit(X[:0]), ShapeError,
         "Normalise.fit: x must be an array of one sample or more, got shape (0, 5)"),
        (lambda: nf.Normalise.fit([[1.0]]), ShapeError,
         "Normalise.fit: x must be an array of one sample or more, got shape (1, 1)"),
        (lambda: nf.Normalise.fit(X.astype(str)), DTypeError, "Normalise.fit: x must be of real numbers, got <U32"),
        (lambda: nf.Normalise.fit(X, 1), ShapeError,
         "Normalise.fit: axis must be with 0 in it, that of the samples, got 1"),
        (lambda: nf.Normalise.fit(X, 2), ShapeError, "Normalise.fit: axis must be in -2..1, got 2"),
        (lambda: nf.Normalise.fit(X * np.float32(np.nan)), NonFiniteError,
         "Normalise: mean must be finite, got NaN or Inf"),
        (lambda: nf.Normalise.fit(X, eps=0), RangeError, "normalise: eps must be a number in (0, inf), got 0"),
        (lambda: nf.Normalise(np.zeros(2, int), np.ones(2)), DTypeError,
         "Normalise: mean must be an array of float32 or float64, got int64"),
        (lambda: nf.Normalise([0.0, 1.0], [1.0]), ShapeError,
         "Normalise: std must be float32 of shape (2,) as mean, got float32 of shape (1,)"),
        (lambda: nf.Normalise([0.0], [0.0]), RangeError, "Normalise: std must be positive, got 0 or less"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
    assert isinstance(caught.value, Error)
