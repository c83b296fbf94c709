"""docs/security.md and its neighbours: every link leads to a file, every test named is there, no point is left out."""

import functools
import operator
import re
from pathlib import Path

import pytest

import numbaflux as nf
from benchmarks.written import between
from tests.fuzz.hostile import MECHANISMS
from tests.sources import ROOT

PAGE = ROOT / "docs" / "security.md"
PAGES = [PAGE, ROOT / "SECURITY.md", ROOT / "docs" / "security-guide.md", ROOT / "docs" / "advisory-template.md"]
CHARTER = [f"T{i}" for i in range(1, 24)] + [f"A{i}" for i in range(1, 17)]
STRIDE = ["component", "spoofing", "tampering", "repudiation", "information", "denial of service", "elevation"]
THREATS = (
    "poisoned data", "leakage", "inversion", "extraction", "adversarial input", "side channels", "verbose errors",
    "callbacks", "MPI peers", "kernel cache", "environment variables", "embedded", "cloud",
)  # fmt: skip
LINK = re.compile(r"\[([^]]+)\]\(([^)]+)\)")


def section(page: Path, title: str) -> str:
    """The text below a heading, up to the next heading of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no section {title}"
    return found[2]


def table(text: str) -> list[list[str]]:
    """The cells of the first table of a text, its head first, without the line of dashes."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if not all(re.fullmatch(":?-+:?", cell) for cell in row)]


def anchors(page: Path) -> set[str]:
    """What links into a page may end with."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@functools.cache
def named_in(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^\s*def (test_\w+)", path.read_text(), re.MULTILINE))


def wrong(text: str, folder: Path) -> list[str]:
    """The links of a text that lead nowhere."""
    found = []
    for _, target in LINK.findall(text):
        name, _, anchor = target.partition("#")
        path = (folder / name).resolve()
        if target.startswith("https://") or (not name and anchor):
            continue
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(target)
    return found


def unknown_tests(cell: str, folder: Path) -> list[str]:
    """Links of a cell of tests without one of their tests behind them, and names that the linked file does not have."""
    places = list(LINK.finditer(cell))
    found = [] if places else ["no link"]
    for place, end in zip(places, [*(p.start() for p in places[1:]), len(cell)], strict=False):
        path = (folder / place[2]).resolve()
        named = re.findall(r"`(\w+)`", cell[place.end() : end])
        have = named_in(path) if path.is_file() and path.suffix == ".py" else frozenset()
        found += [f"{place[2]}: {name}" for name in named if name not in have]
        found += [] if named else [f"{place[2]}: no test named"]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert wrong(page.read_text(), page.parent) == []
    own = [target[1:] for _, target in LINK.findall(page.read_text()) if target.startswith("#")]
    assert set(own) <= anchors(page)


def charter() -> list[list[str]]:
    head, *rows = table(section(PAGE, "The charter"))
    assert head == ["id", "point", "control", "test", "what remains"]
    return rows


def test_every_point_of_the_charter_stands_once():
    assert [row[0] for row in charter()] == CHARTER


@pytest.mark.parametrize("id", CHARTER)
def test_a_point_has_control_test_and_what_remains(id):
    (row,) = [row for row in charter() if row[0] == id]
    assert len(row) == 5 and all(len(cell) > 10 for cell in row[1:]), "a cell is empty"
    assert LINK.search(row[2]), "the control names no file"
    assert unknown_tests(row[3], PAGE.parent) == []


def test_flows_of_the_picture_are_those_of_the_table():
    picture = re.search(r"```mermaid\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    drawn = re.findall(r"-- (F\d+) -->", picture)
    _, *rows = table(section(PAGE, "Data flows and trust boundaries"))
    assert sorted(drawn) == sorted(row[0] for row in rows) and len(set(drawn)) == len(drawn)
    nodes = set(re.findall(r"^ +(\w+)[\[(]", picture, re.MULTILINE))
    ends = re.findall(r"^ +(\w+) -- F\d+ --> (\w+)$", picture, re.MULTILINE)
    assert len(ends) == len(drawn) and {end for pair in ends for end in pair} == nodes
    assert all(all(row) for row in rows)


def test_stores_of_the_picture_have_a_row():
    stores = re.findall(r'\[\("([^"]+)"\)\]', PAGE.read_text())
    _, *rows = table(section(PAGE, "Data stores"))
    assert [row[0] for row in rows] == stores and all(all(row) for row in rows)


def test_every_component_has_its_six_threats():
    head, *rows = table(section(PAGE, "STRIDE"))
    assert head == STRIDE and len(rows) >= 10
    assert all(len(row) == 7 and all(len(cell) > 2 for cell in row) for row in rows)


def test_threats_are_named():
    _, *rows = table(section(PAGE, "Threats by name"))
    names = " ".join(row[0] for row in rows)
    assert [threat for threat in THREATS if threat not in names] == []
    for name, *cells, points in rows:
        assert all(cells) and points, name
        assert set(re.findall(r"\b[TA]\d+\b", points)) <= set(CHARTER), name


def test_mechanisms_are_those_of_the_hostile_files():
    _, *rows = table(section(PAGE, "Hostile HDF5 files"))
    assert [(int(row[0]), row[1]) for row in rows] == [(number, name) for number, (name, _) in MECHANISMS.items()]
    assert all(all(row) for row in rows)


def test_figures_have_a_place():
    assert "<!-- figures -->\nx<!-- /figures -->" in between(PAGE.read_text(), "figures", "x")


def test_the_policy_says_what_it_must():
    text = (ROOT / "SECURITY.md").read_text()
    times = [row[0] for row in table(section(ROOT / "SECURITY.md", "Reporting"))[1:]]
    assert times == ["3 days", "10 days", "90 days"]
    for title in ("Scope", "Supported versions", "What is promised", "What is not promised"):
        assert section(ROOT / "SECURITY.md", title).strip()
    assert "CVE" in text and "advisory-template.md" in text and "privately" in text


def test_the_template_of_advisories_is_whole():
    text = (ROOT / "docs" / "advisory-template.md").read_text()
    for word in ("CVE-", "CVSS", "CWE-", "Affected:", "Fixed in:", "Impact", "What to do", "Timeline", "Thanks"):
        assert word in text


def test_names_with_a_bearing_on_security_are_marked_and_there():
    guide = section(ROOT / "docs" / "security-guide.md", "API with a bearing on security")
    marked = section(ROOT / "docs" / "api.md", "What has a bearing on security")
    names, again = (set(re.findall(r"`((?:nf\.|NUMBAFLUX_)\w[\w.]*)`", text)) for text in (guide, marked))
    assert names == again and len(names) > 20
    for name in names:
        if name.startswith("nf."):
            assert operator.attrgetter(name[3:])(nf)


def test_the_checklist_is_for_reviews():
    _, *rows = table(section(ROOT / "CONTRIBUTING.md", "Review for security"))
    assert len(rows) >= 12 and all(all(row) for row in rows)


def test_what_is_wrong_would_be_seen():
    folder = ROOT / "docs"
    assert wrong("[a](nowhere.md) [b](api.md#layout) [c](api.md)", folder) == ["nowhere.md", "api.md#layout"]
    here = "[x](../tests/test_security_docs.py): `test_threats_are_named`"
    assert unknown_tests(here, folder) == []
    assert unknown_tests(f"{here}, `test_of_nothing`", folder) == ["../tests/test_security_docs.py: test_of_nothing"]
    assert unknown_tests("[x](../tests/test_security_docs.py)", folder) and unknown_tests("none", folder)
    assert table("| a | b |\n|---|---|\n| c | d \\| e |\n") == [["a", "b"], ["c", "d \\| e"]]
