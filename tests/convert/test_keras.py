"""Weights of Keras 3: files that it wrote (keras_files.py), and the outputs that it had."""

import h5py
import numpy as np
import pytest

import numbaflux as nf
from tests.convert.keras_files import FILES

OUTPUTS = np.load(FILES / "keras.npz")


def image():
    return nf.Chain(
        *(nf.Conv((3, 3), 1, 4, nf.relu), nf.BatchNorm(4, eps=1e-3), nf.MaxPool((2, 2)), nf.Dropout(0.5)),
        *(nf.DepthwiseConv((2, 2), 4, 8), nf.ConvTranspose((2, 2), 8, 3), nf.flatten, nf.Dense(27, 5, nf.tanh)),
        *(nf.LayerNorm(5), nf.Dense(5, 2)),
    )


def series():
    convs = [nf.Conv((3,), 4, 4, pad=1) for _ in range(2)]
    back = nf.ConvTranspose((3,), 4, 4, pad=1, bias=False)
    return nf.Chain(convs[0], nf.GroupNorm(4, 2), back, nf.RMSNorm(4), convs[1])


def words():
    return nf.Chain(nf.Embedding(9, 4), nf.Dense(4, 4, bias=False), *(nf.Dense(4, 4) for _ in range(11)))


def attention():
    return nf.Chain(nf.MultiHeadAttention(((6, 6, 6), (6, 6), 4), 3, bias=True), nf.Dense(4, 2))


MODELS = {"attention": attention, "image": image, "series": series, "words": words}


def agree(name, model):
    y = OUTPUTS[f"{name}_y"]
    np.testing.assert_allclose(model(OUTPUTS[f"{name}_x"]), y, atol=2e-6 * max(1, abs(y).max()))


def test_a_file_of_another_kind_of_hdf5(tmp_path):
    """What the plain reader does not know is read in a process of its own."""
    model, other = nf.Chain(nf.Dense(2, 3)), nf.Chain(nf.Dense(2, 3))
    w, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)
    with h5py.File(tmp_path / "m.weights.h5", "w", libver="latest") as file:
        file.create_dataset("layers/dense/vars/0", data=w, compression="gzip", shuffle=True)
        file["layers/dense/vars/1"] = b
    nf.convert(model, tmp_path / "m.weights.h5")
    assert np.array_equal(model[0].weight, w) and np.array_equal(model[0].bias, b)
    with h5py.File(tmp_path / "m.weights.h5", "a") as file:
        file["layers/dense/vars/2"] = h5py.SoftLink("/layers/dense/vars/1")
    before = other[0].weight.copy()
    with pytest.raises(nf.FileFormatError, match="^m.weights.h5: link b'2' of layers/dense/vars must be hard"):
        nf.convert(other, tmp_path / "m.weights.h5")
    assert np.array_equal(other[0].weight, before)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_keras(name):
    model = MODELS[name]()
    nf.convert(model, FILES / f"keras-{name}.weights.h5")
    agree(name, model)
    model = nf.f64(MODELS[name]())
    nf.convert(model, str(FILES / f"keras-{name}.weights.h5"))
    assert model[-1].weight.dtype == np.float64
    if name != "words":
        y = model(OUTPUTS[f"{name}_x"].astype(np.float64))
        np.testing.assert_allclose(y, OUTPUTS[f"{name}_y"], atol=1e-5)


def test_parts_by_name():
    model = words()
    model = nf.Chain(first=model[:2], others=nf.Chain(*reversed(model.layers[2:])))
    names = {f"others.{10 - i}": f"layers.dense_{i + 1}" for i in range(11)}
    nf.convert(model, FILES / "keras-words.weights.h5", names=names)
    agree("words", nf.Chain(*model["first"], *reversed(model["others"].layers)))


def written(path, **arrays):
    """A file in Keras's layout: layers__dense__0 stands at layers/dense/vars/0."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            *parts, last = name.split("__")
            file["/".join((*parts, "vars", last))] = np.asarray(array, np.float32)
    return path


def test_two_kinds_of_the_same_shapes_are_told_apart_by_name(tmp_path):
    w = np.random.default_rng(0).normal(size=(4, 4))
    path = written(tmp_path / "m.weights.h5", layers__embedding__0=w, layers__dense__0=2 * w)
    model = nf.Chain(nf.Embedding(4, 4), nf.Dense(4, 4, bias=False))
    nf.convert(model, path)
    np.testing.assert_allclose(model[1].weight, 2 * model[0].weight, rtol=1e-6)


def test_names_of_attributes_tell_no_order(tmp_path):
    w = np.ones((4, 4))
    path = written(tmp_path / "m.weights.h5", second__0=w, first__0=2 * w)
    model = nf.Chain(nf.Dense(4, 4, bias=False), nf.Dense(4, 4, bias=False))
    with pytest.raises(
        nf.FileFormatError, match=r"m.weights.h5: convert: first and second must be of different shapes"
    ):
        nf.convert(model, path)
    nf.convert(model, path, names={"0": "second", "1": "first"})
    assert model[0].weight[0, 0] == 1 and model[1].weight[0, 0] == 2
    model = nf.Chain(second=model[1], first=model[0])
    nf.convert(model, path)
    assert model["second"].weight[0, 0] == 1


def test_a_file_of_another_kind(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["dense/kernel"] = np.ones((2, 3))
    with pytest.raises(nf.FileFormatError, match="old.h5: weights must be those of Keras 3, .* got dense/kernel"):
        nf.convert(nf.Dense(2, 3), tmp_path / "old.h5")
    with pytest.raises(nf.FileFormatError, match="no.weights.h5: cannot be read"):
        nf.convert(nf.Dense(2, 3), tmp_path / "no.weights.h5")


def test_a_layer_that_keras_has_not_so(tmp_path):
    path = written(tmp_path / "m.weights.h5", layers__group_normalization__0=np.ones(3))
    model = nf.InstanceNorm(3, affine=True, track_stats=True)
    with pytest.raises(nf.FileFormatError, match="model must be a layer of the table, got InstanceNorm with mean, var"):
        nf.convert(model, path)


def test_layers_of_another_size_are_listed(tmp_path):
    path = written(tmp_path / "m.weights.h5", layers__dense__0=np.ones((2, 3)), layers__dense__1=np.ones(3))
    text = r"m.weights.h5: convert: weights must be arrays for the model: Dense\(2, 4\), got layers.dense.0 \(2, 3\), "
    with pytest.raises(nf.FileFormatError, match=text + r"layers.dense.1 \(3,\) left over; say names="):
        nf.convert(nf.Dense(2, 4), path)
