"""The rules of conftest.py: long tests wait to be asked, and in CI a skip for a missing part is a failure."""

import os
import shutil
import subprocess
import sys

import pytest

SAMPLE = """
import pytest

@pytest.mark.long
def test_long(): pass

def test_missing_part(): pytest.importorskip("no_such_package")

@pytest.mark.skip(reason="a part is missing")
def test_marked(): pass

def test_machine(): pytest.skip("machine: no GPU")

def test_plain(): pass
"""
MODULE = "import pytest\nno = pytest.importorskip('no_such_package')\ndef test_it(): pass\n"


@pytest.fixture
def counts(tmp_path):
    """Run the two sample files under some environment: the words of pytest's closing line."""
    shutil.copy(os.path.join(os.path.dirname(__file__), "conftest.py"), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long: as here\n")
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    (tmp_path / "test_module.py").write_text(MODULE)

    def run(**environment: str) -> str:
        clean = {key: value for key, value in os.environ.items() if key not in ("CI", "NUMBAFLUX_LONG")}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
        done = subprocess.run(
            command, cwd=tmp_path, env=clean | environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout.splitlines()[-1].partition(" in ")[0]

    return run


def test_skips_are_skips_at_home(counts):
    assert counts() == "1 passed, 5 skipped"


def test_skips_for_missing_parts_are_failures_in_ci_and_long_tests_run_when_asked(counts):
    assert counts(CI="1", NUMBAFLUX_LONG="1") == "1 failed, 2 passed, 1 skipped, 2 errors"
