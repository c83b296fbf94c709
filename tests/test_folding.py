"""nf.unfold and nf.fold: a loop over windows, PyTorch, convolutions, gradients, plans, every message."""

import itertools
import re

import numpy as np
import pytest

import numbaflux as nf

RNG = np.random.default_rng(0)
WINDOWS = [  # shape of x, k, options
    ((2, 9, 3), 4, {}),
    ((2, 9, 3), (3,), {"stride": 2, "pad": (0, 2), "dilation": 2}),
    ((2, 5, 6, 3), (2, 3), {}),
    ((1, 5, 6, 1), 3, {"pad": "same"}),
    ((3, 5, 7, 2), (3, 2), {"stride": (2, 3), "pad": (1, 0)}),
    ((2, 8, 7, 2), 2, {"stride": 2, "pad": (1, 2, 0, 3), "dilation": (3, 1)}),
    ((2, 4, 3, 5, 2), (2, 3, 2), {"pad": 1, "stride": (1, 2, 1)}),
    ((1, 1, 1, 1), 1, {}),
]
each = pytest.mark.parametrize(("shape", "k", "options"), WINDOWS, ids=[f"{s} {k}" for s, k, _ in WINDOWS])


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def many(value, rank):
    return value if isinstance(value, tuple) else (value,) * rank


def taps(shape, k, stride=1, pad=0, dilation=1):
    """Of each patch the places of its taps in x, None outside."""
    rank = len(shape) - 2
    k, stride, dilation = (many(v, rank) for v in (k, stride, dilation))
    if pad == "same":
        low = high = [(w - 1) // 2 for w in k]  # of odd windows
    else:
        pairs = many(pad, rank)
        low, high = (pairs[::2], pairs[1::2]) if len(pairs) == 2 * rank and isinstance(pad, tuple) else (pairs, pairs)
    counts = [(n + a + b - (w - 1) * d - 1) // s + 1
              for n, a, b, w, d, s in zip(shape[1:-1], low, high, k, dilation, stride, strict=True)]  # fmt: skip
    found = []
    for at in itertools.product(*map(range, counts)):
        patch = []
        for tap in itertools.product(*map(range, k)):
            place = [i * s + t * d - a for i, s, t, d, a in zip(at, stride, tap, dilation, low, strict=True)]
            inside = all(0 <= p < n for p, n in zip(place, shape[1:-1], strict=True))
            patch.append(tuple(place) if inside else None)
        found.append(patch)
    return found


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_patch(shape, k, options, dtype):
    x = RNG.normal(size=shape).astype(dtype)
    zero = np.zeros((shape[0], shape[-1]), dtype)
    patches = taps(shape, k, **options)
    right = [[zero if p is None else x[(slice(None), *p)] for p in patch] for patch in patches]
    y = nf.unfold(x, k, **options)
    np.testing.assert_array_equal(y, np.moveaxis(np.array(right), 2, 0).reshape(shape[0], len(patches), -1))
    assert y.dtype == dtype
    np.testing.assert_array_equal(nf.compile(lambda x: nf.unfold(x, k, **options))(x), y)


@each
def test_sums_of_patches(shape, k, options):
    patches, c = taps(shape, k, **options), shape[-1]
    y = RNG.normal(size=(shape[0], len(patches), len(patches[0]), c))
    right = np.zeros(shape)
    for i, patch in enumerate(patches):
        for j, place in enumerate(patch):
            if place is not None:
                right[(slice(None), *place)] += y[:, i, j]
    y = y.reshape(shape[0], len(patches), -1)
    x = nf.fold(y, shape[1:-1], k, **options)
    np.testing.assert_allclose(x, right, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(nf.compile(lambda y: nf.fold(y, shape[1:-1], k, **options))(y), x)


@each
def test_gradients(shape, k, options):
    x = RNG.normal(size=shape)
    weight = RNG.normal(size=nf.unfold(x, k, **options).shape)

    def to(x):
        return nf.unfold(x, k, **options)

    def back(y):
        return nf.fold(y, shape[1:-1], k, **options)

    nf.check_gradients(lambda x: (to(x) ** 2 * weight).sum(), x)
    nf.check_gradients(lambda y: (back(y) ** 2).sum(), weight)
    nf.check_gradients(lambda x: (nf.gradient(lambda x: (to(x) ** 3 * weight).sum(), x) ** 2).sum(), 0.3 * x)
    nf.check_gradients(lambda y: (nf.gradient(lambda y: (back(y) ** 3).sum(), y) ** 2).sum(), 0.3 * weight)
    np.testing.assert_allclose((to(x) * weight).sum(), (x * back(weight)).sum(), rtol=1e-12)  # each other's adjoint


def test_a_product_with_patches_is_a_convolution():
    x, w = RNG.normal(size=(2, 6, 5, 3)), RNG.normal(size=(3, 2, 3, 4))
    y = nf.unfold(x, (3, 2), stride=2, pad=1) @ w.reshape(-1, 4)
    np.testing.assert_allclose(y.reshape(2, 3, 3, 4), nf.conv(x, w, stride=2, pad=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"stride": (2, 1)}, {"pad": (2, 1)}, {"pad": 1, "dilation": (2, 1)}])
def test_what_torch_does(options):
    torch = pytest.importorskip("torch")
    x, k = RNG.normal(size=(2, 7, 6, 3)), (3, 2)
    theirs = {{"pad": "padding"}.get(name, name): value for name, value in options.items()}
    right = torch.nn.functional.unfold(torch.tensor(np.moveaxis(x, -1, 1).copy()), k, **theirs)
    y = nf.unfold(x, k, **options)
    apart = right.numpy().reshape(2, 3, 6, -1)  # n, c, taps, patches
    np.testing.assert_array_equal(y, apart.transpose(0, 3, 2, 1).reshape(y.shape))
    back = torch.nn.functional.fold(right, (7, 6), k, **theirs)
    np.testing.assert_allclose(nf.fold(y, (7, 6), k, **options), np.moveaxis(back.numpy(), 1, -1), rtol=1e-13)


X = np.ones((2, 5, 4, 3))
WRONG = [
    (lambda: nf.unfold(None, 2), nf.DTypeError, "unfold: x must be an array, got NoneType"),
    (lambda: nf.unfold(X[0, 0], 2), nf.ShapeError, "unfold: x must be of shape (n, spatial axes, c), got (4, 3)"),
    (lambda: nf.unfold(X.astype(int), 2), nf.DTypeError,
     "unfold: x must be an array of float32 or float64, got int64; x.astype(np.float32)"),
    (lambda: nf.unfold(X, (2, 2, 2)), nf.RangeError,
     "unfold: k must be 1 or more, for each of 2 axes, got (2, 2, 2)"),
    (lambda: nf.unfold(X, 2.0), nf.DTypeError, "unfold: k must be an integer or 2 of them, got 2.0"),
    (lambda: nf.unfold(X, 2, stride=0), nf.RangeError, "unfold: stride must be 1 or more, for each of 2 axes, got 0"),
    (lambda: nf.unfold(X, 2, pad=-1), nf.RangeError, "unfold: pad must be 0 or more, for each of 2 axes, got -1"),
    (lambda: nf.unfold(X, 2, dilation=0), nf.RangeError,
     "unfold: dilation must be 1 or more, for each of 2 axes, got 0"),
    (lambda: nf.unfold(X, 5), nf.ShapeError,
     "unfold: x must be of 5 or more along spatial axis 1, got (5, 4); a larger pad or a smaller window"),
    (lambda: nf.fold(X, (5, 4), 2), nf.ShapeError,
     "fold: y must be of shape (n, patches, taps * channels), got (2, 5, 4, 3)"),
    (lambda: nf.fold([1], (5, 4), 2), nf.DTypeError, "fold: y must be an array of float32 or float64, got list"),
    (lambda: nf.fold(X[0], (2,) * 4, 2), nf.RangeError, "fold: size must be of 1 to 3 axes, got (2, 2, 2, 2)"),
    (lambda: nf.fold(X[0], (0,), 2), nf.RangeError, "fold: size must be 1 or more, for each of 1 axes, got (0,)"),
    (lambda: nf.fold(X[0], (5, 4), 2), nf.ShapeError, "fold: y must be of shape (n, 12, 4 * channels), got (5, 4, 3)"),
    (lambda: nf.fold(X[0], 5, 2), nf.ShapeError, "fold: y must be of shape (n, 4, 2 * channels), got (5, 4, 3)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text[:60] for *_, text in WRONG])
def test_messages(call, kind, text):
    with raises(kind, text):
        call()
