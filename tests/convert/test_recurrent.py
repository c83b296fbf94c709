"""Weights of PyTorch's and Keras's recurrent layers and cells: gates in their order, two biases, several cells."""

import h5py
import numpy as np
import pytest

import numbaflux as nf
from tests.convert.keras_files import FILES

torch = pytest.importorskip("torch")
T = torch.nn
LAYERS = {
    "RNN": (T.RNN, nf.RNN, {}),
    "RNN, relu": (
        lambda *sizes, **o: T.RNN(*sizes, nonlinearity="relu", **o),
        lambda *s, **o: nf.RNN(*s, nf.relu, **o),
        {},
    ),
    "LSTM": (T.LSTM, nf.LSTM, {}),
    "GRU": (T.GRU, nf.GRU, {"state_bias": True}),
}
CELLS = {
    "RNN": (T.RNNCell, nf.RNNCell, {}),
    "LSTM": (T.LSTMCell, nf.LSTMCell, {}),
    "GRU": (T.GRUCell, nf.GRUCell, {"state_bias": True}),
}


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape)


def filled(theirs):
    """Random numbers in all arrays."""
    torch.manual_seed(0)
    for array in theirs.state_dict().values():
        array.copy_(torch.randn_like(array))
    return theirs


def first(y):
    return first(y[0]) if isinstance(y, tuple) else y


def agree(ours, theirs, x, atol):
    with torch.no_grad():
        want = first(theirs(torch.tensor(x))).numpy()
    assert not np.allclose(first(ours(x)), want, atol=1e-2)
    nf.convert(ours, theirs.state_dict())
    np.testing.assert_allclose(first(ours(x)), want, rtol=0, atol=atol * max(1, abs(want).max()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("count", "both"), [(1, False), (1, True), (3, True), (2, False)])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_pytorch(name, count, both, bias):
    make, own, options = LAYERS[name]
    options = options if bias else {}
    theirs = make(3, 4, num_layers=count, bidirectional=both, bias=bias, batch_first=True)
    ours = own(3, 4, layers=count, bidirectional=both, bias=bias, **options)
    agree(nf.f64(ours), filled(theirs.double()), drawn(2, 5, 3), 1e-10)
    agree(nf.f32(ours), theirs.float(), drawn(2, 5, 3).astype(np.float32), 1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_cells_of_pytorch(name, bias):
    make, own, options = CELLS[name]
    ours = own(3, 4, bias=bias, **(options if bias else {}))
    agree(nf.f64(ours), filled(make(3, 4, bias=bias).double()), drawn(2, 3), 1e-10)


def test_a_gru_with_one_bias():
    """Where that of h of gate n is zero, which is multiplied by r; else the message says what to do."""
    theirs, ours = filled(T.GRU(3, 4, 2, batch_first=True).double()), nf.f64(nf.GRU(3, 4, layers=2))
    before = nf.state(ours)
    with pytest.raises(
        nf.RangeError, match="^GRU: the state's bias of gate n must be zeros, got others; state_bias=True$"
    ):
        nf.convert(ours, theirs.state_dict())
    assert all(np.array_equal(array, before[path]) for path, array in nf.state(ours).items())
    for k in (0, 1):
        theirs.state_dict()[f"bias_hh_l{k}"][8:] = 0
    agree(ours, theirs, drawn(2, 5, 3), 1e-10)


def test_a_model_from_a_file(tmp_path):
    """Whose arrays have no order; layers by their names."""
    save = pytest.importorskip("safetensors.torch").save_file

    class Net(T.Module):
        def __init__(self):
            super().__init__()
            self.words, self.encoder = T.Embedding(9, 4), T.LSTM(4, 3, 11, bidirectional=True, batch_first=True)
            self.head = T.Linear(6, 2)

        def forward(self, x):
            return self.head(self.encoder(self.words(x))[0])

    theirs, x = filled(Net()), np.array([[1, 8, 3], [0, 2, 2]])
    save(theirs.state_dict(), tmp_path / "m.safetensors")
    encoder = nf.LSTM(4, 3, layers=11, bidirectional=True)
    for ours in (
        nf.Chain(nf.Embedding(9, 4), encoder, nf.Dense(6, 2)),
        nf.Chain(words=nf.Embedding(9, 4), encoder=encoder, head=nf.Dense(6, 2)),
    ):
        nf.convert(ours, tmp_path / "m.safetensors")
        np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach().numpy(), atol=1e-5)


def test_behind_convolutions_and_in_front_of_a_dense():
    """The steps of a series are PyTorch's last axis behind a convolution, its second of a recurrent layer."""

    class Net(T.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gru, self.head = T.Conv1d(3, 4, 3), T.GRU(4, 2, batch_first=True), T.Linear(6, 2)

        def forward(self, x):
            y, _ = self.gru(torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))
            return self.head(y.flatten(1))

    theirs, x = filled(Net()), drawn(2, 5, 3).astype(np.float32)
    ours = nf.Chain(nf.Conv((3,), 3, 4, nf.relu), nf.GRU(4, 2, state_bias=True), nf.flatten, nf.Dense(6, 2))
    nf.convert(ours, theirs.state_dict(), example=x)
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach().numpy(), atol=1e-5)


def test_patches_as_steps():
    """Whose features are in another order in PyTorch."""
    ours = nf.Chain(nf.Conv((3, 3), 2, 4), lambda x: x.reshape(len(x), 4, 12), nf.GRU(12, 3), nf.Dense(3, 3))
    theirs = T.ModuleList([T.Conv2d(2, 4, 3), T.GRU(12, 3), T.Linear(3, 3)])
    theirs[1].bias_hh_l0.data.zero_()
    x = drawn(3, 6, 5, 2).astype(np.float32)
    with pytest.raises(nf.PlanError, match=r"a flatten must be of images .* got recurrent of shape \(3, 4, 3\)"):
        nf.convert(ours, theirs.state_dict(), example=x)


def arrays(layer):
    return {name: np.asarray(array) for name, array in layer.state_dict().items()}


@pytest.mark.parametrize(
    ("ours", "given", "text"),
    [
        (nf.LSTM(4, 4, layers=2), T.LSTM(4, 4, bidirectional=True), r"arrays for the model: LSTM.*l0_reverse"),
        (nf.LSTM(3, 4), T.LSTM(3, 4, 2), r"got weight_ih_l0 \(16, 3\), .*weight_ih_l1"),
        (nf.LSTM(3, 4), T.LSTM(3, 5), "arrays for the model: LSTM"),
        (nf.LSTM(3, 4, bias=False), T.LSTM(3, 4), "arrays for the model: LSTM"),
        (nf.LSTM(3, 4), T.LSTM(3, 4, proj_size=2), "weight_hr_l0"),
        (nf.GRU(3, 4, bias=False, state_bias=True), T.GRU(3, 4), "arrays for the model: GRU"),
        (nf.GRUv3(3, 4), T.GRU(3, 4), "cells.0 must be a layer of the table, got GRUv3Cell with Wi, Wh, bias"),
        (nf.LSTM(3, 4, trainable_state=True), T.LSTM(3, 4), "got LSTM with cells.0.h0, cells.0.c0"),
        (nf.GRUCell(3, 4, trainable_state=True), T.GRUCell(3, 4), "got GRUCell with h0"),
    ],
)  # fmt: skip
def test_what_does_not_fit(ours, given, text):
    with pytest.raises((nf.ShapeError, nf.DTypeError), match=f"^convert: .*{text}"):
        nf.convert(ours, arrays(given))


@pytest.mark.parametrize("place", ["bias_ih_l0", "bias_hh_l0"])
@pytest.mark.parametrize("kind", [nf.LSTM, nf.GRU])
def test_biases_of_two_sizes(kind, place):
    given = arrays(getattr(T, kind.__name__)(3, 4))
    with pytest.raises(nf.ShapeError, match="arrays for the model"):
        nf.convert(kind(3, 4), given | {place: given[place][:1]})


# ---------------------------------------------------------------- Keras


def steps(**options):
    return nf.Chain(
        *(nf.LSTM(3, 4), nf.GRU(4, 2, bidirectional=True, **options), nf.GRUv3(4, 4)),
        *(nf.RNN(4, 3), lambda y: y[:, -1]),
    )


def test_layers_of_keras():
    outputs, path, model = np.load(FILES / "keras.npz"), FILES / "keras-steps.weights.h5", steps(state_bias=True)
    nf.convert(model, path)
    np.testing.assert_allclose(model(outputs["steps_x"]), outputs["steps_y"], atol=2e-6)
    with pytest.raises(
        nf.FileFormatError, match="keras-steps.weights.h5: GRU: the state's bias of gate n must be zeros"
    ):
        nf.convert(steps(), path)


def written(path, place, *made):
    with h5py.File(path, "w") as file:
        for i, array in enumerate(made):
            file[f"{place}/vars/{i}"] = np.asarray(array, np.float32)
    return path


def test_a_gru_of_keras_with_one_bias(tmp_path):
    bias = drawn(2, 12)
    bias[1, 8:] = 0
    path = written(tmp_path / "m.weights.h5", "layers/gru/cell", drawn(3, 12), drawn(4, 12), bias)
    one, two = nf.GRU(3, 4), nf.Recurrence(nf.GRUCell(3, 4, state_bias=True))
    nf.convert(one, path)
    nf.convert(two, path)
    x = drawn(2, 5, 3).astype(np.float32)
    np.testing.assert_allclose(one(x), two(x), atol=1e-6)
    np.testing.assert_array_equal(two.cell.state_bias[:4], bias[1, 4:8].astype(np.float32))


@pytest.mark.parametrize(
    ("ours", "place", "bias", "text"),
    [
        (nf.GRU(3, 4, layers=2), "gru/cell", (2, 12), "GRU: layers must be 1, as in Keras, got 2; a Chain of several"),
        (nf.GRU(3, 4), "gru/cell", (12,), "convert: weights must be arrays for the model: GRU"),
        (
            nf.GRU(3, 4, bias=False, state_bias=True),
            "gru/cell",
            (2, 12),
            "convert: weights must be arrays for the model",
        ),
        (nf.GRU(3, 4, state_bias=True), "gru/cell", (12,), "convert: weights must be arrays for the model: GRU"),
        (nf.GRU(3, 4), "gru/cell", (2, 11), "convert: weights must be arrays for the model: GRU"),
        (nf.GRUv3(3, 4), "gru/cell", (11,), "convert: weights must be arrays for the model: GRU"),
        (nf.GRUv3(3, 4), "gru/cell", (2, 12), "convert: weights must be arrays for the model: GRUv3"),
        (nf.GRUv3(3, 4), "bidirectional/forward_layer/cell", (12,), "convert: weights must be arrays for the model"),
        (nf.RNN(3, 12), "lstm/cell", (12,), "convert: weights must be arrays for the model: RNN"),
    ],
)
def test_what_does_not_fit_of_keras(ours, place, bias, text, tmp_path):
    path = written(tmp_path / "m.weights.h5", f"layers/{place}", drawn(3, 12), drawn(4, 12), drawn(*bias))
    with pytest.raises(nf.FileFormatError, match=f"^m.weights.h5: {text}"):
        nf.convert(ours, path)
