"""Samples by position, views of them, batches by number: against plain lists and the loader; every message."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.data import BatchView, DataLoader, ObsView, eachobs, getobs, numobs, obsview, shuffleobs
from numbaflux.op import DTypeError, RangeError, ShapeError

X, NAMES = np.arange(12.0).reshape(6, 2), list("abcdef")


class Pair(NamedTuple):
    x: object
    y: object


def data():
    return Pair(X, {"name": NAMES, "label": nf.OneHot([0, 1, 2, 0, 1, 2], 3)})


@pytest.mark.parametrize("i", [0, 4, -1, np.int32(2)])
def test_one_sample(i):
    got = getobs(data(), i)
    assert type(got) is Pair and got.x.tolist() == X[i].tolist() and got.y["name"] == NAMES[i]
    assert got.y["label"].indices == [0, 1, 2, 0, 1, 2][i]


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        ([2, 0, -1], [2, 0, 5]), (np.array([1], np.uint8), [1]), (slice(1, None, 2), [1, 3, 5]),
        (np.arange(6) > 3, [4, 5]), (None, [0, 1, 2, 3, 4, 5]), ((0, 0), [0, 0]),
    ],
)  # fmt: skip
def test_several_samples_are_a_batch(index, chosen):
    got = getobs(data(), index)
    assert type(got) is Pair and got.x.tolist() == X[chosen].tolist()
    assert got.y["name"].tolist() == [NAMES[i] for i in chosen]
    assert got.y["label"].indices.tolist() == [i % 3 for i in chosen] and got.y["label"].classes == 3
    view = obsview(data(), slice(None) if index is None else index)
    assert len(view) == numobs(view) == len(chosen) and isinstance(view, ObsView)
    assert [s.y["name"] for s in view] == [NAMES[i] for i in chosen]
    again = getobs(view)
    assert again.x.tolist() == got.x.tolist() and again.y["name"].tolist() == got.y["name"].tolist()


def test_a_view_copies_nothing_and_sees_changes():
    x = X.copy()
    view = obsview((x, NAMES), [3, 1])
    x[3] = -1
    assert view[0][0].tolist() == [-1, -1] and np.shares_memory(view[0][0], x)
    assert repr(view) == "ObsView(2 of 6 samples of tuple)"
    assert getobs(obsview(view, [1]))[1].tolist() == ["b"]  # a view of a view
    batches = list(DataLoader(view, 2))
    assert batches[0][0].tolist() == x[[3, 1]].tolist() and batches[0][1].tolist() == ["d", "b"]


@given(st.integers(1, 12), st.integers(1, 13), st.booleans())
def test_batches_by_number_are_those_of_the_loader(n, size, partial):
    held = np.arange(n * 2.0).reshape(n, 2), [str(i) for i in range(n)]
    if size > n and not partial:
        return
    view, loader = BatchView(held, size, partial), DataLoader(held, size, partial=partial)
    assert len(view) == len(loader) and view.batchsize == loader.batchsize == size
    for k, (x, names) in enumerate(loader):
        for got in (view[k], view[k - len(view)]):
            assert got[0].tolist() == x.tolist() and got[1].tolist() == names.tolist()
    assert len(list(view)) == len(loader)


def test_a_batch_view_is_data_whose_samples_are_batches():
    view = BatchView((X, NAMES), 2)
    assert repr(view) == "BatchView(3 batches of 2 samples of tuple)"
    mixed = shuffleobs(view, rng=0)
    order = nf.Generator(0).permutation(3)
    assert [part[1].tolist() for part in mixed] == [NAMES[2 * i : 2 * i + 2] for i in order]
    own = BatchView(NAMES, 4, collate="".join)
    assert list(own) == ["abcd", "ef"]
    with pytest.raises(IndexError, match="^position 3 of 3 batches$"):
        view[3]


def test_sizes_of_small_integer_types():
    view = BatchView(np.arange(300), np.uint8(200))
    assert [len(batch) for batch in view] == [200, 100]
    assert [len(part) for part in nf.chunk(np.arange(300), np.uint8(200))][:2] == [2, 2]


def test_each_sample():
    assert [name for _, name in eachobs((X, NAMES))] == NAMES
    order = nf.Generator(3).permutation(6)
    assert [name for _, name in eachobs((X, NAMES), shuffle=True, rng=3)] == [NAMES[i] for i in order]
    generator = nf.Generator(3)
    waiting = eachobs(X, shuffle=True, rng=generator)
    assert generator.state == (3, 1), "the order is drawn by the call"
    assert next(waiting).tolist() == X[order[0]].tolist()


def test_parts_inside_a_gradient_have_gradients():
    def f(x):
        first, second = nf.chunk(x, sizes=[1, 5])
        return (first * 2).sum() + (nf.getobs(second, [0, 0]) ** 2).sum()

    grad = nf.gradient(f, X)
    expected = np.zeros_like(X)
    expected[0], expected[1] = 2, 4 * X[1]
    assert grad.tolist() == expected.tolist()
    assert nf.compile(lambda x: tuple(nf.chunk(x, 2, axis=1)))(X)[1].tolist() == X[:, 1:].tolist()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: getobs(X, 6), RangeError, "getobs: index must be in -6..5, got 6"),
        (lambda: getobs(X, [0, -7]), RangeError, "getobs: index must be in -6..5, got -7"),
        (lambda: getobs(X, []), DTypeError,
         "getobs: index must be integers (k,), a slice, or booleans (6,), got float64 of shape (0,)"),
        (lambda: getobs(X, slice(0, 0)), ShapeError, "getobs: index must be of one position or more, got none"),
        (lambda: getobs(X, True), DTypeError,
         "getobs: index must be integers (k,), a slice, or booleans (6,), got bool of shape ()"),
        (lambda: obsview(X, [0.5]), DTypeError,
         "obsview: index must be integers (k,), a slice, or booleans (6,), got float64 of shape (1,)"),
        (lambda: obsview(X, [True]), DTypeError,
         "obsview: index must be integers (k,), a slice, or booleans (6,), got bool of shape (1,)"),
        (lambda: getobs([[1], [1, 2]]), ShapeError,
         "getobs: samples must be of one shape, got (1,) and (2,); nf.batch_sequence pads sequences"),
        (lambda: obsview(3, [0]), DTypeError,
         "obsview: data must be an array, a tuple or dict of arrays, or an object with __len__ and __getitem__, "
         "got builtins.int"),
        (lambda: BatchView(X, 7, partial=False), RangeError,
         "BatchView: batchsize must be at most the 6 samples where partial=False, got 7; "
         "pass a smaller batchsize or partial=True"),
        (lambda: BatchView(X, 2, collate=3), DTypeError,
         "BatchView: collate must be a function of a list of samples, got 3"),
        (lambda: eachobs(X, shuffle=True, rng="a"), DTypeError,
         "eachobs: rng must be None, a seed or a numbaflux Generator, got builtins.str; pass a seed: rng=0"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
