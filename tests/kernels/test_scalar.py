"""Scalar maths against float64 and Python's decimal arithmetic, in units in the last place over the whole range."""

from decimal import Context, Decimal, localcontext

import numpy as np
import pytest

from numbaflux.kernels import scalar
from numbaflux.kernels.cpu import elementwise

DTYPES = [np.float32, np.float64]
BOUND = {"exp": 1.5, "log": 1.0, "tanh": 2.6, "sigmoid": 3.0}  # what the docstrings say
FLOAT64 = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-abs(x))),
}
DECIMAL = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.ln(),
    "tanh": lambda x: 1 - 2 / (1 + (2 * x).exp()),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
}


def compute(name, *args):
    """A function's values over arrays, by the kernel that loops over it."""
    y = np.empty_like(args[0])
    getattr(elementwise, name)(y, *args)
    return y


def bits(x):
    return x.view(np.int32 if x.dtype == np.float32 else np.int64)


def same_bits(x, y):
    return np.array_equal(bits(x), bits(y))


def ulps(y, right):
    """Errors of the float32 y in units in the last place, where right is finite in float32; elsewhere equality."""
    with np.errstate(over="ignore"):
        near = right.astype(np.float32)
    finite = np.isfinite(near)
    np.testing.assert_array_equal(y[~finite], near[~finite])
    return abs(y[finite].astype(np.float64) - right[finite]) / np.spacing(abs(near[finite])).astype(np.float64)


def decimal_ulps(y, right):
    """The same for one float64 against a Decimal."""
    near = float(right)
    if np.isinf(near):
        return 0.0 if y == near else np.inf
    return float(abs(Decimal(float(y)) - right) / Decimal(float(np.spacing(abs(near)))))


@pytest.mark.parametrize("name", BOUND)
def test_float32_over_its_whole_range(name):
    """Every 997th of all bit patterns: normal and subnormal numbers, NaN and infinities among them."""
    x = np.arange(0, 2**32, 997, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        right = FLOAT64[name](x.astype(np.float64))
    error = ulps(compute(name, x), right)
    assert error.size > 4e6 / 2.1
    assert error.max() <= BOUND[name]


@pytest.mark.parametrize("name", BOUND)
def test_float64_over_its_range(name):
    rng = np.random.default_rng(1)
    x = np.concatenate([
        rng.uniform(-745, 710, 600), rng.normal(size=600), rng.normal(size=300) * 10.0 ** rng.integers(-300, 300, 300),
        1 + rng.normal(size=300) * 1e-4, rng.uniform(0, 1e-307, 100), rng.uniform(-750, -708, 200),
    ])  # fmt: skip
    x = abs(x) if name == "log" else x
    y = compute(name, x)
    if name != "log":  # below, decimal arithmetic needs too many digits; above, too large exponents
        keep = (abs(x) > 1e-12) & (abs(x) < 1e4)
        near_zero = {"exp": np.ones_like(x), "tanh": x, "sigmoid": np.full_like(x, 0.5)}[name]
        assert np.all(abs(y - near_zero)[abs(x) <= 1e-17] <= np.spacing(abs(near_zero[abs(x) <= 1e-17])))
        x, y = x[keep], y[keep]
    with localcontext(Context(prec=45, Emin=-9999, Emax=9999)):
        worst = max(decimal_ulps(b, DECIMAL[name](Decimal(float(a)))) for a, b in zip(x, y, strict=True))
    assert worst <= BOUND[name]


@pytest.mark.parametrize("dtype", DTYPES)
def test_limits_and_signs(dtype):
    inf, nan, tiny = np.inf, np.nan, np.finfo(dtype).smallest_subnormal
    expected = {
        "exp": ([0, -0.0, inf, -inf, nan, 1000, -1000], [1, 1, inf, 0, nan, inf, 0]),
        "log": ([0, -0.0, 1, inf, -1, -inf, nan, -tiny], [-inf, -inf, 0, inf, nan, nan, nan, nan]),
        "tanh": ([0, -0.0, inf, -inf, nan, 100, -100, tiny, -tiny], [0, -0.0, 1, -1, nan, 1, -1, tiny, -tiny]),
        "sigmoid": ([0, inf, -inf, nan, 1000, -1000], [0.5, 1, 0, nan, 1, 0]),
        "relu": ([0, -0.0, 2, -2, inf, -inf, nan], [0, 0, 2, 0, inf, 0, nan]),
        "sign": ([0, -0.0, 2, -2, inf, -inf, nan], [0, -0.0, 1, -1, 1, -1, nan]),
        "sqrt": ([0, -0.0, 4, inf, -1, nan], [0, -0.0, 2, inf, nan, nan]),
    }
    for name, (x, right) in expected.items():
        y = compute(name, np.array(x, dtype))
        np.testing.assert_array_equal(y, np.array(right, dtype), name)
        np.testing.assert_array_equal(np.signbit(y[~np.isnan(y)]), np.signbit(np.array(right))[~np.isnan(y)], name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*BOUND, "pow"])
def test_remainder_has_the_bits_of_the_body(name, dtype):
    """An element's value does not depend on where in a loop it stands: 67 at once, and one by one."""
    x = abs(np.random.default_rng(2).normal(size=67) * 3).astype(dtype)
    args = (x, x[::-1].copy()) if name == "pow" else (x,)
    one_by_one = np.concatenate([compute(name, *(a[i : i + 1] for a in args)) for i in range(x.size)])
    assert same_bits(compute(name, *args), one_by_one)


def powers(dtype, n, digits):
    """Pairs whose power spreads over the whole range: any x, and x near 1 with a large y."""
    rng = np.random.default_rng(3)
    top = np.log(float(np.finfo(dtype).max))
    x = np.concatenate([np.exp(rng.uniform(-0.9, 0.9, n) * top), 1 + 10.0 ** rng.uniform(-digits, -0.5, n)])
    x = x.astype(dtype)
    with np.errstate(divide="ignore"):
        y = (rng.uniform(-1.05, 1, 2 * n) * top / np.log(x.astype(np.float64))).astype(dtype)
    keep = np.isfinite(y) & (x != 1)
    return x[keep], y[keep]


def test_pow_in_float32():
    x, y = powers(np.float32, 200_000, 6)
    right = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    assert ulps(compute("pow", x, y), right).max() <= 0.6


def test_pow_in_float64():
    x, y = powers(np.float64, 500, 12)
    z = compute("pow", x, y)
    with localcontext(Context(prec=40, Emin=-9999, Emax=9999)):
        worst = max(decimal_ulps(c, Decimal(float(a)) ** Decimal(float(b))) for a, b, c in zip(x, y, z, strict=True))
    assert worst <= 1.8


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow_by_the_rules(dtype):
    special = np.array([0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 1e9, np.inf, -np.inf, np.nan, 2.0**24 - 1, -7.5])
    special = special.astype(dtype)
    x, y = (v.ravel().copy() for v in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        right = np.power(x, y)
    z = compute("pow", x, y)
    np.testing.assert_array_max_ulp(z[np.isfinite(right)], right[np.isfinite(right)], 2)
    np.testing.assert_array_equal(z[~np.isfinite(right)], right[~np.isfinite(right)])
    number = ~np.isnan(right)
    np.testing.assert_array_equal(np.signbit(z[number]), np.signbit(right[number]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_largest_and_smallest_pass_nan(dtype):
    a = np.array([1, 2, np.nan, 1, np.nan, np.inf, -np.inf], dtype)
    b = np.array([2, 1, 1, np.nan, np.nan, 1, 1], dtype)
    np.testing.assert_array_equal(compute("maximum", a, b), np.maximum(a, b))
    np.testing.assert_array_equal(compute("minimum", a, b), np.minimum(a, b))


def test_a_float32_stays_one():
    """A silent float64 would halve the speed of every loop over float32."""
    for name in ("exp", "log", "tanh", "sigmoid", "pow", "relu", "sign", "square", "reciprocal", "maximum"):
        function = getattr(scalar, name)
        function(*[np.float32(2)] * (2 if name in ("pow", "maximum") else 1))
        assert all(s.return_type == s.args[0] for s in function.nopython_signatures), name
