"""Time of a training step over batch, width, depth, image size, length and threads, beside PyTorch:
python -m benchmarks.growth [SERIES ...] [--points N ...] [--rounds N] [--seconds S] [--alone] [--write] [--check].

Peers take turns, each in a process of its own. Each time is measured as two interleaved medians. trend: over what the
two neighbours let expect on a line of logarithms; rise: a unit's cost over the least at smaller points. Marked is what
both medians show by a factor of 1.3. To be run on an idle machine.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.growth.measure import faults, measure, table
from benchmarks.growth.page import write
from benchmarks.growth.series import SERIES
from benchmarks.written import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("series", nargs="*", metavar="SERIES", help=f"of {', '.join(SERIES)} (all unless told)")
    parser.add_argument("--points", nargs="+", type=int, metavar="N", help="instead of a series' own")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each peer for each of two medians (9)")
    parser.add_argument("--seconds", type=float, default=0.05, help="length of a turn (0.05)")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument("--write", action="store_true", help="benchmarks/results/growth.json, docs/growth.png and .md")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a point is marked")
    options = parser.parse_args()
    unknown = [name for name in options.series if name not in SERIES]
    if unknown:
        parser.error(f"no series {unknown[0]}: choose from {', '.join(SERIES)}")
    if options.write and (options.points or options.alone):
        parser.error("--write takes every point of a series, and PyTorch beside it")
    found, bad = {}, list[str]()
    for name in options.series or SERIES:
        points = sorted(options.points or SERIES[name].points)
        found[name] = measure(name, points, options.rounds, options.seconds, options.alone)
        print(table(name, found[name]), end="\n\n", flush=True)
        bad += faults(name, found[name])
    if options.write:
        write(ROOT, found)
    print(f"{len(bad)} points marked{': ' * bool(bad)}{', '.join(bad)}")
    return int(bool(bad) and options.check)


if __name__ == "__main__":
    sys.exit(main())
