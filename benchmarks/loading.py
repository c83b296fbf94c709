"""Gigabytes a second of nf.load, digests and all, beside plain h5py: `python -m benchmarks.loading`.

Each reads all arrays of one file of 134 MB, which the system has in memory, in a fresh process that has imported what
it needs, as a program does that loads its model once. Ways take turns; the best of several rounds stands. --check fails
where numbaflux, on all threads asked for, is slower than 1 GB/s or than h5py, which has one thread and no digests.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numbaflux as nf
from numbaflux import digests
from numbaflux.info import facts
from numbaflux.native import native

LAYERS, SIZE = 8, 2048  # of 16 MiB each
LEAST = 1.0  # GB/s
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


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="of which the best stands: 7 unless told")
    parser.add_argument("--check", action="store_true", help="fail where nf.load is slower than it must be")
    arguments = parser.parse_args(words)
    native().find([digests.KERNEL])  # what `numbaflux cache warm` leaves
    print(facts()["cpu"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        nf.save(path, nf.Chain(*(nf.Dense(SIZE, SIZE) for _ in range(LAYERS))))
        for threads in sorted({1, len(os.sched_getaffinity(0))}):
            least = dict.fromkeys(WAYS, float("inf"))
            for _ in range(arguments.rounds):
                least = {name: min(t, seconds(name, path, threads)) for name, t in least.items()}
            speed = {name: path.stat().st_size / t / 1e9 for name, t in least.items()}
            for name, one in speed.items():
                print(f"{threads} threads  {one:5.2f} GB/s  {name}")
    good = speed["nf.load"] >= max(LEAST, speed["h5py, no digests"])
    return int(arguments.check and not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
