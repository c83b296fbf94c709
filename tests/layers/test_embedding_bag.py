"""EmbeddingBag: bags of one length, ragged ones, lists, against NumPy and PyTorch; messages."""

import re

import numpy as np
import pytest

import numbaflux as nf

FOLD = {"mean": np.mean, "sum": np.sum, "max": np.max}
BAGS = np.array([[3, 0, 3], [6, 1, 0], [2, 2, 5], [4, 4, 4]])
DATA, OFFSETS = np.array([3, 0, 6, 1, 0, 2, 5]), np.array([0, 2, 2, 5])  # the second is empty
each_reduction = pytest.mark.parametrize("reduction", FOLD)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def made(reduction, n_out=5):
    return nf.f64(nf.EmbeddingBag(7, n_out, reduction, rng=0))


def ragged(layer, data, offsets):
    """Bag after bag in NumPy."""
    ends = [*offsets[1:], len(data)]
    bags = [layer.weight[data[a:b]] for a, b in zip(offsets, ends, strict=True)]
    return np.stack([FOLD[layer.reduction](b, 0) if len(b) else np.zeros(b.shape[1]) for b in bags])


@each_reduction
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_bags_of_one_length(reduction, dtype):
    layer = made(reduction)
    for x in (BAGS, BAGS[0], BAGS.reshape(2, 2, 3)):
        right = FOLD[reduction](layer.weight[x], -2)
        for one in (layer, nf.compile(layer)):
            np.testing.assert_allclose(one(x.astype(dtype)), right, rtol=1e-14)
    np.testing.assert_array_equal(layer(BAGS[:, :0]), np.zeros((4, 5)))


@each_reduction
@pytest.mark.parametrize("offsets", [OFFSETS, np.array([0]), np.array([0, 0, 7]), np.arange(7)], ids=str)
def test_ragged_bags(reduction, offsets):
    layer = made(reduction)
    right = ragged(layer, DATA, offsets)
    np.testing.assert_allclose(layer(DATA, offsets), right, rtol=1e-14)
    np.testing.assert_allclose(nf.compile(layer)(DATA, offsets.astype(np.int32)), right, rtol=1e-14)


@each_reduction
def test_lists_of_bags(reduction):
    layer, bags = made(reduction), [[3, 0], [], [6, 1, 0], np.array([2, 5])]
    right = ragged(layer, DATA, OFFSETS)
    np.testing.assert_allclose(layer(bags), right, rtol=1e-14)
    np.testing.assert_allclose(layer(list(BAGS)), layer(BAGS), rtol=1e-14)
    np.testing.assert_array_equal(layer([3, 0]), layer(np.array([3, 0])))


@each_reduction
def test_one_hot_labels_are_one_bag(reduction):
    layer = made(reduction)
    np.testing.assert_array_equal(layer(nf.onehotbatch(DATA, range(7))), layer(DATA))


@each_reduction
def test_gradients(reduction):
    layer = made(reduction, 3)
    nf.check_gradients(lambda m: (m(np.array([[3, 0, 2], [6, 1, 0]])) ** 3).sum(), layer)
    nf.check_gradients(lambda m: (m(DATA, OFFSETS) ** 3).sum(), layer)


@each_reduction
def test_as_pytorch(reduction):
    torch = pytest.importorskip("torch")
    layer = made(reduction)
    for given in ((BAGS,), (DATA, OFFSETS)):
        other = torch.nn.EmbeddingBag.from_pretrained(torch.tensor(layer.weight), freeze=False, mode=reduction)
        y = other(*map(torch.tensor, given))
        (y**2).sum().backward()
        np.testing.assert_allclose(layer(*given), y.detach().numpy(), rtol=1e-14)
        slopes = nf.gradient(lambda m, given=given: (m(*given) ** 2).sum(), layer).weight
        np.testing.assert_allclose(slopes, other.weight.grad.numpy(), rtol=1e-13, atol=1e-15)


def test_first_weights_are_normal():
    w = nf.EmbeddingBag(300, 200, rng=1).weight
    assert w.dtype == np.float32 and abs(w.mean()) < 0.02 and abs(w.std() - 1) < 0.02


@each_reduction
def test_save_load_show(tmp_path, reduction):
    layer = nf.EmbeddingBag(7, 5, reduction, rng=0)
    nf.save(tmp_path / "m.h5", nf.Chain(layer, nf.Dense(5, 2)))
    again = nf.load(tmp_path / "m.h5")[0]
    np.testing.assert_array_equal(again(DATA, OFFSETS), layer(DATA, OFFSETS))
    more = "" if reduction == "mean" else f", {reduction!r}"
    assert repr(again).startswith(f"EmbeddingBag(7, 5{more}),")
    assert nf.outputsize(layer, (4, 3), dtype=np.int64) == (4, 5)


NONE = "EmbeddingBag: offsets must be 0 first, and never less than the one before or more than the indices, got"


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3, 2], [0, 8], [-1, 0], []], ids=str)
def test_offsets_that_are_none(offsets):
    layer, offsets = made("sum"), np.array(offsets, np.int64)
    with raises(nf.RangeError, f"{NONE} {offsets.tolist()}"):
        layer(DATA, offsets)
    if offsets.size:
        with raises(nf.RangeError, f"{NONE} another at position 0"):
            nf.compile(layer)(DATA, offsets)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: nf.EmbeddingBag(0, 2), nf.RangeError, "EmbeddingBag: n_in must be an integer in [1, inf), got 0"),
        (lambda: nf.EmbeddingBag(2, 2, "median"), nf.RangeError,
         "EmbeddingBag: reduction must be one of 'mean', 'sum', 'max', got 'median'"),
        (lambda: nf.EmbeddingBag(2, 2, init=lambda shape, rng: np.ones(3)), nf.ShapeError,
         "EmbeddingBag: init(shape) must be of shape (2, 2), got (3,)"),
        (lambda: nf.EmbeddingBag(2, 2, init=lambda shape, rng: np.ones(shape, int)), nf.DTypeError,
         "EmbeddingBag: weight must be an array of float32 or float64, got int64"),
        (lambda: made("sum")(np.array(3)), nf.ShapeError, "EmbeddingBag: x must be of one axis or more, got shape ()"),
        (lambda: made("sum")(np.array([0.5])), nf.DTypeError,
         "EmbeddingBag: x must be an array of integers, got float64; x.astype(np.int64)"),
        (lambda: made("sum")(DATA, np.array([0.0])), nf.DTypeError,
         "EmbeddingBag: offsets must be an array of integers, got float64; x.astype(np.int64)"),
        (lambda: made("sum")(BAGS, OFFSETS), nf.ShapeError, "EmbeddingBag: x must be of one axis, got shape (4, 3)"),
        (lambda: made("sum")([BAGS, [1]]), nf.ShapeError,
         "EmbeddingBag: bags must be each of one axis, got [(4, 3), (1,)]"),
        (lambda: made("sum")(np.array([0, 7])), nf.RangeError,
         "take: index must be in 0..6, got another at position 1"),
    ],
)  # fmt: skip
def test_messages(call, kind, text):
    with raises(kind, text):
        call()
