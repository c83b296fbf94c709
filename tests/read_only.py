"""A folder that a program cannot write to, as root too, whom permissions do not stop."""

import os
from pathlib import Path

import pytest

from tests.needs import program

MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def read_only(folder: Path) -> tuple[str, ...]:
    """Words to put before a command: for it, and what it starts, the folder is on a read-only disk."""
    if os.geteuid():
        pytest.skip("machine: only root can mount")
    return (program("unshare"), "--mount", "sh", "-c", MOUNT, str(folder))
