"""Gigabytes a second of nf.load, digests and all, beside plain h5py: `python -m benchmarks.loading`.

Each reads all arrays of one file of 134 MB, which the system has in memory, in a fresh process that has imported what
it needs, as a program does that loads its model once. Ways take turns; the median of the rounds stands. --check fails
where numbaflux, on all threads asked for, is slower than 1 GB/s or than h5py, which has one thread and no digests.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numbaflux as nf
from benchmarks.peers.machine import described, told
from benchmarks.written import ROOT, fill
from numbaflux import digests
from numbaflux.native import native

LAYERS, SIZE = 8, 2048  # of 16 MiB each
LEAST = 1.0  # GB/s
PAGE = ROOT / "docs/security.md"
TIMED = """
import sys, time
{imports}
path, found = sys.argv[1], {{}}
start = time.perf_counter()
{work}
print(time.perf_counter() - start)
"""
NF = "import numbaflux as nf\nfrom numbaflux import digests\nnf.set_num_threads({threads})"
H5PY = """with h5py.File(path) as file:
    file["tensors"].visititems(lambda name, one: found.update({name: one[()]} if hasattr(one, "dtype") else {}))"""
WAYS = {  # name -> imports, work
    "nf.load": (NF, "nf.load(path)"),
    "nf.load, hashlib alone": (NF + "\ndigests.abreast = lambda: 0", "nf.load(path)"),
    "h5py, no digests": ("import h5py, numpy", H5PY),
}


def seconds(name: str, path: Path, threads: int) -> float:
    """Of one load in a process of its own."""
    imports, work = WAYS[name]
    code = TIMED.format(imports=imports.replace("{threads}", str(threads)), work=work)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measured(rounds: int) -> dict[int, dict[str, float]]:
    """Gigabytes a second of each way, on one thread and on all."""
    native().find([digests.KERNEL])  # what `numbaflux cache warm` leaves
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        nf.save(path, nf.Chain(*(nf.Dense(SIZE, SIZE) for _ in range(LAYERS))))
        for threads in sorted({1, len(os.sched_getaffinity(0))}):
            turns = [{name: seconds(name, path, threads) for name in WAYS} for _ in range(rounds)]
            middle = {name: statistics.median(turn[name] for turn in turns) for name in WAYS}
            found[threads] = {name: path.stat().st_size / t / 1e9 for name, t in middle.items()}
    return found


def table(found: dict[int, dict[str, float]]) -> str:
    """The rates as a table of a page."""
    lines = [
        "| GB/s | " + " | ".join(f"{n} thread{'s' * (n > 1)}" for n in found) + " |",
        "|---|" + "---:|" * len(found),
    ]
    lines += [f"| {name} | " + " | ".join(f"{rates[name]:.2f}" for rates in found.values()) + " |" for name in WAYS]
    return "\n".join(lines) + "\n"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="whose median stands: 15 unless told")
    parser.add_argument("--check", action="store_true", help="fail where nf.load is slower than it must be")
    parser.add_argument("--write", action="store_true", help="write the table into docs/security.md")
    arguments = parser.parse_args(words)
    found = measured(arguments.rounds)
    threads = max(found)
    made = f"{told(described(threads))}\n\n{table(found)}"
    print(made)
    if arguments.write:
        fill(PAGE, "loading", made)
    speed = found[threads]
    good = speed["nf.load"] >= max(LEAST, speed["h5py, no digests"])
    return int(arguments.check and not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
