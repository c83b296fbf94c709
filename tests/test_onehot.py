"""OneHot against the dense array it stands for: values, gradients, compiled steps, indexing, NumPy, every message."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.op import DTypeError, NonFiniteError, RangeError, ShapeError

LABELS = np.array([2, 0, 1, 1, 2, 0])
Y = nf.OneHot(LABELS, 3)
DENSE = np.eye(3, dtype=bool)[LABELS]
GRID = nf.OneHot(LABELS.reshape(2, 3), 3)


def dense(y, dtype=np.float32):
    return np.asarray(y, dtype)


# ---------------------------------------------------------------- making and reading


@given(st.integers(1, 9), st.lists(st.integers(0, 8), max_size=12))
def test_numbers_become_rows(classes, numbers):
    numbers = [i % classes for i in numbers]
    y = nf.onehotbatch(numbers, range(classes))
    assert y.shape == (len(numbers), classes) and y.indices.dtype == np.int64
    assert np.array_equal(np.asarray(y), np.eye(classes, dtype=bool)[np.array(numbers, int)])
    assert nf.onecold(y).tolist() == numbers


@given(st.lists(st.text(max_size=3), min_size=1, unique=True), st.data())
def test_names_come_back(labels, data):
    xs = data.draw(st.lists(st.sampled_from(labels), min_size=1))
    for given_xs in (xs, np.array(xs, object)):
        y = nf.onehotbatch(given_xs, labels)
        assert y.indices.tolist() == [labels.index(x) for x in xs]
        assert nf.onecold(y, labels).tolist() == [str(x) for x in np.array(xs)]  # NumPy's texts drop NULs at their end
    assert [nf.onecold(nf.onehot(x, labels), labels) for x in xs] == xs


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool, "U2"])
def test_arrays_of_any_type_and_shape(dtype):
    xs = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    y = nf.onehotbatch(xs, np.unique(xs))
    assert y.shape == (3, 2, 2) and y.indices.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert nf.onecold(y, np.unique(xs)).tolist() == xs.tolist()


def test_labels_of_several_types_are_told_apart():
    y = nf.onehotbatch([1, "1", None, 1], ["1", 1, None])
    assert y.indices.tolist() == [1, 0, 2, 1] and nf.onecold(y, ["1", 1, None]).tolist() == [1, "1", None, 1]


def test_default_takes_what_is_no_label():
    assert nf.onehotbatch(["a", "x", "b"], ["a", "b", "?"], default="?").indices.tolist() == [0, 2, 1]
    assert nf.onehot(7, [1, 2], default=2).indices == 1
    assert nf.onehotbatch([[1], {}], [1, 2], default=1).indices.tolist() == [0, 0]  # not even hashable


def test_onecold_of_scores():
    scores = nf.Generator(0).normal((5, 4, 3))
    assert nf.onecold(scores).tolist() == scores.argmax(-1).tolist()
    assert nf.onecold(np.array([0.5, 0.5, 0.1]), "abc") == "a" and nf.onecold([[0, 1], [1, 0]], "ab").tolist() == [
        "b",
        "a",
    ]


def test_shown():
    assert repr(Y) == "OneHot([2, 0, 1, 1, 2, 0], classes=3)"
    assert repr(nf.OneHot(np.arange(100), 100)) == "OneHot([ 0,  1,  2, ..., 97, 98, 99], classes=100)"
    assert (Y.shape, Y.ndim, Y.size, len(Y), Y.dtype) == ((6, 3), 2, 18, 6, bool)
    assert (np.shape(Y), np.ndim(Y), np.size(Y)) == ((6, 3), 2, 18)
    assert nf.onehot("a", "ab").shape == (2,) and len(nf.onehot("a", "ab")) == 2


def test_it_is_a_copy_and_can_be_copied():
    labels = LABELS.copy()
    y = nf.OneHot(labels, 3)
    labels[:] = 0
    for other in (y, copy.deepcopy(y), pickle.loads(pickle.dumps(y))):  # noqa: S301  # of objects made here
        assert other.indices.tolist() == LABELS.tolist() and other.classes == 3


# ---------------------------------------------------------------- indexing, NumPy

ROWS = [0, -1, slice(1, 4), slice(None, None, -2), [3, 0], np.array([[1, 2], [0, 5]]), DENSE[:, 0], (2,)]
OTHER = [..., None, (slice(None), 1), (0, 2), (..., 0), (slice(2), slice(1, 3)), DENSE]


@pytest.mark.parametrize("key", ROWS, ids=repr)
def test_samples_stay_compact(key):
    got = Y[key]
    assert isinstance(got, nf.OneHot) and np.array_equal(np.asarray(got), DENSE[key])


@pytest.mark.parametrize("key", OTHER, ids=repr)
def test_other_keys_see_the_dense_array(key):
    got = Y[key]
    assert not isinstance(got, nf.OneHot) and np.array_equal(got, DENSE[key])


def test_iteration_and_several_axes():
    assert [row.indices.item() for row in Y] == LABELS.tolist()
    assert isinstance(GRID[1, 2], nf.OneHot) and GRID[1, 2].indices == 0 and GRID[1].shape == (3, 3)
    assert GRID[np.array([[True, False, False], [False, False, True]])].indices.tolist() == [2, 0]
    assert [bool(x) for x in nf.onehot("b", "ab")] == [False, True]


COMPACT = {
    "concatenate": lambda f, y: f.concatenate([y, y[:2]]),
    "concatenate a list of one": lambda f, y: f.concatenate([y]),
    "stack": lambda f, y: f.stack([y, y]),
    "stack in the middle": lambda f, y: f.stack([y, y], axis=1),
    "reshape": lambda f, y: f.reshape(y, (2, 3, 3)),
    "reshape method": lambda f, y: y.reshape(-1, 2, 3),
    "reshape tuple": lambda f, y: y.reshape((3, 2, 3)),
}
SPREAD = {
    "concatenate columns": lambda f, y: f.concatenate([y, y], axis=1),
    "concatenate last": lambda f, y: f.concatenate([y, y], axis=-1),
    "stack last": lambda f, y: f.stack([y, y], axis=2),
    "with an array": lambda f, y: f.concatenate([y, np.ones((1, 3))]),
    "as another type": lambda f, y: f.concatenate([y, y], dtype=float, casting="unsafe"),
    "reshape": lambda f, y: f.reshape(y, (3, 6)),
    "flat": lambda f, y: f.reshape(y, -1),
    "sum": lambda f, y: f.sum(y, axis=0),
    "argmax": lambda f, y: f.argmax(y, axis=-1),
    "where": lambda f, y: f.where(y, 2.0, 1.0),
    "add": lambda f, y: y + 1.5,
    "add from the left": lambda f, y: np.full(3, 2.0) * y,
    "exp": lambda f, y: f.exp(y, dtype=np.float64),
    "equal": lambda f, y: y == np.ones(3),
    "not": lambda f, y: ~y,
    "reduce": lambda f, y: f.add.reduce(y, axis=1),
    "product": lambda f, y: np.ones((2, 6)) @ y,
    "product of stacks": lambda f, y: y @ np.ones((2, 3, 2)),
    "of two": lambda f, y: y.reshape(2, 3, 3) @ y[:3],
}


@pytest.mark.parametrize("name", COMPACT)
def test_what_stays_compact(name):
    got = COMPACT[name](np, Y)
    assert isinstance(got, nf.OneHot) and np.array_equal(np.asarray(got), COMPACT[name](np, DENSE))


@pytest.mark.parametrize("name", SPREAD)
def test_other_functions_see_the_dense_array(name):
    got, expected = SPREAD[name](np, Y), SPREAD[name](np, DENSE)
    assert not isinstance(got, nf.OneHot) and np.array_equal(got, expected)
    assert getattr(got, "dtype", None) == getattr(expected, "dtype", None)


def test_unequal_classes_are_not_joined():
    with pytest.raises(ValueError, match="must match"):
        np.concatenate([Y, nf.OneHot([0], 4)])


# ---------------------------------------------------------------- products, gradients, plans

W = nf.Generator(1).normal((3, 4))


@pytest.mark.parametrize("y", [Y, GRID, Y[0]], ids=["samples", "grid", "one"])
@pytest.mark.parametrize(
    "w", [W, W[:, 0], W.astype(np.float64), W.tolist()], ids=["matrix", "vector", "double", "list"]
)
def test_products_gather(y, w):
    np.testing.assert_array_equal(y @ w, dense(y, np.float64) @ np.asarray(w))
    np.testing.assert_array_equal(np.matmul(y, w), y @ w)


def test_products_and_layers_have_the_gradients_of_the_dense_array():
    layer = nf.Chain(nf.Dense(3, 5, nf.tanh, rng=0), nf.Dense(5, 2, rng=1))
    np.testing.assert_array_equal(layer(Y), layer(dense(Y)))
    np.testing.assert_array_equal(
        nf.Dense(3, 2, bias=False, rng=0)(GRID), nf.Dense(3, 2, bias=False, rng=0)(dense(GRID))
    )
    found, expected = (nf.gradient(lambda m, y=y: (m(y) ** 2).sum(), layer) for y in (Y, dense(Y)))
    for path in nf.state(found):
        np.testing.assert_allclose(nf.state(found)[path], nf.state(expected)[path], rtol=1e-6, atol=1e-7)
    nf.check_gradients(lambda w: ((GRID @ w) ** 3).sum(), W.astype(np.float64))
    by_number = nf.gradient(lambda w: (nf.operators.F.matmul(Y, w) * W[LABELS]).sum(), W)
    np.testing.assert_allclose(by_number, DENSE.T @ W[LABELS], rtol=1e-6)


def test_no_gradient_goes_to_it():
    gw, gy = nf.gradient(lambda w, y: (y @ w).sum(), W, Y)
    np.testing.assert_array_equal(gw, np.full((3, 4), 2, np.float32))
    assert gy.indices is None


ELEMENTWISE = {
    "from the left": lambda x, y: y * x,
    "from the right": lambda x, y: x * y,
    "a difference": lambda x, y: x - y,
    "a loss": lambda x, y: nf.losses.mse(x, y),
    "of rows": lambda x, y: x @ y.reshape(2, 3, 3)[0],
    "a comparison": lambda x, y: nf.where(x < y, x, 0.0),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_beside_arrays_it_is_an_array(name):
    f, x = ELEMENTWISE[name], nf.Generator(2).normal((6, 3))
    expected = f(x, dense(Y))
    np.testing.assert_array_equal(f(x, Y), expected)
    np.testing.assert_array_equal(nf.compile(f)(x, Y), nf.compile(f)(x, dense(Y)))  # an argument of a plan
    np.testing.assert_array_equal(nf.compile(lambda x: f(x, Y))(x), nf.compile(f)(x, dense(Y)))  # a constant of one
    loss = lambda x, y: (f(x, y) ** 2).sum()  # noqa: E731
    np.testing.assert_array_equal(nf.gradient(lambda x: loss(x, Y), x), nf.gradient(lambda x: loss(x, dense(Y)), x))


def test_a_compiled_step_takes_it():
    def train(x, y):
        model = nf.Chain(nf.Dense(3, 4, nf.tanh, rng=0), nf.Dense(4, 3, rng=1))
        step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, nf.setup(nf.Adam(0.1), model))
        values = [float(step(x, y)) for _ in range(3)] + [float(step(x[:4], y[:4]))]
        return values, step

    values, step = train(Y, GRID.reshape(6, 3))
    np.testing.assert_allclose(values, train(dense(Y), dense(Y))[0], rtol=1e-6)
    assert len(step.programs) == 2  # of two batch sizes
    assert values[-1] < values[0]


def test_training_is_that_of_labels():
    """From a loader through compiled steps to losses and metrics over all validation data."""
    x = nf.Generator(3).normal((40, 3))
    labels = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)
    runs = []
    for y in (labels, nf.OneHot(labels, 3)):
        model = nf.Dense(3, 3, rng=0)
        data = nf.DataLoader((x, y), 16, shuffle=True, rng=1)
        history = nf.train(
            lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), model, data, nf.setup(nf.Adam(0.1), model), 3,
            validation=(x, y), metrics=[nf.metrics.accuracy], progress=False,
        )  # fmt: skip
        runs.append([(row["loss"], row["validation_loss"], row["accuracy"]) for row in history])
    assert runs[0] == runs[1] and runs[0][-1][0] < runs[0][0][0]


def test_plans_know_classes_and_places():
    f = nf.compile(lambda d: d["y"] @ d["w"])
    for classes in (3, 4):
        y, w = nf.OneHot(LABELS, classes), np.arange(classes * 2.0).reshape(classes, 2)
        np.testing.assert_array_equal(f({"y": y, "w": w}), w[LABELS])
    np.testing.assert_array_equal(f({"y": Y[::-2], "w": W}), W[LABELS[::-2]])  # of any strides
    g = nf.compile(lambda y, w: y @ w)
    for classes in (3, 4):
        w = np.arange(classes * 2.0).reshape(classes, 2)
        np.testing.assert_array_equal(g(nf.OneHot(LABELS, classes), w), w[LABELS])
        np.testing.assert_array_equal(g(nf.OneHot(LABELS, classes)[::-1], w), w[LABELS[::-1]])
    again = nf.compile(lambda y: (y, y[1:]))(Y)
    assert [part.indices.tolist() for part in again] == [LABELS.tolist(), LABELS[1:].tolist()]


def test_labels_become_one_hot_inside_of_a_plan():
    f = nf.compile(lambda labels: nf.OneHot(labels, 3) @ W)
    np.testing.assert_array_equal(f(LABELS.astype(np.int32)), W[LABELS])
    with pytest.raises(RangeError, match="take: index must be in 0..2, got another at position 1"):
        f(np.array([0, 3], np.int32))


# ---------------------------------------------------------------- messages

AB = "one of the 2 labels ['a', 'b']"
MESSAGES = [
    (lambda: nf.OneHot([0, 3], 3), RangeError, "OneHot: indices must be in 0..2, got 3"),
    (lambda: nf.OneHot([-1], 3), RangeError, "OneHot: indices must be in 0..2, got -1"),
    (lambda: nf.OneHot([0.0], 3), DTypeError,
     "OneHot: indices must be integers, got float64; nf.onehotbatch for names"),
    (lambda: nf.OneHot(["a"], 3), DTypeError,
     "OneHot: indices must be integers, got <U1; nf.onehotbatch for names"),
    (lambda: nf.onehot("c", "ab"), RangeError, f"onehot: x must be {AB}, got 'c'; pass default= for others"),
    (lambda: nf.onehotbatch(["a", "c"], "ab"), RangeError,
     f"onehotbatch: x must be {AB}, got 'c'; pass default= for others"),
    (lambda: nf.onehotbatch(np.array([0, 7]), range(9)[:7]), RangeError,
     "onehotbatch: x must be one of the 7 labels [0, 1, 2, 3, 4, 5, ...], got 7; pass default= for others"),
    (lambda: nf.onehotbatch([float("nan")], [0.0, 1.0]), RangeError,
     "onehotbatch: x must be one of the 2 labels [0.0, 1.0], got nan; pass default= for others"),
    (lambda: nf.onehot("a", "ab", default="c"), RangeError, f"onehot: default must be {AB}, got 'c'"),
    (lambda: nf.onehot("a", 3), DTypeError, "onehot: labels must be the classes, in order, got 3; range(3)"),
    (lambda: nf.onehot("a", []), RangeError, "onehot: labels must be one class or more, each once, got []"),
    (lambda: nf.onehot("a", "aba"), RangeError,
     "onehot: labels must be one class or more, each once, got ['a', 'b', 'a']"),
    (lambda: nf.onehot("a", [["a"]]), DTypeError, "onehot: labels must be texts, numbers or such, got [['a']]"),
    (lambda: nf.onecold(3.0), ShapeError, "onecold: y must be of shape (..., c), a score for each class, got shape ()"),
    (lambda: nf.onecold(["a"]), DTypeError, "onecold: y must be of real numbers, got <U1"),
    (lambda: nf.onecold([0.0, np.nan]), NonFiniteError, "onecold: y must be free of NaN, got NaN"),
    (lambda: nf.onecold(Y, "ab"), ShapeError, "onecold: labels must be of 3 classes, got 2"),
    (lambda: Y @ np.ones((4, 2)), ShapeError, "matmul: w must be of 3 rows, one a class, got shape (4, 2)"),
    (lambda: nf.Dense(4, 2)(Y), ShapeError, "matmul: w must be of 3 rows, one a class, got shape (4, 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), MESSAGES, ids=[m for _, _, m in MESSAGES])
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
