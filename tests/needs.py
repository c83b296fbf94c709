"""What a test needs of the machine: without it the test is skipped at home, and fails where CI is set."""

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest

# Programs of the system are not on every user's path.
FOLDERS = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def missing(what: str) -> NoReturn:
    """The test cannot run; in CI, where all that can be installed is, that is an error."""
    if "CI" in os.environ:
        pytest.fail(f"CI is set, but {what}", pytrace=False)
    pytest.skip(f"machine: {what}")


def program(name: str) -> str:
    """Where a program lies."""
    return shutil.which(name, path=FOLDERS) or missing(f"there is no {name}")


def package(name: str) -> None:
    """A package that this Python can import."""
    if importlib.util.find_spec(name) is None:
        missing(f"{name} is not installed: pip install -e '.[dev]'")
