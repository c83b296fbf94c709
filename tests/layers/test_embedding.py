"""Embedding: rows by index against NumPy and PyTorch, padding, one-hot labels, messages."""

import re

import numpy as np
import pytest

import numbaflux as nf

INDEX = np.array([[3, 0, 3], [6, 1, 0]])


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (3, 1, 2)], ids=str)
def test_rows_by_index_of_any_shape(shape, dtype):
    layer = nf.Embedding(7, 5, rng=0)
    x = np.resize(INDEX, shape).astype(dtype)
    for one in (layer, nf.compile(layer)):
        np.testing.assert_array_equal(one(x), layer.weight[x])


def test_gradient_adds_what_comes_to_each_row():
    layer, dy = nf.f64(nf.Embedding(7, 5, rng=0)), np.random.default_rng(0).normal(size=(2, 3, 5))
    right = np.zeros((7, 5))
    np.add.at(right, INDEX, dy)
    np.testing.assert_allclose(nf.gradient(lambda m: (m(INDEX) * dy).sum(), layer).weight, right, rtol=1e-14)
    nf.check_gradients(lambda m: (m(INDEX) ** 3).sum(), layer)


def test_first_weights_are_normal():
    w = nf.Embedding(300, 200, rng=1).weight
    assert w.dtype == np.float32 and abs(w.mean()) < 0.02 and abs(w.std() - 1) < 0.02
    np.testing.assert_array_equal(nf.Embedding(3, 2, init=nf.init.ones).weight, np.ones((3, 2)))


def test_padding_is_zeros_and_stays_so():
    layer = nf.Embedding(7, 5, padding_idx=3, rng=0)
    assert not layer.weight[3].any() and not layer(INDEX)[0, 0].any()
    state = nf.setup(nf.Adam(0.1), layer)
    step = nf.compile(lambda m, x: ((m(x) - 1) ** 2).sum(), layer, state)
    before = layer.weight.copy()
    for _ in range(3):
        step(INDEX)
    changed = (layer.weight != before).any(1)
    assert changed.tolist() == [True, True, False, False, False, False, True]
    layer.weight[3] = 5
    assert not layer(INDEX)[0, 0].any()


def test_as_pytorch_with_padding():
    torch = pytest.importorskip("torch")
    layer, dy = nf.f64(nf.Embedding(7, 5, padding_idx=0, rng=0)), np.random.default_rng(0).normal(size=(2, 3, 5))
    other = torch.nn.Embedding.from_pretrained(torch.tensor(layer.weight), freeze=False, padding_idx=0)
    y = other(torch.tensor(INDEX))
    (y * torch.tensor(dy)).sum().backward()
    np.testing.assert_array_equal(layer(INDEX), y.detach().numpy())
    np.testing.assert_allclose(nf.gradient(lambda m: (m(INDEX) * dy).sum(), layer).weight, other.weight.grad.numpy())


def test_one_hot_labels_and_booleans():
    layer = nf.Embedding(7, 5, rng=0)
    hot = nf.onehotbatch(INDEX.ravel(), range(7))
    np.testing.assert_array_equal(layer(hot), layer.weight[INDEX.ravel()])
    both = np.zeros((2, 7), bool)
    both[0, [1, 4]] = True
    np.testing.assert_allclose(layer(both), [layer.weight[1] + layer.weight[4], np.zeros(5)], rtol=1e-6)


def test_the_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    layer, x = nf.Embedding(1000, 64, rng=0), rng.integers(0, 1000, 5000)
    dy, found = rng.normal(size=(5000, 64)).astype(np.float32), []
    for threads in (1, nf.native.pool().count):
        nf.set_num_threads(threads)
        found.append(nf.gradient(lambda m: (m(x) * dy).sum(), layer).weight)
    np.testing.assert_array_equal(*found)
    right = np.zeros((1000, 64), np.float32)
    np.add.at(right, x, dy)
    np.testing.assert_array_equal(found[0], right)


def test_save_load_show(tmp_path):
    layer = nf.Embedding(7, 5, padding_idx=0, rng=0)
    nf.save(tmp_path / "m.h5", nf.Chain(layer, nf.Dense(5, 2)))
    again = nf.load(tmp_path / "m.h5")[0]
    np.testing.assert_array_equal(again.weight, layer.weight)
    assert again.padding_idx == 0 and repr(again).startswith("Embedding(7, 5, padding_idx=0),")
    assert repr(nf.Embedding(7, 5)).startswith("Embedding(7, 5),")
    assert nf.outputsize(layer, (2, 3), dtype=np.int64) == (2, 3, 5)
    assert "(2, 3, 5)" in repr(nf.summary(nf.Chain(layer), (2, 3), dtype=np.int64))


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: nf.Embedding(0, 2), nf.RangeError, "Embedding: n_in must be an integer in [1, inf), got 0"),
        (lambda: nf.Embedding(2, 2, padding_idx=2), nf.RangeError, "Embedding: padding_idx must be in 0..1, got 2"),
        (lambda: nf.Embedding(2, 2, padding_idx=-1), nf.RangeError,
         "Embedding: padding_idx must be an integer in [0, inf), got -1"),
        (lambda: nf.Embedding(2, 2, init=lambda shape, rng: np.ones(3)), nf.ShapeError,
         "Embedding: init(shape) must be of shape (2, 2), got (3,)"),
        (lambda: nf.Embedding(2, 2, init=lambda shape, rng: np.ones(shape, int)), nf.DTypeError,
         "Embedding: weight must be an array of float32 or float64, got int64"),
        (lambda: nf.Embedding(2, 2)(np.array([0, 2])), nf.RangeError,
         "take: index must be in 0..1, got another at position 1"),
        (lambda: nf.Embedding(2, 2)(np.array([0.5])), nf.DTypeError,
         "Embedding: x must be an array of integers, got float64; x.astype(np.int64)"),
    ],
)  # fmt: skip
def test_messages(make, kind, text):
    with raises(kind, text):
        make()
