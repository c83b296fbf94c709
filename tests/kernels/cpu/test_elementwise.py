"""Loops over elements against NumPy; the accuracy of exp, log, tanh and so on is measured in test_scalar.py."""

import numpy as np
import pytest

from numbaflux.kernels.cpu import elementwise

SIZES = [1, 15, 16, 17, 61]
ARITHMETIC = {
    "abs": np.abs, "square": np.square, "reciprocal": np.reciprocal, "sqrt": np.sqrt,
    "sign": np.sign, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "maximum": np.maximum, "minimum": np.minimum,
}  # fmt: skip
COMPARISONS = {
    "less": np.less, "less_equal": np.less_equal,
    "equal": np.equal, "not_equal": np.not_equal,
}  # fmt: skip


def numbers(n, dtype, seed=0):
    """Both signs, repeated values, zeros."""
    return np.round(np.random.default_rng(seed).normal(size=n) * 4).astype(dtype) / dtype(4)


def arguments(f, n, dtype):
    return [numbers(n, dtype, seed) for seed in range(f.nin)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_numpys_to_the_bit(name, dtype):
    for n in SIZES:
        args = arguments(ARITHMETIC[name], n, dtype)
        y = np.full(n + 1, 77, dtype)
        getattr(elementwise, name)(y[:n], *args)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(y[:n], ARITHMETIC[name](*args))
        assert y[n] == 77


@pytest.mark.parametrize("out", [np.bool_, np.float32])
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name, out):
    a, b = (np.append(numbers(61, np.float32, seed), np.float32(np.nan)) for seed in (1, 2))
    y = np.empty(a.size, out)
    getattr(elementwise, name)(y, a, b)
    np.testing.assert_array_equal(y, COMPARISONS[name](a, b).astype(out))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "slope"),
    [("tanh_grad", lambda y: 1 - y * y), ("sigmoid_grad", lambda y: y * (1 - y)), ("relu_grad", lambda y: y > 0)],
)
def test_gradients(name, slope, dtype):
    for n in SIZES:
        y, dy = abs(np.tanh(numbers(n, dtype))), numbers(n, dtype, 1)
        dx = np.empty_like(y)
        getattr(elementwise, name)(dx, y, dy)
        right = slope(y.astype(np.float64)) * dy
        np.testing.assert_allclose(dx, right, rtol=0, atol=4 * np.finfo(dtype).eps)


def test_gradient_of_relu_hides_no_nan():
    y = np.array([np.nan, 0, 1], np.float32)
    dx = np.empty_like(y)
    elementwise.relu_grad(dx, y, np.array([3, 3, 3], np.float32))
    np.testing.assert_array_equal(dx, [3, 0, 3])
    elementwise.relu_grad(dx, y, np.array([np.nan, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(dx, [np.nan, 0, np.nan])


def test_where():
    mask = np.random.default_rng(0).random(61) < 0.5
    a, b = numbers(61, np.float32), np.full(61, np.nan, np.float32)
    y = np.empty_like(a)
    elementwise.where(y, mask, a, b)
    np.testing.assert_array_equal(y, np.where(mask, a, b))


@pytest.mark.parametrize(
    ("to", "source"),
    [("f4", "f8"), ("f8", "f4"), ("i8", "f4"), ("f4", "i8"), ("f4", "?"), ("?", "f4")],
)
def test_cast(to, source):
    x = (numbers(61, np.float64) * 4).astype(source)
    y = np.empty(x.size, to)
    elementwise.cast(y, x)
    np.testing.assert_array_equal(y, x.astype(to))


def test_names_are_those_of_the_module():
    """Entries are cached by name."""
    for name in [*ARITHMETIC, *COMPARISONS, "exp", "log", "tanh", "sigmoid", "relu", "pow", "tanh_grad"]:
        assert getattr(elementwise, name).__name__ == name
