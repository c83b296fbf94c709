"""Pools against PyTorch; ties, NaN and infinities; tiles of samples, of lines, images in lanes; every message."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux import lanes
from numbaflux.lowering import Build, argument
from numbaflux.ops.elementwise import RELU, TANH
from numbaflux.ops.pool import MAXPOOL, MAXPOOL_GRAD
from numbaflux.schedule import schedule

POOLS = [  # shape of x, window, stride, padding
    ((3, 10, 4), (3,), (2,), (1,)),
    ((2, 12, 9, 5), (2, 2), (2, 2), (0, 0)),
    ((2, 11, 12, 17), (3, 3), (2, 2), (1, 1)),
    ((1, 9, 8, 3), (3, 2), (1, 1), (1, 0)),
    ((1, 70, 64, 3), (3, 3), (2, 2), (1, 1)),
    ((2, 6, 7, 8, 3), (2, 3, 2), (2, 2, 1), (1, 1, 0)),
]
every_pool = pytest.mark.parametrize(("shape", "window", "stride", "pad"), POOLS, ids=str)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


@every_pool
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools_and_gradients_against_pytorch(kind, shape, window, stride, pad):
    torch = pytest.importorskip("torch")
    ours = {"max": nf.maxpool, "avg": nf.meanpool}[kind]
    theirs = getattr(torch.nn.functional, f"{kind}_pool{len(window)}d")
    x = normal(shape, dtype=np.float64)
    given = torch.tensor(channels_first(x), requires_grad=True)
    right = theirs(given, window, stride, pad)
    y = ours(x, window, stride, pad)
    np.testing.assert_allclose(channels_first(y), right.detach().numpy(), rtol=1e-13, atol=1e-15)
    dy = normal(y.shape, 1, np.float64)
    right.backward(torch.tensor(channels_first(dy)))
    dx = nf.gradient(lambda x: F.sum(F.mul(ours(x, window, stride, pad), dy)), x)
    np.testing.assert_allclose(channels_first(dx), given.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3.0])
def test_lpnormpool_against_pytorch(p):
    torch = pytest.importorskip("torch")
    x = abs(normal((2, 9, 8, 3), dtype=np.float64))  # PyTorch takes powers, not absolute values
    right = torch.nn.functional.lp_pool2d(torch.tensor(channels_first(x)), p, (3, 2), (2, 1)).numpy()
    np.testing.assert_allclose(channels_first(nf.lpnormpool(x, p, (3, 2), (2, 1))), right, rtol=1e-12)
    np.testing.assert_array_equal(nf.lpnormpool(-x, p, 2), nf.lpnormpool(x, p, 2))


def test_lpnormpool_has_a_gradient_where_all_is_zero():
    x = np.array([[[0], [0], [3], [-4]]], np.float64)
    np.testing.assert_allclose(nf.gradient(lambda x: F.sum(nf.lpnormpool(x, 2, 2)), x).ravel(), [0, 0, 0.6, -0.8])
    nf.check_gradients(lambda x: F.sum(nf.lpnormpool(x, 3, 2, 1, pad=1)), x + 1)


def test_the_first_of_equals_in_the_order_of_rows():
    x = np.array([[1, 3, 3, 0], [3, 3, 0, 0]], np.float32).reshape(1, 2, 4, 1)
    dx = nf.gradient(lambda x: F.sum(nf.maxpool(x, 2)), x)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 1, 1, 0], [0, 0, 0, 0]])
    over = nf.gradient(lambda x: F.sum(nf.maxpool(x, 2, 1)), x)
    np.testing.assert_array_equal(over[0, :, :, 0], [[0, 2, 1, 0], [0, 0, 0, 0]])


def test_padding_is_never_the_largest_and_counts_in_means():
    x = -np.ones((1, 3, 3, 1), np.float32)
    np.testing.assert_array_equal(nf.maxpool(x, 2, 2, pad=1), -np.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(nf.meanpool(x, 2, 2, pad=1)[0, :, :, 0], [[-0.25, -0.5], [-0.5, -1]])
    least = np.full((1, 2, 2, 1), -np.inf, np.float32)
    assert (nf.maxpool(least, 2, 1, pad=1) == -np.inf).all()


@pytest.mark.parametrize("c", [1, 16, 19])
def test_nan_goes_through_max_and_takes_its_gradient(c):
    x = np.zeros((1, 4, 4, c), np.float32)
    x[0, 0, 1], x[0, 1, 0], x[0, 1, 1], x[0, 2, 3] = np.nan, np.nan, 5, np.inf
    y = nf.maxpool(x, 2)
    assert np.isnan(y[0, 0, 0]).all() and (y[0, 1, 1] == np.inf).all() and not y[0, 0, 1].any()
    dx = nf.gradient(lambda x: F.sum(F.where(np.isnan(y), nf.maxpool(x, 2), 0.0)), x)
    assert (dx[0, 0, 1] == 1).all() and dx.sum() == c


def test_elements_beyond_the_last_window_have_no_gradient():
    x = normal((2, 5, 7, 3))
    for pool in (nf.maxpool, nf.meanpool):
        dx = nf.gradient(lambda x, pool=pool: F.sum(pool(x, 2)), x)
        assert not dx[:, 4].any() and not dx[:, :, 6].any() and dx[:, :4, :6].any()


def test_a_batch_of_none():
    x = np.zeros((0, 4, 4, 3), np.float32)
    assert nf.maxpool(x, 2).shape == nf.meanpool(x, 2).shape == (0, 2, 2, 3)


# --------------------------------------------------------------------------------------------------------------- tiles


def lowered(op, *shapes, dtype=np.float32, **attrs):
    build = Build()
    *ins, out = (argument(nf.Spec(s, np.dtype(dtype)), i) for i, s in enumerate(shapes))
    op.lower(build, out, *ins, **attrs)
    [group] = schedule(build.entries)
    return group


HALF = {"window": (2, 2), "stride": (2, 2), "pad": ((0, 0), (0, 0))}


def test_tiles_are_samples_or_lines_of_large_images():
    many = lowered(MAXPOOL, (128, 24, 24, 6), (128, 12, 12, 6), **HALF)
    assert (many.rows, many.tiles, many.fixed) == (128, 8, False)  # 16 images of 14 kB
    large = lowered(MAXPOOL, (64, 128, 128, 16), (64, 64, 64, 16), **HALF)
    assert (large.rows, large.tiles) == (64, 64)
    one = lowered(MAXPOOL, (1, 512, 512, 16), (1, 256, 256, 16), **HALF)
    assert one.rows == 256 and one.tiles == 64
    assert lowered(MAXPOOL, (1, 8, 8, 3), (1, 4, 4, 3), **HALF).tiles == 1
    back = [(1, 512, 512, 16), (1, 256, 256, 16), (1, 256, 256, 16), (1, 512, 512, 16)]
    assert lowered(MAXPOOL_GRAD, *back, **HALF).tiles == 64


def test_a_pool_joins_the_tiles_of_its_neighbours():
    build, f4 = Build(), np.dtype(np.float32)
    x, y = argument(nf.Spec((100, 8, 8, 5), f4), 0), argument(nf.Spec((100, 4, 4, 5), f4), 1)
    a, b = build.temp(x.shape, f4), build.temp(y.shape, f4)
    RELU.lower(build, a, x)
    MAXPOOL.lower(build, b, a, **HALF)
    TANH.lower(build, y, b)
    assert [len(group.entries) for group in schedule(build.entries)] == [3]


def test_what_is_in_lanes_stays_there():
    build, f4 = Build(), np.dtype(np.float32)
    x, y = argument(nf.Spec((20, 8, 8, 5), f4), 0), argument(nf.Spec((20, 4, 4, 5), f4), 1)
    lanes.read(build, x)
    MAXPOOL.lower(build, y, x, **HALF)
    assert lanes.has(build, y)


@pytest.mark.parametrize("n", [16, 37])
@pytest.mark.parametrize("pool", [nf.maxpool, nf.meanpool], ids=["max", "mean"])
def test_images_in_lanes_have_the_same_bits(n, pool):
    """Beside convolutions of few channels; step by step nothing is in lanes."""
    x, w, v = normal((n, 12, 11, 2)), normal((3, 3, 2, 5), 1), normal((2, 2, 5, 4), 2)

    def f(x, w, v):
        y = pool(F.relu(nf.conv(x, w, pad=1)), (3, 2), 2, pad=(1, 0))
        return F.sum(F.square(pool(nf.conv(y, v), 2)))

    def gradients(x, w, v):
        return nf.withgradient(f, x, w, v)[1]

    assert lanes.worth(n, 5, 12 * 11 * 5 * 4)
    for one, other in zip(nf.compile(gradients)(x, w, v), gradients(x, w, v), strict=True):
        assert one.tobytes() == other.tobytes()


# ------------------------------------------------------------------------------------------------------------ messages


X = np.ones((2, 6, 6, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: nf.maxpool(None, 2), nf.DTypeError, "maxpool: x must be an array, got NoneType"),
        (lambda: nf.maxpool(X[0, 0], 2), nf.ShapeError,
         "maxpool: x must be of shape (n, spatial axes, c), got (6, 3)"),
        (lambda: nf.meanpool(X[0], (2, 2)), nf.ShapeError, "meanpool: x must be of shape (n, h, w, c), got (6, 6, 3)"),
        (lambda: nf.maxpool(X.astype(int), 2), nf.DTypeError,
         "maxpool: x must be an array of float32 or float64, got int64; x.astype(np.float32)"),
        (lambda: nf.maxpool(X, 0), nf.RangeError, "maxpool: k must be 1 or more, for each of 2 axes, got 0"),
        (lambda: nf.maxpool(X, 2, stride=(1, 0)), nf.RangeError,
         "maxpool: stride must be 1 or more, for each of 2 axes, got (1, 0)"),
        (lambda: nf.maxpool(X, 2.5), nf.DTypeError, "maxpool: k must be an integer or 2 of them, got 2.5"),
        (lambda: nf.maxpool(X, 2, pad=2), nf.RangeError,
         "maxpool: pad must be smaller than the window (2, 2), got ((2, 2), (2, 2))"),
        (lambda: nf.meanpool(X, 2, pad=-1), nf.RangeError,
         "meanpool: pad must be 0 or more, for each of 2 axes, got -1"),
        (lambda: nf.maxpool(X, 7), nf.ShapeError,
         "maxpool: x must be of 7 or more along spatial axis 0, got (6, 6); a larger pad or a smaller window"),
        (lambda: nf.maxpool(X[:, :0], (2, 2), pad=1), nf.ShapeError,
         "maxpool: x must be of at least one element along each spatial axis, got shape (2, 0, 6, 3)"),
        (lambda: nf.lpnormpool(X, 0.5, 2), nf.RangeError, "lpnormpool: p must be a number in [1, inf), got 0.5"),
        (lambda: nf.lpnormpool(None, 2, 2), nf.DTypeError, "lpnormpool: x must be an array, got NoneType"),
    ],
)  # fmt: skip
def test_messages(call, kind, text):
    with raises(kind, text):
        call()
