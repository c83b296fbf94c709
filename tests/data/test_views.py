"""Mapped, filtered, grouped, joined, random, windowed data against plain lists; every message."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.data import DataLoader, filterobs, groupobs, joinobs, mapobs, numobs, randobs, slidingwindow, splitobs
from numbaflux.op import DTypeError, RangeError, ShapeError

X, NAMES = np.arange(12.0).reshape(6, 2), list("abcdef")


def test_mapobs_computes_when_asked():
    calls = []
    view = mapobs(lambda s: calls.append(s[1]) or (s[0] * 2, s[1].upper()), (X, NAMES))
    assert len(view) == numobs(view) == 6 and calls == []
    assert view[4][0].tolist() == [16.0, 18.0] and view[-1][1] == "F" and calls == ["e", "f"]
    assert [name for _, name in view] == list("ABCDEF")  # an IndexError ends it
    with pytest.raises(IndexError, match="position 6 of 6 samples"):
        view[6]
    with pytest.raises(IndexError):
        view[-7]
    batches = list(DataLoader(mapobs(lambda s: s[0], (X, NAMES)), 4))
    assert np.array_equal(np.concatenate(batches), X)


def test_filterobs():
    kept = filterobs(lambda s: s["name"] in "bdf" and s["x"][0] > 2, {"x": X, "name": NAMES})
    assert kept["x"].tolist() == X[[3, 5]].tolist() and list(kept["name"]) == ["d", "f"]
    assert filterobs(lambda x: False, X).shape == (0, 2)
    labels = filterobs(lambda y: int(y.indices) == 1, nf.OneHot([0, 1, 1, 2], 3))
    assert labels.indices.tolist() == [1, 1] and labels.classes == 3


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_groups_hold_each_sample_once_in_order(values):
    groups = groupobs(lambda s: int(s[0]) % 3, (np.array(values), [str(v) for v in values]))
    assert list(groups) == list(dict.fromkeys(v % 3 for v in values))
    for key, (numbers, texts) in groups.items():
        assert numbers.tolist() == [v for v in values if v % 3 == key] and list(texts) == list(map(str, numbers))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_joined_samples_follow_each_other(sizes):
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    joined = joinobs(*(list(part) if i % 2 else part for i, part in enumerate(parts)))
    assert len(joined) == sum(sizes) and [int(i) for i in joined] == list(range(sum(sizes)))
    assert joined[-1] == sum(sizes) - 1
    with pytest.raises(IndexError):
        joined[len(joined)]


def test_joined_tuples_go_through_a_loader():
    joined = joinobs((X, np.arange(6)), (X[:2] + 100, np.arange(2)))
    xs, ys = zip(*DataLoader(joined, 3, shuffle=True, rng=0), strict=True)
    order = nf.Generator(0).permutation(8)
    assert np.array_equal(np.concatenate(xs), np.concatenate([X, X[:2] + 100])[order])
    assert np.concatenate(ys).tolist() == [(0, 1, 2, 3, 4, 5, 0, 1)[i] for i in order]


def test_randobs_draws_once_and_with_replacement():
    g = nf.Generator(5)
    drawn = randobs({"x": X, "name": NAMES}, 200, g)
    index = nf.Generator(5).integers(200, 0, 6)
    assert (
        g.state == (5, 1) and np.array_equal(drawn["x"], X[index]) and list(drawn["name"]) == [NAMES[i] for i in index]
    )
    one = randobs((X, NAMES), rng=5)
    assert one[0].tolist() == X[nf.Generator(5).integers(1, 0, 6)[0]].tolist() and one[1] in NAMES
    assert np.bincount(index, minlength=6).min() > 10


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 7))
def test_windows_against_slices(n, size, stride):
    size = min(size, n)
    x = np.arange(n * 2).reshape(n, 2)
    expected = [x[i : i + size] for i in range(0, n - size + 1, stride)]
    windows = slidingwindow((x, list(x), nf.OneHot(np.arange(n), n)), size, stride)
    assert windows[0].shape == (len(expected), size, 2) and np.array_equal(windows[0], expected)
    assert len(windows[1]) == len(expected) and np.array_equal(np.stack(list(windows[1])), expected)
    assert windows[2].shape == (len(expected), size, n) and windows[2].indices[:, 0].tolist() == [
        w[0, 0] // 2 for w in expected
    ]


def test_windows_of_arrays_are_views_that_protect_their_data():
    x = np.zeros((5, 3))
    windows = slidingwindow(x, 2)
    assert np.shares_memory(windows, x) and not windows.flags.writeable
    batch = next(iter(DataLoader(windows, 2)))
    assert batch.flags.c_contiguous and batch.flags.writeable
    assert [len(part) for part in splitobs(windows, 0.5)] == [2, 2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mapobs(3, X), DTypeError, "mapobs: f must be a function of a sample, got 3"),
        (lambda: filterobs(None, X), DTypeError, "filterobs: f must be a function of a sample, got None"),
        (lambda: groupobs("f", X), DTypeError, "groupobs: f must be a function of a sample, got 'f'"),
        (lambda: mapobs(len, X[:0]), ShapeError, "mapobs: data must be of one sample or more, got 0 in data"),
        (lambda: joinobs(), ShapeError, "joinobs: datasets must be one or more, got none"),
        (lambda: joinobs(X, 3), DTypeError,
         "joinobs: data must be an array, a tuple or dict of arrays, or an object with __len__ and __getitem__, "
         "got builtins.int"),
        (lambda: randobs(nf.onehot(0, range(3))), ShapeError,
         "randobs: data must be at least one-dimensional, got OneHot(0, classes=3)"),
        (lambda: slidingwindow(X, 7), RangeError, "slidingwindow: size must be at most the 6 samples, got 7"),
        (lambda: slidingwindow([[1], [1, 2]], 2)[0], ShapeError,
         "slidingwindow: samples must be of one shape, got (1,) and (2,); nf.batch_sequence pads sequences"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
