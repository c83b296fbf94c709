"""Functions of arrays: one expression on NumPy's arrays, on traced values and compiled; weak numbers; what is refused."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F

STEP = 1e-5
SHAPES = {"x": (3, 4), "y": (3, 4), "r": (4,), "c": (3, 1), "s": (), "t": (2, 3, 4), "u": (2, 4, 5), "v": (4,)}

# Each is a function of the arrays it names. NumPy itself, in float64, is the oracle of its value, and differences of that
# of its gradient. All numbers are positive and no two are equal.
NUMPY = {
    np.add: lambda x, r: np.add(x, r), np.subtract: lambda x, c: np.subtract(x, c), np.multiply: lambda r, c: np.multiply(r, c),
    np.divide: lambda s, x: np.divide(s, x), np.power: lambda x, y: np.power(x, y), np.negative: lambda x: np.negative(x),
    np.positive: lambda x: np.positive(x) * 2.0, np.exp: lambda x: np.exp(x), np.log: lambda x: np.log(x),
    np.sqrt: lambda x: np.sqrt(x), np.square: lambda x: np.square(x), np.tanh: lambda x: np.tanh(x),
    np.abs: lambda x, y: np.abs(x - y), np.sign: lambda x, y: np.sign(x - y) * x, np.maximum: lambda x, r: np.maximum(x, r),
    np.minimum: lambda x, c: np.minimum(x, c), np.matmul: lambda t, u: np.matmul(t, u),
    np.less: lambda x, y: np.where(np.less(x, y), x, y), np.less_equal: lambda x, y: np.where(np.less_equal(x, y), x * y, y),
    np.equal: lambda x, y: np.where(np.equal(x, y), y, x), np.not_equal: lambda x, y: np.where(np.not_equal(x, x), y, x),
    np.greater: lambda x, y: np.where(np.greater(x, y), x, 2 * y),
    np.greater_equal: lambda x, r: np.where(np.greater_equal(x, r), x, 3.0),
    np.sum: lambda t: np.sum(t, axis=(0, 2)), np.mean: lambda t: np.mean(t, axis=-1, keepdims=True),
    np.max: lambda t: np.max(t, axis=1), np.min: lambda t: np.min(t, axis=(1, 2)), np.var: lambda x: np.var(x, axis=0),
    np.reshape: lambda x: np.reshape(x, (2, -1)), np.transpose: lambda t: np.transpose(t, (2, 0, 1)),
    np.swapaxes: lambda t: np.swapaxes(t, 0, -1), np.squeeze: lambda c: np.squeeze(c, axis=1),
    np.expand_dims: lambda x: np.expand_dims(x, 1), np.concatenate: lambda x, c: np.concatenate([x, c, x], axis=1),
    np.stack: lambda x, y: np.stack([x, y], axis=-1), np.take: lambda x: np.take(x, np.array([5, 0, 5])),
    np.where: lambda x, y: np.where(x > y, x, y * y), np.broadcast_to: lambda c: np.broadcast_to(c, (2, 3, 4)),
    np.dot: lambda t, v: np.dot(t, v), np.ravel: lambda x: np.ravel(x), np.shape: lambda x: x * np.shape(x)[0],
    np.ndim: lambda t: t * np.ndim(t), np.size: lambda x: x / np.size(x),
}  # fmt: skip
MORE = {
    "+": lambda x, r: 2 + x + r + 1.0, "-": lambda x, c: 2 - (x - c) - 1.5, "*": lambda r, c: 2 * r * c * 0.5,
    "/": lambda x, s: (2 / x) / (s / 3), "**": lambda x: x**2 + x**3 + x**-1 + x**0.5 + x**1 + x**1.7 + 2.0**x,
    "** both": lambda x, r: x**r, "@": lambda x, y: x @ y.T, "@ vectors": lambda r, v: r @ v, "@ row": lambda v, u: v @ u,
    "@ column": lambda t, v: t @ v, "@ stacks": lambda t, u: t @ u, "@ broadcast": lambda x, u: x @ u,
    "- +": lambda x: -x + (+x) * 3, "abs": lambda x, y: abs(x - y), "compare": lambda x, y: np.where(x <= y, x, y),
    "array first": lambda x: np.full(4, 3, x.dtype) - x, "number first": lambda x: np.float64(2) * x - np.int64(1),
    "sum": lambda t: t.sum(), "sum 0": lambda t: t.sum(0), "sum axes": lambda t: t.sum(axis=(0, -1), keepdims=True),
    "sum nothing": lambda s: s.sum() * 2, "mean": lambda t: t.mean(), "mean 1": lambda t: t.mean(1),
    "max": lambda t: t.max(), "max keep": lambda t: t / t.max(axis=(0, 1), keepdims=True), "min": lambda x: x.min(axis=0),
    "var": lambda t: t.var(axis=(0, 2)), "reshape": lambda x: x.reshape(2, 6) * x.reshape((2, 6)), "T": lambda t: t.T * 2,
    "reshape -1": lambda t: t.reshape(-1, 4), "transpose": lambda t: t.transpose(1, 0, 2), "transpose all": lambda t: t.transpose(),
    "swapaxes": lambda t: t.swapaxes(1, 2), "squeeze": lambda c: c.squeeze(), "take": lambda t: t.take(np.array([2, 0]), axis=1),
    "dot": lambda x, v: x.dot(v), "flatten": lambda t: t.flatten(), "ravel": lambda t: t.ravel(), "astype": lambda x: x.astype(x.dtype),
    "[0]": lambda t: t[0], "[-1]": lambda t: t[-1, 1], "[1:]": lambda x: x[1:], "[::-1]": lambda x: x[::-1, ::2],
    "[:, 1:3]": lambda t: t[:, 1:3], "[..., 0]": lambda t: t[..., 0], "[0, ..., 1:]": lambda t: t[0, ..., 1:],
    "[None]": lambda x: x[None, :, None], "[1, 2]": lambda x: x[1, 2], "[index]": lambda x: x[np.array([0, 2, 2])],
    "[:, list]": lambda x: x[:, [3, 0, 3]], "[2d index]": lambda x: x[np.array([[0, 1], [2, 2]])], "[-3:9:2]": lambda x: x[:, -3:9:2],
    "rows": lambda x: sum(row * i for i, row in enumerate(x)), "len": lambda x: x / len(x), "ndim": lambda t: t * t.ndim,
    "shared": lambda x: (lambda y: y * y + y)(np.exp(x) * x),
}  # fmt: skip
EXPRESSIONS = {f.__name__: made for f, made in NUMPY.items()} | MORE
each_expression = pytest.mark.parametrize("name", EXPRESSIONS)


def names(f):
    return f.__code__.co_varnames[: f.__code__.co_argcount]


def drawn(f, dtype):
    rng = np.random.default_rng(0)
    every = {name: np.asarray(rng.uniform(0.5, 2, shape)).astype(dtype) for name, shape in SHAPES.items()}
    return [every[name] for name in names(f)]


def test_every_numpy_function_that_is_taken_is_tried():
    assert NUMPY.keys() == F.UFUNCS.keys() | F.FUNCTIONS.keys()


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


# ---------------------------------------------------------------- numbaflux's own functions on plain arrays


def test_plain_arrays_in_plain_arrays_out():
    x = np.array([[-1, 0, 2]], np.float32)
    for y in (F.relu(x), F.add(x, 1), F.sum(x, 0), F.softmax(x), F.concatenate([x, x]), F.getitem(x, (0, slice(1)))):
        assert type(y) is np.ndarray
    np.testing.assert_array_equal(nf.relu(x), [[0, 0, 2]])
    np.testing.assert_array_equal(nf.where(x > 0, x, -1), [[-1, -1, 2]])
    assert nf.identity(x) is x
    assert nf.stop_gradient(x) is x


def test_lists_and_numbers_are_float32():
    assert F.exp([0, 1]).dtype == F.sum([1, 2]).dtype == F.add(1, 2).dtype == np.float32
    assert F.exp(np.float64(0)).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 2.0, True, np.float32(2), np.float64(2), np.int8(2)])
def test_numbers_take_the_dtype_of_arrays(number, dtype):
    x = np.ones(3, dtype)
    for f in (F.add, F.sub, F.mul, F.div, F.power, F.maximum, F.minimum):
        assert f(x, number).dtype == f(number, x).dtype == dtype
    assert F.where(x > 0, x, number).dtype == dtype


@pytest.mark.parametrize("axis", [0, 1, -1, -3])
def test_softmax_along_an_axis(axis):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    e = np.exp(x)
    right = e / e.sum(axis, keepdims=True)
    np.testing.assert_allclose(nf.softmax(x, axis), right, rtol=1e-14)
    np.testing.assert_allclose(nf.logsoftmax(x, axis), np.log(right), rtol=1e-13)


def test_activations_are_torchs():
    torch = pytest.importorskip("torch")
    x, w = (np.random.default_rng(i).normal(size=(7, 11)) * 3 for i in (0, 1))
    pairs = {
        nf.relu: torch.relu, nf.tanh: torch.tanh, nf.sigmoid: torch.sigmoid, F.exp: torch.exp, F.absolute: torch.abs,
        nf.softmax: lambda t: torch.softmax(t, -1), nf.logsoftmax: lambda t: torch.log_softmax(t, -1),
    }  # fmt: skip
    for ours, theirs in pairs.items():
        t = torch.tensor(x, requires_grad=True)
        y = theirs(t)
        (y * torch.tensor(w)).sum().backward()
        value, back = nf.pullback(ours, x)
        np.testing.assert_allclose(value, y.detach().numpy(), rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(back(w), t.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_flatten_keeps_samples():
    assert nf.flatten(np.ones((5, 2, 3), np.float32)).shape == (5, 6)
    assert nf.flatten(np.ones((5, 0, 3), np.float32)).shape == (5, 0)


@pytest.mark.parametrize("n", [0, 1])
def test_arrays_without_elements(n):
    x, w, b = np.ones((n, 3), np.float32), np.ones((3, 2), np.float32), np.ones(2, np.float32)
    assert F.dense(x, w, b).shape == (n, 2)
    assert F.exp(x).shape == F.softmax(x).shape == (n, 3)
    assert F.transpose(x).shape == (3, n)
    assert F.sum(x) == 3 * n
    np.testing.assert_array_equal(F.sum(x, axis=0), [n] * 3)
    np.testing.assert_array_equal(nf.gradient(lambda w: F.sum(F.dense(x, w)), w), np.full((3, 2), n))
    np.testing.assert_array_equal(F.dense(np.ones((2, 0), np.float32), np.ones((0, 2), np.float32), b), np.ones((2, 2)))


def test_strides_do_not_matter():
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    for view in (x.T, x[::2], x[:, ::-1], x[1:, 3:]):
        np.testing.assert_array_equal(F.add(view, 1), view + 1)
        np.testing.assert_array_equal(nf.gradient(lambda v: F.sum(F.square(v)), view), 2 * view)


# ---------------------------------------------------------------- nf.Scalar


def test_scalar_changes_are_seen():
    x, rate = np.ones(3, np.float32), nf.Scalar(2.0)
    f = nf.compile(lambda x: x * rate + rate)
    np.testing.assert_array_equal(f(x), np.full(3, 4))
    rate.value = 0.25
    np.testing.assert_array_equal(f(x), np.full(3, 0.5))
    assert len(f.programs) == 1
    assert float(rate) == rate.value == 0.25
    np.testing.assert_array_equal(nf.gradient(lambda x: F.sum(x * rate), x), np.full(3, 0.25))
    assert F.mul(x.astype(np.float64), rate).dtype == np.float64


# ---------------------------------------------------------------- what is refused

f4, f8, i8 = np.ones((3, 4), np.float32), np.ones((3, 4)), np.ones((3, 4), np.int64)
WRONG = {
    "unequal floats": (lambda: F.add(f4, f8), nf.DTypeError, r"add: .* of one dtype, got float32 and float64; x.astype"),
    "integers": (lambda: F.mul(i8, f4), nf.DTypeError, r"mul: .* of one dtype, got int64 and float32; x.astype\(np.float32\)"),
    "exp of integers": (lambda: F.exp(i8), nf.DTypeError, r"exp: x must be .* float32 or float64, got int64; x.astype"),
    "sum of integers": (lambda: F.sum(i8), nf.DTypeError, r"sum: x must be .* got int64; x.astype\(np.float32\)"),
    "float16": (lambda: F.exp(f4.astype(np.float16)), nf.DTypeError, r"exp: array must be .* got float16; x.astype"),
    "other endian": (lambda: F.exp(f4.astype(">f4")), nf.DTypeError, r"exp: array must be .* of this machine, got >f4"),
    "shapes": (lambda: F.sub(f4, f4[:, :3]), nf.ShapeError, r"sub: .* shapes that broadcast, got \(3, 4\) and \(3, 3\)"),
    "condition": (lambda: F.where(f4, f4, f4), nf.DTypeError, r"where: condition must be an array of bool, got float32"),
    "where shapes": (lambda: F.where(f4 > 0, f4[:2], f4[:2]), nf.ShapeError, r"where: arguments must be of shapes that br"),
    "reshape": (lambda: F.reshape(f4, (5, 2)), nf.ShapeError, r"reshape: shape must be of 12 elements .* got \(5, 2\)"),
    "reshape -1": (lambda: F.reshape(f4, (5, -1)), nf.ShapeError, r"reshape: shape must be of 12 elements, got \(5, -1\)"),
    "two -1": (lambda: F.reshape(f4, (-1, -1)), nf.ShapeError, r"reshape: shape must be of 12 elements"),
    "axis": (lambda: F.sum(f4, axis=2), nf.ShapeError, r"sum: axis must be in -2..1, got 2"),
    "axes": (lambda: F.transpose(f4, 0, 0), nf.ShapeError, r"transpose: axes must be each of 0..1 once, got \(0, 0\)"),
    "squeeze": (lambda: F.squeeze(f4, 0), nf.ShapeError, r"squeeze: axis must be of one element, got shape \(3, 4\)"),
    "broadcast": (lambda: F.broadcast_to(f4, (4, 4)), nf.ShapeError, r"broadcast_to: .* \(3, 4\) broadcasts to, got \(4, 4\)"),
    "empty mean": (lambda: F.mean(f4[:0]), nf.ShapeError, r"mean: x must be of at least one element, got shape \(0, 4\)"),
    "empty max": (lambda: F.max(f4[:0], 0), nf.ShapeError, r"max: x must be of at least one element along the axis"),
    "nothing": (lambda: F.concatenate([]), nf.ShapeError, r"concatenate: arrays must be at least one array, got none"),
    "concatenate": (lambda: F.concatenate([f4, f4], axis=2), nf.ShapeError, r"concatenate: axis must be in -2..1, got 2"),
    "too many": (lambda: F.getitem(f4, (0, 0, 0)), nf.ShapeError, r"index: key must be of at most 2 axes, got \(0, 0, 0\)"),
    "mixed index": (lambda: F.getitem(f4, (0, [1])), nf.ShapeError, r"index: key must be one array of integers among full"),
    "key": (lambda: F.getitem(f4, "a"), nf.DTypeError, r"index: key must be integers, slices, ... or None, got 'a'"),
    "bool key": (lambda: F.getitem(f4, True), nf.DTypeError, r"index: key must be integers, slices, ... or None, got True"),
    "key range": (lambda: F.getitem(f4, 3), IndexError, r"index: key must be in -3..2, got 3"),
    "mask": (lambda: F.getitem(f4, f4 > 0), nf.DTypeError, r"take: index must be an array of integers, got bool; nf.where"),
    "float index": (lambda: F.take(f4, [0.5]), nf.DTypeError, r"take: index must be an array of integers, got float64"),
    "index range": (lambda: F.take(f4, [0, 3]), nf.RangeError, r"take: index must be in 0..2, got another at position 1"),
    "negative index": (lambda: F.take(f4, [-1]), nf.RangeError, r"take: index must be in 0..2, got another at position 0"),
    "matmul": (lambda: F.matmul(f4, f4), nf.ShapeError, r"matmul: a must be of shape \(..., 3\), got \(3, 4\)"),
    "matmul 0-d": (lambda: F.matmul(f4, f4[0, 0]), nf.ShapeError, r"matmul: arguments must be of at least one axis"),
    "matmul dtype": (lambda: F.matmul(f4, f8.T), nf.DTypeError, r"matmul: b must be of float32 as a, got float64; x.astype"),
    "stacks": (lambda: F.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5))), nf.ShapeError, r"matmul: arguments .* \(2,\) and \(3,\)"),
    "dense w": (lambda: F.dense(f4, f4[0]), nf.ShapeError, r"dense: w must be of shape \(in, out\), got \(4,\)"),
    "dense x": (lambda: F.dense(f4, f4), nf.ShapeError, r"dense: x must be of shape \(..., 3\), got \(3, 4\)"),
    "dense b": (lambda: F.dense(f4, f4.T, f4[0]), nf.ShapeError, r"dense: b must be of shape \(3,\), got \(4,\)"),
    "dense dtype": (lambda: F.dense(f8, f4.T), nf.DTypeError, r"dense: x must be of float32 as w, got float64; .* nf.f64"),
    "softmax axis": (lambda: F.softmax(f4, 2), nf.ShapeError, r"softmax: axis must be in -2..1, got 2"),
    "no class": (lambda: F.softmax(f4[:, :0]), nf.ShapeError, r"softmax: x must be of at least one class, got shape \(3, 0\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name):
    f, error, message = WRONG[name]
    with pytest.raises(error, match="^" + message):
        f()


UNKNOWN = {
    "np.clip": lambda v: np.clip(v, 0, 1), "np.cumsum": lambda v: np.cumsum(v), "np.add.reduce": lambda v: np.add.reduce(v),
    "np.linalg.norm": lambda v: np.linalg.norm(v), "np.sin": lambda v: np.sin(v),
    "np.add with out": lambda v: np.add(v, v, out=np.ones((3, 4), np.float32)),
    "np.multiply with where": lambda v: np.multiply(v, v, where=np.ones((3, 4), bool)),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_numpy_functions_without_a_gradient_are_named(name):
    with pytest.raises(nf.DTypeError, match=f"^{name}: has no gradient here; .* nf.stop_gradient"):
        nf.gradient(lambda v: UNKNOWN[name](v).sum(), f4)


def test_dot_of_stacks_is_not_taken_for_matmul():
    with pytest.raises(nf.ShapeError, match=r"dot: b must be of one or two axes, got shape \(2, 4, 5\); np.matmul"):
        nf.pullback(lambda t: np.dot(t, np.ones((2, 4, 5), np.float32)), f4)
