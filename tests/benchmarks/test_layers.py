"""Every layer has a row or none in PyTorch; both sides do the same work; the command prints its table."""

import subprocess
import sys

import numpy as np
import pytest

import numbaflux as nf

pytest.importorskip("torch")
from benchmarks.layers.__main__ import behind  # noqa: E402
from benchmarks.layers.rows import RANDOM, ROWS, SIZES, WITHOUT  # noqa: E402
from benchmarks.layers.worker import make  # noqa: E402


def test_every_layer_has_a_row_or_no_counterpart():
    known = {layer.__name__ for layer in nf.layers.LAYERS}
    rows = {name.split()[0] for name in ROWS}
    assert known - rows == set(WITHOUT)


@pytest.mark.parametrize("name", ROWS.keys() - RANDOM)
def test_losses_agree(name):
    peers = ("numbaflux", "torch", "torch-last")[: 2 + (ROWS[name].kind == "images")]
    calls = [make(peer, name, "small") for peer in peers]
    losses = np.array([[float(call()) for _ in range(20)] for call in calls])
    np.testing.assert_allclose(losses[1:], losses[[0] * (len(peers) - 1)], rtol=1e-4)
    assert losses[0, -1] < losses[0, 0]


def test_command_prints_a_row_a_size():
    command = [sys.executable, "-m", "benchmarks.layers", "relu", "--rounds", "1", "--seconds", "0.05"]
    done = subprocess.run(command, capture_output=True, text=True)
    head, *rows, last = done.stdout.splitlines()
    assert head.split()[:3] == ["layer", "size", "ours"]
    assert [row.split()[:2] for row in rows] == [["relu", size] for size in SIZES]
    assert all(float(row.split()[2]) > 0 for row in rows)
    assert "of 1 behind" in last
    assert done.returncode in (0, 1), done.stderr
    wrong = subprocess.run([*command[:3], "nothing"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no layer nothing" in wrong.stderr


def test_what_misses_the_aim():
    level, late = dict.fromkeys("abcd", 1.0), dict.fromkeys("abcd", 0.9)
    assert behind(level) == ([], True)
    assert behind(late | {"a": 1.2}) == (["b", "c", "d"], True)
    assert behind(late) == (list("abcd"), False)
    assert behind(level | {"a": 0.7}) == (["a"], True)
    assert behind(level | {"a": 0.69}) == (["a"], False)
