"""The example that reads its data by slabs runs on two nodes: one report, the numbers of one process."""

import sys

import numpy as np

from tests.examples.program import FOLDER, called, lines
from tests.examples.test_transport import shares
from tests.slurm.test_script import NETWORK


def test_two_nodes_read_one_file(slurm, tmp_path):
    words = ("--samples", "256", "--epochs", "2")
    told = "".join(f"export {name}={value}\n" for name, value in NETWORK.items())
    command = f"exec srun --mpi=pmi2 {sys.executable} {FOLDER / 'transport.py'} {' '.join(words)} --out ranks"
    options = "#SBATCH --nodes=2 --ntasks-per-node=1 --time=5 --output=report --error=progress"
    job = slurm.run(f"#!/bin/bash\n{options}\n{told}{command}\n", tmp_path)
    shown = slurm.wait(job, "COMPLETED", "FAILED", "TIMEOUT", seconds=180)
    said = (tmp_path / "report").read_text()
    assert shown["JobState"] == "COMPLETED", said + (tmp_path / "progress").read_text()
    assert shown["NodeList"] == "n[1-2]" and said.count("data  ") == 1
    code, alone = called("transport", *words, "--out", tmp_path / "alone")
    assert code == 0
    found, right = lines(said), lines(alone)
    assert found["training"].endswith(", 2 ranks") and right["training"].endswith(", 1 rank")
    assert found["data"] == right["data"]
    for title in ("validation", "test"):
        np.testing.assert_allclose(shares(found[title]), shares(right[title]), atol=1.5e-4)
    for name in ("transport.h5", "transport.png", "transport-data.h5"):
        assert (tmp_path / "ranks" / name).exists()
