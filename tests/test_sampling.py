"""nf.grid_sample and nf.imrotate: PyTorch, a loop over places, gradients, plans, every message."""

import itertools
import math
import re

import numpy as np
import pytest

import numbaflux as nf

RNG = np.random.default_rng(0)
SIZES = [((2, 5, 4, 3), (3, 6)), ((1, 2, 7, 1), (4, 1)), ((2, 3, 4, 5, 2), (2, 3, 4)), ((2, 1, 3, 2), (5, 5))]
modes = pytest.mark.parametrize("mode", ["zeros", "border"])
sized = pytest.mark.parametrize(("shape", "out"), SIZES, ids=str)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def drawn(shape, out, dtype=np.float64):
    """An image, and places in it and around it."""
    grid = RNG.uniform(-1.6, 1.6, (shape[0], *out, len(out)))
    return RNG.normal(size=shape).astype(dtype), grid.astype(dtype)


def read(x, grid, mode):
    """Each place on its own: the sum over elements of what lies nearer than 1 along each axis."""
    size, y = x.shape[1:-1], np.zeros((*grid.shape[:-1], x.shape[-1]))
    for at in np.ndindex(grid.shape[:-1]):
        places = [(g + 1) / 2 * (n - 1) for g, n in zip(grid[at][::-1], size, strict=True)]
        if mode == "border":
            places = [min(max(p, 0), n - 1) for p, n in zip(places, size, strict=True)]
        for element in itertools.product(*map(range, size)):
            nearness = [max(0, 1 - abs(p - e)) for p, e in zip(places, element, strict=True)]
            y[at] += math.prod(nearness) * x[(at[0], *element)]
    return y


@sized
@modes
@pytest.mark.parametrize(("dtype", "near"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_each_place(shape, out, mode, dtype, near):
    x, grid = drawn(shape, out, dtype)
    y = nf.grid_sample(x, grid, padding_mode=mode)
    np.testing.assert_allclose(y, read(x.astype(np.float64), grid.astype(np.float64), mode), rtol=near, atol=near)
    assert y.dtype == dtype
    np.testing.assert_array_equal(nf.compile(lambda x, g: nf.grid_sample(x, g, padding_mode=mode))(x, grid), y)


@sized
@modes
def test_what_torch_does(shape, out, mode):
    torch = pytest.importorskip("torch")
    x, grid = drawn(shape, out)
    grid[0, 0] = RNG.choice([-1, 1], grid[0, 0].shape)  # corners too
    given = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    places = torch.tensor(grid, requires_grad=True)
    right = torch.nn.functional.grid_sample(given, places, padding_mode=mode, align_corners=True)
    (right**3).sum().backward()
    np.testing.assert_allclose(nf.grid_sample(x, grid, mode), np.moveaxis(right.detach().numpy(), 1, -1), atol=1e-12)
    dx, dgrid = nf.gradient(lambda x, g: (nf.grid_sample(x, g, mode) ** 3).sum(), x, grid)
    np.testing.assert_allclose(dx, np.moveaxis(given.grad.numpy(), 1, -1), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(dgrid, places.grad.numpy(), rtol=1e-10, atol=1e-10)


@sized
@modes
def test_gradients(shape, out, mode):
    x, grid = drawn(shape, out)
    nf.check_gradients(lambda x, g: (nf.grid_sample(x, g, mode) ** 2).sum(), x, grid)

    def along(x, g):
        dx, dg = nf.gradient(lambda x, g: (nf.grid_sample(x, g, mode) ** 2).sum(), x, g)
        return (dx**2).sum() + (dg**2).sum()

    nf.check_gradients(along, x, grid)


def test_the_same_grid_is_the_same_image():
    x, _ = drawn((2, 5, 4, 3), (1, 1))
    right, down = np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 5))
    grid = np.broadcast_to(np.stack([right, down], -1), (2, 5, 4, 2)).copy()
    for mode in ("zeros", "border"):
        np.testing.assert_allclose(nf.grid_sample(x, grid, mode), x, rtol=1e-12, atol=1e-12)


@modes
def test_nowhere_and_far_away(mode):
    x, grid = drawn((1, 3, 4, 2), (1, 4))
    grid[0, 0] = [[np.nan, 0], [np.inf, 0], [-1e300, -np.inf], [0, np.nan]]
    y = nf.grid_sample(x, grid, mode)[0, 0]
    assert np.isnan(y[[0, 3]]).all()
    np.testing.assert_allclose(y[1:3], 0 if mode == "zeros" else [x[0, 1, 3], x[0, 0, 0]])


# ----------------------------------------------------------------------------------------------------------- rotation


def turned(x, angle, method, midpoint):
    """By PyTorch's grid_sample."""
    torch = pytest.importorskip("torch")
    n, h, w, _ = x.shape
    down, right = np.meshgrid(np.arange(h) - midpoint[0], np.arange(w) - midpoint[1], indexing="ij")
    row = np.cos(angle) * down - np.sin(angle) * right + midpoint[0]
    column = np.sin(angle) * down + np.cos(angle) * right + midpoint[1]
    grid = np.stack([2 * column / (w - 1) - 1, 2 * row / (h - 1) - 1], -1)
    given = torch.tensor(np.moveaxis(x, -1, 1).copy())
    places = torch.tensor(np.broadcast_to(grid, (n, h, w, 2)).copy())
    return np.moveaxis(torch.nn.functional.grid_sample(given, places, method, align_corners=True).numpy(), 1, -1)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    ("shape", "midpoint"), [((2, 5, 4, 3), None), ((1, 6, 6, 1), (2.5, 2.5)), ((1, 3, 7, 2), (0, 9))]
)
@pytest.mark.parametrize("angle", [0.3, -2.0, 11.0])
def test_turned_by_torch(method, shape, midpoint, angle):
    x = RNG.normal(size=shape)
    y = nf.imrotate(x, angle, method, midpoint)
    np.testing.assert_allclose(y, turned(x, angle, method, midpoint or (shape[1] // 2, shape[2] // 2)), atol=1e-12)
    np.testing.assert_array_equal(nf.compile(lambda x: nf.imrotate(x, angle, method, midpoint))(x), y)
    assert nf.imrotate(x.astype(np.float32), angle, method, midpoint).dtype == np.float32


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize(("shape", "midpoint"), [((2, 5, 5, 2), None), ((2, 4, 4, 2), (1.5, 1.5))])
def test_quarters(method, shape, midpoint):
    x = RNG.normal(size=shape)
    for quarters in range(-2, 5):
        y = nf.imrotate(x, quarters * np.pi / 2, method, midpoint)
        np.testing.assert_allclose(y, np.rot90(x, -quarters, (1, 2)), rtol=1e-12, atol=1e-12)


def test_published_values():
    """The examples of NNlib.jl's documentation."""
    x = np.zeros((1, 4, 4, 1))
    x[0, 1, 1] = 1
    assert np.argwhere(nf.imrotate(x, np.radians(90), "nearest")[0, ..., 0]).tolist() == [[1, 3]]
    assert np.argwhere(nf.imrotate(x, np.radians(90), "nearest", (1, 1))[0, ..., 0]).tolist() == [[1, 1]]
    x = np.zeros((1, 3, 3, 1))
    x[0, 0, 1] = 1
    y = nf.imrotate(x, np.radians(45))[0, ..., 0]
    np.testing.assert_allclose([y[0, 1], y[1, 2]], 0.207107, atol=1e-6)
    assert np.argwhere(nf.imrotate(x, np.radians(45), "nearest")[0, ..., 0]).tolist() == [[0, 2]]


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_gradients_of_rotation(method):
    x = RNG.normal(size=(2, 5, 4, 2))
    nf.check_gradients(lambda x: (nf.imrotate(x, 0.7, method) ** 2).sum(), x)
    nf.check_gradients(lambda x: (nf.gradient(lambda x: (nf.imrotate(x, 0.7, method) ** 3).sum(), x) ** 2).sum(), x)


X, GRID = np.ones((2, 5, 4, 3)), np.zeros((2, 3, 3, 2))
WRONG = [
    (lambda: nf.grid_sample(None, GRID), nf.DTypeError, "grid_sample: x must be an array, got NoneType"),
    (lambda: nf.grid_sample(X[0], GRID), nf.ShapeError,
     "grid_sample: x must be of shape (n, h, w, c) or (n, d, h, w, c), not empty, got (5, 4, 3)"),
    (lambda: nf.grid_sample(X[:, :0], GRID), nf.ShapeError,
     "grid_sample: x must be of shape (n, h, w, c) or (n, d, h, w, c), not empty, got (2, 0, 4, 3)"),
    (lambda: nf.grid_sample(X, GRID, "reflection"), nf.RangeError,
     "grid_sample: padding_mode must be one of zeros, border, got 'reflection'"),
    (lambda: nf.grid_sample(X, GRID.astype(np.float32)), nf.DTypeError,
     "grid_sample: grid must be an array of float64 as x, got float32"),
    (lambda: nf.grid_sample(X, None), nf.DTypeError,
     "grid_sample: grid must be an array of float64 as x, got NoneType"),
    (lambda: nf.grid_sample(X, GRID[:1]), nf.ShapeError,
     "grid_sample: grid must be of shape (2, 2 axes, 2), got (1, 3, 3, 2)"),
    (lambda: nf.grid_sample(X, X), nf.ShapeError,
     "grid_sample: grid must be of shape (2, 2 axes, 2), got (2, 5, 4, 3)"),
    (lambda: nf.imrotate(X[0], 1), nf.ShapeError, "imrotate: x must be of shape (n, h, w, c), got (5, 4, 3)"),
    (lambda: nf.imrotate(X.astype(int), 1), nf.DTypeError,
     "imrotate: x must be an array of float32 or float64, got int64; x.astype(np.float32)"),
    (lambda: nf.imrotate(X, np.nan), nf.RangeError, "imrotate: angle must be a number in (-inf, inf), got nan"),
    (lambda: nf.imrotate(X, 1, "cubic"), nf.RangeError,
     "imrotate: method must be one of bilinear, nearest, got 'cubic'"),
    (lambda: nf.imrotate(X, 1, midpoint=2), nf.ShapeError, "imrotate: midpoint must be a row and a column, got 2"),
    (lambda: nf.imrotate(X, 1, midpoint=(2, "3")), nf.DTypeError,
     "imrotate: midpoint must be a number in [-2**53, 2**53], got '3'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text[:60] for *_, text in WRONG])
def test_messages(call, kind, text):
    with raises(kind, text):
        call()
