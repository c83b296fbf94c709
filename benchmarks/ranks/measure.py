"""What is measured: two ranks beside two threads, sums between ranks, how much of them hides; each as a record."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ranks.cases import CASES, HIDING
from benchmarks.ranks.launch import Ask, asked, two_hosts
from benchmarks.ranks.model import Network
from benchmarks.ranks.worker import clocked

Record = dict[str, Any]
LINKS = {"1gbit": 16, "250mbit": 64}  # rates, and samples whose backward pass takes longer than sums do there
DRAWN = "250mbit"  # of which there is a picture
HIDDEN = 0.2  # of a transfer that may be seen where the backward pass is as long
SMALL, LARGE = 8, 2**22  # bytes of the sums that a network is told by
CLOSE = 0.05  # of the first loss: BatchNorm sees other batches


def beside(name: str, rounds: int, seconds: float) -> Record:
    """Microseconds of a step, in turns: one rank on two threads, two ranks on one thread each, the same (every other
    time) where each trains for itself."""
    times: dict[str, list[float]] = {"threads": [], "ranks": [], "alone": []}
    losses = {}
    for turn in range(rounds):
        for way in list(times)[: 2 + (turn % 2 == 0)]:
            ranks, more = (1, {}) if way == "threads" else (2, {"alone": way == "alone"})
            found = asked(ranks, 2 // ranks, "step", case=name, seconds=seconds, **more)
            times[way].append(median(found["us"]))
            losses[way] = found["loss"]
    if abs(losses["ranks"] - losses["threads"]) > CLOSE * abs(losses["threads"]):
        raise SystemExit(f"{name}: loss {losses['threads']} on one rank, {losses['ranks']} on two")
    us = {way: median(found) for way, found in times.items()}
    return {"us": us, "ratio": us["threads"] / us["ranks"], "target": CASES[name].target}


def network_of(ask: Ask, call: float = 0.0) -> Network:
    """What two ranks find between them. call: seconds of a turn that are not the network's, where that is known."""
    told = ask("sums", sizes=[SMALL, LARGE])["sums"]
    small, large = (us / 1e6 for us in told)
    return Network(max(0.0, small - call) if call else 0.0, LARGE / (large - small), call or small)


def local(what: str, **arguments: Any) -> Any:
    """Two ranks of this machine."""
    return asked(2, 1, what, **arguments)


def adding() -> float:
    """Bytes a second that a thread adds to its own."""
    mine, other = (np.zeros(LARGE // 4, np.float32) for _ in range(2))

    def add() -> None:
        np.add(mine, other, out=mine)

    return LARGE / (min(clocked(add) for _ in range(20)) / 1e6)


def hidden(rate: str, rounds: int, ask_on: Callable[..., Any] = two_hosts) -> Record:
    """What sums add to a step on two hosts with a cable of that rate between them, and what they may."""
    with ask_on(rate) as ask:
        found = ask("hidden", case=HIDING, batch=LINKS[rate], rounds=rounds)
    us = {way: median(times) for way, times in found["us"].items()}
    return allowance(us, backward(found["spans"])) | {"bytes": found["bytes"], "spans": found["spans"]}


def backward(spans: list[list[float]]) -> float:
    """Microseconds that the backward pass of rank 0 runs."""
    from benchmarks.ranks.timeline import BACKWARD

    return sum(end - start for rank, kind, start, end in spans if (rank, kind) == (0, BACKWARD))


def allowance(us: dict[str, float], back: float) -> Record:
    """us: of a step alone and together, of the transfer. What may be added: a part of the transfer, or what of it no
    backward pass could hide."""
    allowed = max(HIDDEN * us["transfer"], us["transfer"] - back)
    return {"us": us | {"backward": back}, "added": us["together"] - us["alone"], "allowed": allowed}
