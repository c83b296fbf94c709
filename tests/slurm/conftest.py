"""One Slurm of two nodes for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.mpi.launch import mpich
from tests.slurm.minislurm import Slurm, minislurm


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    mpich(tmp_path_factory.getbasetemp())  # what the jobs run on
    with minislurm(tmp_path_factory.mktemp("slurm"), nodes=2) as slurm:
        yield slurm
