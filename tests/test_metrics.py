"""Metrics against counting by hand, sample by sample, and against scikit-learn; every message."""

import warnings
from functools import partial

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.metrics import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    f1,
    mae,
    precision,
    r2,
    recall,
    rmse,
    roc_auc,
    top_k_accuracy,
)
from numbaflux.op import DTypeError, Error, NonFiniteError, RangeError, ShapeError
from numbaflux.rng import Generator


def count(output, labels):
    """The confusion matrix, one sample at a time."""
    table = [[0] * output.shape[-1] for _ in range(output.shape[-1])]
    for scores, label in zip(output.reshape(-1, output.shape[-1]).tolist(), labels.ravel().tolist(), strict=True):
        table[label][scores.index(max(scores))] += 1
    return table


@given(
    st.integers(0, 99), st.integers(1, 30), st.integers(2, 6), st.sampled_from([(), (3,)]),
    st.sampled_from([np.float32, np.float64, np.int64]), st.sampled_from([np.int64, np.uint8, np.int32]),
)  # fmt: skip
def test_against_counting(seed, n, classes, inner, dtype, label_dtype):
    g = Generator(seed)
    output = (g.normal((n, *inner, classes)) * 2).astype(dtype)  # as integers, many scores are equal
    labels = g.integers((n, *inner), 0, classes).astype(label_dtype)
    onehot = np.eye(classes, dtype=np.float32)[labels]
    table = count(output, labels)
    right = sum(table[c][c] for c in range(classes)) / labels.size
    for y in (labels, onehot, onehot.astype(bool), labels.tolist(), nf.OneHot(labels, classes)):
        assert confusion_matrix(output, y).tolist() == table
        assert accuracy(output, y) == right
    assert type(accuracy(output, labels)) is float and confusion_matrix(output, labels).dtype == np.int64


def test_infinite_scores_and_strided_arrays():
    output = np.array([[-np.inf, 0.0], [np.inf, 1.0]])
    assert accuracy(output, np.array([1, 0])) == 1.0
    wide = np.arange(24.0).reshape(4, 6)[::-1, ::2]
    assert accuracy(np.asfortranarray(wide), np.array([2, 0, 2, 0, 2])[:4]) == 0.5


# ---------------------------------------------------------------- against scikit-learn

AVERAGED = {"precision": (precision, sk.precision_score), "recall": (recall, sk.recall_score), "f1": (f1, sk.f1_score)}
LABELLED = [accuracy, confusion_matrix, top_k_accuracy, balanced_accuracy, precision, recall, f1]


def scored(seed, n, classes):
    g = nf.Generator(seed)
    return g.normal((n, classes)), g.integers(n, 0, classes)


@pytest.mark.parametrize("name", AVERAGED)
@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "binary"])
@given(seed=st.integers(0, 99), n=st.integers(1, 25), classes=st.integers(2, 6))
def test_averages(name, average, seed, n, classes):
    own, theirs = AVERAGED[name]
    scores, labels = scored(seed, n, 2 if average == "binary" else classes)
    expected = theirs(labels, scores.argmax(1), average=average, zero_division=0)
    assert own(scores, labels, average) == pytest.approx(expected, abs=1e-12)
    assert own(scores, nf.OneHot(labels, scores.shape[1]), average=average) == own(scores, labels, average)
    assert type(own(scores, labels)) is float
    assert own(scores, labels) == own(scores, labels, "macro")


@given(seed=st.integers(0, 99), n=st.integers(1, 25), classes=st.integers(2, 6))
def test_balanced_accuracy(seed, n, classes):
    scores, labels = scored(seed, n, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # predicted classes without samples
        expected = sk.balanced_accuracy_score(labels, scores.argmax(1))
    assert balanced_accuracy(scores, labels) == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 99), n=st.integers(1, 25), classes=st.integers(3, 7), k=st.integers(1, 6))
def test_top_k_accuracy(seed, n, classes, k):
    k = min(k, classes - 1)
    scores, labels = scored(seed, n, classes)
    expected = sk.top_k_accuracy_score(labels, scores, k=k, labels=np.arange(classes))
    assert top_k_accuracy(scores, labels, k) == pytest.approx(expected, abs=1e-12)
    assert top_k_accuracy(scores, labels, 1) == accuracy(scores, labels)
    assert top_k_accuracy(scores, labels, classes) == 1.0


def test_equal_scores_rank_by_class():
    scores = np.array([[1, 1, 1, 0]] * 4)
    assert [top_k_accuracy(scores, np.arange(4), k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]


@given(seed=st.integers(0, 99), n=st.integers(2, 40), levels=st.sampled_from([2, 5, 1000]))
def test_roc_auc(seed, n, levels):
    g = nf.Generator(seed)
    scores, labels = g.integers(n, 0, levels) / levels, g.integers(n, 0, 2)
    labels[:2] = 0, 1
    expected = sk.roc_auc_score(labels, scores)
    both = np.stack([1 - scores, scores], axis=1)
    logits = np.log(both + 1e-9) + g.normal((n, 1))
    for output in (scores, scores[:, None], both, scores.astype(np.float32), -both[:, ::-1]):
        assert roc_auc(output, labels) == pytest.approx(expected, abs=1e-12)
    exact = sk.roc_auc_score(labels, logits[:, 1] - logits[:, 0])
    assert roc_auc(logits, labels) == pytest.approx(exact, abs=1e-12)
    assert roc_auc(both, nf.OneHot(labels, 2)) == roc_auc(both, labels)


REGRESSION = {"mae": (mae, sk.mean_absolute_error), "rmse": (rmse, sk.root_mean_squared_error), "r2": (r2, sk.r2_score)}


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("shape", [(7,), (7, 1), (7, 3), (7, 2, 2)], ids=str)
@given(seed=st.integers(0, 99), constant=st.booleans(), dtype=st.sampled_from([np.float32, np.float64, np.int64]))
def test_regression(name, shape, seed, constant, dtype):
    own, theirs = REGRESSION[name]
    g = nf.Generator(seed)
    output, y = ((g.normal(shape, 100, 5)).astype(dtype) for _ in range(2))
    if constant:
        y[..., :1] = y.flat[0]
        output = np.where(seed % 2, y, output)  # where y is hit, and where it is not
    flat = [np.asarray(a, np.float64).reshape(7, -1) for a in (y, output)]
    assert own(output, y) == pytest.approx(theirs(*flat), rel=1e-9, abs=1e-12)
    assert type(own(output, y)) is float


def test_lists_and_the_ends_of_ranges():
    assert mae([1], [1]) == rmse([1], [1]) == 0.0 and r2([1, 2], [1, 2]) == 1.0
    assert roc_auc([0, 1], [0, 1]) == 1.0 and roc_auc([1, 0], [0, 1]) == 0.0 and roc_auc([1, 1], [0, 1]) == 0.5


# ---------------------------------------------------------------- in training


def test_settings_stand_in_the_name():
    x, y = nf.Generator(0).normal((20, 4)), np.arange(20) % 3
    model = nf.Dense(4, 3, rng=0)
    metrics = [accuracy, partial(top_k_accuracy, k=2), partial(top_k_accuracy, k=3), partial(f1, average="micro")]
    history = nf.train(
        lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), model, nf.DataLoader((x, y), 5),
        nf.setup(nf.Descent(0.1), model), 1, validation=(x, y), metrics=metrics, progress=False,
    )  # fmt: skip
    names = ["accuracy", "top_k_accuracy(k=2)", "top_k_accuracy(k=3)", "f1(average=micro)"]
    assert [name for name in history[0] if "(" in name or name == "accuracy"] == names
    assert [history[0][name] for name in names] == [metric(model(x), y) for metric in metrics]
    with pytest.raises(RangeError, match=r"got a second top_k_accuracy\(k=2\)"):
        nf.train(len, model, [(x, y)], nf.setup(nf.Descent(0.1), model), 1, validation=(x, y), metrics=metrics[1:2] * 2)


# ---------------------------------------------------------------- messages

X = np.eye(3)
WIDE = "of shape (n, c), a score for each of 2 classes or more"
FITS = "labels of shape (3,) or one-hot of shape (3, 3)"


@pytest.mark.parametrize("metric", LABELLED)
@pytest.mark.parametrize(
    ("output", "y", "error", "message"),
    [
        (np.zeros(3), [0, 1, 2], ShapeError, f"output must be {WIDE}, got shape (3,)"),
        (np.zeros((3, 1)), [0, 0, 0], ShapeError, f"output must be {WIDE}, got shape (3, 1)"),
        (np.zeros((0, 3)), [], ShapeError, "output must be of one sample or more, got shape (0, 3)"),
        (X.astype(complex), [0, 1, 2], DTypeError, "output must be of real numbers, got complex128"),
        (np.full((3, 3), np.nan), [0, 1, 2], NonFiniteError, "output must be free of NaN, got NaN"),
        (X, [0, 1], ShapeError, f"y must be {FITS}, got shape (2,)"),
        (X, [[0], [1], [2]], ShapeError, f"y must be {FITS}, got shape (3, 1); y.reshape((3,))"),
        (X, X * 0.5, RangeError, "y must be one-hot, each row a single one among zeros, got other rows"),
        (X, X * 0, RangeError, "y must be one-hot, each row a single one among zeros, got other rows"),
        (X, X * np.nan, RangeError, "y must be one-hot, each row a single one among zeros, got other rows"),
        (X, np.ones((3, 3)), RangeError, "y must be one-hot, each row a single one among zeros, got other rows"),
        (X, [0.0, 1.0, 2.0], DTypeError, "y must be of integers, got float64; y.astype(np.int64)"),
        (X, [True, False, True], DTypeError, "y must be of integers, got bool; y.astype(np.int64)"),
        (X, [0, 1, 3], RangeError, "y must be labels in [0, 3), got labels from 0 to 3"),
        (X, [-1, 1, 2], RangeError, "y must be labels in [0, 3), got labels from -1 to 2"),
    ],
)
def test_messages(metric, output, y, error, message):
    with pytest.raises(error) as caught:
        metric(output, y)
    assert str(caught.value) == f"{metric.__name__}: {message}"
    assert isinstance(caught.value, Error)


SHAPE = "y must be of shape (2,) as output, got shape (2, 1); y.reshape((2,))"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: top_k_accuracy(X, [0, 1, 2], 4), RangeError,
         "top_k_accuracy: k must be at most the 3 classes, got 4"),
        (lambda: f1(X, [0, 1, 2], "samples"), RangeError,
         "f1: average must be one of macro, weighted, micro, binary, got 'samples'"),
        (lambda: recall(X, [0, 1, 2], "binary"), ShapeError,
         "recall: output must be of 2 classes where average='binary', got 3"),
        (lambda: accuracy(X, nf.OneHot([0, 1, 2], 4)), ShapeError, f"accuracy: y must be {FITS}, got shape (3, 4)"),
        (lambda: roc_auc(X, [0, 1, 2]), ShapeError, "roc_auc: output must be of 2 classes, got 3"),
        (lambda: roc_auc([0.5, 0.5], [1, 1]), RangeError,
         "roc_auc: y must be of both classes, got 2 of class 1 among 2"),
        (lambda: roc_auc([0.5, np.nan], [0, 1]), NonFiniteError, "roc_auc: output must be free of NaN, got NaN"),
        (lambda: roc_auc([0.5, 0.1], [0, 2]), RangeError,
         "roc_auc: y must be labels in [0, 2), got labels from 0 to 2"),
        (lambda: mae([1.0, 2.0], [[1.0], [2.0]]), ShapeError, f"mae: {SHAPE}"),
        (lambda: rmse([], []), ShapeError, "rmse: output must be of one sample or more, got shape (0,)"),
        (lambda: r2([1.0], [1.0]), ShapeError, "r2: output must be of two samples or more, got one"),
        (lambda: mae(["a"], [1.0]), DTypeError, "mae: output must be of real numbers, got <U1"),
        (lambda: r2([1.0, 2.0], [1j, 2.0]), DTypeError, "r2: y must be of real numbers, got complex128"),
        (lambda: rmse([1.0], [np.inf]), NonFiniteError, "rmse: output and y must be finite, got NaN or Inf"),
    ],
)  # fmt: skip
def test_messages_of_one(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
