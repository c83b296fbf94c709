"""Training on several ranks: python -m benchmarks.ranks [PART ...] [--rounds N] [--seconds S] [--write] [--check].

PART: targets (two ranks of one thread beside one rank of two, at one global batch, in turns), model (what more ranks
and other networks should give, checked on 2 and 4 ranks and on two hosts with a slow cable), hidden (how much of the
sums of gradients hides behind the backward pass on such a cable); all unless told. Two hosts need root and iproute2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numbaflux as nf
from benchmarks.ranks import page
from benchmarks.ranks.cases import CASES, MODELS
from benchmarks.ranks.launch import MPIEXEC, two_hosts
from benchmarks.ranks.measure import LINKS, Record, adding, beside, hidden, local, network_of
from benchmarks.ranks.predict import check, computes, predictions
from benchmarks.written import ROOT


def targets(rounds: int, seconds: float) -> Record:
    return {"cases": {name: beside(name, rounds if case.target else max(1, rounds // 2), seconds)
                      for name, case in CASES.items()}}  # fmt: skip


def model(rounds: int, seconds: float) -> Record:
    with nf.threads(1):
        tables = {name: computes(name, rounds) for name in MODELS}
        adds = adding()
    here = network_of(local)
    checks = {f"{n} ranks, this machine": {name: check(name, tables[name], here, n, seconds) for name in MODELS}
              for n in (2, 4)}  # fmt: skip
    with two_hosts("1gbit") as ask:
        cable = network_of(ask, here.call)
        checks["2 hosts, 1 Gbit/s"] = {name: check(name, tables[name], cable, 2, seconds, ask) for name in MODELS}
    found = {name: predictions(name, tables[name], here.call, adds) for name in MODELS}
    networks = {"this machine": asdict(here), "cable": asdict(cable), "adds": adds}
    return {"networks": networks, "checks": checks, "predictions": found}


def hiding(rounds: int, seconds: float) -> Record:
    return {"links": {rate: hidden(rate, rounds) for rate in LINKS}}


PARTS: dict[str, Callable[[int, float], Record]] = {"targets": targets, "model": model, "hidden": hiding}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all unless told)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (5)")
    parser.add_argument("--seconds", type=float, default=0.7, help="length of a turn (0.7)")
    parser.add_argument("--write", action="store_true", help="benchmarks/results/ranks.json, docs/scaling.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {min(unknown)}: choose from {', '.join(PARTS)}")
    if not MPIEXEC.exists():
        parser.error(f"there is no {MPIEXEC}: pip install -e '.[dev]'")
    found: dict[str, Any] = {}
    for part in options.parts or PARTS:
        found[part] = PARTS[part](options.rounds, options.seconds)
        print(page.BLOCKS[part](found[part]), end="\n\n", flush=True)
    if options.write:
        page.write(ROOT, found)
    bad = page.missed(found)
    print(f"{len(bad)} targets missed{': ' * bool(bad)}{', '.join(bad)}")
    return int(bool(bad) and options.check)


if __name__ == "__main__":
    sys.exit(main())
