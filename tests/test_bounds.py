"""Kernels with every index checked, run by Numba's own dispatchers: NUMBA_BOUNDSCHECK=1 over the cases of operations.
(What kernels reach by addresses is for tests/test_fence.py, where they run as plans run them.)"""

import os
import subprocess
import sys

from tests.child import child
from tests.sources import ROOT

LONG = os.environ.get("NUMBAFLUX_LONG") == "1"
CHECKED = {"NUMBA_BOUNDSCHECK": "1", "NUMBAFLUX_NATIVE": "0"}
INDEXED = "float32 and (take or scatter_)"  # where indices come from the data; the long form: every operation
OUTSIDE = """
import numpy as np
from numbaflux.kernels.cpu import check
status = np.zeros({size}, np.int64)
try:
    check.flags(status, np.ones(3, np.int64), 7)
except IndexError as error:
    print(error)
else:
    print(status)
"""


def test_an_index_outside_is_seen():
    assert child(OUTSIDE.format(size=2), **CHECKED) == "[7 0]"
    assert "out of bounds" in child(OUTSIDE.format(size=1), **CHECKED)


def test_cases_of_operations():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_registry.py"]
    command += ["-k", "test_values" if LONG else f"test_values and {INDEXED}"]
    env = os.environ | CHECKED
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=7200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-500:]
    assert " passed" in done.stdout
