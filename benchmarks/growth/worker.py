"""One peer in a process of its own: for each line "SERIES POINT" on standard input, make that training step, keep it
and print the loss of step 5; for each line "SERIES POINT SECONDS", run it for that long and print microseconds a call.

Peers: numbaflux, torch, torch-last (images with the channels last).
"""

from __future__ import annotations

import sys

from benchmarks.growth.series import SERIES, allowed
from benchmarks.peers.cases import Call
from benchmarks.peers.worker import make, run, value

STEPS = 5


def use_threads(peer: str, n: int) -> None:
    """Let the peer's calls from now on run on n threads."""
    if peer == "numbaflux":
        import numbaflux as nf

        nf.set_num_threads(n)
    else:
        import torch

        torch.set_num_threads(n)


def main() -> None:
    peer, calls = sys.argv[1], dict[str, Call]()
    for line in sys.stdin:
        series, point, *seconds = line.split()
        key = f"{series} {point}"
        if key not in calls:
            calls[key] = make(peer, SERIES[series].case(int(point)))
        use_threads(peer, int(point) if SERIES[series].threads else allowed())
        if seconds:
            calls[key]()  # after another number of threads the first call makes ready
            print(run(calls[key], float(seconds[0])), flush=True)
        else:
            print(value([calls[key]() for _ in range(STEPS)][-1]), flush=True)


if __name__ == "__main__":
    main()
