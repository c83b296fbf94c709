"""A save that fails or is killed, at any system call or any moment, leaves the old checkpoint or the new one, whole."""

import json
import os
import subprocess
import sys

import pytest

from tests.needs import program
from tests.saves import KILL, NOT_HERE, End
from tests.sources import ROOT

LONG = os.environ.get("NUMBAFLUX_LONG") == "1"
ERRORS = ["ENOSPC", "EIO", "EINTR", "EDQUOT", "ENOMEM", "EROFS", "EBADF"]


def ends(folder, *words):
    """What `python -m tests.saves` says of each save, in a folder of its own."""
    (folder / "runs").mkdir()
    command = [sys.executable, "-m", "tests.saves", str(folder / "runs"), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    if NOT_HERE in done.stderr:
        pytest.skip(f"machine: {NOT_HERE}")
    assert done.returncode == 0, done.stderr[-3000:]
    return [End(*json.loads(line)) for line in done.stdout.splitlines()]


def test_every_system_call_of_a_save(tmp_path):
    """By an error, or by an end of the process at it; the long form: each call by each error."""
    program("strace")
    found = ends(tmp_path, *(["calls", *ERRORS, KILL] if LONG else ["turns", "EIO", KILL, "ENOSPC"]))
    assert {"openat", "write", "lseek", "fsync", "rename", "close", "ftruncate"} <= {end.call for end in found}
    assert len(found) > 50 and sum(end.said == "saved" for end in found) < len(found) / 3
    for end in found:
        if end.fault == KILL:
            assert end.said == "SIGKILL" and end.value in (1, 2) and end.left <= (end.value == 1), end
        elif end.said == "saved":
            assert (end.value, end.left) == (2, 0), end
        else:
            name, _, text = end.said.partition(": ")
            assert name in ("OSError", "FileFormatError", "MemoryError") or name.endswith("Error"), end
            assert text.isprintable() and not name.startswith("UNEXPECTED"), end
            assert end.value in (1, 2) and end.left <= (end.call == "unlink"), end
    for fault in {end.fault for end in found}:  # the old file up to the rename, the new one behind it
        values = [end.value for end in found if end.fault == fault and end.said != "saved"]
        assert values == sorted(values) and values[0] == 1, fault


def test_killed_at_random_moments(tmp_path):
    found = ends(tmp_path, "kills", "1000" if LONG else "30")
    assert {end.value for end in found} == {0, 1} and all(end.left <= 1 for end in found)
