"""Judges what children made of hostile files: every door refuses by one clean line, or finds what was written."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.digests import names
from tests.fuzz.hostile import Variant
from tests.sources import ROOT

SECONDS, MEMORY = 1.0, 64 << 20  # that a door may take, the memory beside the size of the file
FOREIGN_TEXT = re.compile(r"H5[A-Z]\w*_|[Ll]ibhdf5|[Uu]nable to|errno|Traceback|/tmp/|/proc/|/etc/")
QUOTED, ADDRESS = re.compile(r"(got [^'\"]*)['\"].*"), re.compile("0x[0-9a-f]{8}")  # a file's text may look like one
Doors = dict[str, dict[str, Any]]


class Finding(NamedTuple):
    """What is wrong with one door on one variant."""

    row: int
    name: str
    door: str
    verdict: str
    text: str


def run(variants: Sequence[Variant], manifest: Path, table: str = "tests.fuzz.doors:DOORS",
        python: Sequence[str] = (sys.executable,)) -> list[Doors]:  # fmt: skip
    """What every door made of every variant; a child that dies is followed by another, for the variants behind."""
    manifest.write_text("".join(json.dumps(variant._asdict()) + "\n" for variant in variants))
    results: list[Doors] = []
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    while len(results) < len(variants):
        command = [*python, "-m", "tests.fuzz.doors", str(manifest), table, str(len(results))]
        done = subprocess.run(command, capture_output=True, text=True, env=env, errors="replace", check=False)
        for line in done.stdout.splitlines():
            told = json.loads(line)
            if "at" in told:
                results.append({})
            else:
                results[-1][told.pop("door")] = told
        if done.returncode >= 0 and (done.returncode or len(results) < len(variants)):
            raise RuntimeError(f"the child failed: {done.stderr[-2000:]}")
        if done.returncode < 0:
            hung = done.returncode == -signal.SIGALRM
            results[-1]["the process"] = {"died": "hang" if hung else f"crash by signal {-done.returncode}"}
    return results


def judge(variant: Variant, doors: Doors) -> list[Finding]:
    """Everything wrong with what the doors made of a variant."""
    found = []
    for door, report in doors.items():
        for verdict, text in _verdicts(variant, door, report):
            found.append(Finding(variant.row, _title(variant), door, verdict, text[:300]))
    return found


def _title(variant: Variant) -> str:
    return f"{variant.base}: {variant.name}{'' if variant.stamped else ', unstamped'}"


def _verdicts(variant: Variant, door: str, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "died" in report:
        return [(report["died"].split()[0], report["died"])]
    wrong = []
    if report["opened"]:
        wrong.append(("foreign read", "; ".join(report["opened"])))
    if report["seconds"] > SECONDS:
        wrong.append(("slow", f"{report['seconds']:.2f} s"))
    if report["memory"] > MEMORY + _size(variant.path):
        wrong.append(("memory", f"{report['memory'] >> 20} MiB"))
    if report["kind"] not in ("", "FileFormatError"):
        return [*wrong, ("wrong exception", f"{report['kind']}: {report['message']}")]
    if report["kind"]:
        return wrong + _of_message(variant, door, report["message"])
    if door in variant.refused:
        return [*wrong, ("not refused", "")]
    right = _right(variant, door)
    return wrong if report["found"] == right else [*wrong, ("silent change", f"{set(report['found']) ^ set(right)}")]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size if os.path.isfile(path) and os.stat(path).st_blocks else 0
    except (OSError, ValueError):
        return 0


def _of_message(variant: Variant, door: str, message: str) -> list[tuple[str, str]]:
    """What is wrong with a refusal: that there is one, how it is worded, that it is for another reason."""
    if door not in variant.refused:
        return [("refused", message)]
    if dirty(variant.path, message):
        return [("dirty message", message)]
    right = re.search(variant.about, message) or not variant.stamped and "SHA-256" in message
    right = right or door == "load_checkpoint" and "a checkpoint" in message
    return [] if right else [("another reason", f"{variant.about!r} is not in {message!r}")]


def dirty(path: str, message: str) -> bool:
    """Whether a message is not one short printable line that names the file and no other."""
    name = os.path.basename(path)
    told = message.removeprefix(f"{name}: ")
    of_path = message.startswith("path must be")  # and says what the caller gave
    named = told != message or of_path or not name.isprintable() or len(name) > 80
    foreign = not of_path and (FOREIGN_TEXT.search(told) or ADDRESS.search(QUOTED.sub(r"\1", told)))
    return not named or not message.isprintable() or not message.isascii() or len(message) > 300 or bool(foreign)


def _right(variant: Variant, door: str) -> dict[str, str]:
    """What a door must find of what the file holds."""
    if door in ("read", "read_known", "classic"):
        return variant.holds
    if door == "inspect":
        return {name: digest for name, digest in variant.holds.items() if name.startswith("tensors.")}
    return names(variant.holds)
