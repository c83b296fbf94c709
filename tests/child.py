"""Runs a piece of Python in a process of its own: for what a process does first, at a fork, at its end."""

import os
import subprocess
import sys
import textwrap

from tests.sources import ROOT


def start(code: str, *prefix: str, **env: str) -> subprocess.Popen:
    """A new Python on the code, with these environment variables more."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", textwrap.dedent(code)], env=os.environ | {"PYTHONPATH": path} | env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: subprocess.Popen, seconds: float = 120) -> str:
    """What a process printed; it must end well and in time."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"hangs after {out!r} {err[-2000:]}") from None
    assert process.returncode == 0, err[-4000:]
    return out.strip()


def child(code: str, *prefix: str, **env: str) -> str:
    """What a new Python prints for the code."""
    return said(start(code, *prefix, **env))
