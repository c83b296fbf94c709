"""Functions of windows beside their layers: depthwise and turned convolutions, means that leave padding out."""

import re

import numpy as np
import pytest

import numbaflux as nf

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 6, 5, 3))


@pytest.mark.parametrize(("shape", "k"), [((2, 9, 4), (3,)), ((2, 6, 5, 3), (3, 2)), ((1, 4, 3, 5, 2), (2, 2, 3))])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "pad": 1}])
def test_depthwise_is_one_convolution_a_channel(shape, k, options):
    c = shape[-1]
    x, w, b = RNG.normal(size=shape), RNG.normal(size=(*k, 1, 2 * c)), RNG.normal(size=2 * c)
    y = nf.depthwiseconv(x, w, b, **options)
    each = [nf.conv(x[..., i : i + 1], w[..., 2 * i : 2 * i + 2], b[2 * i : 2 * i + 2], **options) for i in range(c)]
    np.testing.assert_allclose(y, np.concatenate(each, -1), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(nf.compile(lambda x, w, b: nf.depthwiseconv(x, w, b, **options))(x, w, b), y)
    nf.check_gradients(lambda x, w, b: (nf.depthwiseconv(x, w, b, **options) ** 2).sum(), x, w, b)


@pytest.mark.parametrize("f", [nf.conv, nf.depthwiseconv], ids=lambda f: f.__name__)
def test_a_turned_window(f):
    w = RNG.normal(size=(3, 2, 3 if f is nf.conv else 1, 3))
    np.testing.assert_array_equal(f(X, w, flip=True), f(X, np.ascontiguousarray(w[::-1, ::-1])))
    nf.check_gradients(lambda x, w: (f(x, w, flip=True) ** 2).sum(), X, w)
    layer = nf.f64(nf.Conv((3, 2), 3, 4, flip=True, rng=0))
    np.testing.assert_array_equal(layer(X), nf.conv(X, layer.weight, layer.bias, flip=True))


@pytest.mark.parametrize(("k", "stride", "pad"), [(3, 2, 1), ((3, 2), 1, (2, 1)), (2, None, 0), (3, 1, 2)])
def test_means_without_padding(k, stride, pad):
    torch = pytest.importorskip("torch")
    pairs = pad if isinstance(pad, tuple) else (pad, pad)
    window = k if isinstance(k, tuple) else (k, k)
    if all(2 * p <= w for p, w in zip(pairs, window, strict=True)):  # torch takes no more
        given = torch.tensor(np.moveaxis(X, -1, 1).copy())
        right = torch.nn.functional.avg_pool2d(given, k, stride, pad, count_include_pad=False)
        np.testing.assert_allclose(nf.meanpool(X, k, stride, pad, count_include_pad=False),
                                   np.moveaxis(right.numpy(), 1, -1), rtol=1e-12)  # fmt: skip
    y = nf.meanpool(X, k, stride, pad, count_include_pad=False)
    ones = nf.meanpool(np.ones_like(X), k, stride, pad)
    np.testing.assert_allclose(y, nf.meanpool(X, k, stride, pad) / ones, rtol=1e-12)
    np.testing.assert_array_equal(nf.compile(lambda x: nf.meanpool(x, k, stride, pad, False))(X), y)
    nf.check_gradients(lambda x: (nf.meanpool(x, k, stride, pad, False) ** 2).sum(), X)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: nf.depthwiseconv(None, X), nf.DTypeError, "depthwiseconv: x must be an array, got NoneType"),
        (lambda: nf.depthwiseconv(X[0, 0], X), nf.ShapeError,
         "depthwiseconv: x must be of shape (n, spatial axes, c), got (5, 3)"),
    ],
)  # fmt: skip
def test_messages(call, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text) + "$"):
        call()
