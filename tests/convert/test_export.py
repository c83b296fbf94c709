"""Weights written for PyTorch: its modules take them and give what ours give; nf.convert brings back each bit."""

import os

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.cli import main
from tests.needs import package

package("safetensors")
torch = pytest.importorskip("torch")
T = torch.nn
G = nf.Generator(0)


def shuffled(model):
    """The model with random numbers everywhere; variances positive."""
    for path, array in nf.state(model).items():
        array[...] = G.normal(array.shape) / 2 + 2 * path.endswith("var")
    return model


class Last(T.Module):
    """The output of a recurrent layer alone."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def image():
    ours = nf.Chain(nf.Conv((3, 3), 2, 4, nf.relu), nf.BatchNorm(4), nf.MaxPool((2, 2)), nf.flatten, nf.Dense(36, 5))
    theirs = T.Sequential(
        T.Conv2d(2, 4, 3), T.Sequential(T.BatchNorm2d(4), T.ReLU()), T.MaxPool2d(2), T.Flatten(), T.Linear(36, 5)
    )
    return ours, theirs


# ours, theirs, shape of x, names, whether theirs has channels first
CASES = {
    "dense": (nf.Dense(3, 4), T.Linear(3, 4), (5, 3), None, False),
    "chain": (nf.Chain(nf.Dense(3, 4), nf.Dense(4, 2, bias=False)),
              T.Sequential(T.Linear(3, 4), T.Linear(4, 2, bias=False)), (5, 3), None, False),
    "conv": (nf.Conv((3, 2), 3, 4, groups=1), T.Conv2d(3, 4, (3, 2)), (2, 6, 5, 3), None, True),
    "conv of groups": (nf.Conv((3,), 4, 6, groups=2), T.Conv1d(4, 6, 3, groups=2), (2, 7, 4), None, True),
    "conv turned over": (nf.Conv((3, 2), 3, 4, flip=True), T.Conv2d(3, 4, (3, 2)), (2, 6, 5, 3), None, True),
    "transposed": (nf.ConvTranspose((3, 2), 4, 6, stride=2), T.ConvTranspose2d(4, 6, (3, 2), stride=2), (2, 3, 4, 4),
                   None, True),
    "batch norm": (nf.BatchNorm(3), T.BatchNorm2d(3), (2, 4, 5, 3), None, True),
    "layer norm": (nf.LayerNorm((3, 4)), T.LayerNorm((3, 4)), (2, 3, 4), None, False),
    "bilinear": (nf.Bilinear(3, 3, 4), None, (), None, False),
    "lstm": (nf.LSTM(3, 4, layers=2), Last(T.LSTM(3, 4, 2, batch_first=True)), (2, 5, 3), {"": "layer"}, False),
    "lstm both ways": (nf.LSTM(3, 4, bidirectional=True), Last(T.LSTM(3, 4, bidirectional=True, batch_first=True)),
                       (2, 5, 3), {"": "layer"}, False),
    "gru": (nf.GRU(3, 4, state_bias=True), Last(T.GRU(3, 4, batch_first=True)), (2, 5, 3), {"": "layer"}, False),
    "gru of one bias": (nf.GRU(3, 4), Last(T.GRU(3, 4, batch_first=True)), (2, 5, 3), {"": "layer"}, False),
}  # fmt: skip


def saved(path, ours, theirs, **options):
    """Theirs with the weights of ours: load_state_dict takes every name, and lacks none."""
    from safetensors.torch import load_file

    nf.save_safetensors(path, ours, **options)
    theirs.load_state_dict(load_file(path))
    return theirs.eval()


def given_by(theirs, x, first):
    axes = (0, x.ndim - 1, *range(1, x.ndim - 1)) if first else range(x.ndim)
    with torch.no_grad():
        y = theirs(torch.tensor(np.ascontiguousarray(x.transpose(axes)))).numpy()
    return np.moveaxis(y, 1, -1) if first and y.ndim > 2 else y


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[1] is not None])
def test_modules_of_pytorch_take_them(name, tmp_path):
    ours, theirs, shape, names, first = CASES[name]
    theirs = saved(tmp_path / "m.safetensors", shuffled(ours), theirs, names=names)
    x = G.normal(shape)
    y = ours(x)
    np.testing.assert_allclose(y[0] if isinstance(y, tuple) else y, given_by(theirs, x, first), rtol=2e-5, atol=2e-5)


def test_a_flatten(tmp_path):
    ours, theirs = image()
    x = np.zeros((1, 8, 8, 2), np.float32)
    theirs = saved(tmp_path / "m.safetensors", shuffled(ours), theirs, names={"1": "1.0"}, example=x)
    x = G.normal((3, 8, 8, 2))
    z = ours[0](x)
    y = ours[4](ours[3](ours[2](np.maximum(ours[1](z), 0))))
    with torch.no_grad():
        z = theirs[0](torch.tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
        z = theirs[4](theirs[3](theirs[2](theirs[1](torch.relu(z))))).numpy()
    np.testing.assert_allclose(y, z, rtol=2e-5, atol=2e-5)
    with pytest.raises(nf.ShapeError, match="^save_safetensors: example must be an input of the model, for the order"):
        nf.save_safetensors(tmp_path / "m.safetensors", ours)


MODELS = {
    **{name: case[0] for name, case in CASES.items()},
    "attention": nf.Chain(nf.Dense(3, 6), nf.MultiHeadAttention(6, 2, bias=True)),
    "embedding": nf.Chain(nf.Embedding(7, 4), nf.Dense(4, 2)),
    "half": nf.f16(nf.Chain(nf.Dense(3, 4), nf.Dense(4, 2))),
    "double": nf.f64(nf.Chain(body=nf.Chain(nf.RNN(3, 4)), head=nf.GroupNorm(4, 2))),
}


@pytest.mark.parametrize("name", MODELS)
def test_they_come_back(name, tmp_path):
    model = shuffled(MODELS[name])
    nf.save_safetensors(tmp_path / "m.safetensors", model)
    other = shuffled(nf.fmap(lambda x: x.copy() if isinstance(x, np.ndarray) else x, model))
    nf.convert(other, tmp_path / "m.safetensors")
    found = nf.state(other)
    for path, array in nf.state(model).items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_names(tmp_path):
    from safetensors import safe_open

    model = nf.Chain(body=nf.Chain(nf.Dense(2, 3), nf.Dense(3, 3)), head=nf.Dense(3, 1, bias=False))
    nf.save_safetensors(tmp_path / "m.safetensors", model, names={"": "net", "body": "encoder", "body.1": "fc"})
    with safe_open(tmp_path / "m.safetensors", "numpy") as file:
        assert sorted(file.keys()) == ["encoder.0.bias", "encoder.0.weight", "fc.bias", "fc.weight", "net.head.weight"]
        assert file.metadata() == {"format": "pt"}
    with pytest.raises(
        nf.DTypeError, match="^save_safetensors: names must be such that layers keep names of their own"
    ):
        nf.save_safetensors(tmp_path / "m.safetensors", model, names={"body.0": "x", "body": "x.y", "head": "x.y.1"})


REFUSED = [
    (nf.Dense(1, 1), "m.h5", {}, nf.FileFormatError, "path must be a file named .safetensors, got m.h5"),
    (nf.Dense(1, 1), "no/m.safetensors", {}, nf.FileFormatError, "path must be in a folder that exists"),
    (nf.Chain(nf.Scale(3)), "m.safetensors", {}, nf.DTypeError, r"0 must be a layer .*; nf.save\(path, model\)"),
    (nf.Chain(nf.relu), "m.safetensors", {}, nf.DTypeError, "model must be one with layers that have w"),
    (nf.Dense(1, 1), "m.safetensors", {"names": {"": 3}}, nf.DTypeError, "names must be a dict of different texts"),
    (nf.Dense(1, 1), "m.safetensors", {"example": 3}, nf.DTypeError, "example must be an array or a tuple of"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "name", "options", "error", "text"), REFUSED, ids=[row[4][:30] for row in REFUSED])
def test_what_is_refused(model, name, options, error, text, tmp_path):
    with pytest.raises(error, match=f"^save_safetensors: {text}"):
        nf.save_safetensors(tmp_path / name, model, **options)
    assert os.listdir(tmp_path) == []


def test_the_command(tmp_path, capsys, saved_model):
    words = [str(tmp_path / "model.h5"), "-o", str(tmp_path / "m.safetensors"), "--name", "1=head"]
    assert main(["convert", *words]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/m.safetensors: 4 arrays for PyTorch\n"
    other = nf.Chain(nf.Dense(3, 8, nf.tanh), nf.Dense(8, 2))
    nf.convert(other, tmp_path / "m.safetensors", names={"1": "head"})
    assert np.array_equal(other[1].weight, saved_model[1].weight)
    assert main(["convert", str(tmp_path / "model.h5"), "-o", str(tmp_path / "m.h5")]) == 2
    assert "convert: WEIGHTS must be given, or OUTPUT a file named .safetensors" in capsys.readouterr().err
