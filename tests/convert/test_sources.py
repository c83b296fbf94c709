"""Where weights come from: dicts and files; pickles are never opened, other things refused by name."""

import builtins
import pickle

import numpy as np
import pytest

import numbaflux as nf

CURE = r'in PyTorch: safetensors.torch.save_file\(torch.load\(PATH, weights_only=True\), "model.safetensors"\)'
WEIGHTS = {"weight": np.arange(6, dtype=np.float32).reshape(3, 2), "bias": np.arange(3, dtype=np.float32)}


def refused(given, kind, text):
    model = nf.Dense(2, 3)
    before = nf.state(model)
    with pytest.raises(kind, match=text):
        nf.convert(model, given)
    assert all(np.array_equal(array, before[path]) for path, array in nf.state(model).items())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dict_of_arrays_of_any_float(dtype):
    model = nf.Dense(2, 3)
    nf.convert(model, {name: array.astype(dtype) for name, array in WEIGHTS.items()})
    assert model.weight.dtype == np.float32 and np.array_equal(model.weight, WEIGHTS["weight"].T)
    assert np.array_equal(model.bias, WEIGHTS["bias"])


def test_what_was_given_is_neither_kept_nor_changed():
    model, given = nf.Embedding(3, 2), {"weight": WEIGHTS["weight"].copy()}
    nf.convert(model, given)
    model.weight[:] = 7
    assert np.array_equal(given["weight"], WEIGHTS["weight"])


def test_dict_of_tensors():
    torch = pytest.importorskip("torch")
    model, theirs = nf.Dense(2, 3), torch.nn.Linear(2, 3)
    nf.convert(model, theirs.state_dict())
    assert np.array_equal(model.weight, theirs.weight.detach().numpy().T)
    text = r"weight must be an array of numbers, got {}; of a tensor: x.detach\(\).cpu\(\).float\(\).numpy\(\)"
    refused(dict(theirs.named_parameters()), nf.DTypeError, text.format("Parameter torch.float32"))
    refused(theirs.bfloat16().state_dict(), nf.DTypeError, text.format("Tensor torch.bfloat16"))


@pytest.mark.parametrize("value", [[[1.0, 2.0]], "text", None, [[1], [2, 3]], np.array(["a"]), np.ones(2, complex)])
def test_dict_of_something_else(value):
    refused({"weight": value}, nf.DTypeError, "convert: weight must be an array of numbers, got ")
    refused({3: np.ones(2)}, nf.DTypeError, "weights must be a dict with texts as keys, got 3")


@pytest.mark.parametrize("given", [None, 3, [np.ones(2)], b"m.safetensors"])
def test_no_weights_at_all(given):
    refused(given, nf.DTypeError, "weights must be a dict of arrays, or a file named .safetensors or .weights.h5, got ")


# ---------------------------------------------------------------- files


class Touch:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"])
def test_pickles_are_refused_with_the_cure(suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    refused(path, nf.FileFormatError, rf"m{suffix}: weights must be no pickle, .* got {suffix}; {CURE}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5"])
def test_pickles_of_another_name_are_not_opened_either(suffix, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / f"m{suffix}"
    path.write_bytes(pickle.dumps([Touch(tmp_path / "ran")] * 50))
    refused(path, nf.FileFormatError, f"m{suffix}: ")
    assert not (tmp_path / "ran").exists()


def test_other_names_of_files():
    refused("m.keras", nf.FileFormatError, r"m.keras: weights must be .*; in Keras: model.save_weights\('model.weights")
    refused("m.onnx", nf.FileFormatError, "m.onnx: weights must be a dict of arrays, or a file named .* got .onnx")
    refused("", nf.FileFormatError, "convert: weights must be .* got no suffix")
    refused("m", nf.FileFormatError, "m: weights must be .* got no suffix")


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(WEIGHTS, tmp_path / "m.safetensors")
    for path in (tmp_path / "m.safetensors", str(tmp_path / "m.safetensors")):
        model = nf.f64(nf.Dense(2, 3))
        nf.convert(model, path)
        assert model.weight.dtype == np.float64 and np.array_equal(model.weight, WEIGHTS["weight"].T)


def test_safetensors_that_are_not_whole(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "m.safetensors"
    refused(path, nf.FileFormatError, "m.safetensors: cannot be read")
    numpy.save_file(WEIGHTS, path)
    data = path.read_bytes()
    for broken in (b"", data[:40], data[:-1], b"\xff" * 8 + data[8:], data[:8] + b"x" + data[9:]):
        path.write_bytes(broken)
        refused(path, nf.FileFormatError, "m.safetensors: is no safetensors file: ")


def test_safetensors_of_a_type_that_numpy_lacks(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(torch.nn.Linear(2, 3).bfloat16().state_dict(), tmp_path / "m.safetensors")
    text = r"m.safetensors: (weight|bias) must be of a type that NumPy has, got BF16; save it as float32: tensor.float"
    refused(tmp_path / "m.safetensors", nf.FileFormatError, text)


def test_safetensors_without_its_library(tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *rest, **options):
        if name.split(".")[0] == "safetensors":
            raise ImportError(name)
        return plain(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    text = r"m.safetensors: weights must be read by the package safetensors, .*; pip install numbaflux\[convert\]"
    refused("m.safetensors", nf.FileFormatError, text)
