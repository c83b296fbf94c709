"""Every public function with other arguments than it is meant for: an error that is documented, and never an end of the
interpreter."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import numbaflux as nf
from tests.fuzz import arguments
from tests.sources import ROOT

LONG = os.environ.get("NUMBAFLUX_LONG") == "1"


def run(seed, examples, *names, **env):
    """`python -m tests.fuzz.arguments`; what was called when it ended, if it did not end well."""
    command = [sys.executable, "-m", "tests.fuzz.arguments", str(seed), str(examples), *names]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=7200)
    log = re.search(r"the last call: (.*)", done.stdout)
    last = Path(log[1]).read_text().strip() if log else "none"
    assert done.returncode == 0, (
        f"seed {seed}, code {done.returncode}; last: {last}\n{done.stdout}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def test_public_functions(tmp_path):
    seed = random.Random().getrandbits(32) if LONG else 0
    said = run(seed, 100_000 if LONG else 1_000, TMPDIR=str(tmp_path))
    known, names = map(int, re.match(r"(\d+) of (\d+) functions", said).groups())
    assert names > 350 and known > 0.9 * names and said.endswith("\n0 findings\n")


# ------------------------------------------------------------------------------------------ that it would be seen


def wrong_kind(x):
    return x + "a"


def divided(x):
    return 1 // x


def forever(x):
    while True:
        pass


def ours(x):
    raise nf.RangeError("no")


@pytest.mark.parametrize(
    ("function", "given", "strict", "text"),
    [
        (ours, {"x": 1}, True, None),
        (wrong_kind, {"x": 1}, True, "TypeError"),
        (wrong_kind, {"x": 1}, False, None),
        (wrong_kind, {"x": "b", "y": 1}, True, None),  # y is not passed on: the signature has none
        (divided, {"x": 0}, False, "ZeroDivisionError"),
        (abs, {}, True, None),
        (forever, {"x": 1}, True, "longer than"),
    ],
)
def test_what_a_finding_is(function, given, strict, text, tmp_path, monkeypatch):
    monkeypatch.setattr(arguments, "SECONDS", 0.2)
    before = signal.signal(signal.SIGPROF, arguments.late)
    log = os.open(tmp_path / "last", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(arguments.Finding, match=text) if text else contextlib.nullcontext():
            arguments.attempt(arguments.Case("f", function, given, strict), log)
    finally:
        os.close(log)
        signal.signal(signal.SIGPROF, before)
    assert (tmp_path / "last").read_text().startswith("f(")


def test_an_end_of_the_interpreter_is_seen(tmp_path):
    code = f"""
import ctypes, os
from tests.fuzz.arguments import Case, attempt
log = os.open({str(tmp_path / "last")!r}, os.O_RDWR | os.O_CREAT)
attempt(Case("string_at", lambda ptr: ctypes.string_at(ptr), {{"ptr": 8}}, True), log)
"""
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGSEGV and "Segmentation fault" in done.stderr
    assert (tmp_path / "last").read_text().strip() == "string_at(ptr=8)"


def test_which_arguments_are_alike():
    x = np.ones(2)
    assert arguments.alike(x, x.astype(int)) and arguments.alike(1, 2.5) and arguments.alike("a", "b")
    assert not any(arguments.alike(*pair) for pair in [(x, x.astype(str)), (x, 1), (1, True), ("a", 1), (None, 1)])
