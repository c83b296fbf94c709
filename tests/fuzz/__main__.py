"""`python -m tests.fuzz MINUTES [FOLDER]`: everything here for so long, on all cores; FOLDER: somebody's hostile files.

The generator's files and every flipped bit first; then mutations made right, and the targets of atheris, half of the
time each. Both go on from where an earlier run ended (.fuzz/). Ends with 1 if there are findings.
"""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from benchmarks import written
from tests.fuzz import campaign
from tests.fuzz.campaign import CORES, Outcome
from tests.fuzz.hostile import BASES
from tests.sources import ROOT

KEPT = ROOT / ".fuzz"
RESULTS, PAGE, BLOCK = ROOT / written.RESULTS / "fuzz.json", ROOT / "docs/security.md", "figures"
MUTATIONS = 1_000_000  # of a run, if there is time
TARGETS = (
    "reader", "documents", "json", "classic", "safetensors", "zoo", "data-csv", "data-hdf5", "data-idx", "data-image",
    "data-npy", "data-npz", "data-wav",
)  # fmt: skip


def target(name: str, seconds: float, folder: Path) -> Outcome:
    """One target of atheris in a process of its own."""
    before, start = _inputs(folder, name), time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.targets", name, str(max(1, round(seconds))), str(folder)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    done = subprocess.run(command, capture_output=True, text=True, env=env, errors="replace", check=False)
    told = re.search(r"number_of_executed_units: (\d+)", done.stderr + done.stdout)
    findings = [f"{name}: {path.name}" for path in sorted(_inputs(folder, name) - before)]
    if done.returncode and not findings:
        findings = [f"{name}: {(done.stdout + done.stderr)[-1000:]}"]
    return Outcome(f"atheris: {name}", int(told[1]) if told else 0, 0, time.monotonic() - start, findings)


def _inputs(folder: Path, name: str) -> set[Path]:
    """Inputs that broke a target."""
    return {
        path for path in folder.glob(f"{name}-*") if re.match(rf"{name}-(crash|timeout|oom|slow-unit|leak)", path.name)
    }


def _mutated(state: dict[str, int], until: float, folder: Path) -> Iterator[Outcome]:
    """Half of the time, and of the mutations, for each base."""
    for i, of in enumerate(("model", "training")):
        first, now = state.get(f"mutations {of}", 0), time.monotonic()
        end = now + (until - now) / (2 - i)
        done = campaign.numbers("mutations", of, first, first + MUTATIONS // 2, folder, end)
        state[f"mutations {of}"] = done.then
        yield done


def run(minutes: float, state: dict[str, int], kept: Path = KEPT) -> Iterator[Outcome]:
    """Every campaign in turn; state: where to go on, changed on the way."""
    end = time.monotonic() + 60 * minutes
    runs = state["runs"] = state.get("runs", 0) + 1
    for of in BASES:
        yield campaign.hostile(of, seed=runs)
    for of in ("model", "training"):
        yield campaign.numbers("flips", of, 0, campaign.bits(of), kept / "changed", end - 30 * minutes)
    left = max(0.0, end - time.monotonic())
    names = TARGETS if find_spec("atheris") else ()
    yield from _mutated(state, time.monotonic() + left / (2 if names else 1), kept / "changed")
    if names:
        seconds = max(1.0, end - time.monotonic()) * CORES / len(names)
        (kept / "targets").mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(CORES) as pool:
            yield from pool.map(lambda name: target(name, seconds, kept / "targets"), names)


def table(outcomes: Sequence[Outcome], minutes: float) -> str:
    """The campaigns as a table of a page."""

    def spaced(number: int) -> str:
        return f"{number:,}".replace(",", "\N{NO-BREAK SPACE}")

    rows = ["| Campaign | Inputs | Refused | Seconds | Findings |", "|---|---:|---:|---:|---:|"]
    for one in outcomes:
        name = one.name + (f" (each at most {one.worst})" if one.worst else "")
        refused = spaced(one.refused) if one.refused else ""
        rows.append(f"| {name} | {spaced(one.tried)} | {refused} | {one.seconds:.0f} | {len(one.findings)} |")
    total, wrong = sum(one.tried for one in outcomes), sum(len(one.findings) for one in outcomes)
    where = f"{minutes:.1f} minutes on {CORES} cores, Python {platform.python_version()}"
    return f"{where}: {spaced(total)} inputs, {wrong} findings.\n\n" + "\n".join(rows) + "\n"


def main(minutes: float, files: Path | None = None, kept: Path = KEPT) -> int:
    """Run, print, and write the figures; the number of findings."""
    kept.mkdir(exist_ok=True)
    place = kept / "state.json"
    state = json.loads(place.read_text()) if place.exists() else {}
    outcomes, start = [], time.monotonic()
    for one in (campaign.given(files),) if files else run(minutes, state, kept):
        print(f"{one.name}: {one.tried} inputs, {one.seconds:.0f} s, {len(one.findings)} findings", flush=True)
        print("".join(f"  {text}\n" for text in one.findings), end="", flush=True)
        outcomes.append(one)
        place.write_text(json.dumps(state))
    took = (time.monotonic() - start) / 60
    made = table(outcomes, took)
    print("\n" + made)
    if not files and kept == KEPT:
        told = {"minutes": round(took, 1), "cores": CORES, "python": platform.python_version(), "state": state}
        RESULTS.write_text(json.dumps(told | {"campaigns": [one._asdict() for one in outcomes]}, indent=1) + "\n")
        written.fill(PAGE, BLOCK, made)
    return sum(len(one.findings) for one in outcomes)


if __name__ == "__main__":
    sys.exit(1 if main(float(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None) else 0)
