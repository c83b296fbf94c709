"""The numbaflux command: what it prints, what it writes, and one line with exit code 2 for everything else."""

import os
import pickle
import re
import subprocess
import sys
import types

import h5py
import numpy as np
import pytest

import numbaflux as nf
from numbaflux.cli import main
from numbaflux.info import VECTORS, facts, vector_bits
from tests.sources import ROOT

PYTHON = [sys.executable, "-m", "numbaflux"]


def command(*words, **options):
    """The command in a process of its own."""
    return subprocess.run([*PYTHON, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


def refused(capsys, *words):
    """The one line that a wrong call prints; nothing on stdout."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.count("\n") == 1 and said.err.endswith("\n")
    return said.err[:-1]


X = np.random.default_rng(0).normal(size=(5, 3))


# ---------------------------------------------------------------- help and wrong words


COMMANDS = ["info", "doctor", "inspect", "predict", "profile", "convert", "cache", "slurm", "zoo"]


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_help_has_examples(words, capsys):
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert "\nexamples:\n  " in out and f"numbaflux {' '.join(words)}".strip() in out


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"numbaflux {nf.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "numbaflux: the following arguments are required: COMMAND (see numbaflux --help)"),
        (["predict", "m.h5"], "numbaflux predict: the following arguments are required: INPUT, -o/--output"),
        (["info", "more"], "numbaflux: unrecognized arguments: more"),
        (["cache", "burn"], "numbaflux cache: argument action: invalid choice: 'burn'"),
        (["train"], "numbaflux: argument COMMAND: invalid choice: 'train'"),
    ],
)
def test_wrong_words_are_one_line(words, message, capsys):
    assert refused(capsys, *words).startswith(message)


def test_module_runs_as_the_command_and_imports_no_compiler():
    code = "import sys; from numbaflux.cli import main; main(['info']); main(['cache', 'path']);"
    code += "print([name for name in ('numba', 'matplotlib', 'sklearn') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "[]" and done.stderr == ""
    done = command("inspect", "nowhere.h5")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("numbaflux: ") and done.stderr.count("\n") == 1 and "nowhere.h5" in done.stderr


def test_closed_pipe_is_no_error():
    child = subprocess.Popen([*PYTHON, "info"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    assert (child.wait(timeout=300), errors) == (0, b"")


# ---------------------------------------------------------------- info, inspect


def test_info_says_what_is_so(capsys):
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {name.strip(): text for name, text in (re.split(r"\s{2,}", line, maxsplit=1) for line in lines)}
    assert shown == facts()
    assert shown["numpy"] == np.__version__ and shown["numbaflux"] == nf.__version__
    assert f"of {os.cpu_count()} CPUs" in shown["cpu"]
    assert re.fullmatch(r"\d+, layer (omppool|workqueue)", shown["threads"])
    assert shown["vectors"] == f"{vector_bits()} bits: {vector_bits() // 32} float32, {vector_bits() // 64} float64"


def test_vectors_are_those_of_the_kernels():
    from numbaflux.kernels.jit import LANES

    assert vector_bits() == 32 * LANES
    assert [bits for _, bits in VECTORS] == sorted({bits for _, bits in VECTORS}, reverse=True)


def test_info_counts_the_cache(tmp_path):
    environment = os.environ | {"NUMBAFLUX_CACHE_DIR": str(tmp_path)}
    (tmp_path / "one.nfo").write_bytes(bytes(1_500_000))
    done = command("info", env=environment)
    assert f"{tmp_path}: 1 files, 1.5 MB" in done.stdout


def test_inspect(tmp_path, saved_model, capsys):
    assert main(["inspect", str(tmp_path / "model.h5")]) == 0
    assert capsys.readouterr().out == f"{nf.inspect(tmp_path / 'model.h5')}\n"


def test_inspect_refuses_what_is_no_model(tmp_path, capsys):
    path = tmp_path / "model.h5"
    path.write_bytes(b"nothing of the kind")
    assert refused(capsys, "inspect", path).startswith("numbaflux: ")


# ---------------------------------------------------------------- predict


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_predict_npy(dtype, tmp_path, saved_model, capsys):
    x = (10 * abs(X)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    assert main(["predict", str(tmp_path / "model.h5"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'y.npy'}: float32 (5, 2)\n"
    y = np.load(tmp_path / "y.npy")
    assert y.dtype == np.float32 and np.array_equal(y, saved_model(x.astype(np.float32)))


@pytest.mark.parametrize("header", ["", "a,b,c\n"])
def test_predict_csv(header, tmp_path, saved_model):
    rows = "".join(",".join(repr(float(v)) for v in row) + "\n" for row in X)
    (tmp_path / "x.csv").write_text(header + rows)
    assert main(["predict", str(tmp_path / "model.h5"), str(tmp_path / "x.csv"), "-o", str(tmp_path / "y.csv")]) == 0
    lines = (tmp_path / "y.csv").read_text().splitlines()
    y = np.array([line.split(",") for line in lines], np.float32)
    assert np.array_equal(y, saved_model(X.astype(np.float32)))  # the digits written give the same bits


def test_predict_in_float64(tmp_path):
    nf.save(tmp_path / "model.h5", model := nf.f64(nf.Dense(3, 2)))
    np.save(tmp_path / "x.npy", X)
    main(["predict", str(tmp_path / "model.h5"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.csv")])
    y = np.array([line.split(",") for line in (tmp_path / "y.csv").read_text().splitlines()], np.float64)
    assert np.array_equal(y, model(X))


def test_predict_with_a_model_of_half_precision(tmp_path, saved_model):
    nf.save(tmp_path / "half.h5", half := nf.f16(saved_model))
    np.save(tmp_path / "x.npy", X.astype(np.float32))
    main(["predict", str(tmp_path / "half.h5"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")])
    assert np.array_equal(np.load(tmp_path / "y.npy"), nf.f32(half)(X.astype(np.float32)))


def test_predict_more_rows_than_go_at_once(tmp_path, saved_model):
    x = np.random.default_rng(1).normal(size=(2 * 4096 + 5, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    main(["predict", str(tmp_path / "model.h5"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")])
    assert np.array_equal(np.load(tmp_path / "y.npy"), saved_model(x))


class Touch:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "1,2,3\n4,oops,6\n", "x.csv: could not convert string 'oops' to float64"),
        ("x.csv", "1,2,3\n4,5\n", "x.csv: .*columns"),
        ("x.csv", "", "x.csv: file must be of one row or more, got none"),
        ("x.csv", "a,b,c\n", "x.csv: file must be of one row or more, got none"),
        ("x.csv", "1,2\n3,4\n", r"0\.dense: "),
        ("x.npy", "", "x.npy: "),
        ("x.npy", "no array", "x.npy: "),
        ("x.txt", "1 2 3", "predict: INPUT must be a .npy or .csv file, got .*x.txt"),
    ],
)
def test_predict_refuses_input(name, content, message, tmp_path, saved_model, capsys):
    (tmp_path / name).write_text(content)
    (tmp_path / "y.npy").write_text("old")
    said = refused(capsys, "predict", tmp_path / "model.h5", tmp_path / name, "-o", tmp_path / "y.npy")
    assert re.search(message, said) and said.startswith("numbaflux: ")
    assert (tmp_path / "y.npy").read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"model.h5", name, "y.npy"}


def test_predict_runs_no_pickle(tmp_path, saved_model, capsys):
    np.save(tmp_path / "x.npy", np.array([Touch(tmp_path / "ran")], object), allow_pickle=True)
    assert b"ran" in (tmp_path / "x.npy").read_bytes() and pickle.PROTO in (tmp_path / "x.npy").read_bytes()
    said = refused(capsys, "predict", tmp_path / "model.h5", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert "x.npy" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 3)), r"INPUT must be of one row or more, got shape \(0, 3\)"),
        (np.float64(1), r"INPUT must be of one row or more, got shape \(\)"),
        (np.zeros((2, 3), complex), "INPUT must be of numbers, got complex128"),
        (np.array([["a", "b", "c"]]), "INPUT must be of numbers, got <U1"),
    ],
)
def test_predict_refuses_arrays(x, message, tmp_path, saved_model, capsys):
    np.save(tmp_path / "x.npy", x)
    said = refused(capsys, "predict", tmp_path / "model.h5", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert re.search(f"predict: {message}$", said)


def test_predict_refuses_files(tmp_path, saved_model, capsys):
    np.save(tmp_path / "x.npy", X)
    m, x, y = tmp_path / "model.h5", tmp_path / "x.npy", tmp_path / "y.npy"
    assert "nowhere.h5" in refused(capsys, "predict", tmp_path / "nowhere.h5", x, "-o", y)
    assert "nowhere.npy" in refused(capsys, "predict", m, tmp_path / "nowhere.npy", "-o", y)
    said = refused(capsys, "predict", m, x, "-o", tmp_path / "no" / "y.npy")
    assert "predict: OUTPUT must be in a folder that exists, got" in said
    assert "predict: OUTPUT must be a .npy or .csv file" in refused(capsys, "predict", m, x, "-o", tmp_path / "y.h5")


def test_predict_refuses_csv_of_more_than_rows(tmp_path, capsys):
    nf.save(tmp_path / "model.h5", nf.Dense(3, 2))
    np.save(tmp_path / "x.npy", np.zeros((4, 5, 3)))
    said = refused(capsys, "predict", tmp_path / "model.h5", tmp_path / "x.npy", "-o", tmp_path / "y.csv")
    assert said.endswith("predict: OUTPUT must be of rows for .csv, got shape (4, 5, 2); write a .npy file")
    assert not (tmp_path / "y.csv").exists()


# ---------------------------------------------------------------- convert


def dense_and_weights(tmp_path):
    """A model of one layer without its weights, and a file of these as Keras has it."""
    nf.save(tmp_path / "model.h5", nf.Chain(nf.flatten, nf.Dense(3, 2)), {"epochs": 5})
    with h5py.File(tmp_path / "k.weights.h5", "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = np.arange(6.0).reshape(3, 2), np.ones(2)
    return tmp_path / "model.h5", tmp_path / "k.weights.h5", tmp_path / "out.h5"


def test_convert_of_keras(tmp_path, capsys):
    model, weights, out = dense_and_weights(tmp_path)
    assert main(["convert", str(model), str(weights), "-o", str(out), "--name", "1=layers.dense"]) == 0
    assert capsys.readouterr().out == f"{out}: 2 arrays from k.weights.h5\n"
    assert nf.load(out)[1].weight.tolist() == [[0, 1], [2, 3], [4, 5]] and nf.inspect(out).metadata == {"epochs": 5}
    assert nf.load(model)[1].bias.tolist() == [0, 0]


def test_convert_of_pytorch(tmp_path, capsys):
    safetensors = pytest.importorskip("safetensors.numpy")
    model, _, out = dense_and_weights(tmp_path)
    nf.save(model, nf.f64(nf.Chain(nf.flatten, nf.Dense(12, 2, bias=False))))
    w = np.random.default_rng(0).normal(size=(2, 3, 2, 2))
    safetensors.save_file({"fc.weight": w.reshape(2, 12)}, tmp_path / "t.safetensors")
    words = "convert", model, tmp_path / "t.safetensors", "-o", out
    assert "example must be an input of the model" in refused(capsys, *words)
    assert not out.exists()
    main([str(word) for word in (*words, "--input-shape", "1,2,2,3")])
    assert np.array_equal(nf.load(out)[1].weight, w.transpose(2, 3, 1, 0).reshape(12, 2))


def test_convert_refuses(tmp_path, capsys):
    model, weights, out = dense_and_weights(tmp_path)
    nf.save(out, nf.Dense(1, 1))
    old = out.read_bytes()
    assert "nowhere.h5" in refused(capsys, "convert", tmp_path / "nowhere.h5", weights, "-o", out)
    assert "m.pt: weights must be no pickle" in refused(capsys, "convert", model, "m.pt", "-o", out)
    words = "convert", model, weights, "-o", out
    assert "names: 7 must be a layer" in refused(capsys, *words, "--name", "7=layers.dense")
    assert "argument --name: must be PATH=NAME, got 7" in refused(capsys, *words, "--name", "7")
    for shape in ("1,2,", "1,0", "x", "-1"):
        said = refused(capsys, *words, f"--input-shape={shape}")
        assert f"argument --input-shape: must be numbers above 0 with commas between, got {shape}" in said
    assert "arguments are required: -o/--output" in refused(capsys, *words[:3])
    assert out.read_bytes() == old


# ---------------------------------------------------------------- cache


def test_cache_path_and_clear(tmp_path):
    environment = os.environ | {"NUMBAFLUX_CACHE_DIR": str(tmp_path / "kernels")}
    done = command("cache", "path", env=environment)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'kernels'}\n")
    for name in ("a.nfo", "b.nfo", "mine.txt"):
        (tmp_path / "kernels" / name).write_text("")
    done = command("cache", "clear", env=environment)
    assert (done.returncode, done.stdout) == (0, f"2 files removed from {tmp_path / 'kernels'}\n")
    assert [p.name for p in (tmp_path / "kernels").iterdir()] == ["mine.txt"]


def test_cache_without_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    environment = os.environ | {"NUMBAFLUX_CACHE_DIR": str(tmp_path / "file" / "kernels")}
    done = command("cache", "path", env=environment)
    assert done.returncode == 2 and done.stdout == ""
    cure = "set NUMBAFLUX_CACHE_DIR to a folder of yours that nobody else can write to"
    assert done.stderr == f"numbaflux: cache: folder must be one that can be written, got none; {cure}\n"
    assert "cache          none: no folder can be written" in command("info", env=environment).stdout


def test_cache_warm_tells_each_kernel(monkeypatch, capsys):
    made = types.ModuleType("numbaflux.warm")
    made.warm = lambda: iter([("dense.product-1", 1.25), ("optim.adam-2", 2.5)])
    monkeypatch.setitem(sys.modules, "numbaflux.warm", made)
    assert main(["cache", "warm"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["    1.2 s  dense.product-1", "    2.5 s  optim.adam-2"]
    assert lines[2].startswith("2 kernels compiled in 2.5 s, kept in ")


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    def interrupted():
        yield "dense.product-1", 1.0
        raise KeyboardInterrupt

    made = types.ModuleType("numbaflux.warm")
    made.warm = interrupted
    monkeypatch.setitem(sys.modules, "numbaflux.warm", made)
    assert main(["cache", "warm"]) == 130
    assert capsys.readouterr().err == ""
