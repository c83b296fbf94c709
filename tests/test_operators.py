"""Python's operators and NumPy's methods and functions on traced values: one expression on NumPy's arrays, traced, and
compiled."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import operators

STEP = 1e-5
SHAPES = {"x": (3, 4), "y": (3, 4), "r": (4,), "c": (3, 1), "s": (), "t": (2, 3, 4), "u": (2, 4, 5), "v": (4,)}

# Each is a function of the arrays it names. NumPy itself, in float64, is the oracle of its value, and differences of
# that are the oracle of its gradient. All numbers are positive and no two are equal.
NUMPY = {
    np.add: lambda x, r: np.add(x, r),
    np.subtract: lambda x, c: np.subtract(x, c),
    np.multiply: lambda r, c: np.multiply(r, c),
    np.divide: lambda s, x: np.divide(s, x),
    np.power: lambda x, y: np.power(x, y),
    np.negative: lambda x: np.negative(x),
    np.positive: lambda x: np.positive(x) * 2.0,
    np.exp: lambda x: np.exp(x),
    np.log: lambda x: np.log(x),
    np.sqrt: lambda x: np.sqrt(x),
    np.square: lambda x: np.square(x),
    np.tanh: lambda x: np.tanh(x),
    np.abs: lambda x, y: np.abs(x - y),
    np.sign: lambda x, y: np.sign(x - y) * x,
    np.maximum: lambda x, r: np.maximum(x, r),
    np.minimum: lambda x, c: np.minimum(x, c),
    np.matmul: lambda t, u: np.matmul(t, u),
    np.less: lambda x, y: np.where(np.less(x, y), x, y),
    np.less_equal: lambda x, y: np.where(np.less_equal(x, y), x * y, y),
    np.equal: lambda x, y: np.where(np.equal(x, y), y, x),
    np.not_equal: lambda x, y: np.where(np.not_equal(x, x), y, x),
    np.greater: lambda x, y: np.where(np.greater(x, y), x, 2 * y),
    np.greater_equal: lambda x, r: np.where(np.greater_equal(x, r), x, 3.0),
    np.sum: lambda t: np.sum(t, axis=(0, 2)),
    np.mean: lambda t: np.mean(t, axis=-1, keepdims=True),
    np.max: lambda t: np.max(t, axis=1),
    np.min: lambda t: np.min(t, axis=(1, 2)),
    np.var: lambda x: np.var(x, axis=0),
    np.reshape: lambda x: np.reshape(x, (2, -1)),
    np.transpose: lambda t: np.transpose(t, (2, 0, 1)),
    np.swapaxes: lambda t: np.swapaxes(t, 0, -1),
    np.squeeze: lambda c: np.squeeze(c, axis=1),
    np.expand_dims: lambda x: np.expand_dims(x, 1),
    np.concatenate: lambda x, c: np.concatenate([x, c, x], axis=1),
    np.stack: lambda x, y: np.stack([x, y], axis=-1),
    np.take: lambda x: np.take(x, np.array([5, 0, 5])),
    np.where: lambda x, y: np.where(x > y, x, y * y),
    np.broadcast_to: lambda c: np.broadcast_to(c, (2, 3, 4)),
    np.dot: lambda t, v: np.dot(t, v),
    np.ravel: lambda x: np.ravel(x),
    np.shape: lambda x: x * np.shape(x)[0],
    np.ndim: lambda t: t * np.ndim(t),
    np.size: lambda x: x / np.size(x),
}
MORE = {
    "+": lambda x, r: 2 + x + r + 1.0,
    "-": lambda x, c: 2 - (x - c) - 1.5,
    "*": lambda r, c: 2 * r * c * 0.5,
    "/": lambda x, s: (2 / x) / (s / 3),
    "**": lambda x: x**2 + x**3 + x**-1 + x**0.5 + x**1 + x**1.7 + 2.0**x,
    "** both": lambda x, r: x**r,
    "@": lambda x, y: x @ y.T,
    "@ vectors": lambda r, v: r @ v,
    "@ row": lambda v, u: v @ u,
    "@ column": lambda t, v: t @ v,
    "@ stacks": lambda t, u: t @ u,
    "@ broadcast": lambda x, u: x @ u,
    "- +": lambda x: -x + (+x) * 3,
    "abs": lambda x, y: abs(x - y),
    "compare": lambda x, y: np.where(x <= y, x, y),
    "array first": lambda x: np.full(4, 3, x.dtype) - x,
    "number first": lambda x: np.float64(2) * x - np.int64(1),
    "sum": lambda t: t.sum(),
    "sum 0": lambda t: t.sum(0),
    "sum axes": lambda t: t.sum(axis=(0, -1), keepdims=True),
    "sum nothing": lambda s: s.sum() * 2,
    "mean": lambda t: t.mean(),
    "mean 1": lambda t: t.mean(1),
    "max": lambda t: t.max(),
    "max keep": lambda t: t / t.max(axis=(0, 1), keepdims=True),
    "min": lambda x: x.min(axis=0),
    "var": lambda t: t.var(axis=(0, 2)),
    "reshape": lambda x: x.reshape(2, 6) * x.reshape((2, 6)),
    "T": lambda t: t.T * 2,
    "reshape -1": lambda t: t.reshape(-1, 4),
    "transpose": lambda t: t.transpose(1, 0, 2),
    "transpose all": lambda t: t.transpose(),
    "swapaxes": lambda t: t.swapaxes(1, 2),
    "squeeze": lambda c: c.squeeze(),
    "take": lambda t: t.take(np.array([2, 0]), axis=1),
    "dot": lambda x, v: x.dot(v),
    "flatten": lambda t: t.flatten(),
    "ravel": lambda t: t.ravel(),
    "astype": lambda x: x.astype(x.dtype),
    "[0]": lambda t: t[0],
    "[-1]": lambda t: t[-1, 1],
    "[1:]": lambda x: x[1:],
    "[::-1]": lambda x: x[::-1, ::2],
    "[:, 1:3]": lambda t: t[:, 1:3],
    "[..., 0]": lambda t: t[..., 0],
    "[0, ..., 1:]": lambda t: t[0, ..., 1:],
    "[None]": lambda x: x[None, :, None],
    "[1, 2]": lambda x: x[1, 2],
    "[index]": lambda x: x[np.array([0, 2, 2])],
    "[:, list]": lambda x: x[:, [3, 0, 3]],
    "[2d index]": lambda x: x[np.array([[0, 1], [2, 2]])],
    "[-3:9:2]": lambda x: x[:, -3:9:2],
    "rows": lambda x: sum(row * i for i, row in enumerate(x)),
    "len": lambda x: x / len(x),
    "ndim": lambda t: t * t.ndim,
    "shared": lambda x: (lambda y: y * y + y)(np.exp(x) * x),
}
EXPRESSIONS = {f.__name__: made for f, made in NUMPY.items()} | MORE
each_expression = pytest.mark.parametrize("name", EXPRESSIONS)


def names(f):
    return f.__code__.co_varnames[: f.__code__.co_argcount]


def drawn(f, dtype):
    rng = np.random.default_rng(0)
    every = {name: np.asarray(rng.uniform(0.5, 2, shape)).astype(dtype) for name, shape in SHAPES.items()}
    return [every[name] for name in names(f)]


def test_every_numpy_function_that_is_taken_is_tried():
    assert NUMPY.keys() == operators.UFUNCS.keys() | operators.FUNCTIONS.keys()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_expression
def test_values_are_numpys(name, dtype):
    f = EXPRESSIONS[name]
    xs = drawn(f, dtype)
    y, _ = nf.pullback(f, *xs)
    right = f(*(x.astype(np.float64) for x in xs))
    assert y.dtype == dtype
    assert y.shape == right.shape
    np.testing.assert_allclose(y, right, rtol=50 * np.finfo(dtype).eps)


@each_expression
def test_gradients_are_those_of_numpy(name):
    f = EXPRESSIONS[name]
    xs, rng = drawn(f, np.float64), np.random.default_rng(1)
    y, back = nf.pullback(f, *xs)
    w = rng.normal(size=y.shape)
    grads = back(w)
    for i, g in enumerate(grads if len(xs) > 1 else (grads,)):
        d = rng.normal(size=xs[i].shape)
        high, low = (f(*xs[:i], xs[i] + h * d, *xs[i + 1 :]) for h in (STEP, -STEP))
        np.testing.assert_allclose(np.sum(g * d), np.sum(w * (high - low)) / (2 * STEP), rtol=1e-6, atol=1e-8)


@each_expression
def test_compiled_is_eager(name):
    f = EXPRESSIONS[name]
    xs = drawn(f, np.float32)
    eager, _ = nf.pullback(f, *xs)
    compiled = np.asarray(nf.compile(f)(*xs))
    assert (compiled.dtype, compiled.shape, compiled.tobytes()) == (eager.dtype, eager.shape, eager.tobytes())


# ---------------------------------------------------------------- what is refused

UNKNOWN = {
    "np.clip": lambda v: np.clip(v, 0, 1),
    "np.cumsum": lambda v: np.cumsum(v),
    "np.add.reduce": lambda v: np.add.reduce(v),
    "np.linalg.norm": lambda v: np.linalg.norm(v),
    "np.sin": lambda v: np.sin(v),
    "np.add with out": lambda v: np.add(v, v, out=np.ones((3, 4), np.float32)),
    "np.multiply with where": lambda v: np.multiply(v, v, where=np.ones((3, 4), bool)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_numpy_functions_without_a_gradient_are_named(name):
    with pytest.raises(nf.DTypeError, match=f"^{name}: has no gradient here; .* nf.stop_gradient"):
        nf.gradient(lambda v: UNKNOWN[name](v).sum(), np.ones((3, 4), np.float32))


def test_dot_of_stacks_is_not_taken_for_matmul():
    with pytest.raises(nf.ShapeError, match=r"dot: b must be of one or two axes, got shape \(2, 4, 5\); np.matmul"):
        nf.pullback(lambda t: np.dot(t, np.ones((2, 4, 5), np.float32)), np.ones((3, 4), np.float32))
