"""Campaigns over many cores: the generator's files, flipped bits, mutations, each with what was found."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import judge
from tests.fuzz.forge import base
from tests.fuzz.forms import DOORS
from tests.fuzz.hostile import Variant, lay_canaries, variants
from tests.sources import ROOT

CHUNK = {"flips": 21_000, "mutations": 25_000}  # files that one process tries
CORES = os.cpu_count() or 1


class Outcome(NamedTuple):
    """What a campaign tried, what came of it, and what is wrong. then: the number to go on with; busy: seconds of a
    CPU, where they are counted."""

    name: str
    tried: int
    refused: int
    seconds: float
    findings: list[str]
    then: int = 0
    worst: str = ""
    busy: float = 0.0


def hostile(of: str, draws: int = 1, seed: int = 0, rows: tuple[int, ...] = ()) -> Outcome:
    """Every variant of the generator on a base, each opened by every door."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_canaries(folder)
        made = list(variants(folder, of, draws, seed, rows))
        reports = judge.run(made, folder / "manifest")
        findings = [one for variant, report in zip(made, reports, strict=True) for one in judge.judge(variant, report)]
    doors = [door for report in reports for door in report.values() if "seconds" in door]
    most = max(door["seconds"] for door in doors), max(door["memory"] for door in doors) >> 20
    refused = sum(bool(variant.refused) for variant in made)
    texts = [" | ".join(map(str, one)) for one in findings]
    worst = f"{most[0]:.2f} s, {most[1]} MiB"
    return Outcome(f"hostile files: {of}", len(made), refused, time.monotonic() - start, texts, worst=worst)


def given(folder: Path) -> Outcome:
    """A folder of somebody's hostile files: no door may take one."""
    start = time.monotonic()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as name:
        good = Path(name, "valid.h5")
        good.write_bytes(base("model").data)
        first = Variant(0, "as it is", "model", True, str(good), [], "", {}, {})
        made = [Variant(0, str(path), "model", True, str(path), list(DOORS), "", {}, {}) for path in paths]
        reports = judge.run([first, *made], Path(name, "manifest"))[1:]
    findings = [one for variant, report in zip(made, reports, strict=True) for one in judge.judge(variant, report)]
    bad = {one.name for one in findings if one.verdict == "not refused"}
    texts = [" | ".join(map(str, one)) for one in findings]
    return Outcome(f"files of {folder.name}", len(made), len(made) - len(bad), time.monotonic() - start, texts)


def _chunk(kind: str, of: str, first: int, last: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """One process; if it dies, the file that killed it is kept."""
    command = [sys.executable, "-m", "tests.fuzz.mutations", kind, of, str(first), str(last), str(folder)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode < 0:
        what = "hang" if done.returncode == -signal.SIGALRM else f"crash by signal {-done.returncode}"
        kept = folder / f"{kind}-{of}-{first}-wrong.h5"
        shutil.copy(folder / f"{kind}-{of}-{first}.h5", kept)
        return Counter(), [f"{kind} {of} {first} to {last}: {what}, by {kept.name}"]
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told = json.loads(done.stdout)
    return Counter({name: told[name] for name in ("refused", "loaded")}), told["findings"]


def numbers(kind: str, of: str, first: int, last: int, folder: Path, until: float = float("inf")) -> Outcome:
    """The files of these numbers, until that moment (of time.monotonic), on all cores."""
    start, then = time.monotonic(), last
    counts: Counter[str] = Counter()
    findings: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    pieces = iter(range(first, last, CHUNK[kind]))

    def work(_: int) -> None:
        nonlocal then
        for at in pieces:
            if time.monotonic() > until:
                then = min(then, at)
                return
            one, wrong = _chunk(kind, of, at, min(at + CHUNK[kind], last), folder)
            counts.update(one)
            findings.extend(wrong)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(work, range(CORES)))
    tried = counts["refused"] + counts["loaded"]
    name = {"flips": "flipped bits", "mutations": "mutations made right"}[kind]
    return Outcome(f"{name}: {of}", tried, counts["refused"], time.monotonic() - start, findings, then)


def bits(of: str) -> int:
    """Bits of a valid file."""
    return 8 * len(base(of).data)
