"""What the tables and the picture of a made-up run say; and that the pages say what the last real run gave."""

import copy
import json
import struct

import pytest

from benchmarks.peers import figures, report
from benchmarks.written import between
from tests.sources import ROOT


def peer(*times, memory=1.0, first=0.5, cold=None):
    return {"times": list(times), "first": first, "cold": cold, "memory": memory}


@pytest.fixture
def results():
    """One case that we win, one that we lose to JAX, one of another kind with a peer that failed."""
    lenet = {
        "kind": "training", "flops": 2e6, "targets": {"torch": 7.0, "jax": 1.0}, "failed": {},
        "peers": {
            "numbaflux": peer(90.0, 100.0, 5000.0, memory=20.0, first=0.25, cold=12.0),
            "torch": peer(900.0, 800.0, 850.0, memory=90.0, first=0.125),
            "torch-last": peer(600.0, 500.0, 550.0, memory=95.0),
            "jax": peer(1e6, 2e6, 3e6),
            "peak": peer(20.0, 25.0, 30.0),
        },
    }  # fmt: skip
    gru = copy.deepcopy(lenet)
    gru["peers"] = {"numbaflux": peer(100.0), "torch": peer(800.0), "jax": peer(50.0)}
    product = {"kind": "products", "flops": 1e6, "targets": {"numpy": 0.85}, "peers": {"numbaflux": peer(10.0)}}
    product["failed"] = {"numpy": "MemoryError"}
    product["peers"]["numpy"] = peer(9.0)
    rows = {"lenet": lenet, "gru": gru, "product": product}
    machine = {"processor": "Some CPU", "cores": 2, "gigabytes": 8, "system": "Linux 6", "threads": 2}
    return {"date": "2026-01-31", **machine, "versions": {"torch": "2.13.0"}, "rows": rows}


def test_figures(results):
    lenet, gru, product = results["rows"].values()
    assert figures.median(lenet, "numbaflux") == 100.0
    assert figures.best(lenet, "torch") == "torch-last"
    assert figures.best(lenet, "numpy") is None
    assert figures.ratios(lenet) == {"torch": 5.5, "jax": 20_000.0, "peak": 0.25}
    assert figures.gflops(lenet, "numbaflux") == 20.0
    assert figures.of_peak(lenet, "torch-last") == pytest.approx(25 / 550)
    assert figures.of_peak(gru, "numbaflux") is None
    assert figures.least(lenet, "torch", "memory") == 90.0
    assert figures.missed(lenet) == ["5.50 of 7 against torch"]
    assert figures.missed(gru) == ["0.50 of 1 against jax"]
    assert (figures.behind(lenet), figures.behind(gru), figures.behind(product)) == ([], ["jax"], ["numpy"])


def test_a_case_without_our_time_has_no_ratios(results):
    row = results["rows"]["lenet"]
    del row["peers"]["numbaflux"]
    assert figures.ratios(row) == {}
    assert figures.missed(row) == []
    assert "| lenet |  | 550 | 2,000,000 |" in report.block(results)


def test_text(results):
    (
        head,
        ours,
        torch,
        *_,
    ) = report.text_head(), *report.text_rows("lenet", results["rows"]["lenet"])
    assert head.split()[:5] == ["case", "peer", "us", "ratio", "GFLOP/s"]
    assert ours.split() == ["lenet", "numbaflux", "100", "1.00", "20.0", "25", "%", "20.0", "0.25", "12.0"]
    assert torch.split() == ["lenet", "torch", "850", "8.50", "2.35", "3", "%", "90.0", "0.12"]
    last = report.text_rows("product", results["rows"]["product"])[-1]
    assert last.split() == ["product", "numpy", "failed:", "MemoryError"]


def test_block_of_the_readme(results):
    lines = report.block(results).splitlines()
    assert lines[2] == "| lenet | 100 | 550 | 2,000,000 | 5.50 | 20,000 | 20.0 / 90.0 / 1.00 | 0.25 / 0.12 / 0.50 |"
    assert lines[3] == "| gru | 100 | 800 | 50.0 | 8.00 | **0.50** | 1.00 / 1.00 / 1.00 | 0.50 / 0.50 / 0.50 |"
    assert lines[5] == "Measured on 2026-01-31 with 2 threads on Some CPU, 2 cores, 8 GB, Linux 6. PyTorch 2.13.0."
    assert lines[-1] == "Of 3 cases, others are faster in 2: gru (JAX), product (NumPy)."


def test_targets_of_this_run_and_the_one_before(results, tmp_path):
    """A target missed in either stands in the table; what is saved knows what was saved before."""
    (tmp_path / "benchmarks").mkdir()
    report.save(results, tmp_path)
    first = json.loads((tmp_path / report.FILE).read_text())
    assert "before" not in first
    told, count, _, *table = report.targets(first).splitlines()
    assert told.startswith("The register tile makes, in GFLOP/s a core: 40.0 (2026-01-31, Some CPU). ")
    assert count == "Of 5 targets 2 were missed:"
    assert table[2:] == ["| lenet | PyTorch | 7 | **5.50** |", "| gru | JAX | 1 | **0.50** |"]

    results["rows"]["gru"]["peers"]["jax"] = peer(200.0)
    report.save(results | {"date": "2026-02-01"}, tmp_path)
    second = json.loads((tmp_path / report.FILE).read_text())
    told, _, _, head, _, *table = report.targets(second).splitlines()
    assert "40.0 (2026-02-01, Some CPU), 40.0 (2026-01-31, Some CPU)" in told
    assert head == "| case | beside | asked | this run | the run before |"
    assert table == ["| lenet | PyTorch | 7 | **5.50** | **5.50** |", "| gru | JAX | 1 | 2.00 | **0.50** |"]

    for row in results["rows"].values():
        row["targets"] = {}
    assert "Of 0 targets 0 were missed." in report.targets(results)


def test_page(results):
    page = report.page(results)
    assert "![Time of others over ours](peers.png)" in page
    assert "| case | numbaflux | PyTorch | PyTorch (last) | JAX |\n| --- | ---: | ---: | ---: | ---: |" in page
    assert "| lenet | 25 % | 3 % | 5 % | 0 % |\n| gru |  |  |  |  |" in page
    assert "First step without cached kernels, seconds:" in page
    assert "## Products\n" in page and "product, NumPy: MemoryError" in page


def test_pages_and_picture_are_written_from_the_results_again_and_again(results, tmp_path):
    for name in ("benchmarks/results", "docs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / report.FILE).write_text(json.dumps(results))
    for name in ("README.md", "docs/performance.md"):
        (tmp_path / name).write_text("before\n<!-- peers -->\nold\n<!-- /peers -->\nafter\n")
    for _ in range(2):
        report.publish(tmp_path)
        expected = "before\n<!-- peers -->\n" + report.block(results) + "<!-- /peers -->\nafter\n"
        assert (tmp_path / "README.md").read_text() == expected
        assert report.page(results) in (tmp_path / "docs/performance.md").read_text()
    picture = (tmp_path / report.PICTURE).read_bytes()
    assert picture[:4] == b"\x89PNG"
    assert min(struct.unpack(">II", picture[16:24])) > 200


@pytest.mark.parametrize("name, made", [("README.md", report.block), ("docs/performance.md", report.page)])
def test_pages_hold_what_the_last_run_gave_and_nothing_typed(name, made):
    text, recorded = (ROOT / name).read_text(), (ROOT / report.FILE).exists()
    held = made(json.loads((ROOT / report.FILE).read_text())) if recorded else ""
    assert between(text, "peers", held) == text
    assert (ROOT / report.PICTURE).exists() is recorded


@pytest.mark.parametrize("page", ["", "<!-- peers -->\n", 2 * "<!-- peers -->\n<!-- /peers -->\n"])
def test_a_page_without_its_marks_is_refused(page):
    with pytest.raises(SystemExit, match="^the marks of block peers must stand once in its page$"):
        between(page, "peers", "new\n")
