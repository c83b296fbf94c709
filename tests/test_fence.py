"""Every case of every operation, every rule: an unreadable page behind each buffer, NaN in memory nobody wrote."""

import os
import subprocess
import sys

import pytest

from tests.sources import ROOT


@pytest.mark.parametrize(
    ("file", "name"), [("tests/test_registry.py", "test_values"), ("tests/optim/test_step.py", "bit_for_bit")]
)
def test_all_cases_run_fenced(file, name):
    """In a process of its own: a kernel that reaches too far ends it."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        file,
        "-k",
        name,
    ]
    env = os.environ | {"NUMBAFLUX_FENCE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-500:]
    assert " passed" in done.stdout
