"""Functions of arrays: plain arrays in and out, weak numbers, axes, no elements; and what is refused."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux import shapes as H


def test_plain_arrays_in_plain_arrays_out():
    x = np.array([[-1, 0, 2]], np.float32)
    for y in (F.relu(x), F.add(x, 1), F.sum(x, 0), F.softmax(x), H.concatenate([x, x]), H.getitem(x, (0, slice(1)))):
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
        nf.relu: torch.relu,
        nf.tanh: torch.tanh,
        nf.sigmoid: torch.sigmoid,
        F.exp: torch.exp,
        F.absolute: torch.abs,
        nf.softmax: lambda t: torch.softmax(t, -1),
        nf.logsoftmax: lambda t: torch.log_softmax(t, -1),
    }
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
    assert H.transpose(x).shape == (3, n)
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
    "unequal floats": (
        lambda: F.add(f4, f8),
        nf.DTypeError,
        r"add: .* of one dtype, got float32 and float64; x.astype",
    ),
    "integers": (
        lambda: F.mul(i8, f4),
        nf.DTypeError,
        r"mul: .* of one dtype, got int64 and float32; x.astype\(np.float32\)",
    ),
    "exp of integers": (lambda: F.exp(i8), nf.DTypeError, r"exp: x must be .* float32 or float64, got int64; x.astype"),
    "sum of integers": (lambda: F.sum(i8), nf.DTypeError, r"sum: x must be .* got int64; x.astype\(np.float32\)"),
    "float16": (lambda: F.exp(f4.astype(np.float16)), nf.DTypeError, r"exp: array must be .* got float16; x.astype"),
    "other endian": (lambda: F.exp(f4.astype(">f4")), nf.DTypeError, r"exp: array must be .* of this machine, got >f4"),
    "shapes": (
        lambda: F.sub(f4, f4[:, :3]),
        nf.ShapeError,
        r"sub: .* shapes that broadcast, got \(3, 4\) and \(3, 3\)",
    ),
    "condition": (
        lambda: F.where(f4, f4, f4),
        nf.DTypeError,
        r"where: condition must be an array of bool, got float32",
    ),
    "where shapes": (
        lambda: F.where(f4 > 0, f4[:2], f4[:2]),
        nf.ShapeError,
        r"where: arguments must be of shapes that br",
    ),
    "reshape": (lambda: H.reshape(f4, (5, 2)), nf.ShapeError, r"reshape: shape must be of 12 elements .* got \(5, 2\)"),
    "reshape -1": (
        lambda: H.reshape(f4, (5, -1)),
        nf.ShapeError,
        r"reshape: shape must be of 12 elements, got \(5, -1\)",
    ),
    "two -1": (lambda: H.reshape(f4, (-1, -1)), nf.ShapeError, r"reshape: shape must be of 12 elements"),
    "axis": (lambda: F.sum(f4, axis=2), nf.ShapeError, r"sum: axis must be in -2..1, got 2"),
    "axes": (lambda: H.transpose(f4, 0, 0), nf.ShapeError, r"transpose: axes must be each of 0..1 once, got \(0, 0\)"),
    "squeeze": (lambda: H.squeeze(f4, 0), nf.ShapeError, r"squeeze: axis must be of one element, got shape \(3, 4\)"),
    "broadcast": (
        lambda: H.broadcast_to(f4, (4, 4)),
        nf.ShapeError,
        r"broadcast_to: .* \(3, 4\) broadcasts to, got \(4, 4\)",
    ),
    "empty mean": (
        lambda: F.mean(f4[:0]),
        nf.ShapeError,
        r"mean: x must be of at least one element, got shape \(0, 4\)",
    ),
    "empty max": (lambda: F.max(f4[:0], 0), nf.ShapeError, r"max: x must be of at least one element along the axis"),
    "nothing": (lambda: H.concatenate([]), nf.ShapeError, r"concatenate: arrays must be at least one array, got none"),
    "concatenate": (
        lambda: H.concatenate([f4, f4], axis=2),
        nf.ShapeError,
        r"concatenate: axis must be in -2..1, got 2",
    ),
    "too many": (
        lambda: H.getitem(f4, (0, 0, 0)),
        nf.ShapeError,
        r"index: key must be of at most 2 axes, got \(0, 0, 0\)",
    ),
    "mixed index": (
        lambda: H.getitem(f4, (0, [1])),
        nf.ShapeError,
        r"index: key must be one array of integers among full",
    ),
    "key": (lambda: H.getitem(f4, "a"), nf.DTypeError, r"index: key must be integers, slices, ... or None, got 'a'"),
    "bool key": (
        lambda: H.getitem(f4, True),
        nf.DTypeError,
        r"index: key must be integers, slices, ... or None, got True",
    ),
    "key range": (lambda: H.getitem(f4, 3), IndexError, r"index: key must be in -3..2, got 3"),
    "mask": (
        lambda: H.getitem(f4, f4 > 0),
        nf.DTypeError,
        r"take: index must be an array of integers, got bool; nf.where",
    ),
    "float index": (lambda: H.take(f4, [0.5]), nf.DTypeError, r"take: index must be an array of integers, got float64"),
    "index range": (
        lambda: H.take(f4, [0, 3]),
        nf.RangeError,
        r"take: index must be in 0..2, got another at position 1",
    ),
    "negative index": (
        lambda: H.take(f4, [-1]),
        nf.RangeError,
        r"take: index must be in 0..2, got another at position 0",
    ),
    "matmul": (lambda: F.matmul(f4, f4), nf.ShapeError, r"matmul: a must be of shape \(..., 3\), got \(3, 4\)"),
    "matmul 0-d": (lambda: F.matmul(f4, f4[0, 0]), nf.ShapeError, r"matmul: arguments must be of at least one axis"),
    "matmul dtype": (
        lambda: F.matmul(f4, f8.T),
        nf.DTypeError,
        r"matmul: b must be of float32 as a, got float64; x.astype",
    ),
    "stacks": (
        lambda: F.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5))),
        nf.ShapeError,
        r"matmul: arguments .* \(2,\) and \(3,\)",
    ),
    "dense w": (lambda: F.dense(f4, f4[0]), nf.ShapeError, r"dense: w must be of shape \(in, out\), got \(4,\)"),
    "dense x": (lambda: F.dense(f4, f4), nf.ShapeError, r"dense: x must be of shape \(..., 3\), got \(3, 4\)"),
    "dense b": (lambda: F.dense(f4, f4.T, f4[0]), nf.ShapeError, r"dense: b must be of shape \(3,\), got \(4,\)"),
    "dense dtype": (
        lambda: F.dense(f8, f4.T),
        nf.DTypeError,
        r"dense: x must be of float32 as w, got float64; .* nf.f64",
    ),
    "softmax axis": (lambda: F.softmax(f4, 2), nf.ShapeError, r"softmax: axis must be in -2..1, got 2"),
    "no class": (
        lambda: F.softmax(f4[:, :0]),
        nf.ShapeError,
        r"softmax: x must be of at least one class, got shape \(3, 0\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name):
    f, error, message = WRONG[name]
    with pytest.raises(error, match="^" + message):
        f()


def test_a_transposed_matrix_is_multiplied_where_it_lies():
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=shape).astype(np.float32) for shape in ((9, 33), (17, 33)))
    product = nf.compile(lambda x, w: x @ w.T)
    np.testing.assert_array_equal(product(x, w), F.matmul(x, w.T))
    [program] = product.programs.values()
    assert {e.kernel for e in program.plan.entries} == {"dense.pack", "dense.product"}

    def grads(x, w):
        return nf.gradient(lambda w: ((x @ w.T) ** 2).sum(), w)

    np.testing.assert_allclose(grads(x, w), 2 * (x @ w.T).T @ x, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(nf.compile(grads)(x, w), grads(x, w))
