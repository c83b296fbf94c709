"""nf.pixel_unshuffle: what nf.pixel_shuffle undoes, PyTorch, gradients, plans, files, every message."""

import functools
import re

import numpy as np
import pytest

import numbaflux as nf

SIZES = [((2, 6, 3), 3), ((2, 4, 6, 3), 2), ((1, 3, 3, 1), 1), ((2, 4, 2, 6, 3), 2), ((1, 3, 6, 9, 1), 3)]
each = pytest.mark.parametrize(("shape", "r"), SIZES, ids=str)


@each
def test_there_and_back(shape, r):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y, rank = nf.pixel_unshuffle(x, r), len(shape) - 2
    assert y.shape == (shape[0], *(n // r for n in shape[1:-1]), shape[-1] * r**rank)
    np.testing.assert_array_equal(nf.pixel_shuffle(y, r), x)
    np.testing.assert_array_equal(nf.pixel_unshuffle(nf.pixel_shuffle(y, r), r), y)
    np.testing.assert_array_equal(nf.compile(lambda x: nf.pixel_unshuffle(x, r))(x), y)


@each
def test_gradients(shape, r):
    x = np.random.default_rng(0).normal(size=shape)
    weight = np.random.default_rng(1).normal(size=nf.pixel_unshuffle(x, r).shape)
    nf.check_gradients(lambda x: (nf.pixel_unshuffle(x, r) ** 2 * weight).sum(), x)
    np.testing.assert_allclose(nf.gradient(lambda x: (nf.pixel_unshuffle(x, r) * weight).sum(), x),
                               nf.pixel_shuffle(weight, r))  # fmt: skip


def test_what_torch_does():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3))
    right = torch.nn.functional.pixel_unshuffle(torch.tensor(np.moveaxis(x, -1, 1).copy()), 2)
    np.testing.assert_array_equal(nf.pixel_unshuffle(x, 2), np.moveaxis(right.numpy(), 1, -1))


def test_in_files(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    model = nf.Chain(functools.partial(nf.pixel_unshuffle, r=2))
    nf.save(tmp_path / "model.h5", model)
    np.testing.assert_array_equal(nf.load(tmp_path / "model.h5")(x), model(x))


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: nf.pixel_unshuffle(np.ones((1, 4, 3, 1)), 2), nf.ShapeError,
         "pixel_unshuffle: x must be of spatial sizes that are multiples of 2, got (1, 4, 3, 1)"),
        (lambda: nf.pixel_unshuffle(np.ones((4, 3)), 2), nf.ShapeError,
         "pixel_unshuffle: x must be of shape (n, spatial axes, c), got (4, 3)"),
        (lambda: nf.pixel_unshuffle(np.ones((1, 4, 4, 1)), 0), nf.RangeError,
         "pixel_unshuffle: r must be an integer in [1, inf), got 0"),
    ],
)  # fmt: skip
def test_messages(call, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text) + "$"):
        call()
