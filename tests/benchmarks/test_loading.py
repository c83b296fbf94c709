"""How fast files load: what is timed, and what --check says of it."""

import os

import pytest

from benchmarks import loading

RATES = {1: {"nf.load": 1.5, "nf.load, hashlib alone": 1.0, "h5py, no digests": 2.0},
         2: {"nf.load": 2.5, "nf.load, hashlib alone": 1.75, "h5py, no digests": 2.0}}  # fmt: skip


def test_every_way_loads_the_file(monkeypatch):
    monkeypatch.setattr(loading, "LAYERS", 1)
    monkeypatch.setattr(loading, "SIZE", 64)
    found = loading.measured(1)
    assert found.keys() == {1, len(os.sched_getaffinity(0))}
    assert all(rates.keys() == loading.WAYS.keys() and min(rates.values()) > 0 for rates in found.values())


def test_table():
    assert loading.table(RATES).splitlines()[::2] == ["| GB/s | 1 thread | 2 threads |", "| nf.load | 1.50 | 2.50 |",
                                                      "| h5py, no digests | 2.00 | 2.00 |"]  # fmt: skip


@pytest.mark.parametrize(("rate", "other", "code"), [(2.5, 2.0, 0), (1.9, 2.0, 1), (0.9, 0.5, 1), (1.0, 0.5, 0)])
def test_check(rate, other, code, monkeypatch, capsys):
    found = RATES | {2: RATES[2] | {"nf.load": rate, "h5py, no digests": other}}
    monkeypatch.setattr(loading, "measured", lambda rounds: found)
    assert loading.main(["--check"]) == code and loading.main([]) == 0
    assert f"{rate:.2f}" in capsys.readouterr().out


def test_the_page_has_its_place(monkeypatch, tmp_path):
    page = tmp_path / "security.md"
    page.write_text(loading.PAGE.read_text())
    monkeypatch.setattr(loading, "measured", lambda rounds: RATES)
    monkeypatch.setattr(loading, "PAGE", page)
    assert loading.main(["--write"]) == 0 and "| nf.load | 1.50 | 2.50 |" in page.read_text()
