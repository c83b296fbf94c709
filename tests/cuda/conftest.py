"""What was simulated goes into the folder NUMBAFLUX_SIMULATED, for tests/cuda/covered.py."""

import json
import os
from pathlib import Path

from tests.cuda import simulator


def pytest_sessionfinish() -> None:
    folder = os.environ.get("NUMBAFLUX_SIMULATED")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{os.getpid()}.json").write_text(json.dumps(sorted(simulator.RAN)))
