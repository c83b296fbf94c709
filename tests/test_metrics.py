"""Metrics against counting by hand, sample by sample; every message."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaflux.metrics import accuracy, confusion_matrix
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
    for y in (labels, onehot, onehot.astype(bool), labels.tolist()):
        assert confusion_matrix(output, y).tolist() == table
        assert accuracy(output, y) == right
    assert type(accuracy(output, labels)) is float and confusion_matrix(output, labels).dtype == np.int64


def test_infinite_scores_and_strided_arrays():
    output = np.array([[-np.inf, 0.0], [np.inf, 1.0]])
    assert accuracy(output, np.array([1, 0])) == 1.0
    wide = np.arange(24.0).reshape(4, 6)[::-1, ::2]
    assert accuracy(np.asfortranarray(wide), np.array([2, 0, 2, 0, 2])[:4]) == 0.5


X = np.eye(3)
WIDE = "of shape (n, c), a score for each of 2 classes or more"
FITS = "labels of shape (3,) or one-hot of shape (3, 3)"


@pytest.mark.parametrize("metric", [accuracy, confusion_matrix])
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
