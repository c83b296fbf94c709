"""The locks hold every package that setup.cfg asks for, within its range, each file by its hash, and make uses them."""

import re
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.sources import ROOT

LOCK = runpy.run_path(str(ROOT / ".ci" / "lock.py"))
WANTED: dict[str, list[str]] = LOCK["wanted"]()
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
ANNOTATION = re.compile(r"\s*#.*")


def text(lock: str) -> str:
    return Path(LOCK["FOLDER"], f"{lock}.txt").read_text()


def pins(text: str) -> Iterator[tuple[Requirement, list[str]]]:
    """(package with its version and where it is for, hashes of its files) of each entry of a lock."""
    lines = [line for line in text.splitlines() if line and not ANNOTATION.fullmatch(line)]
    for entry in "\n".join(lines).replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split(" --hash=")
        yield Requirement(requirement), [f"--hash={one.strip()}" for one in hashes]


def lacking(wanted: Sequence[str], text: str) -> list[str]:
    """What a lock does not have, or has in a version that is not allowed."""
    held: dict[str, list[Requirement]] = {}
    for pin, _ in pins(text):
        held.setdefault(canonicalize_name(pin.name), []).append(pin)
    found = []
    for line in wanted:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate():
            continue
        there = held.get(canonicalize_name(need.name), [])
        versions = [next(iter(pin.specifier)).version for pin in there]
        here = any(pin.marker is None or pin.marker.evaluate() for pin in there)
        if not here or not all(need.specifier.contains(version) for version in versions):
            found.append(line)
    return found


@pytest.mark.parametrize("lock", WANTED)
def test_what_setup_cfg_asks_for_is_locked(lock):
    assert lacking(WANTED[lock], text(lock)) == [], "make locks"


@pytest.mark.parametrize("lock", WANTED)
def test_every_file_has_its_hash_and_no_place(lock):
    for pin, hashes in pins(text(lock)):
        assert [one.operator for one in pin.specifier] == ["=="] and pin.url is None
        assert hashes and all(map(HASH.fullmatch, hashes)), pin
    assert not re.search(r"://|^-|^\s*#.*(?: |^)/|--(?!hash=)", text(lock), re.M), "where files lie is each machine's"


def test_there_is_no_lock_but_those():
    assert {path.stem for path in Path(LOCK["FOLDER"]).iterdir()} == set(WANTED)


@pytest.mark.parametrize(("upper", "lower"), LOCK["ONTO"].items())
def test_what_is_installed_onto_another_lock_agrees_with_it(upper, lower):
    below = {(pin.name, str(pin.marker)): pin.specifier for pin, _ in pins(text(lower))}
    above = {(pin.name, str(pin.marker)): pin.specifier for pin, _ in pins(text(upper))}
    shared = below.keys() & above.keys()
    assert shared and all(below[name] == above[name] for name in shared)


def test_every_extra_is_locked_somewhere():
    extras = {word for words in LOCK["LOCKS"].values() for word in words.split()} - {"*", "install", "build"}
    config = (ROOT / "setup.cfg").read_text().partition("[options.extras_require]")[2]
    names = set(re.findall(r"^(\w+) =$", config, re.M))
    assert extras < names
    lines = {line for lines in WANTED.values() for line in lines}
    assert {line.strip() for line in re.findall(r"^ {4}\S.*$", config, re.M)} <= lines


def test_environments_are_made_from_locks():
    makefile = (ROOT / "Makefile").read_text()
    assert "--require-hashes --only-binary :all: --requirement .ci/locks" in makefile
    used = set(re.findall(r"installed: LOCK = (\w+)", makefile)) | set(re.findall(r"HASHED\)/(\w+)\.txt", makefile))
    assert used == {"cuda", "dev", "oracle", "peers", "security"} <= set(WANTED)
    for lock in used:
        assert re.search(rf"^\.venv\S*/\w+:.* \.ci/locks/{lock}\.txt$", makefile, re.M), (
            f"{lock}: made anew when it changes"
        )


FAKE = "a==1.2 ; python_version < '3' \\\n  --hash=sha256:00\na==1.3 \\\n  --hash=sha256:11\n    # via b\nB_c==2\n"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["a >=1,<2", "b-c >=2"], []),
        (["a >=1.3"], ["a >=1.3"]),
        (["b.c <2"], ["b.c <2"]),
        (["d"], ["d"]),
        (["d ; sys_platform == 'win32'"], []),
    ],
)
def test_what_is_lacking_is_found(wanted, found):
    assert lacking(wanted, FAKE) == found


def test_what_is_only_for_others_is_lacking():
    assert lacking(["a"], "a==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n") == ["a"]
