"""Things of another kind than a function takes, and batches of nothing: our errors, and no arrays touched."""

import re

import numpy as np
import pytest

import numbaflux as nf

X = np.ones((2, 3), np.float32)
WRONG = [
    (lambda: nf.mish("a"), nf.DTypeError, "x must be an array or numbers, got str"),
    (lambda: nf.relu({}), nf.DTypeError, "x must be an array or numbers, got dict"),
    (lambda: nf.Dense(2, 3, init="glorot"), nf.DTypeError,
     "Dense: init must be a function, nf.init.glorot_uniform say, got str"),
    (lambda: nf.init.zeros(np.ones((2, 2), int)), nf.ShapeError, "zeros: shape must be an integer or a tuple"),
    (lambda: nf.init.glorot_uniform((2, 2), dtype=np.ones(3)), nf.DTypeError,
     "glorot_uniform: dtype must be np.float32 or np.float64, got array([1., 1., 1.])"),
    (lambda: nf.flatten(np.float32(1)), nf.ShapeError, "flatten: x must be an array of one axis or more, got float32"),
    (lambda: nf.flatten(None), nf.ShapeError, "flatten: x must be an array of one axis or more, got NoneType of 0"),
    (lambda: nf.glu(X, axis=1.5), nf.DTypeError, "glu: axis must be an integer, got float"),
    (lambda: nf.rpad_constant([1], 3, dims=0.5), nf.DTypeError, "rpad_constant: axis must be an integer, got float"),
    (lambda: nf.losses.label_smoothing((), 0.5), nf.ShapeError,
     "label_smoothing: target must be of at least one class, got shape (0,)"),
    (lambda: nf.groupobs(lambda x: x, X), nf.DTypeError,
     "groupobs: f must be a function whose results can be keys of a dict, got ndarray"),
    (lambda: nf.load(3), nf.FileFormatError, "path must be text that names a file (no URL, no folder), got 3"),
    (lambda: nf.load("\ud800"), nf.FileFormatError, "path must be text that names a file"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "text"), WRONG, ids=[text[:30] for *_, text in WRONG])
def test_things_of_another_kind(act, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        act()


@pytest.mark.parametrize(
    ("layer", "shape", "after"),
    [
        (nf.Conv((3, 3), 2, 3, pad=1), (5, 5, 2), (5, 5, 3)),
        (nf.Conv((3,), 2, 3), (5, 2), (3, 3)),
        (nf.ConvTranspose((3,), 2, 3, pad=1), (5, 2), (5, 3)),
        (nf.LSTM(3, 4), (7, 3), (7, 4)),
        (nf.GRU(3, 4), (7, 3), (7, 4)),
        (nf.RNN(3, 4, bidirectional=True), (7, 3), (7, 8)),
    ],
)
def test_a_batch_of_no_samples(layer, shape, after):
    assert layer(np.zeros((0, *shape), np.float32)).shape == (0, *after)
