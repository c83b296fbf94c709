"""Largest elements and places in sorted rows: against sorting in Python, PyTorch, NumPy's searchsorted; messages."""

import bisect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaflux.data import batched_searchsorted, topk
from numbaflux.op import DTypeError, RangeError, ShapeError

G = np.random.default_rng(0)
X = G.standard_normal((4, 7, 3))

rows = st.lists(st.integers(-3, 3), min_size=1, max_size=9)


@given(rows, st.data(), st.booleans())
def test_the_first_of_equals_comes_first(row, data, largest):
    k = data.draw(st.integers(1, len(row)))
    values, indices = topk(row, k, largest=largest)
    order = sorted(range(len(row)), key=lambda i: (-row[i] if largest else row[i], i))[:k]
    assert indices.tolist() == order and values.tolist() == [row[i] for i in order]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("largest", [True, False])
def test_topk_along_axes_as_in_pytorch(axis, largest):
    torch = pytest.importorskip("torch")
    values, indices = topk(X, 3, axis, largest)
    expected = torch.topk(torch.tensor(X), 3, dim=axis, largest=largest, sorted=True)
    assert np.array_equal(values, expected.values.numpy()) and np.array_equal(indices, expected.indices.numpy())
    assert np.array_equal(np.take_along_axis(X, indices, axis), values)


def test_topk_of_other_types():
    values, indices = topk(np.array([3, 250, 7], np.uint8), 2)
    assert values.tolist() == [250, 7] and indices.tolist() == [1, 2] and values.dtype == np.uint8
    assert np.isnan(topk([1.0, np.nan, 2.0], 1)[0][0]) and topk([1.0, np.nan, 2.0], 2, largest=False)[1].tolist() == [
        0,
        2,
    ]
    assert topk([True, False, True], 2)[1].tolist() == [0, 2]


@given(st.lists(rows.map(sorted), min_size=1, max_size=4), st.lists(st.integers(-4, 4), max_size=5))
def test_places_in_each_row(held, numbers):
    m = min(map(len, held))
    a, v = np.array([row[:m] for row in held]), np.array([numbers] * len(held), int).reshape(len(held), -1)
    for side, place in (("left", bisect.bisect_left), ("right", bisect.bisect_right)):
        expected = [[place(row[:m], number) for number in numbers] for row in held]
        assert batched_searchsorted(a, v, side).tolist() == expected


def test_one_row_serves_all_and_axes_in_front_are_batches():
    a, v = np.sort(G.standard_normal(20)), G.standard_normal((2, 3, 8))
    assert np.array_equal(batched_searchsorted(a, v), np.searchsorted(a, v))
    rows = np.sort(G.standard_normal((2, 3, 20)), axis=-1)
    got = batched_searchsorted(rows, v, "right")
    assert got.dtype == np.int64 and np.array_equal(got, (rows[..., None, :] <= v[..., None]).sum(-1))


def test_documented_examples_of_mlutils():
    a, v = [1, 3, 5, 7, 9], [4, 5, 8]  # its places count from 1
    assert (batched_searchsorted(a, v) + 1).tolist() == [3, 3, 5]
    assert batched_searchsorted(a, v, "right").tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: topk(X, 8, axis=1), RangeError, "topk: k must be at most the 7 elements along axis 1, got 8"),
        (lambda: topk(X, 1, axis=3), ShapeError, "topk: axis must be in -3..2, got 3"),
        (lambda: topk(3.0, 1), ShapeError, "topk: x must be at least one-dimensional, got shape ()"),
        (lambda: topk(["a"], 1), DTypeError, "topk: x must be an array of real numbers, got <U1"),
        (lambda: batched_searchsorted([1], [1], "top"), RangeError,
         "batched_searchsorted: side must be 'left' or 'right', got 'top'"),
        (lambda: batched_searchsorted([[1], [2]], [1, 2]), ShapeError,
         "batched_searchsorted: v must be of shape (2, k), got shape (2,)"),
        (lambda: batched_searchsorted(1, [1]), ShapeError,
         "batched_searchsorted: a must be at least one-dimensional, got shape ()"),
        (lambda: batched_searchsorted([1j], [1]), DTypeError,
         "batched_searchsorted: a must be an array of real numbers, got complex128"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
