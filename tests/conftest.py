"""Long tests wait for NUMBAFLUX_LONG=1; where CI is set, a test skipped because a part is missing is a failure."""

import math
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

import numbaflux as nf
from numbaflux import pace

# A reason that says what no installation can mend; any other skip must not stay green in CI.
HONEST_SKIPS = ("long: ", "machine: ")

# What a shell runs in the background ignores Ctrl-C, and so would every child that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A test of threads needs them, however busy the machine is (test_pace.py sets it back).
pace.LATE = math.inf

# Kernels compile on first use, so a first example may take seconds; CI draws the same examples each time.
settings.register_profile("numbaflux", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("numbaflux")


@pytest.fixture
def saved_model(tmp_path: Path) -> nf.Chain:
    """A small network, and the file model.h5 of it."""
    nf.seed(0)
    made = nf.Chain(nf.Dense(3, 8, nf.tanh), nf.Dense(8, 2))
    nf.save(tmp_path / "model.h5", made)
    return made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("NUMBAFLUX_LONG") == "1":
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="long: set NUMBAFLUX_LONG=1"))


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a report of a skip into a failure, unless its reason is an honest one or the test is an expected failure."""
    if "CI" not in os.environ or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    place = report.longrepr  # (file, line, reason)
    reason = (place[2] if isinstance(place, tuple) else str(place)).removeprefix("Skipped: ")
    if not reason.startswith(HONEST_SKIPS):
        report.outcome, report.longrepr = "failed", f"skipped although CI is set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """No test changes the number of threads of the next one, nor what becomes of a signal, there or in its children."""
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with nf.threads(nf.native.pool().count):
        result = yield
    for one, handler in handlers.items():
        signal.signal(one, handler)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report
