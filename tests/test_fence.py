"""Every case of every operation with an unreadable page behind each buffer and NaN in memory that nobody wrote."""

import os
import subprocess
import sys

from tests.sources import ROOT


def test_all_cases_run_fenced():
    """In a process of its own: a kernel that reaches too far ends it."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_registry.py",
        "-k",
        "test_values",
    ]
    env = os.environ | {"NUMBAFLUX_FENCE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-500:]
    assert " passed" in done.stdout
