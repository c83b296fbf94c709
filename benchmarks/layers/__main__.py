"""A training step of every layer beside PyTorch's: python -m benchmarks.layers [NAME ...] [--rounds N] [--seconds S].

Peers take turns, each in a process of its own; what is printed are medians over the rounds. Exit code 1 where more
than MOST layers are slower than PyTorch at a size, or one takes more than 1 / LEAST of its time. To be run on an idle
machine: where threads wait for a core, PyTorch's lose far more time than ours.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.layers.rows import RANDOM, ROWS, SIZES
from benchmarks.peers.peer import Peer

MOST, LEAST = 3, 0.7
WORKER = "benchmarks.layers.worker"


def measure(name: str, size: str, peers: list[Peer], rounds: int, seconds: float) -> float:
    """Print the row of a layer at a size; the ratio of the better of PyTorch's times and ours."""
    peers = peers if ROWS[name].kind == "images" else peers[:2]
    for peer in peers:
        peer.begin(f"{name} {size}")
    ours, *others = peers
    far = [p for p in others if p.differs(ours, 0.3 if name in RANDOM else 1e-3)]
    if far:
        raise SystemExit(f"{name} {size}: loss after 20 steps {ours.loss}, but {far[0].name} has {far[0].loss}")
    for _ in range(rounds):
        for peer in peers:
            peer.round(seconds)
    best = min(others, key=lambda p: p.median)
    ratio = best.median / ours.median
    flag = "" if ratio >= 1 else "  behind" if ratio >= LEAST else "  far behind"
    print(f"{name:<20}{size:<8}{ours.median:>11.1f}{best.median:>11.1f} {best.name:<12}{ratio:>7.2f}{flag}", flush=True)
    return ratio


def behind(ratios: dict[str, float]) -> tuple[list[str], bool]:
    """The layers that are slower than PyTorch's, and whether the aim is reached."""
    names = [name for name, ratio in ratios.items() if ratio < 1]
    return names, len(names) <= MOST and min(ratios.values()) >= LEAST


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ROWS)} (all unless told)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each peer (5)")
    parser.add_argument("--seconds", type=float, default=0.2, help="length of a turn (0.2)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in ROWS]
    if unknown:
        parser.error(f"no layer {unknown[0]}: choose from {', '.join(ROWS)}")
    print(f"{'layer':<20}{'size':<8}{'ours us':>11}{'peer us':>11} {'peer':<12}{'ratio':>7}")
    names, ratios = options.names or list(ROWS), {}
    kinds = ("numbaflux", "torch", "torch-last")[: 2 + any(ROWS[name].kind == "images" for name in names)]
    peers = [Peer(kind, worker=WORKER) for kind in kinds]
    try:
        for name in names:
            ratios[name] = min(measure(name, size, peers, options.rounds, options.seconds) for size in SIZES)
    finally:
        for peer in peers:
            peer.close()
    late, reached = behind(ratios)
    print(f"{len(late)} of {len(ratios)} behind{': ' * bool(late)}{', '.join(late)}")
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
