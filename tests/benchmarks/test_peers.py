"""The peers do the same work: equal losses after 20 steps, equal products; the command runs and says what it missed."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.peers.cases import PRODUCTS, TRAINING
from benchmarks.peers.worker import make


@pytest.mark.parametrize("name", TRAINING)
def test_losses_after_20_steps_agree(name):
    pytest.importorskip("torch")
    ours, torch = (make(peer, TRAINING[name]) for peer in ("numbaflux", "torch"))
    losses = [[float(call()) for _ in range(20)] for call in (ours, torch)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3, atol=1e-3 * losses[1][0])
    assert losses[0][-1] < losses[0][0]


def test_products_agree():
    pytest.importorskip("torch")
    case = PRODUCTS["dense_512"]
    ours, numpy, torch = (make(peer, case)() for peer in ("numbaflux", "numpy", "torch"))
    np.testing.assert_allclose(ours, numpy, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours, torch.numpy(), rtol=1e-3, atol=1e-3)


def test_command_prints_a_row_a_case_and_fails_on_a_missed_target_when_asked():
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "benchmarks.peers", "mlp_small_b32", "--rounds", "1", "--seconds", "0.05"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    head, row = done.stdout.splitlines()[:2]
    assert head.split()[:3] == ["case", "ours", "us"]
    assert row.split()[0] == "mlp_small_b32"
    assert float(row.split()[1]) > 0
    wrong = subprocess.run([*command[:3], "nothing"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no case nothing" in wrong.stderr
