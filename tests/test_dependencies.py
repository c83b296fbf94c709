"""docs/dependencies.md has a line for each package of setup.cfg, with the same range and the extras that ask for it."""

import configparser
import re
import tomllib

from packaging.requirements import Requirement

from tests.sources import ROOT

PAGE = (ROOT / "docs" / "dependencies.md").read_text()
COLUMNS = ["package", "pinned", "vendored", "for", "why", "inside of its wheel", "kept by"]


def asked() -> dict[tuple[str, str], set[str]]:
    """(package, range) -> where it is asked for."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    groups = {"runtime": config["options"]["install_requires"], **config["options.extras_require"]}
    groups["build"] = "\n".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"])
    found: dict[tuple[str, str], set[str]] = {}
    for group, lines in groups.items():
        for line in filter(None, lines.splitlines()):
            name = re.match(r"[\w.-]+(\[\w+\])?", line)[0]
            spread = line.removeprefix(name).partition(";")[0].strip() or "any"
            found.setdefault((name, spread), set()).add(group)
    return found


def rows() -> list[list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"]
    return [row for row in cells if len(row) == len(COLUMNS) and row[0].startswith("`")]


def test_each_dependency_has_its_line():
    told = {(row[0].strip("`"), row[1]): set(row[3].split(", ")) for row in rows()}
    assert told == asked()
    assert len(told) == len(rows()), "a package stands twice"


def test_each_line_is_whole():
    assert PAGE.count("| " + " | ".join(COLUMNS) + " |") == 2
    for row in rows():
        assert all(row) and row[2] == "no", row


def test_each_lock_is_told():
    told = set(re.findall(r"`(\w+)\.txt`", PAGE))
    assert told == {path.stem for path in (ROOT / ".ci" / "locks").iterdir()}


def test_nothing_is_vendored():
    """A wheel of ours holds no file that is no Python of ours, and no folder is called so."""
    names = {path.name for path in ROOT.glob("numbaflux/**/*") if path.is_dir()}
    assert not names & {"_vendor", "vendor", "vendored", "third_party", "external", "_internal"}
    assert not [path for end in ("so", "dll", "whl", "c", "cpp", "js") for path in ROOT.glob(f"numbaflux/**/*.{end}")]


def test_ranges_end_before_the_next_breaking_release():
    for package, spread in asked():
        bounds = {bound.operator for bound in Requirement(f"{package} {'' if spread == 'any' else spread}").specifier}
        assert bounds in ({">=", "<"}, {"=="}) or package in ("setuptools", "wheel"), package
