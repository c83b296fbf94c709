"""Side by side with PyTorch and NumPy: python -m benchmarks.peers [CASE ...] [--rounds N] [--seconds S] [--compile]
[--check].

Peers take turns (A B A B ..), each in a process of its own; what is printed are medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from benchmarks.peers.cases import CASES, Training
from benchmarks.peers.worker import peers


class Peer:
    """A worker process: a module that says what it prints for a line."""

    def __init__(self, name: str, worker: str = "benchmarks.peers.worker") -> None:
        self.name = name
        command = [sys.executable, "-m", worker, name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.loss, self.times = 0.0, list[float]()

    def read(self) -> float:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"{self.name}: the worker ended with code {self.process.wait()}")
        return float(line)

    def ask(self, line: object) -> float:
        self.process.stdin.write(f"{line}\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return self.read()

    def begin(self, case: str) -> None:
        """Make the call of a case, ready to be repeated."""
        self.loss, self.times = self.ask(case), []

    def round(self, seconds: float) -> None:
        self.times.append(self.ask(seconds))

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()

    @property
    def median(self) -> float:
        return statistics.median(self.times)


def compare(name: str, rounds: int, seconds: float, compiled: bool) -> tuple[str, bool]:
    """The row of one case, and whether its target is reached."""
    case = CASES[name]
    ours, *others = (Peer(p) for p in ("numbaflux", *peers(case, compiled)))
    try:
        for peer in (ours, *others):
            peer.begin(name)
        far = [p for p in others if abs(p.loss - ours.loss) > 1e-3 * max(abs(ours.loss), 0.05)]
        if far:
            raise SystemExit(f"{name}: loss after 20 steps {ours.loss}, but {far[0].name} has {far[0].loss}")
        for _ in range(rounds):
            for peer in (ours, *others):
                peer.round(seconds)
    finally:
        for peer in (ours, *others):
            peer.close()
    best = min(others, key=lambda p: p.median)
    ratio = best.median / ours.median
    rates = sorted(b / a for a, b in zip(ours.times, best.times, strict=True))
    row = f"{name:<18} {ours.median:>11.1f} {best.median:>11.1f} {best.name:<14}{ratio:>7.2f}"
    row += f"  ({rates[0]:.2f}..{rates[-1]:.2f}){case.target:>8.2f}"
    if not isinstance(case, Training):
        row += f"   {1e-3 * case.flops / ours.median:.0f} of {1e-3 * case.flops / best.median:.0f} GFLOP/s"
    return row, ratio >= case.target


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (all unless told)")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each peer (6)")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a turn (0.4)")
    parser.add_argument("--compile", action="store_true", help="also torch.compile")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    unknown = [c for c in options.cases if c not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]}: choose from {', '.join(CASES)}")
    print(f"{'case':<18} {'ours us':>11} {'peer us':>11} {'peer':<14}{'ratio':>7}  (rounds){'target':>14}")
    missed = []
    for name in options.cases or CASES:
        row, reached = compare(name, options.rounds, options.seconds, options.compile)
        print(row, flush=True)
        missed += [] if reached else [name]
    if missed:
        print(f"target missed: {', '.join(missed)}")
    return int(bool(missed) and options.check)


if __name__ == "__main__":
    sys.exit(main())
