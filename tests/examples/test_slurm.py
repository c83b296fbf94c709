"""Scripts for Slurm: they are what the command prints; the program they run trains, stops, goes on, on any ranks."""

import re
import shlex
import subprocess
import sys

import h5py
import numpy as np
import pytest

from numbaflux.cli import main
from tests.examples.program import called
from tests.mpi.launch import mpich
from tests.sources import ROOT

FOLDER = ROOT / "examples" / "slurm"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.sh"))
PROGRAM = FOLDER / "train.py"


def ran(*words):
    command = [sys.executable, PROGRAM, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def weights(path):
    """All arrays of a file, by path."""
    found = {}
    with h5py.File(path) as file:
        file["tensors"].visititems(lambda name, x: found.update({name: x[()]}) if hasattr(x, "shape") else None)
    return found


def report(text):
    return {line[:13].strip(): line[15:] for line in text.splitlines()}


# ---------------------------------------------------------------------------------------------------------- the scripts


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_what_its_second_line_prints(name, capsys):
    text = (FOLDER / name).read_text()
    words = shlex.split(text.splitlines()[1].removeprefix("# Made by: "))
    assert words[0] == "numbaflux" and main(words[1:]) == 0
    assert capsys.readouterr().out == text
    assert subprocess.run(["bash", "-n", FOLDER / name], capture_output=True, text=True).stderr == ""


def test_each_has_a_row_in_the_table():
    rows = re.findall(r"^\| \[(\S+)\]\((\S+)\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == [(name, name) for name in SCRIPTS]
    assert SCRIPTS == ["array.sh", "gpu.sh", "many.sh", "requeue.sh", "single.sh"]


def test_the_array_has_a_job_for_each_trial():
    text = (FOLDER / "array.sh").read_text()
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", text).groups())
    told = " ".join(called("slurm/train", "--help")[1].split())
    assert f"--trial TRIAL rate and channels are those of this row of the sweep, {first} to {last};" in told


# ---------------------------------------------------------------------------------------------------------- the program


def test_help_and_wrong_options(tmp_path, capsys):
    code, text = called("slurm/train", "--help")
    assert code == 0 and "--trial" in text and "run.h5" in text
    for words in (["--epochs", 0], ["--rate", "nan"], ["--trial", 9], ["--trial", -1], ["--seed", -1], ["--no", 1]):
        assert called("slurm/train", *words, "--out", tmp_path / "new") == (2, "")
        assert "train.py: error: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Three epochs, as plain Python runs them: what was said and the folder."""
    folder = tmp_path_factory.mktemp("alone")
    return ran("--epochs", 3, "--out", folder), folder


def test_alone_it_learns(alone):
    done, folder = alone
    assert done.returncode == 0, done.stderr
    said = report(done.stdout)
    assert float(said["test accuracy"].split("%")[0]) > 85 and said["training"].startswith("3 epochs")
    assert {path.name for path in folder.iterdir()} == {"run.h5", "model.h5"}
    assert len(done.stderr.splitlines()) == 3 and "\r" not in done.stderr


def test_taken_up_again_it_ends_as_if_it_had_never_stopped(alone, tmp_path):
    for epochs in (1, 3):
        assert ran("--epochs", epochs, "--out", tmp_path).returncode == 0
    once, twice = weights(alone[1] / "model.h5"), weights(tmp_path / "model.h5")
    assert once.keys() == twice.keys() and all(np.array_equal(once[name], twice[name]) for name in once)


def test_a_trial_has_a_row_and_a_folder(tmp_path):
    done = ran("--epochs", 1, "--trial", 4, "--out", tmp_path)
    assert report(done.stdout)["settings"] == "rate 0.003, 16 channels, batches of 64"
    assert {path.name for path in (tmp_path / "trial-4").iterdir()} == {"run.h5", "model.h5"}


def test_two_ranks_learn_the_same(alone, tmp_path):
    done = mpich(tmp_path).run(PROGRAM, 2, "--epochs", "3", "--out", str(tmp_path))
    assert done.rc == 0, done.err
    assert report(done.out)["training"].endswith(" 2 ranks") and done.out.count("test accuracy") == 1
    one, two = weights(alone[1] / "model.h5"), weights(tmp_path / "model.h5")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0.05, atol=0.02)
