"""The examples, run whole: files, report, and the accuracy computed once more without numbaflux."""

import runpy
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tests.sources import ROOT

DIGITS = ROOT / "examples" / "digits.py"


def test_digits_as_a_program(tmp_path):
    command = [sys.executable, DIGITS, "--epochs", "2", "--out", tmp_path / "new"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stderr.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    report = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert report == ["test accuracy", "training", "model", "files", "loaded again"]
    assert done.stdout.endswith("the same predictions bit for bit\n")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"digits.h5", "digits.png"}
    assert (tmp_path / "new" / "digits.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("seed", range(5))
def test_digits_are_read(seed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(DIGITS), "--seed", str(seed), "--out", str(tmp_path)])
    program = runpy.run_path(str(DIGITS))
    assert program["main"]() == 0
    (train, validation, test), _ = program["prepare"](seed)
    assert [len(y) for _, y in (train, validation, test)] == [1258, 180, 359]
    counts = np.bincount(test[1])
    assert np.abs(counts - 0.2 * np.bincount(np.concatenate([y for _, y in (train, validation, test)]))).max() < 1
    x = test[0].astype(np.float64)
    with h5py.File(tmp_path / "digits.h5") as file:
        for i in range(3):
            x = x @ file[f"tensors/{i}/weight"][...].astype(np.float64) + file[f"tensors/{i}/bias"][...]
            x = np.maximum(x, 0) if i < 2 else x
    accuracy = np.mean(x.argmax(1) == test[1])
    assert accuracy >= 0.95
    assert f"test accuracy  {accuracy:.2%} of 359 digits" in capsys.readouterr().out
