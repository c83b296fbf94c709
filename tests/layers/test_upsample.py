"""Upsample, PixelShuffle and their functions: values and gradients against PyTorch, every message."""

import functools
import re

import numpy as np
import pytest

import numbaflux as nf

X = np.random.default_rng(0).normal(size=(2, 5, 4, 8))
SERIES, VOLUMES = X[:, :, 0], np.random.default_rng(1).normal(size=(1, 2, 3, 4, 8))
LAYERS = [  # layer, x
    (nf.Upsample(2), X), (nf.Upsample((1, 3)), X), (nf.Upsample(size=(10, 12)), X), (nf.Upsample(3), VOLUMES),
    (nf.Upsample(2, "linear"), SERIES), (nf.Upsample(size=3, mode="linear"), SERIES),
    (nf.Upsample(2, "bilinear"), X), (nf.Upsample((1.7, 0.5), "bilinear"), X),
    (nf.Upsample(size=(1, 9), mode="bilinear"), X), (nf.Upsample((2, 1, 1.5), "trilinear"), VOLUMES),
]  # fmt: skip


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def agree(layer, x, theirs):
    """Values and gradients are those of a function of PyTorch."""
    torch = pytest.importorskip("torch")
    given = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    right = theirs(given)
    (right**2).sum().backward()
    np.testing.assert_allclose(layer(x), np.moveaxis(right.detach().numpy(), 1, -1), rtol=1e-12, atol=1e-12)
    dx = nf.gradient(lambda x: (layer(x) ** 2).sum(), x)
    np.testing.assert_allclose(dx, np.moveaxis(given.grad.numpy(), 1, -1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("layer", "x"), LAYERS, ids=[f"{layer.describe()} {x.ndim}" for layer, x in LAYERS])
def test_upsample_does_what_torch_does(layer, x):
    torch = pytest.importorskip("torch")
    corners = None if layer.mode == "nearest" else True
    agree(layer, x, functools.partial(torch.nn.functional.interpolate, size=layer.size, scale_factor=layer.scale,
                                      mode=layer.mode, align_corners=corners))  # fmt: skip


def test_pixel_shuffle_does_what_torch_does():
    torch = pytest.importorskip("torch")
    agree(nf.PixelShuffle(2), X, torch.nn.PixelShuffle(2))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pixel_shuffle_puts_each_channel_in_its_place(rank):
    """Written as loops over places: of the channels of one result, the last axis of a block goes fastest."""
    r, c, size = 2, 3, (2, 3, 4)[:rank]
    x = np.random.default_rng(2).normal(size=(2, *size, c * r**rank))
    y = nf.pixel_shuffle(x, r)
    assert y.shape == (2, *(r * n for n in size), c)
    for place in np.ndindex(y.shape[1:-1]):
        offset = functools.reduce(lambda at, p: at * r + p % r, place, 0)
        block = x[(slice(None), *(p // r for p in place))]
        np.testing.assert_array_equal(y[(slice(None), *place)], block[:, offset :: r**rank])


def test_functions_in_files(tmp_path):
    model = nf.Chain(functools.partial(nf.upsample_bilinear, scale=1.5), functools.partial(nf.pixel_shuffle, r=2))
    nf.save(tmp_path / "model.h5", model)
    np.testing.assert_array_equal(nf.load(tmp_path / "model.h5")(X), model(X))


def test_functions_are_what_layers_call():
    scales = {"linear": (SERIES, 1.5), "bilinear": (X, 1.5), "trilinear": (VOLUMES, (2, 1, 1.5)), "nearest": (X, 2)}
    functions = (nf.upsample_linear, nf.upsample_bilinear, nf.upsample_trilinear, nf.upsample_nearest)
    for f, (mode, (x, scale)) in zip(functions, scales.items(), strict=True):
        np.testing.assert_array_equal(f(x, scale), nf.Upsample(scale, mode)(x))


def test_the_corners_stay():
    y = nf.upsample_bilinear(X, size=(17, 9))
    np.testing.assert_allclose(y[:, [0, 0, -1, -1], [0, -1, 0, -1]], X[:, [0, 0, -1, -1], [0, -1, 0, -1]], rtol=1e-13)


def test_repr():
    shown = [layer.describe() for layer in (nf.Upsample([1, 3]), nf.Upsample(2.5, "linear"), nf.Upsample(size=4))]
    assert shown == ["Upsample((1, 3))", "Upsample(2.5, mode='linear')", "Upsample(size=4)"]
    for layer in [nf.PixelShuffle(4), *(layer for layer, _ in LAYERS)]:
        assert repr(eval(layer.describe(), vars(nf))) == repr(layer)  # noqa: S307  # of a word written here


WRONG = [
    (lambda: nf.Upsample(2, "cubic"), nf.RangeError,
     "Upsample: mode must be one of nearest, linear, bilinear, trilinear, got 'cubic'"),
    (lambda: nf.Upsample(), nf.RangeError, "Upsample: scale or size must be given, one of them, got none"),
    (lambda: nf.Upsample(2, size=3), nf.RangeError,
     "Upsample: scale or size must be given, one of them, got scale and size"),
    (lambda: nf.Upsample(1.5), nf.DTypeError, "Upsample: scale must be an integer or 1 of them, got 1.5"),
    (lambda: nf.Upsample((2, 0)), nf.RangeError, "Upsample: scale must be 1 or more, for each of 2 axes, got (2, 0)"),
    (lambda: nf.Upsample(size=2.5, mode="linear"), nf.DTypeError,
     "Upsample: size must be an integer or 1 of them, got 2.5"),
    (lambda: nf.Upsample("2", "bilinear"), nf.DTypeError, "Upsample: scale must be a number or 2 of them, got '2'"),
    (lambda: nf.Upsample((1, 2, 3), "bilinear"), nf.RangeError,
     "Upsample: scale must be in (0, 2**31), for each of 2 axes, got (1, 2, 3)"),
    (lambda: nf.Upsample(np.nan, "bilinear"), nf.RangeError,
     "Upsample: scale must be in (0, 2**31), for each of 2 axes, got nan"),
    (lambda: nf.Upsample(-1.0, "linear"), nf.RangeError,
     "Upsample: scale must be in (0, 2**31), for each of 1 axes, got -1.0"),
    (lambda: nf.Upsample((2, 2, 2))(X), nf.RangeError,
     "upsample_nearest: scale must be 1 or more, for each of 2 axes, got (2, 2, 2)"),
    (lambda: nf.Upsample(size=(12, 8))(X), nf.ShapeError,
     "upsample_nearest: size must be a multiple of (5, 4) along each axis, got (12, 8)"),
    (lambda: nf.upsample_linear(X, 2), nf.ShapeError,
     "upsample_linear: x must be of shape (n, length, c), got (2, 5, 4, 8)"),
    (lambda: nf.upsample_bilinear(X, 0.2), nf.ShapeError,
     "upsample_bilinear: scale must be large enough to leave something of (5, 4), got (1, 0)"),
    (lambda: nf.upsample_nearest(None, 2), nf.DTypeError, "upsample_nearest: x must be an array, got NoneType"),
    (lambda: nf.pixel_shuffle(X, 3), nf.ShapeError,
     "pixel_shuffle: x must be of a multiple of 9 channels, got (2, 5, 4, 8)"),
    (lambda: nf.pixel_shuffle(X[0, 0], 2), nf.ShapeError,
     "pixel_shuffle: x must be of shape (n, spatial axes, c), got (4, 8)"),
    (lambda: nf.PixelShuffle(0), nf.RangeError, "PixelShuffle: r must be an integer in [1, inf), got 0"),
    (lambda: nf.Chain(nf.Upsample(2, "linear"))(X), nf.ShapeError,
     "0.upsample_linear: x must be of shape (n, length, c), got (2, 5, 4, 8)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text[:60] for *_, text in WRONG])
def test_messages(call, kind, text):
    with raises(kind, text):
        call()


@pytest.mark.parametrize(
    ("layer", "field", "value", "text"),
    [
        (nf.Upsample(2), "scale", [2, 2], "Upsample: scale, size must be ((2, 2), None), got ([2, 2], None)"),
        (nf.Upsample(2), "mode", "cubic", "Upsample: mode must be one of nearest, linear, bilinear, trilinear, "
         "got 'cubic'"),
        (nf.PixelShuffle(2), "r", 1.5, "PixelShuffle: r must be an integer in [1, inf), got 1.5"),
    ],
)  # fmt: skip
def test_fields_that_a_file_may_not_hold(layer, field, value, text):
    setattr(layer, field, value)
    with pytest.raises(nf.Error, match="^" + re.escape(text) + "$"):
        layer.check_fields()
