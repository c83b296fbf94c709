"""Checkpointed: a layer of a Chain as nf.checkpointed calls it; in training, in files, shown."""

import re

import numpy as np
import pytest

import numbaflux as nf

X, Y = nf.Generator(0).normal((64, 3)), nf.Generator(1).normal((64, 2))


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def model_of(wrap):
    return nf.Chain(wrap(nf.Chain(nf.Dense(3, 8, nf.tanh, rng=0), nf.Dropout(0.2))), nf.Dense(8, 2, rng=1))


@pytest.mark.parametrize("compile", [True, False])
def test_it_trains_as_the_layer_without_it(compile):
    found = []
    for wrap in (nf.Checkpointed, lambda part: part):
        model = model_of(wrap)
        nf.seed(1)
        state = nf.setup(nf.Adam(0.1), model)
        history = nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, [(X, Y)], state, 3, compile=compile,
                           progress=False)  # fmt: skip
        found.append([history.column("loss"), model(X), *nf.state(model).values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_files_and_paths(tmp_path):
    model = nf.Chain(nf.Checkpointed(nf.Dense(3, 4)), nf.Checkpointed(nf.tanh))
    nf.save(tmp_path / "model.h5", model)
    assert nf.load(tmp_path / "model.h5")(X).tobytes() == model(X).tobytes()
    assert list(nf.state(model)) == ["0.layer.weight", "0.layer.bias"]


def test_it_shows_what_it_holds():
    lines = repr(nf.Checkpointed(nf.Dense(3, 4))).split("\n")
    assert [line.split("#")[0].rstrip() for line in lines[:3]] == ["Checkpointed(", "  layer: Dense(3, 4),", ")"]


def test_several_inputs():
    layer = nf.Checkpointed(nf.Bilinear(3, 2, 4, rng=0))
    assert layer(X, Y).tobytes() == layer.layer(X, Y).tobytes()


def test_messages():
    with raises(nf.DTypeError, "Checkpointed: layer must be a layer or function, got int"):
        nf.Checkpointed(3)
    with raises(nf.ShapeError, "0.layer.1.dense: x must be of shape (..., 2), got (64, 4)"):
        nf.Chain(nf.Checkpointed(nf.Chain(nf.Dense(3, 4), nf.Dense(2, 2))))(X)
