"""numbaflux profile: the table it prints, the files it writes, what it refuses."""

import json

import pytest

import numbaflux as nf
from numbaflux.cli import main
from numbaflux.native import pool
from tests.test_cli import refused


def test_profile_prints_a_table_of_the_layers(tmp_path, saved_model, capsys):
    assert main(["profile", str(tmp_path / "model.h5"), "--input-shape", "6,3", "--repeats", "3"]) == 0
    head, columns, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("Chain: ") and "(median of 3)" in head and columns.startswith("share")
    assert [line.split()[-4:] for line in lines if "dense.product" in line] == [
        ["dense", "0", "(6,", "8)"], ["dense", "1", "(6,", "2)"],
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_profile_of_a_training_step_in_files(suffix, tmp_path, saved_model, capsys):
    path, trace, plot = tmp_path / "model.h5", tmp_path / "trace.json", tmp_path / f"plot.{suffix}"
    before = path.read_bytes()
    words = "--train", "--repeats", "2", "--trace", trace, "--plot", plot
    assert main(["profile", str(path), "--input-shape", "40,3", *map(str, words)]) == 0
    assert capsys.readouterr().out.startswith("step of mean_of_squares: ")
    names = {event["name"] for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"call", "native code", "dense.product 0", "dense.product d 1.weight"} <= names
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert plot.read_bytes().startswith(magic) and path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {path.name, trace.name, plot.name}


def test_profile_of_other_types(tmp_path, saved_model, monkeypatch, capsys):
    """Float64, half precision, and indices."""
    counted = pool()
    monkeypatch.setattr(counted, "count", counted.count)
    made = {"64": nf.f64(saved_model), "16": nf.f16(saved_model), "bag": nf.Chain(nf.Embedding(7, 3), nf.Dense(3, 2))}
    for name, shape in {"64": "4,3", "16": "4,3", "bag": "4,5"}.items():
        nf.save(tmp_path / "m.h5", made[name])
        assert main(["profile", str(tmp_path / "m.h5"), f"--input-shape={shape}", "--threads=1", "--repeats=1"]) == 0
        assert "; 1 worker\n" in capsys.readouterr().out and counted.count == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --input-shape"),
        (["--input-shape=4,x"], "argument --input-shape: must be numbers above 0 with commas between, got 4,x"),
        (["--input-shape=4,5"], "0.dense: x must be of shape (..., 3), got (4, 5)"),
        (["--input-shape=4,3", "--repeats=0"], "profile: repeats must be an integer in [1, inf), got 0"),
        (["--input-shape=4,3", "--repeats=x"], "argument --repeats: invalid int value: 'x'"),
        (["--input-shape=4,3", "--threads=0"], "set_num_threads: n must be in 1.."),
        (
            ["--input-shape=4,3", "--trace=/no/where/t.json"],
            "profile: --trace must be in a folder that exists, got /no",
        ),
        (["--input-shape=4,3", "--plot=/no/where/p.png"], "profile: --plot must be in a folder that exists, got /no"),
        (["--input-shape=4,3", "--plot=p.gif"], "profile: --plot must be a .png, .svg or .pdf file, got p.gif"),
    ],
)
def test_profile_refuses(words, message, tmp_path, saved_model, capsys):
    assert message in refused(capsys, "profile", tmp_path / "model.h5", *words)


def test_profile_refuses_models(tmp_path, capsys):
    assert "nowhere.h5" in refused(capsys, "profile", tmp_path / "nowhere.h5", "--input-shape=1")
    nf.save(tmp_path / "two.h5", nf.LSTM(3, 2, return_state=True))
    said = refused(capsys, "profile", tmp_path / "two.h5", "--input-shape=4,5,3", "--train")
    assert said == "numbaflux: profile: MODEL must be one that gives an array, got tuple"


def test_profile_without_matplotlib(tmp_path, saved_model, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refused(capsys, "profile", tmp_path / "model.h5", "--input-shape=4,3", "--plot=p.png")
    assert said.endswith("--plot must be asked for where matplotlib is installed, got none; pip install matplotlib")
