"""GPUs that are not there, in the place of those that may be."""

import pytest

from numbaflux import device
from tests.cuda import simulator
from tests.cuda.fake_driver import FakeGPU

simulator.install()


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs by their numbers."""
    made = [FakeGPU(), FakeGPU()]
    made[1].number = 1
    monkeypatch.setattr(device, "why_not", lambda: "")
    monkeypatch.setattr(device, "gpu", lambda number=0: made[number])
    return made
