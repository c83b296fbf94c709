"""Side by side with PyTorch, JAX, ONNX Runtime and NumPy: python -m benchmarks.peers [CASE ...] [--rounds N]
[--seconds S] [--threads N] [--peers NAME ...] [--cold] [--check].

Peers take turns (A B A B ..), each in a process of its own; what is printed are medians over the rounds. A run of all
cases beside all peers also writes benchmarks/results/peers.json, the picture, and the tables of README and docs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from fnmatch import fnmatch
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm

from benchmarks.peers import probe
from benchmarks.peers.catalogue import CASES, KINDS, peers
from benchmarks.peers.figures import OURS, PEAK, Row, missed
from benchmarks.peers.machine import described
from benchmarks.peers.peer import Failed, Peer
from benchmarks.peers.report import publish, save, text_head, text_rows
from benchmarks.written import ROOT

NEEDS = {"jax": ("jax", "equinox", "optax"), "onnxruntime": ("onnxruntime", "onnx")}
CACHING = (OURS, "torch-compile", "torch-compile-last")  # keep what they compile in files


def installed(library: str) -> bool:
    return all(find_spec(name) is not None for name in NEEDS.get(library, (library,)))


class Turns:
    """The peers of one case."""

    def __init__(self, case: str, names: list[str], threads: int, cold: bool) -> None:
        self.case, self.names, self.threads, self.cold = case, names, threads, cold
        self.ready: dict[str, Peer] = {}
        self.failed: dict[str, str] = {}
        self.first_cold: dict[str, float] = {}

    def started(self, name: str, settings: dict[str, str]) -> Peer:
        peer = Peer(name, self.threads, settings=settings)
        try:
            peer.begin(self.case)
        except BaseException:
            peer.close()
            raise
        return peer

    def begin(self, folder: str, show: tqdm[Any]) -> None:
        """Twice where files are kept, the first time without any, if cold first steps are asked for."""
        for name in self.names:
            show.set_postfix_str(f"{self.case}: {name}")
            settings = {}
            try:
                if self.cold and name in CACHING:
                    settings = {
                        "NUMBAFLUX_CACHE_DIR": f"{folder}/{name}",
                        "NUMBAFLUX_CACHE_PATH": "",
                        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/{name}",
                    }
                    peer = self.started(name, settings)
                    self.first_cold[name] = peer.first
                    peer.close()
                self.ready[name] = self.started(name, settings)
            except Failed as error:
                self.failed[name] = str(error)
        ours = self.ready.get(OURS)
        for name, peer in [(n, p) for n, p in self.ready.items() if ours and n != PEAK and p.differs(ours)]:
            self.failed[name] = f"after 20 calls it has {peer.loss:.6g}, we have {ours.loss:.6g}"  # type: ignore[union-attr]
            self.ready.pop(name).close()

    def measure(self, rounds: int, seconds: float, show: tqdm[Any]) -> None:
        for turn in range(rounds):
            for name, peer in list(self.ready.items()):
                show.set_postfix_str(f"{self.case}: {name}, round {turn + 1}")
                try:
                    peer.round(seconds)
                except Failed as error:
                    self.failed[name] = str(error)
                    self.ready.pop(name).close()

    def row(self) -> Row:
        case, found = CASES[self.case], dict[str, dict[str, Any]]()
        for name, peer in self.ready.items():
            # What the tile does in a second, as the time that it would take for the work of this case.
            scale = case.flops / probe.flops(case) if name == PEAK else 1.0
            found[name] = {"times": [scale * t for t in peer.times]}
            found[name] |= {"first": peer.first, "cold": self.first_cold.get(name), "memory": peer.memory}
        kind = next(kind for kind, cases in KINDS.items() if self.case in cases)
        return {"kind": kind, "flops": case.flops, "targets": case.targets, "peers": found, "failed": self.failed}

    def close(self) -> None:
        for peer in self.ready.values():
            peer.close()


def compare(case: str, names: list[str], options: argparse.Namespace, show: tqdm[Any]) -> Row:
    turns = Turns(case, names, options.threads, options.cold)
    try:
        with tempfile.TemporaryDirectory() as folder:
            turns.begin(folder, show)
            turns.measure(options.rounds, options.seconds, show)
        return turns.row()
    finally:
        turns.close()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"names or patterns, of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each peer (6)")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a turn (0.4)")
    parser.add_argument("--threads", type=int, default=2, help="of every peer (2)")
    parser.add_argument("--peers", nargs="+", metavar="NAME", default=["*"], help="names or patterns, beside us")
    parser.add_argument("--cold", action="store_true", help="also first steps without cached kernels (slow)")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    if not 1 <= options.threads <= len(os.sched_getaffinity(0)):
        parser.error(f"--threads must be in 1..{len(os.sched_getaffinity(0))}")
    known = {p for case in CASES.values() for p in peers(case)}
    for patterns, names, what in ((options.cases, set(CASES), "case"), (options.peers, known, "peer")):
        wrong = [p for p in patterns if not any(fnmatch(name, p) for name in names)]
        if wrong:
            parser.error(f"no {what} {wrong[0]}: choose from {', '.join(sorted(names))}")
    options.all = not options.cases and options.peers == ["*"]
    return options


def main() -> int:
    options = parsed()
    chosen = [name for name in CASES if any(fnmatch(name, p) for p in options.cases or ["*"])]
    asked = {
        name: [p for p in peers(CASES[name]) if p in (OURS, PEAK) or any(fnmatch(p, q) for q in options.peers)]
        for name in chosen
    }
    libraries = {p.split("-")[0] for names in asked.values() for p in names} - {PEAK}
    absent = sorted(library for library in libraries if not installed(library))
    for library in absent:
        print(f"{library} is not installed, and left out", file=sys.stderr)
    results: dict[str, Any] = {**described(options.threads), "rows": {}}
    print(text_head())
    with tqdm(chosen, disable=None, file=sys.stderr) as show:
        for name in show:
            names = [p for p in asked[name] if p.split("-")[0] not in absent]
            results["rows"][name] = row = compare(name, names, options, show)
            with tqdm.external_write_mode(file=sys.stdout):
                print(*text_rows(name, row), sep="\n", flush=True)
    late = {name: missed(row) for name, row in results["rows"].items() if missed(row)}
    for name, targets in late.items():
        print(f"target missed: {name}: {', '.join(targets)}")
    if options.all:
        save(results, ROOT)
        publish(ROOT)
    return int(any(row["failed"] for row in results["rows"].values()) or (bool(late) and options.check))


if __name__ == "__main__":
    sys.exit(main())
