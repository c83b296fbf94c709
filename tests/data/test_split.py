"""splitobs and shuffleobs: nothing lost, nothing twice, shares exact, structures, every message."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.data import ObsView, shuffleobs, splitobs
from numbaflux.op import DTypeError, Error, RangeError, ShapeError
from numbaflux.rng import Generator, default, seed

SHARES = st.one_of(
    st.floats(0.05, 0.95), st.tuples(st.floats(0.05, 0.45), st.floats(0.05, 0.45)), st.tuples(st.just(0.5))
)


@given(st.integers(4, 200), SHARES, st.booleans(), st.booleans(), st.integers(0, 5))
def test_parts_hold_every_sample_once(n, at, shuffle, stratified, seed):
    x, y = np.arange(n), np.arange(n) % 3
    shares = at if isinstance(at, tuple) else (at,)
    sizes = [round(sum(shares[: k + 1]) * n) for k in range(len(shares))]
    assume(len({0, *sizes, n}) == len(sizes) + 2)
    parts = splitobs((x, y), at, shuffle, y if stratified else None, seed)
    assert [len(part[0]) for part in parts] == [b - a for a, b in zip([0, *sizes], [*sizes, n], strict=True)]
    assert all(np.array_equal(part[0] % 3, part[1]) for part in parts)
    together = np.concatenate([part[0] for part in parts])
    assert sorted(together.tolist()) == list(range(n))
    if not shuffle:
        assert all(np.all(np.diff(part[0]) > 0) for part in parts)
        assert stratified or together.tolist() == list(range(n))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 19), st.booleans())
def test_strata_are_as_near_to_their_share_as_whole_numbers_allow(counts, twentieths, shuffle):
    labels = Generator(0).permutation(sum(counts))
    labels = np.repeat(np.arange(len(counts)), counts)[labels]
    n = len(labels)
    size = round(twentieths / 20 * n)
    assume(0 < size < n)
    first, second = splitobs(labels, twentieths / 20, shuffle, labels, rng=1)
    assert len(first) == size
    for label, count in enumerate(counts):
        share = Fraction(size, n) * count
        got = int((first == label).sum())
        assert abs(got - share) < 1
        assert share.denominator > 1 or got == share
        assert got + (second == label).sum() == count


def test_strata_of_digits_like_labels_are_exact():
    labels = np.tile(np.arange(10), 20)
    for part, expected in zip(splitobs(labels, (0.7, 0.2), True, labels, rng=0), (14, 4, 2), strict=True):
        assert np.bincount(part).tolist() == [expected] * 10


def test_many_rare_labels_do_not_crowd_out_a_common_one():
    labels = np.array([0] * 100 + list(range(1, 51)))
    first, _ = splitobs(labels, 0.4, stratified=labels)
    assert (first == 0).sum() == 40 and (first > 0).sum() == 20


def test_shuffled_strata_choose_among_equals_by_chance():
    labels = np.arange(6)  # each label once: which of them lands in the first part is open
    chosen = {tuple(sorted(splitobs(labels, 0.5, True, labels, rng=s)[0].tolist())) for s in range(30)}
    assert len(chosen) > 10
    assert splitobs(labels, 0.5, False, labels)[0].tolist() == [0, 1, 2]


def test_labels_of_any_type():
    x, words = np.arange(8), np.array(["cat", "dog"] * 4)
    first, second = splitobs((x, words), 0.5, stratified=words)
    assert first[0].tolist() == [0, 1, 2, 3] and sorted(second[1].tolist()) == ["cat"] * 2 + ["dog"] * 2
    assert splitobs(x, 0.5, stratified=words.tolist())[0].tolist() == [0, 1, 2, 3]


def test_counts_and_shares():
    x = np.arange(10)
    assert [len(part) for part in splitobs(x)] == [8, 2]
    assert [len(part) for part in splitobs(x, 3)] == [3, 7]
    assert [len(part) for part in splitobs(x, (2, 3))] == [2, 3, 5]
    assert [len(part) for part in splitobs(x, [0.2, 0.3])] == [2, 3, 5]
    assert [len(part) for part in splitobs(x, (0.1,) * 9)] == [1] * 10


def test_consecutive_parts_are_views_others_are_copies():
    x = np.zeros((10, 2))
    assert all(np.shares_memory(part, x) for part in splitobs(x))
    assert not any(np.shares_memory(part, x) for part in splitobs(x, shuffle=True, rng=0))
    assert not np.shares_memory(shuffleobs(x, rng=0), x)


def test_seeds():
    x = np.arange(40)
    a, b = splitobs(x, shuffle=True, rng=1), splitobs(x, shuffle=True, rng=1)
    assert a[0].tolist() == b[0].tolist() == Generator(1).permutation(40)[:32].tolist()
    assert splitobs(x, shuffle=True, rng=2)[0].tolist() != a[0].tolist()
    seed(3)
    splitobs(x, stratified=x)
    assert default().state == (3, 0)
    splitobs(x, shuffle=True, stratified=x)
    assert default().state == (3, 1)
    assert shuffleobs(x, rng=1).tolist() == Generator(1).permutation(40).tolist()


def test_shuffled_splits_are_uniform():
    counts = np.zeros(6)
    for s in range(1200):
        counts[splitobs(np.arange(6), 0.5, shuffle=True, rng=s)[0]] += 1
    assert np.abs(counts - 600).max() < 5 * np.sqrt(1200 * 0.25)


def test_structures():
    data = {"x": np.arange(5), "y": (np.arange(5.0), list("abcde"))}
    first, second = splitobs(data, 3)
    assert second["x"].tolist() == [3, 4] and second["y"][0].tolist() == [3.0, 4.0]
    assert isinstance(second["y"][1], ObsView) and list(second["y"][1]) == ["d", "e"]
    assert repr(first["y"][1]) == "ObsView(3 of 5 samples of list)"
    mixed = shuffleobs(data, rng=0)
    assert list(mixed["y"][1]) == ["abcde"[i] for i in mixed["x"]]
    nested, _ = splitobs(mixed["y"][1], 2)
    assert list(nested) == list(mixed["y"][1])[:2]


X = np.zeros((5, 2))
AT = "a share, a number of samples, or a tuple of either"
INSIDE = "in (0, 1), a tuple of sum below 1"
NONE_EMPTY = "such that no part of the 5 samples is empty"


@pytest.mark.parametrize(
    ("at", "error", "message"),
    [
        (0.0, RangeError, f"{INSIDE}, got 0.0"),
        (1.0, RangeError, f"{INSIDE}, got 1.0"),
        (float("nan"), RangeError, f"{INSIDE}, got nan"),
        ((0.5, 0.5), RangeError, f"{INSIDE}, got (0.5, 0.5)"),
        (0.01, RangeError, f"{NONE_EMPTY}, got 0.01 (0 + 5 samples)"),
        (5, RangeError, f"{NONE_EMPTY}, got 5 (5 + 0 samples)"),
        (-1, RangeError, f"{NONE_EMPTY}, got -1 (-1 + 6 samples)"),
        ((2, 4), RangeError, f"{NONE_EMPTY}, got (2, 4) (2 + 4 + -1 samples)"),
        ((), DTypeError, f"{AT}, got ()"),
        ((2, 0.5), DTypeError, f"{AT}, got (2, 0.5)"),
        ("0.8", DTypeError, f"{AT}, got '0.8'"),
        (True, DTypeError, f"{AT}, got True"),
        (None, DTypeError, f"{AT}, got None"),
    ],
)
def test_messages_of_at(at, error, message):
    with pytest.raises(error) as caught:
        splitobs(X, at)
    assert str(caught.value) == f"splitobs: at must be {message}"


@given(st.lists(st.sampled_from(["no", "yes", "maybe"]), min_size=1, max_size=20))
def test_positions_and_counts_of_labels(labels):
    found, counts = nf.group_indices(labels), nf.group_counts(labels)
    assert list(found) == list(counts) == list(dict.fromkeys(labels))
    for name, index in found.items():
        assert index.tolist() == [i for i, label in enumerate(labels) if label == name]
        assert counts[name] == labels.count(name)
    numbered = nf.onehotbatch(labels, ["no", "yes", "maybe"])
    assert list(nf.group_counts(numbered).values()) == list(counts.values())
    assert [index.tolist() for index in nf.group_indices(numbered).values()] == [i.tolist() for i in found.values()]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: splitobs(X, stratified=[1, 2]),
            ShapeError,
            "splitobs: stratified must be of shape (5,), got shape (2,)",
        ),
        (
            lambda: splitobs(X, stratified=np.eye(5)),
            ShapeError,
            "splitobs: stratified must be of shape (5,), got shape (5, 5)",
        ),
        (
            lambda: splitobs((X, X[:3])),
            ShapeError,
            "splitobs: data must be of equal numbers of samples, got 5 in data[0], 3 in data[1]",
        ),
        (
            lambda: nf.group_indices(X),
            ShapeError,
            f"group_indices: labels must be of shape (5,), got shape {X.shape}",
        ),
        (
            lambda: nf.group_counts([]),
            ShapeError,
            "group_counts: data must be of one sample or more, got 0 in data",
        ),
        (
            lambda: shuffleobs(None),
            DTypeError,
            "shuffleobs: data must be an array, a tuple or dict of arrays, or an object with __len__ and __getitem__, "
            "got builtins.NoneType",
        ),
        (
            lambda: shuffleobs(X, rng=1.5),
            DTypeError,
            "shuffleobs: rng must be None, a seed or a numbaflux Generator, got builtins.float; pass a seed: rng=0",
        ),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
    assert isinstance(caught.value, Error)
