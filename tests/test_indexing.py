"""nf.gather and nf.scatter: NumPy's loops, PyTorch's gradients, gradients of gradients, plans, every message."""

import re

import numpy as np
import pytest

import numbaflux as nf

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3, 2))
AT = np.array([[3, 0, 3], [2, 3, 0]])
PAIR = (AT, AT[::-1] % 3)
JOINS = {  # of an operation: what it starts as, and NumPy's function of two
    "+": (0, np.add), "-": (0, np.subtract), "*": (1, np.multiply), "/": (1, np.divide), "max": (-np.inf, np.maximum),
    "min": (np.inf, np.minimum),
}  # fmt: skip
OPS = [*JOINS, "mean"]
each = pytest.mark.parametrize("op", OPS)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def away(*shape):
    return RNG.uniform(0.5, 2, shape) * RNG.choice([-1, 1], shape)


def scattered(op, src, idx, init, dstsize):
    """Element by element, in the order of idx."""
    idx = idx if isinstance(idx, tuple) else (idx,)
    start, join = JOINS.get(op, (0, np.add))
    y, count = np.full(dstsize, start if init is None else init, src.dtype), np.zeros(dstsize)
    for k in np.ndindex(idx[0].shape):
        np.add.at(count, tuple(i[k] for i in idx), 1)
    for k in np.ndindex(idx[0].shape):
        at = tuple(i[k] for i in idx)
        y[at] = join(y[at], src[k] / count[at] if op == "mean" else src[k])
    return y


# ------------------------------------------------------------------------------------------------------------- gather


@pytest.mark.parametrize("idx", [AT, AT[0], np.array(2), AT.astype(np.uint8), [1, 1], PAIR, (*PAIR, AT % 2)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_gather_is_indexing(idx, dtype):
    x = (8 * X).astype(dtype)
    y = nf.gather(x, idx)
    np.testing.assert_array_equal(y, x[idx])
    assert y.dtype == dtype
    np.testing.assert_array_equal(nf.compile(lambda x: nf.gather(x, idx))(x), x[idx])


@pytest.mark.parametrize("idx", [AT, PAIR], ids=["one", "two"])
def test_gradients_of_gather(idx):
    weight = RNG.normal(size=X[idx].shape)
    nf.check_gradients(lambda x: (nf.gather(x, idx) ** 2 * weight).sum(), X)
    nf.check_gradients(lambda x: nf.gradient(lambda x: (nf.gather(x, idx) ** 3 * weight).sum(), x).sum(), X)


def test_indices_as_arguments_of_a_plan():
    three = (*PAIR, AT % 2)
    plan = nf.compile(lambda x, a, b, c: nf.gather(x, (a, b, c)))
    np.testing.assert_array_equal(plan(X, *three), X[three])
    np.testing.assert_array_equal(plan(X, *(i.T.copy() for i in three)), X[tuple(i.T for i in three)])
    for wrong, position in ((4, 2), (-1, 5)):
        idx = AT.copy()
        idx.flat[position] = wrong
        with raises(nf.RangeError, f"gather: idx must be in 0..3, 0..2, 0..1, got another at position {position}"):
            plan(X, idx, *three[1:])
    with raises(nf.RangeError, "gather: idx must be in 0..3, 0..2, 0..1, got another at position 0"):
        plan(X, AT, AT, AT % 2)  # a row of the table, but of no axis


# ------------------------------------------------------------------------------------------------------------ scatter


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("init", [None, 0.75])
@pytest.mark.parametrize(("idx", "lead"), [(AT, (4,)), (AT[0], (5,)), (PAIR, (4, 3))], ids=["two axes", "one", "pair"])
@pytest.mark.parametrize("features", [(), (3, 2)])
def test_scatter_is_a_loop(op, dtype, init, idx, lead, features):
    shape = idx[0].shape if isinstance(idx, tuple) else idx.shape
    src = away(*shape, *features).astype(dtype)
    y = nf.scatter(op, src, idx, init=init, dstsize=(*lead, *features))
    np.testing.assert_allclose(y, scattered(op, src, idx, init, (*lead, *features)), rtol=8 * np.finfo(dtype).eps)
    assert y.dtype == dtype


def test_size_and_names():
    src = away(2, 3, 5)
    assert nf.scatter("+", src, AT).shape == (4, 5)
    assert nf.scatter("+", src, PAIR).shape == (4, 3, 5)
    assert nf.scatter("max", np.ones((0, 2)), np.zeros(0, int), dstsize=(3, 2)).tolist() == [[-np.inf] * 2] * 3
    for op, name in ((nf.add, "+"), (nf.mul, "*"), (np.subtract, "-"), (np.maximum, "max"), ("div", "/"), (min, "min")):
        np.testing.assert_array_equal(nf.scatter(op, src, AT), nf.scatter(name, src, AT))


@each
def test_gradients_of_scatter(op):
    src, weight = away(2, 3, 5), RNG.normal(size=(4, 5))
    nf.check_gradients(lambda x: (nf.scatter(op, x, AT, init=0.5, dstsize=(4, 5)) * weight).sum(), src)

    def along(x):
        return (nf.gradient(lambda x: (nf.scatter(op, x, AT, init=0.5) ** 3 * weight).sum(), x) ** 2).sum()

    nf.check_gradients(along, 0.1 * src if op == "*" else src)


@each
def test_compiled_scatter(op):
    src = away(2, 3, 5).astype(np.float32)

    def both(x, idx):
        return nf.withgradient(lambda x: (nf.scatter(op, x, idx, init=0.5, dstsize=(6, 5)) ** 2).sum(), x)

    for one, two in zip(nf.compile(both)(src, AT), both(src, AT), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_factors_of_zero(zeros):
    """First and second derivatives of a product, by differences."""
    src = away(5)
    src[:zeros] = 0
    idx, f = np.zeros(5, int), lambda x: nf.scatter("*", x, np.zeros(5, int)).sum()
    right = [np.prod(np.delete(src, i)) for i in range(5)]
    np.testing.assert_allclose(nf.gradient(f, src), right, rtol=1e-12)
    others = [[i != j and np.prod(np.delete(src, [i, j])) for i in range(5)] for j in range(5)]
    np.testing.assert_allclose(nf.hessian(f, src), others, rtol=1e-12)
    assert nf.scatter("*", src, idx).tolist() == [0.0]


def test_nan_and_infinities_spread():
    src = np.array([np.nan, 1.0, np.inf, 0.0, np.inf, 2.0])
    idx = np.array([0, 0, 1, 1, 2, 2])
    for op in OPS:
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(nf.scatter(op, src, idx), scattered(op, src, idx, None, (3,)))


@pytest.mark.parametrize(("op", "theirs"), [("+", "sum"), ("*", "prod"), ("max", "amax"), ("min", "amin"),
                                            ("mean", "mean")])  # fmt: skip
def test_scatter_does_what_torch_does(op, theirs):
    torch = pytest.importorskip("torch")
    idx = RNG.integers(0, 5, 31)
    src = RNG.integers(1, 4, (31, 3)).astype(np.float64)  # equals meet
    x = torch.tensor(src, requires_grad=True)
    where = torch.tensor(idx)[:, None].expand(31, 3)
    right = torch.zeros(5, 3, dtype=torch.float64).scatter_reduce(0, where, x, theirs, include_self=False)
    (right**2).sum().backward()
    y, dx = nf.withgradient(lambda x: (nf.scatter(op, x, idx) ** 2).sum(), src)
    np.testing.assert_allclose(nf.scatter(op, src, idx), right.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(y, (right**2).sum().item(), rtol=1e-12)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-12)


# ----------------------------------------------------------------------------------------------------------- messages

SRC = np.ones((2, 3, 5))
LIST = "+, -, *, /, max, min, mean"
WRONG = [
    (lambda: nf.gather(None, AT), nf.DTypeError, "gather: x must be an array, got NoneType"),
    (lambda: nf.gather(X, ()), nf.ShapeError, "gather: idx must be an array of integers, or a tuple of them, got ()"),
    (lambda: nf.gather(X, [0.5]), nf.DTypeError,
     "gather: idx must be of integers, got float64; np.nonzero(mask) for a mask"),
    (lambda: nf.gather(X, X > 0), nf.DTypeError,
     "gather: idx must be of integers, got bool; np.nonzero(mask) for a mask"),
    (lambda: nf.gather(X, (AT, AT[0])), nf.ShapeError,
     "gather: idx must be of arrays of one shape, (2, 3), got (3,)"),
    (lambda: nf.gather(X[:0], AT), nf.ShapeError,
     "gather: x must be of 1 axes or more, not empty, as idx says, got (0, 3, 2)"),
    (lambda: nf.gather(X, (AT,) * 4), nf.ShapeError,
     "gather: x must be of 4 axes or more, not empty, as idx says, got (4, 3, 2)"),
    (lambda: nf.gather(X, AT + 1), nf.RangeError, "gather: idx must be in 0..3, got another at position 0"),
    (lambda: nf.gather(X, -AT), nf.RangeError, "gather: idx must be in 0..3, got another at position 0"),
    (lambda: nf.gather(X, (AT, AT)), nf.RangeError, "gather: idx must be in 0..3, 0..2, got (3, 3)"),
    (lambda: nf.scatter("xor", SRC, AT), nf.RangeError, f"scatter: op must be one of {LIST}, got 'xor'"),
    (lambda: nf.scatter(None, SRC, AT), nf.RangeError, f"scatter: op must be one of {LIST}, got None"),
    (lambda: nf.scatter("+", [1.0], AT), nf.DTypeError,
     "scatter: src must be an array of float32 or float64, got list"),
    (lambda: nf.scatter("+", AT, AT), nf.DTypeError,
     "scatter: src must be an array of float32 or float64, got int64"),
    (lambda: nf.scatter("+", SRC, AT, init="0"), nf.DTypeError, "scatter: init must be a number, got '0'"),
    (lambda: nf.scatter("+", SRC, AT / 2), nf.DTypeError,
     "scatter: idx must be of integers, got float64; np.nonzero(mask) for a mask"),
    (lambda: nf.scatter("+", SRC.T, AT), nf.ShapeError,
     "scatter: src must be of shape (2, 3) as idx, and features, got (5, 3, 2)"),
    (lambda: nf.scatter("+", SRC, AT - 1), nf.RangeError, "scatter: idx must be in 0..2, got another at position 1"),
    (lambda: nf.scatter("+", SRC, AT, dstsize=(3, 5)), nf.RangeError,
     "scatter: idx must be in 0..2, got another at position 0"),
    (lambda: nf.scatter("+", SRC, PAIR, dstsize=(4, 2, 5)), nf.RangeError,
     "scatter: idx must be in 0..3, 0..1, got (3, 2)"),
    (lambda: nf.scatter("+", SRC, AT, dstsize=(4, 3)), nf.ShapeError,
     "scatter: dstsize must be 1 sizes, and (5,) of src behind them, got (4, 3)"),
    (lambda: nf.scatter("+", SRC, AT, dstsize=4), nf.ShapeError,
     "scatter: dstsize must be 1 sizes, and (5,) of src behind them, got 4"),
    (lambda: nf.scatter("+", SRC, AT, dstsize=(4, 5, 1)), nf.RangeError,
     "scatter: dstsize must be 0 or more, for each of 2 axes, got (4, 5, 1)"),
    (lambda: nf.scatter("+", SRC[:0], AT[:0]), nf.RangeError,
     "scatter: dstsize must be given where idx is traced or empty, got None"),
    (lambda: nf.compile(lambda x, i: nf.scatter("+", x, i))(SRC, AT), nf.RangeError,
     "scatter: dstsize must be given where idx is traced or empty, got None"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text[:60] for *_, text in WRONG])
def test_messages(call, kind, text):
    with raises(kind, text):
        call()
