"""`python -m tests.fuzz MINUTES [FOLDER]`: everything here for so long, on all cores; FOLDER: somebody's hostile files.

The generator's files and every flipped bit first; then mutations made right, in SHARE of what is left of the time until
the reader as it is has had a million, afterwards in what SHARE leaves; the rest is for atheris' targets. Both go on
from where an earlier run ended, here (.fuzz/) or where the committed figures are from; mutations, and what atheris took
of the CPU, are added up while there is no finding and the reader does not change. Ends with 1 if there are findings.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import written
from tests.fuzz import campaign
from tests.fuzz.campaign import CORES, Outcome
from tests.fuzz.hostile import BASES
from tests.sources import ROOT

KEPT = ROOT / ".fuzz"
RESULTS, PAGE, BLOCK = ROOT / written.RESULTS / "fuzz.json", ROOT / "docs/security.md", "figures"
MUTATIONS = 1_000_000  # of a run, if there is time, and owed to each reader
SHARE = 0.9
READER, HOURS = "reader", 10  # the target that is owed so many hours of a CPU for each release
SOURCES = (*sorted((ROOT / "numbaflux").glob("hdf5*.py")), ROOT / "numbaflux/digests.py")  # of what it tries
TARGETS = (
    "reader", "documents", "json", "classic", "safetensors", "zoo", "data-csv", "data-hdf5", "data-idx", "data-image",
    "data-npy", "data-npz", "data-wav",
)  # fmt: skip
# The number to go on with, by campaign; of the reader as it is: mutations, seconds of a CPU by target, its digest.
State = dict[str, Any]


def target(name: str, seconds: float, folder: Path) -> Outcome:
    """One target of atheris in a process of its own."""
    before, start = _inputs(folder, name), time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.targets", name, str(max(1, round(seconds))), str(folder)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    told = re.search(r"number_of_executed_units: (\d+)", text)
    findings = [f"{name}: {path.name}" for path in sorted(_inputs(folder, name) - before)]
    if process.returncode and not findings:
        findings = [f"{name}: {text[-1000:]}"]
    took, busy = time.monotonic() - start, used.ru_utime + used.ru_stime
    return Outcome(f"atheris: {name}", int(told[1]) if told else 0, 0, took, findings, busy=busy)


def _inputs(folder: Path, name: str) -> set[Path]:
    """Inputs that broke a target."""
    return {
        path for path in folder.glob(f"{name}-*") if re.match(rf"{name}-(crash|timeout|oom|slow-unit|leak)", path.name)
    }


def _targets(state: State, end: float, folder: Path) -> Iterator[Outcome]:
    """Every target until that moment: the reader on a core of its own while it is owed hours, the others one after
    another on the rest; then all alike."""
    busy = state["atheris"]
    folder.mkdir(parents=True, exist_ok=True)
    owed = busy.get(READER, 0.0) < 3600 * HOURS
    names = [name for name in TARGETS if not owed or name != READER]
    cores = max(1, CORES - owed)

    def ran(name: str, parts: int) -> Outcome:
        return target(name, (end - time.monotonic()) / parts, folder)

    with ThreadPoolExecutor(CORES) as pool:
        first = {READER: pool.submit(ran, READER, 1 if CORES > 1 else 2)} if owed else {}
        rounds = -(-len(names) // cores)
        rest = {name: pool.submit(ran, name, rounds - i // cores) for i, name in enumerate(names)}
        for name, future in (rest | first).items():
            done = future.result()
            busy[name] = 0.0 if done.findings else busy.get(name, 0.0) + done.busy
            yield done


def _mutated(state: State, until: float, folder: Path) -> Iterator[Outcome]:
    """Half of the time, and of the mutations, for each base."""
    for i, of in enumerate(("model", "training")):
        first, now = state.get(f"mutations {of}", 0), time.monotonic()
        end = now + (until - now) / (2 - i)
        done = campaign.numbers("mutations", of, first, first + MUTATIONS // 2, folder, end)
        state[f"mutations {of}"] = done.then
        state["mutations"] = 0 if done.findings else state["mutations"] + done.tried
        yield done


def _of_this_reader(state: State) -> None:
    """What another reader was given does not count."""
    now = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()
    if state.get("sources") != now:
        state.update(sources=now, mutations=0, atheris={})


def run(minutes: float, state: State, kept: Path = KEPT) -> Iterator[Outcome]:
    """Every campaign in turn; state: where to go on, changed on the way."""
    end = time.monotonic() + 60 * minutes
    runs = state["runs"] = state.get("runs", 0) + 1
    _of_this_reader(state)
    for of in BASES:
        yield campaign.hostile(of, seed=runs)
    for of in ("model", "training"):
        yield campaign.numbers("flips", of, 0, campaign.bits(of), kept / "changed", end - 30 * minutes)
    left, guided = max(0.0, end - time.monotonic()), find_spec("atheris")
    share = SHARE if state["mutations"] < MUTATIONS else 1 - SHARE
    yield from _mutated(state, time.monotonic() + left * (share if guided else 1), kept / "changed")
    if guided:
        yield from _targets(state, end, kept / "targets")


def table(outcomes: Sequence[Outcome], minutes: float, state: State) -> str:
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
    right, hours = state.get("mutations", 0), state.get("atheris", {}).get(READER, 0.0) / 3600
    bars = (
        f"Mutations made right, of this reader: {spaced(right)} without a finding, of {spaced(MUTATIONS)}.\n"
        f"atheris on the {READER}: {hours:.1f} CPU-hours without a finding so far, of {HOURS}."
    )
    return f"{where}: {spaced(total)} inputs, {wrong} findings.\n{bars}\n\n" + "\n".join(rows) + "\n"


def begun(place: Path) -> State:
    """Where the last run on this machine ended, or else the one whose figures are committed."""
    if place.exists():
        return dict(json.loads(place.read_text()))
    return dict(json.loads(RESULTS.read_text())["state"]) if place.parent == KEPT else {}


def main(minutes: float, files: Path | None = None, kept: Path = KEPT) -> int:
    """Run, print, and write the figures; the number of findings."""
    kept.mkdir(exist_ok=True)
    place = kept / "state.json"
    state = begun(place)
    outcomes, start = [], time.monotonic()
    for one in (campaign.given(files),) if files else run(minutes, state, kept):
        print(f"{one.name}: {one.tried} inputs, {one.seconds:.0f} s, {len(one.findings)} findings", flush=True)
        print("".join(f"  {text}\n" for text in one.findings), end="", flush=True)
        outcomes.append(one)
        place.write_text(json.dumps(state))
    took = (time.monotonic() - start) / 60
    made = table(outcomes, took, state)
    print("\n" + made)
    if not files and kept == KEPT:
        told = {"minutes": round(took, 1), "cores": CORES, "python": platform.python_version(), "state": state}
        RESULTS.write_text(json.dumps(told | {"campaigns": [one._asdict() for one in outcomes]}, indent=1) + "\n")
        written.fill(PAGE, BLOCK, made)
    return sum(len(one.findings) for one in outcomes)


if __name__ == "__main__":
    sys.exit(1 if main(float(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None) else 0)
