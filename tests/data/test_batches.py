"""Batches of samples and sequences, chunks, classes evened out: against plain lists; every message."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.data import batch, batch_sequence, batchseq, chunk, oversample, rpad_constant, unbatch, undersample
from numbaflux.op import DTypeError, RangeError, ShapeError

X = np.arange(12.0).reshape(6, 2)


class Pair(NamedTuple):
    x: object
    y: object


def test_batch_and_unbatch():
    samples = [Pair(row, {"y": nf.OneHot([i], 6)[0]}) for i, row in enumerate(X)]
    got = batch(samples)
    assert type(got) is Pair and np.array_equal(got.x, X) and got.y["y"].indices.tolist() == list(range(6))
    again = unbatch(got)
    assert len(again) == 6 and type(again[2]) is Pair and again[2].x.tolist() == [4.0, 5.0]
    assert again[2].y["y"].indices == 2
    assert batch([0.5, 1]).dtype == np.float32 and batch((1, 2)).tolist() == [1, 2]
    assert unbatch(["a", "b"]) == ["a", "b"]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.sampled_from([(), (2,), (2, 3)]), st.integers(-3, 3))
def test_sequences_are_padded_at_their_ends(lengths, inner, pad):
    seqs = [np.full((n, *inner), i + 1.0, np.float32) for i, n in enumerate(lengths)]
    got = batch_sequence(seqs, pad)
    assert got.shape == (len(lengths), max(lengths), *inner) and got.dtype == np.float32
    for row, seq in zip(got, seqs, strict=True):
        assert np.array_equal(row[: len(seq)], seq) and np.all(row[len(seq) :] == pad)
    steps = batchseq(seqs, pad)
    assert len(steps) == max(lengths) and all(np.array_equal(step, got[:, t]) for t, step in enumerate(steps))
    assert all(step.flags.c_contiguous for step in steps)


def test_types_of_sequences():
    assert batch_sequence([np.array([1], np.uint8), np.array([], np.uint8)], 255).tolist() == [[1], [255]]
    assert batch_sequence([[True], []], 0).dtype == np.float64  # [] is an array of floats
    assert batch_sequence([np.array([True]), np.array([], bool)], False).tolist() == [[True], [False]]
    assert np.isnan(batch_sequence([[1.0], [1.0, 2.0]], np.nan)[0, 1])


@given(st.integers(1, 40), st.integers(1, 40))
def test_chunks(n, k):
    x, names = np.arange(n), [str(i) for i in range(n)]
    by_size = chunk((x, names), size=k)
    assert [part.tolist() for part, _ in by_size] == [list(range(n))[i : i + k] for i in range(0, n, k)]
    assert [name for _, part in by_size for name in part] == names
    if k <= n:
        by_number = chunk(x, k)
        assert [part.tolist() for part in by_number] == [part.tolist() for part in np.array_split(x, k)]
        assert all(np.shares_memory(part, x) for part in by_number)


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(1, 4))
def test_chunks_of_listed_sizes(sizes, last):
    sizes = [*sizes, last]
    n = sum(sizes)
    x, names = np.arange(2.0 * n).reshape(n, 2), [str(i) for i in range(n)]
    expected = np.split(x, np.cumsum(sizes)[:-1])
    for told in ({"sizes": sizes}, {"parts": np.repeat(np.arange(len(sizes)), sizes)}):
        got = chunk((x, names), **told)
        assert [part.tolist() for part, _ in got] == [part.tolist() for part in expected]
        assert [name for _, part in got for name in part] == names and np.shares_memory(got[-1][0], x)


def test_documented_chunks_of_mlutils():
    x = np.arange(1, 21).reshape(4, 5)
    assert [part.tolist() for part in chunk(x, 2, axis=1)] == [x[:, :3].tolist(), x[:, 3:].tolist()]
    assert chunk(x, size=2)[1].tolist() == x[2:].tolist() and chunk(np.arange(1, 7), sizes=[2, 4])[1].tolist() == [
        3,
        4,
        5,
        6,
    ]
    y = chunk(x.T, parts=[0, 0, 2, 2, 3])
    assert [part.shape for part in y] == [(2, 4), (0, 4), (2, 4), (1, 4)] and y[3].tolist() == x.T[4:].tolist()
    assert [part.tolist() for part in chunk(x, parts=[0, 0, 1, 1], axis=0)] == [x[:2].tolist(), x[2:].tolist()]
    assert [part.shape for part in chunk((x, x[0]), size=3, axis=-1)[0]] == [(4, 3), (3,)]


def test_documented_padding_of_mlutils():
    x = np.array([[1, 2], [3, 4]])
    assert rpad_constant([1, 2], 4, -1).tolist() == [1, 2, -1, -1] and rpad_constant([1, 2, 3], 2).tolist() == [1, 2, 3]
    assert rpad_constant(x, 4, dims=0).tolist() == [[1, 2], [3, 4], [0, 0], [0, 0]]
    assert rpad_constant(x, 4).tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0] * 4, [0] * 4]
    assert rpad_constant(x, (3, 4)).tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0] * 4]
    assert rpad_constant(x, [3, 2], 9, dims=[1, 0]).tolist() == [[1, 2, 9], [3, 4, 9]]
    grad = nf.gradient(lambda x: (rpad_constant(x, (3, 4), 5.0) ** 2).sum(), x.astype(np.float32))
    assert grad.tolist() == [[2, 4], [6, 8]] and rpad_constant(np.ones(1, bool), 2, False).tolist() == [True, False]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.floats(0.05, 1.0), st.booleans(), st.integers(0, 3))
def test_oversampled_classes(labels, fraction, shuffle, seed):
    y, x = np.array(labels), np.arange(len(labels))
    over, labels_over = oversample(x, y, fraction, shuffle, seed)
    assert np.array_equal(y[over], labels_over)
    before, after = np.bincount(y, minlength=5), np.bincount(labels_over, minlength=5)
    wanted = np.maximum(before, round(fraction * before.max()))
    assert after.tolist() == np.where(before > 0, wanted, 0).tolist()
    times = np.bincount(over, minlength=len(y))
    assert times.min() >= 1
    for label in set(labels):  # each sample as often as any other of its class, or once more
        assert np.ptp(times[y == label]) <= 1
    assert shuffle or np.all(np.diff(over) >= 0)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.booleans(), st.integers(0, 3))
def test_undersampled_classes(labels, shuffle, seed):
    x = np.arange(len(labels))
    under, kept = undersample({"x": x}, labels, shuffle, seed)
    assert [labels[i] for i in under["x"]] == kept.tolist() and len(set(under["x"].tolist())) == len(kept)
    least = min(labels.count(label) for label in set(labels))
    assert sorted(kept.tolist()) == sorted(label for label in set(labels) for _ in range(least))
    assert shuffle or np.all(np.diff(under["x"]) > 0)


def test_which_samples_is_drawn():
    y = np.array([0] * 50 + [1] * 2)
    drawn = [tuple(undersample(np.arange(52), y, rng=s)[0].tolist()) for s in range(20)]
    assert len(set(drawn)) > 15
    assert oversample(np.arange(52), y, rng=1)[0].tolist() == oversample(np.arange(52), y, rng=1)[0].tolist()
    first = [i for i, _ in zip(*oversample(np.arange(3), np.array([0, 0, 1]), rng=2), strict=True)]
    assert sorted(first) == [0, 1, 2, 2]


def test_one_hot_labels_stay_compact():
    y = nf.OneHot([0, 0, 0, 1], 3)
    _, over = oversample(X[:4], y, rng=0)
    assert over.classes == 3 and np.bincount(over.indices).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: batch([]), ShapeError, "batch: samples must be one or more, got none"),
        (lambda: batch(3), DTypeError, "batch: samples must be a list, got int"),
        (lambda: batch([[1], [1, 2]]), ShapeError,
         "batch: samples must be of one shape, got (1,) and (2,); nf.batch_sequence pads sequences"),
        (lambda: unbatch(3), DTypeError,
         "unbatch: data must be an array, a tuple or dict of arrays, or an object with __len__ and __getitem__, "
         "got builtins.int"),
        (lambda: batch_sequence([]), ShapeError, "batch_sequence: seqs must be one or more, got none"),
        (lambda: batch_sequence([np.zeros((1, 2)), np.zeros((1, 3))]), ShapeError,
         "batch_sequence: seqs must be of one shape (length, ...) but for the length, got (2,) and (3,)"),
        (lambda: batchseq([1, 2]), ShapeError,
         "batchseq: seqs must be of one shape (length, ...) but for the length, got None and None"),
        (lambda: batch_sequence([[1]], 0.5), DTypeError, "batch_sequence: pad must be a number of int64, got 0.5"),
        (lambda: batch_sequence([np.array([1], np.uint8)], 256), DTypeError,
         "batch_sequence: pad must be a number of uint8, got 256"),
        (lambda: batchseq([[1]], float("nan")), DTypeError, "batchseq: pad must be a number of int64, got nan"),
        (lambda: batchseq([[1.0]], "a"), DTypeError, "batchseq: pad must be a number of float64, got 'a'"),
        (lambda: batchseq([["a"]]), DTypeError, "batchseq: pad must be a number of <U1, got 0"),
        (lambda: chunk(X), DTypeError, "chunk: n, size, sizes or parts must be given, and one of them alone, got none"),
        (lambda: chunk(X, 2, 3), DTypeError,
         "chunk: n, size, sizes or parts must be given, and one of them alone, got n=2, size=3"),
        (lambda: chunk(X, sizes=[2, 3]), ShapeError,
         "chunk: sizes must be counts that add up to the 6 samples, got [2, 3]"),
        (lambda: chunk(X, sizes=[-1, 7]), ShapeError,
         "chunk: sizes must be counts that add up to the 6 samples, got [-1, 7]"),
        (lambda: chunk(X, sizes=[6.0]), DTypeError, "chunk: sizes must be integers, got float64"),
        (lambda: chunk(X, parts=[0, 1]), ShapeError, "chunk: parts must be of shape (6,), got (2,)"),
        (lambda: chunk(X, parts=[0, 0, 1, 1, 0, 2]), RangeError,
         "chunk: parts must be numbers from 0, none below the one before it, got [0, 0, 1, 1, 0, 2]"),
        (lambda: chunk(X, parts=[-1, 0, 0, 0, 0, 0]), RangeError,
         "chunk: parts must be numbers from 0, none below the one before it, got [-1, 0, 0, 0, 0, 0]"),
        (lambda: chunk(["a"], 1, axis=1), DTypeError, "chunk: data must be arrays, where axis is not 0, got list"),
        (lambda: chunk(X, 2, axis=2), ShapeError, "chunk: axis must be in -2..1, got 2"),
        (lambda: rpad_constant([1], 2, 0.5), DTypeError, "rpad_constant: value must be a number of int64, got 0.5"),
        (lambda: rpad_constant([1], -1), ShapeError,
         "rpad_constant: n must be a length of 0 or more, or 1 of them for as many different axes, got -1"),
        (lambda: rpad_constant(X, (7, 8, 9)), ShapeError,
         "rpad_constant: n must be a length of 0 or more, or 2 of them for as many different axes, got (7, 8, 9)"),
        (lambda: rpad_constant(X, 7, dims=(0, -2)), ShapeError,
         "rpad_constant: n must be a length of 0 or more, or 2 of them for as many different axes, got 7"),
        (lambda: rpad_constant(X, 7, dims=2), ShapeError, "rpad_constant: axis must be in -2..1, got 2"),
        (lambda: chunk(X, 7), RangeError, "chunk: n must be at most the 6 samples, got 7"),
        (lambda: oversample(X, [0, 1]), ShapeError, "oversample: labels must be of shape (6,), got shape (2,)"),
        (lambda: undersample(X, np.eye(6)), ShapeError, "undersample: labels must be of shape (6,), got shape (6, 6)"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
