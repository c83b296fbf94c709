"""Folds: every sample held out once, sizes, strata, scikit-learn's folds in time, every message."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold, TimeSeriesSplit

import numbaflux as nf
from numbaflux.data import kfolds, leavepout, timeseries_kfolds
from numbaflux.op import DTypeError, Error, RangeError, ShapeError


@given(st.integers(2, 60), st.integers(2, 12), st.booleans(), st.booleans(), st.integers(0, 5))
def test_each_sample_is_held_out_once(n, k, shuffle, stratified, seed):
    k = min(k, n)
    labels = np.arange(n) * 7 % 3
    folds = list(kfolds(n, k, shuffle, labels if stratified else None, seed))
    assert [len(held) for _, held in folds] == [n // k + (i < n % k) for i in range(k)]
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(n))
    for train, held in folds:
        assert sorted([*train, *held]) == list(range(n))
        if stratified:  # of each label its share, to within one sample a part given out before
            for label in range(3):
                share = (labels == label).mean() * len(held)
                assert abs((labels[held] == label).sum() - share) < 2
        if not shuffle:
            assert np.all(np.diff(train) > 0) and np.all(np.diff(held) > 0)


@pytest.mark.parametrize(("n", "k"), [(10, 5), (11, 3), (7, 7)])
def test_against_scikit_learn(n, k):
    for (train, held), (their_train, their_held) in zip(kfolds(n, k), KFold(k).split(np.zeros(n)), strict=True):
        assert train.tolist() == their_train.tolist() and held.tolist() == their_held.tolist()


def test_strata_that_divide_are_exact():
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    for _, held in kfolds(60, 10, True, labels, rng=2):
        assert np.bincount(labels[held]).tolist() == [3, 2, 1]
    for _, held in kfolds(60, 10, stratified=nf.OneHot(labels, 3)):
        assert np.bincount(labels[held]).tolist() == [3, 2, 1]


def test_data_of_any_structure():
    x, names = np.arange(10.0).reshape(5, 2), list("abcde")
    for (train, held), (i, j) in zip(kfolds({"x": x, "names": names}, 2), kfolds(5, 2), strict=True):
        assert np.array_equal(train["x"], x[i]) and np.array_equal(held["x"], x[j])
        assert list(held["names"]) == [names[k] for k in j]


def test_draws():
    g = nf.Generator(3)
    first = [held.tolist() for _, held in kfolds(9, 3, True, rng=g)]
    assert g.state == (3, 1) and first == [part.tolist() for part in np.split(nf.Generator(3).permutation(9), 3)]
    list(kfolds(9, 3, rng=g))
    assert g.state == (3, 1)
    later = kfolds(9, 3, True, rng=g)
    assert g.state == (3, 2)  # at the call, whenever the folds are asked for
    assert [held.tolist() for _, held in later] != first


@given(st.integers(2, 40), st.integers(1, 20))
def test_leavepout_is_kfolds(n, p):
    if p >= n:
        return
    expected = kfolds(n, -(-n // p))
    for (train, held), (a, b) in zip(leavepout(n, p), expected, strict=True):
        assert train.tolist() == a.tolist() and held.tolist() == b.tolist() and 0 < len(held) <= p


def test_leavepout_shuffles():
    held = [int(part[0]) for _, part in leavepout(6, shuffle=True, rng=1)]
    assert held == nf.Generator(1).permutation(6).tolist()


@given(st.integers(2, 60), st.integers(2, 8), st.integers(0, 6), st.none() | st.integers(1, 20))
def test_folds_in_time_are_those_of_scikit_learn(n, k, gap, most):
    if k >= n or gap >= n - k * (n // (k + 1)):
        return
    theirs = TimeSeriesSplit(k, gap=gap, max_train_size=most).split(np.zeros(n))
    for (train, held), (a, b) in zip(timeseries_kfolds(n, k, gap, most), theirs, strict=True):
        assert train.tolist() == a.tolist() and held.tolist() == b.tolist()


def test_folds_in_time_are_views():
    x = np.arange(12.0)
    folds = list(timeseries_kfolds((x, list(range(12))), 2, gap=1))
    assert all(np.shares_memory(part[0], x) for fold in folds for part in fold)
    assert [list(part[1]) for part in folds[0]] == [[0, 1, 2], [4, 5, 6, 7]]
    assert [len(held[0]) for _, held in timeseries_kfolds((x,), 1)] == [6]


X = np.zeros((5, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kfolds(X, 6), RangeError, "kfolds: k must be at most the 5 samples, got 6"),
        (lambda: kfolds(3, 4), RangeError, "kfolds: k must be at most the 3 samples, got 4"),
        (lambda: kfolds(X, 1), RangeError, "kfolds: k must be an integer in [2, inf), got 1"),
        (lambda: kfolds(X, 2, stratified=[1]), ShapeError, "kfolds: stratified must be of shape (5,), got shape (1,)"),
        (lambda: kfolds((X, X[:2])), ShapeError,
         "kfolds: data must be of equal numbers of samples, got 5 in data[0], 2 in data[1]"),
        (lambda: kfolds(True), DTypeError,
         "kfolds: data must be an array, a tuple or dict of arrays, or an object with __len__ and __getitem__, "
         "got builtins.bool"),
        (lambda: kfolds(X, shuffle=True, rng="a"), DTypeError,
         "kfolds: rng must be None, a seed or a numbaflux Generator, got builtins.str; pass a seed: rng=0"),
        (lambda: leavepout(X, 5), RangeError, "leavepout: p must be less than the 5 samples, got 5"),
        (lambda: leavepout(1), RangeError, "leavepout: p must be less than the 1 samples, got 1"),
        (lambda: timeseries_kfolds(X, 5), RangeError, "timeseries_kfolds: k must be less than the 5 samples, got 5"),
        (lambda: timeseries_kfolds(10, 2, gap=4), RangeError,
         "timeseries_kfolds: gap must be less than the 4 samples before the first part, got 4"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
    assert isinstance(caught.value, Error)
