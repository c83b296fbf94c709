"""Whether numbaflux is right and fast on this machine's NVIDIA GPU: python benchmarks/gpu/check.py [--out FILE].

Needs a GPU, and numba-cuda[cu12] beside what numbaflux needs; PyTorch and cuBLAS, where installed, are measured beside.
Each family of checks runs in a process of its own, with a limit of time, so that one that ends badly does not end the
others. Prints a table, writes all that was found as JSON. Exit code 0: all is right; 1: something is not; 2: no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # the checkout, in the place of this folder

import numbaflux as nf  # noqa: E402  from the checkout
from benchmarks.gpu import devices, speed, training, values  # noqa: E402
from benchmarks.gpu.plans import Record, reason, record  # noqa: E402
from numbaflux import device, warm  # noqa: E402

BUDGET = 480.0  # seconds for all
LIMITS = {"prepare": 200.0, "devices": 90.0, "training": 90.0, "speed": 120.0}  # of a family
LIMIT = 60.0  # of any other
PACKAGES = ("numpy", "numba", "llvmlite", "nvidia-cublas-cu12", "nvidia-cublas", "torch")
SHOWN = 20  # failures that the table lists
Runner = Callable[[str, bool, float], Iterable[Record]]


def prepare(gpu: Any, family: str, quick: bool) -> Iterator[Record]:
    """Compile the GPU's kernels, and the CPU's, which results are compared with: all at once, by many processes."""
    start = time.perf_counter()
    entries = [] if quick else list({what for name in values.FAMILIES for what in values.asked(name)})
    gpu.load(entries)
    yield record(family, "GPU kernels", True, f"{len(entries)} loaded after {time.perf_counter() - start:.0f} s")
    count = 0 if quick else sum(1 for _ in warm.warm())
    yield record(family, "CPU kernels", True, f"{count} compiled after {time.perf_counter() - start:.0f} s")


FAMILIES: dict[str, Callable[[Any, str, bool], Iterator[Record]]] = {
    "prepare": prepare,
    "devices": devices.checks,
    "training": training.checks,
    "speed": speed.checks,
    **dict.fromkeys(values.FAMILIES, values.checks),
}


def found_on(gpu: Any, family: str, quick: bool) -> Iterator[Record]:
    """What a family finds; an error that stops it is a finding too."""
    try:
        yield from FAMILIES[family](gpu, family, quick)
    except Exception as error:
        yield record(family, "all of it", False, reason(error))


def in_child(family: str, quick: bool, limit: float) -> list[Record]:
    """What a family finds in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--family", family, *["--quick"] * quick]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        try:
            out, said = process.communicate(timeout=limit)
            ended = "" if process.returncode == 0 else _last(said) or f"code {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its compilers too
            out, ended = process.communicate()[0], f"stopped after {limit:.0f} s"
    lines = [line for line in out.decode(errors="replace").splitlines() if line.startswith('{"family"')]
    if ended and lines and not lines[-1].endswith("}"):
        lines.pop()
    return [json.loads(line) for line in lines] + ([record(family, "its process", False, ended)] if ended else [])


def _last(text: bytes) -> str:
    return text.decode(errors="replace").strip().rpartition("\n")[2][:300]


def child(family: str, quick: bool) -> int:
    """A family, its findings as lines of JSON."""
    for one in found_on(device.gpu(), family, quick):
        print(json.dumps(one), flush=True)
    return 0


def described(gpu: Any) -> dict[str, Any]:
    """The GPU, versions, the day."""
    versions = {"python": python_version(), "numbaflux": nf.__version__, **gpu.versions()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "gpu": gpu.name,
        "capability": list(gpu.capability),
        "memory": gpu.memory()[1],
        "cpus": os.cpu_count(),
        "versions": versions,
    }


def all_found(families: Sequence[str], quick: bool, run: Runner, say: Callable[[str], None]) -> list[Record]:
    """What all families find, within the time there is."""
    found: list[Record] = []
    end = time.monotonic() + BUDGET
    for family in families:
        left = end - time.monotonic()
        if left < 5:
            found.append(record(family, "all of it", False, "not begun: no time left"))
            continue
        start = time.perf_counter()
        some = list(run(family, quick, min(LIMITS.get(family, LIMIT), left)))
        found += some or [record(family, "all of it", False, "nothing was found")]
        good = sum(one["good"] for one in found if one["family"] == family)
        say(f"{family:12} {good} of {max(len(some), 1)} good, {time.perf_counter() - start:.0f} s")
    return found


def table(machine: dict[str, Any], found: list[Record]) -> str:
    """A short account: what users do, training, speed, then failures."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    major, minor = machine["capability"]
    lines = [f"{machine['gpu']}, compute capability {major}.{minor}, {machine['memory'] / 1e9:.0f} GB, "
             f"{machine['date']}", versions, ""]  # fmt: skip
    told = [one for one in found if one["good"] and one["said"] and one["family"] in ("devices", "training", "speed")]
    lines += [f"{one['check']:52} {one['said']}" for one in told]
    bad = [one for one in found if not one["good"]]
    exact = [one["off"] for one in found if one["good"] and one["family"] in values.FAMILIES]
    worst = max(exact, default=0.0)
    lines += ["", f"{len(found) - len(bad)} of {len(found)} checks are good; the largest error of a result "
                  f"is {worst:.1e} of its largest number"]  # fmt: skip
    lines += [f"FAILED {one['family']}: {one['check']}: {one['said']}" for one in bad[:SHOWN]]
    return "\n".join(lines + [f"... and {len(bad) - SHOWN} more"] * (len(bad) > SHOWN))


def main(given: Sequence[str] | None = None, gpu: Any = None, run: Runner = in_child) -> int:
    """gpu and run: what tests put in the place of a GPU, and of processes that have one."""
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu/check.py", description=__doc__)
    parser.add_argument("--out", type=Path, help="the JSON file (benchmarks/gpu/<gpu>-<date>.json)")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY",
                        help="of " + ", ".join(FAMILIES))  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a little of each family")
    parser.add_argument("--family", choices=FAMILIES, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.family:
        return child(options.family, options.quick)
    why = "" if gpu else device.why_not()
    if why:
        print(f"no GPU to check: {why}", file=sys.stderr)
        return 2
    machine = described(gpu or device.gpu())
    print(f"{machine['gpu']}: {len(options.only)} families, {BUDGET / 60:.0f} minutes at most", flush=True)
    found = all_found(options.only, options.quick, run, lambda line: print(line, flush=True))
    words = re.sub(r"\W+", "-", machine["gpu"]).strip("-").lower()
    path = options.out or Path(__file__).parent / f"{words}-{machine['date'][:10]}.json"
    path.write_text(json.dumps(machine | {"checks": found}, indent=1) + "\n")
    print("\n" + table(machine, found) + f"\n\nwritten to {path}")
    return int(any(not one["good"] for one in found))


if __name__ == "__main__":
    sys.exit(main())
