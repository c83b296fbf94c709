"""Cliffs and rises are found on made-up times; files, picture and page hold them; a short series runs to its end."""

import doctest
import json
import os
import subprocess
import sys

import pytest

import numbaflux as nf
from benchmarks.growth import series, trend
from benchmarks.growth.measure import faults, rows, table
from benchmarks.growth.page import write
from benchmarks.growth.series import SERIES
from benchmarks.growth.trend import above, cliffs, off_trend, rise
from benchmarks.growth.written import PAGE
from benchmarks.written import RESULTS
from tests.sources import ROOT

POINTS = [1, 2, 4, 8, 16]
COMMAND = [sys.executable, "-m", "benchmarks.growth"]


def record(ours, again=None, **others):
    peers = {"numbaflux": [ours, again or ours], **{peer: [us, us] for peer, us in others.items()}}
    return {"points": POINTS, "us": peers}


@pytest.mark.parametrize("module", [series, trend])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("power", [-1, 0, 0.5, 3])
def test_powers_are_on_the_trend_at_any_distance(power):
    points = [1, 2, 7, 8, 100]
    assert off_trend(points, [5 * p**power for p in points]) == pytest.approx([1] * 5)


def test_what_leaves_the_trend():
    assert off_trend(POINTS, [1, 2, 8, 8, 16]) == pytest.approx([1, 0.5**0.5, 2, 0.5**0.5, 1])  # one slow point
    assert off_trend(POINTS, [1, 2, 4, 16, 32]) == pytest.approx([1, 1, 0.5**0.5, 2**0.5, 1])  # a step
    assert max(off_trend(POINTS, [10 + p for p in POINTS])) <= 1  # a constant part is no cliff ..
    assert min(off_trend(POINTS, [10 + p * p for p in POINTS])) > 1 / 1.3  # .. nor below the trend
    assert off_trend([1, 2], [1, 9]) == [1, 1]


def test_rise_is_over_the_least_before():
    assert rise([4, 2, 3, 1, 2]) == [1, 0.5, 1.5, 0.5, 2]


def test_only_what_both_medians_show_counts():
    assert above([[1.31, 1.31, 1.3], [1.31, 1.0, 1.31]]) == [True, False, False]
    assert cliffs([[0.5, 1.0, 0.5], [0.6, 1.0, 1.4]]) == [True, False, False]
    assert cliffs([[0.6, 1.5, 0.6, 1.0, 0.6], [0.6, 1.5, 0.6, 1.0, 0.6]]) == [False, True, False, False, True]


def test_rows_of_a_slow_point():
    made = record([10, 12, 36, 30, 48], torch=[20, 24, 30, 60, 96], **{"torch-last": [40, 12, 99, 99, 99]})
    found = rows("batch_mlp", made)
    assert [row.cliff for row in found] == [False, False, True, False, False]
    assert [row.unit for row in found] == [10, 6, 9, 3.75, 3]
    assert [row.rises for row in found] == [False, False, True, False, False]
    assert [row.peer for row in found] == ["torch", "torch-last", *["torch"] * 3]
    assert [row.peer_us for row in found] == [20, 12, 30, 60, 96]
    assert faults("batch_mlp", made) == ["batch_mlp 4"]
    assert "off the trend  a unit costs more" in table("batch_mlp", made).splitlines()[4]


def test_noise_of_one_median_is_no_fault():
    made = record([10, 12, 36, 30, 48], [10, 12, 18, 30, 48])
    assert faults("batch_mlp", made) == []
    assert rows("batch_mlp", made)[2].off == pytest.approx(18 / 360**0.5, rel=1e-5)
    assert rows("batch_mlp", made)[2].us == 27
    assert rows("batch_mlp", made)[2].peer == ""


@pytest.mark.parametrize("name", SERIES)
def test_series_grow(name):
    one = SERIES[name]
    assert list(one.points) == sorted(set(one.points))
    cases = [one.case(p) for p in one.points[:3]]
    assert all(one.units(p) > 0 for p in one.points)
    if not one.threads:
        sizes = [
            case.batch * sum(a.size for layer in case.weights() for a in layer) + case.data()[0].size for case in cases
        ]
        assert sizes == sorted(set(sizes))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / PAGE).parent.mkdir()
    (tmp_path / PAGE).write_text((ROOT / PAGE).read_text())
    return tmp_path


def test_files_picture_and_page(folder):
    write(folder, {"batch_mlp": record([10, 12, 36, 30, 48], torch=[20, 24, 30, 60, 96])})
    write(folder, {"depth": record([1, 2, 3, 4, 5], torch=[2, 4, 6, 8, 10])})
    held = json.loads((folder / RESULTS / "growth.json").read_text())
    assert set(held) == {"batch_mlp", "depth"}
    assert held["depth"]["points"] == POINTS
    assert held["depth"]["machine"]["versions"]["numbaflux"] == nf.__version__
    page = (folder / PAGE).read_text()
    assert "| 4 | 36.0 | **9** | 30.0 | 0.83 | **1.90** |" in page
    assert "| 16 | 5.0 | 0.312 | 10.0 | 2.00 | 1.00 |" in page
    assert page.count("(growth.png)") == 1
    assert (folder / PAGE.parent / "growth.png").read_bytes().startswith(b"\x89PNG")
    again = page.split("<!-- growth -->")[1]
    write(folder, {"depth": record([1, 2, 3, 4, 5], torch=[2, 4, 6, 8, 10])})
    assert (folder / PAGE).read_text().split("<!-- growth -->")[1] == again


def test_page_without_marks_is_refused(folder):
    (folder / PAGE).write_text("nothing")
    with pytest.raises(SystemExit, match="marks of block growth"):
        write(folder, {"depth": record([1, 2, 3, 4, 5], torch=[2, 4, 6, 8, 10])})


def stay_on_one_cpu():
    """Else PyTorch's threads wait for each other for minutes where the machine has other work."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def test_command_beside_pytorch():
    pytest.importorskip("torch")
    command = [*COMMAND, "batch_mlp", "--points", "1", "2", "4", "--rounds", "1", "--seconds", "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, preexec_fn=stay_on_one_cpu)
    title, head, *lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert title.startswith("batch_mlp: ")
    assert head.split()[:2] == ["point", "us"]
    assert [line.split()[0] for line in lines[:3]] == ["1", "2", "4"]
    assert all(float(line.split()[1]) > 0 and line.split()[4] == "torch" for line in lines[:3])


def test_command_alone_over_threads():
    command = [*COMMAND, "threads", "--points", "1", "--rounds", "1", "--seconds", "0.01", "--alone", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 points marked"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nothing"], "no series nothing"), (["--write", "--alone"], "--write takes every point")],
)
def test_command_refuses(arguments, words):
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert words in done.stderr
