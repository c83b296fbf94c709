"""Launchers for tests: of MPICH, of Open MPI, of MPICH over two hosts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mpi import launch
from tests.mpi.hosts import Hosts, two_hosts


@pytest.fixture
def mpi(tmp_path: Path) -> launch.Launcher:
    return launch.mpich(tmp_path)


@pytest.fixture
def openmpi(tmp_path: Path) -> launch.Launcher:
    return launch.openmpi(tmp_path)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with two_hosts(tmp_path) as hosts:
        yield hosts
