"""examples/zoo/train.py: a zoo of two trained models, as good as their cards say."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

import numbaflux as nf
from examples import sunspots
from examples.zoo import train
from tests.sources import ROOT


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zoo after a few epochs, and what the program printed."""
    folder = tmp_path_factory.mktemp("made") / "zoo"
    words = [sys.executable, "-m", "examples.zoo.train", "--epochs", "3", "--out", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout.splitlines()


def test_zoo_is_whole(made):
    folder, lines = made
    found = nf.zoo.verify(folder)
    assert [(f.entry.name, f.entry.version, f.trust) for f in found] == [
        ("digits-cnn", "1.0.0", "digest"), ("sunspots-lstm", "1.0.0", "digest"),
    ]  # fmt: skip
    assert [line.split()[0] for line in lines] == ["digits-cnn", "sunspots-lstm", "verified"]


def test_cards_say_how_good_the_models_are(made):
    """Computed once more, by NumPy, from the files."""
    digits, forecaster = (nf.load(found.model) for found in nf.zoo.verify(made[0]))
    cards = [entry.card["metrics"] for entry in nf.zoo.list(made[0])]
    pixels, labels = load_digits(return_X_y=True)
    images = pixels.astype(np.float32).reshape(-1, 8, 8, 1)
    _, _, (x, y) = nf.splitobs((images, labels), at=(0.7, 0.1), shuffle=True, stratified=labels, rng=0)
    assert cards[0]["test accuracy"] == round(float((digits(x).argmax(1) == y).mean()), 4) > 0.8
    _, roots = sunspots.series()
    truth = roots.astype(np.float64)[-40:] ** 2
    found = np.maximum(forecaster(roots[None, :-1, None])[0, -40:, 0].astype(np.float64), 0) ** 2
    before = roots.astype(np.float64)[-41:-1] ** 2
    for name, values in (("test RMSE", found), ("test RMSE of persistence", before)):
        assert cards[1][name] == pytest.approx(np.sqrt(np.mean((values - truth) ** 2)), abs=0.01)


@pytest.mark.parametrize("words", [["--epochs", "0"], ["--seed", "-1"], ["--unknown"]])
def test_wrong_options_are_refused(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", *words, "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit) as end:
        train.main()
    assert end.value.code == 2 and "train.py: error: " in capsys.readouterr().err and list(tmp_path.iterdir()) == []
