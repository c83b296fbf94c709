"""GPUs that are not there, in the place of those that may be; what was simulated goes into the folder
NUMBAFLUX_SIMULATED, for tests/cuda/covered.py."""

import json
import os
from pathlib import Path

import pytest

from numbaflux import device
from tests.cuda import simulator
from tests.cuda.fake_driver import FakeGPU

simulator.install()


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs by their numbers."""
    made = [FakeGPU(), FakeGPU()]
    made[1].number, made[1].uuid = 1, b"another"
    monkeypatch.setattr(device, "why_not", lambda: "")
    monkeypatch.setattr(device, "count", lambda: 2)
    monkeypatch.setattr(device, "gpu", lambda number=0: made[number])
    return made


def pytest_sessionfinish() -> None:
    folder = os.environ.get("NUMBAFLUX_SIMULATED")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{os.getpid()}.json").write_text(json.dumps(sorted(simulator.RAN)))
