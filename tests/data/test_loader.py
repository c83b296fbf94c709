"""DataLoader: every sample once an epoch, order from the counter alone, structures, dtypes, strides, every message."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.data import DataLoader, numobs
from numbaflux.data.samples import rows, stack
from numbaflux.op import DTypeError, Error, RangeError, ShapeError
from numbaflux.rng import Generator, default, seed


class Squares:
    """A dataset that is no array: samples (vector, label)."""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return np.full(3, i, np.float64), i * i


class Pair(NamedTuple):
    x: object
    y: object


@given(st.integers(1, 60), st.integers(1, 70), st.booleans(), st.booleans(), st.integers(0, 9))
def test_every_sample_once_an_epoch(n, batchsize, shuffle, partial, seed):
    x, y = np.arange(n * 2.0).reshape(n, 2), np.arange(n)
    if not partial and batchsize > n:
        return
    loader = DataLoader((x, y), batchsize, shuffle, partial, seed)
    whole, rest = divmod(n, batchsize)
    sizes = [batchsize] * whole + [rest] * (partial and rest > 0)
    for _ in range(2):
        batches = list(loader)
        assert [len(b[1]) for b in batches] == sizes and len(loader) == len(sizes)
        xs, ys = np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])
        assert np.array_equal(xs, x[ys])
        assert len(set(ys.tolist())) == len(ys) == sum(sizes)
        assert shuffle or ys.tolist() == list(range(sum(sizes)))
        assert all(b[0].flags.c_contiguous and b[0].flags.writeable for b in batches)


@pytest.mark.parametrize("batchsize", [1, 3, 64, 1000, 40_000])
def test_batches_cut_from_one_block_are_those_gathered_one_by_one(batchsize):
    # 40 000 rows of 12 bytes pass the size of a block, so both one batch a block and many are met.
    x = np.arange(120_000, dtype=np.float32).reshape(40_000, 3)
    order = Generator(2).permutation(40_000)
    starts = range(0, 40_000, batchsize)
    for batch, start in itertools.zip_longest(DataLoader(x, batchsize, shuffle=True, rng=2), starts):
        assert np.array_equal(batch, x[order[start : start + batchsize]])


def test_changing_a_batch_changes_nothing_else():
    x = np.arange(12.0).reshape(6, 2)
    kept = x.copy()
    seen = []
    for batch in DataLoader(x, 2):
        seen.append(batch.copy())
        batch[:] = -1
    assert np.array_equal(np.concatenate(seen), kept) and np.array_equal(x, kept)


def test_epochs_differ_and_come_from_the_counter():
    loader = DataLoader(np.arange(50), 8, shuffle=True, rng=3)
    epochs = [np.concatenate(list(loader)).tolist() for _ in range(3)]
    assert epochs == [Generator(3, epoch).permutation(50).tolist() for epoch in range(3)]
    assert loader.rng.state == (3, 3)
    loader.rng.state = (3, 1)
    assert np.concatenate(list(loader)).tolist() == epochs[1]
    again = DataLoader(np.arange(50), 8, shuffle=True, rng=Generator(3, 2))
    assert np.concatenate(list(again)).tolist() == epochs[2]


def test_the_order_is_drawn_when_iteration_starts():
    loader = DataLoader(np.arange(9), 2, shuffle=True, rng=0)
    first, second = iter(loader), iter(loader)
    assert loader.rng.state == (0, 2)
    assert np.concatenate(list(second)).tolist() == Generator(0, 1).permutation(9).tolist()
    assert np.concatenate(list(first)).tolist() == Generator(0, 0).permutation(9).tolist()


def test_generators_are_shared_and_left_alone_without_shuffle():
    seed(5)
    unshuffled = list(DataLoader(np.arange(5), 2))
    assert default().state == (5, 0)
    list(DataLoader(np.arange(5), 2, shuffle=True))
    assert default().state == (5, 1)
    assert [b.tolist() for b in unshuffled] == [[0, 1], [2, 3], [4]]


def test_structures():
    x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    array = next(iter(DataLoader(x, 3)))
    assert isinstance(array, np.ndarray) and array.shape == (3, 2)
    one = next(iter(DataLoader((x,), 3)))
    assert type(one) is tuple and len(one) == 1
    named = next(iter(DataLoader({"image": x, "label": y}, 3)))
    assert list(named) == ["image", "label"] and named["label"].tolist() == [0, 1, 2]
    pair = next(iter(DataLoader(Pair(x, {"a": y}), 3)))
    assert type(pair) is Pair and pair.y["a"].tolist() == [0, 1, 2]
    nested = next(iter(DataLoader(((x, x + 1), y), 3)))
    assert nested[0][1].tolist() == (x + 1)[:3].tolist()


def test_objects_and_lists():
    loader = DataLoader(Squares(), 3, shuffle=True, rng=1, dtype=np.float32)
    batches = list(loader)
    assert [b[1].tolist() for b in batches] == [(i * i).tolist() for i in np.split(Generator(1).permutation(7), [3, 6])]
    assert batches[0][0].shape == (3, 3) and batches[0][0].dtype == np.float32 and batches[0][1].dtype == np.int64
    dicts = next(iter(DataLoader([{"a": i, "b": (i, [i, i])} for i in range(4)], 2)))
    assert dicts["a"].tolist() == [0, 1] and dicts["b"][1].tolist() == [[0, 0], [1, 1]]
    assert type(next(iter(DataLoader([Pair(1, 2), Pair(3, 4)], 2)))) is Pair
    mixed = next(iter(DataLoader((np.eye(3), ["a", "b", "c"]), 2)))
    assert mixed[1].tolist() == ["a", "b"]


def test_python_floats_become_float32_numpy_numbers_keep_their_dtype():
    assert next(iter(DataLoader([0.5, 1.5], 2))).dtype == np.float32
    assert next(iter(DataLoader([1, 2.5], 2))).dtype == np.float32
    assert next(iter(DataLoader([1, 2], 2))).dtype == np.int64
    assert next(iter(DataLoader([np.float64(0.5), 1.5], 2))).dtype == np.float64
    assert next(iter(DataLoader([np.float64(0.5), np.float64(1.5)], 2))).dtype == np.float64
    assert next(iter(DataLoader([0.5, 1.5], 2, dtype=np.float64))).dtype == np.float64


def test_collate_receives_the_samples():
    x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    seen = []

    def collate(samples):
        seen.append(samples)
        return np.concatenate([x for x, _ in samples]), "a note"

    batches = list(DataLoader((x, y), 2, collate=collate, dtype=np.float32))
    assert [len(samples) for samples in seen] == [2, 2, 1]
    assert [int(label) for samples in seen for _, label in samples] == [0, 1, 2, 3, 4]
    assert batches[1][0].tolist() == [4.0, 5.0, 6.0, 7.0] and batches[1][0].dtype == np.float32
    assert batches[1][1] == "a note"
    ragged = [np.arange(i) for i in range(1, 5)]
    padded = list(DataLoader(ragged, 4, collate=lambda s: np.array([np.pad(a, (0, 4 - len(a))) for a in s])))
    assert padded[0].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 2, 0], [0, 1, 2, 3]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_converts_floating_arrays_only(dtype):
    kinds = [np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_, np.complex64, ">f4"]
    data = tuple(np.ones((4, 2), kind) for kind in kinds)
    got = [part.dtype for part in next(iter(DataLoader(data, 3, dtype=dtype)))]
    expected = [np.dtype(kind) for kind in kinds]
    assert [part.dtype for part in next(iter(DataLoader(data, 3)))] == expected
    assert got == [dtype if kind.kind == "f" else kind for kind in expected]


def test_any_strides():
    base = np.arange(2 * 6 * 4 * 3.0).reshape(6, 2, 4, 3)
    frozen = base.copy()
    frozen.flags.writeable = False
    views = [
        np.asfortranarray(base), base[::-1], base[:, :, ::2], base.transpose(0, 3, 1, 2), base[::2],
        np.broadcast_to(base[:1], (6, 2, 4, 3)), frozen,
    ]  # fmt: skip
    for view in views:
        batches = list(DataLoader(view, 4, shuffle=True, rng=0))
        order = Generator(0).permutation(len(view))
        assert np.array_equal(np.concatenate(batches), np.stack([view[i] for i in order]))
        assert all(batch.flags.c_contiguous and batch.flags.writeable for batch in batches)


def test_memory_maps_are_read_batch_by_batch(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(20.0).reshape(10, 2))
    batch = next(iter(DataLoader(np.load(tmp_path / "x.npy", mmap_mode="r"), 4, shuffle=True, rng=0)))
    assert type(batch) is np.ndarray and batch.flags.writeable
    assert batch[:, 0].tolist() == (2.0 * Generator(0).permutation(10)[:4]).tolist()


def test_empty_rows_and_single_samples():
    assert [b.shape for b in DataLoader(np.zeros((3, 0)), 2)] == [(2, 0), (1, 0)]
    assert [b.shape for b in DataLoader(np.zeros(1), 5)] == [(1,)]


def test_one_hot_labels_stay_compact():
    y = nf.OneHot(np.arange(7) % 3, 3)
    for data in ((np.arange(7), y), list(zip(range(7), y, strict=True))):
        got = list(DataLoader(data, 3, shuffle=True, rng=0))
        assert all(isinstance(b, nf.OneHot) and b.classes == 3 for _, b in got)
        assert all((b.indices == i % 3).all() for i, b in got) and [len(b) for _, b in got] == [3, 3, 1]
    assert repr(DataLoader(y, 4)) == "DataLoader((7, 3) OneHot, batchsize=4, shuffle=False, partial=True, len=2)"
    assert numobs(y) == 7 and numobs((y, np.zeros(7))) == 7


def test_repr():
    x, y = np.zeros((10, 3)), np.zeros(10, np.int64)
    shown = "DataLoader(((10, 3) float64, (10,) int64), batchsize=4, shuffle=True, partial=True, len=3)"
    assert repr(DataLoader((x, y), 4, shuffle=True)) == shown
    shown = "DataLoader({'x': (10, 3) float64, 'y': (list)}, batchsize=4, shuffle=False, partial=False, len=2)"
    assert repr(DataLoader({"x": x, "y": ([0] * 10,)}, 4, partial=False)) == shown


def test_numobs():
    assert numobs(np.zeros((3, 2))) == numobs([1, 2, 3]) == numobs({"a": [1, 2, 3], "b": (np.zeros(3),)}) == 3


class Table:
    """Looks like a data frame: indexed by column."""

    iloc = None

    def __len__(self):
        return 3

    def __getitem__(self, column):
        raise AssertionError("must not be reached")


KINDS = "an array, a tuple or dict of arrays, or an object with __len__ and __getitem__"
X = np.zeros((5, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: DataLoader((X, np.zeros(4))),
            ShapeError,
            "data must be of equal numbers of samples, got 5 in data[0], 4 in data[1]",
        ),
        (
            lambda: DataLoader({"x": X, "y": (X, [1])}),
            ShapeError,
            "data must be of equal numbers of samples, got 5 in data['x'], 5 in data['y'][0], 1 in data['y'][1]",
        ),
        (lambda: DataLoader(X[:0]), ShapeError, "data must be of one sample or more, got 0 in data"),
        (lambda: DataLoader(()), ShapeError, "data must be of one part or more, got ()"),
        (lambda: DataLoader(np.array(3.0)), ShapeError, "data must be at least one-dimensional, got shape ()"),
        (lambda: DataLoader(x for x in X), DTypeError, f"data must be {KINDS}, got builtins.generator"),
        (lambda: DataLoader("text"), DTypeError, f"data must be {KINDS}, got builtins.str"),
        (lambda: DataLoader((X, None)), DTypeError, f"data[1] must be {KINDS}, got builtins.NoneType"),
        (
            lambda: DataLoader({"x": Table()}),
            DTypeError,
            f"data['x'] must be {KINDS}, got {__name__}.Table; pass its .to_numpy()",
        ),
        (lambda: DataLoader(X, 0), RangeError, "batchsize must be an integer in [1, inf), got 0"),
        (lambda: DataLoader(X, -3), RangeError, "batchsize must be an integer in [1, inf), got -3"),
        (lambda: DataLoader(X, 2.0), DTypeError, "batchsize must be an integer in [1, inf), got 2.0"),
        (lambda: DataLoader(X, True), DTypeError, "batchsize must be an integer in [1, inf), got True"),
        (
            lambda: DataLoader(X, 6, partial=False),
            RangeError,
            "batchsize must be at most the 5 samples where partial=False, got 6; "
            "pass a smaller batchsize or partial=True",
        ),
        (lambda: DataLoader(X, collate=3), DTypeError, "collate must be a function, got 3"),
        (
            lambda: DataLoader(X, dtype=np.int64),
            DTypeError,
            "dtype must be np.float32 or np.float64, got <class 'numpy.int64'>",
        ),
        (
            lambda: DataLoader(X, rng="a"),
            DTypeError,
            "rng must be None, a seed or a numbaflux Generator, got builtins.str; pass a seed: rng=0",
        ),
        (
            lambda: list(DataLoader([np.zeros(2), np.zeros(3)], 2)),
            ShapeError,
            "samples must be of one shape, got (2,) and (3,); pass collate= to batch them",
        ),
        (
            lambda: list(DataLoader([(1, 2), (1,)], 2)),
            ShapeError,
            "samples must be of one structure, got ['tuple', 'tuple']",
        ),
        (
            lambda: list(DataLoader([{"a": 1}, {"b": 1}], 2)),
            ShapeError,
            "samples must be of one structure, got ['dict', 'dict']",
        ),
        (
            lambda: list(DataLoader([(1, 2), 3], 2)),
            ShapeError,
            "samples must be of one structure, got ['tuple', 'int']",
        ),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == f"DataLoader: {message}"
    assert isinstance(caught.value, Error)


@given(st.integers(1, 20), st.integers(0, 3), st.booleans())
def test_rows(n, width, fortran):
    array = np.arange(n * width).reshape((n, width), order="F" if fortran else "C")
    index = Generator(n).integers(7, 0, n)
    got = rows(array, index)
    assert got.tolist() == [array[i].tolist() for i in index] and got.flags.c_contiguous


def test_stack_keeps_values():
    got = stack([{"a": (np.float32(i), np.full((2, 2), i))} for i in range(3)])
    assert got["a"][0].dtype == np.float32 and got["a"][0].tolist() == [0, 1, 2]
    assert got["a"][1].tolist() == [[[i, i], [i, i]] for i in range(3)]
