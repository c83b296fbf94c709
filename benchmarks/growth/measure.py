"""The peers' times at every point of a series, in turns, as two interleaved medians; and what follows from them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.growth.series import SERIES
from benchmarks.growth.trend import above, cliffs, off_trend, rise
from benchmarks.peers.peer import Peer

WORKER = "benchmarks.growth.worker"
OURS = "numbaflux"
Record = dict[str, Any]  # of a series: its points; by peer two medians a point, in microseconds


def measure(name: str, points: Sequence[int], rounds: int, seconds: float, alone: bool) -> Record:
    """Rounds go through all points and peers; even ones count for the first median, odd ones for the second. alone:
    without PyTorch."""
    images = len(SERIES[name].case(points[0]).shape) == 3
    others = [] if alone else ["torch", "torch-last"][: 1 + images]
    peers = [Peer(peer, worker=WORKER) for peer in (OURS, *others)]
    times: dict[str, list[list[list[float]]]] = {p.name: [[[] for _ in points] for _ in range(2)] for p in peers}
    try:
        for point in points:
            for peer in peers:
                peer.loss = peer.ask(f"{name} {point}")
            far = [peer for peer in peers[1:] if peer.differs(peers[0])]
            if far:
                raise SystemExit(f"{name} {point}: loss {peers[0].loss}, but {far[0].name} has {far[0].loss}")
        for turn in range(2 * rounds):
            for i, point in enumerate(points):
                for peer in peers:
                    times[peer.name][turn % 2][i].append(peer.ask(f"{name} {point} {seconds}"))
    finally:
        for peer in peers:
            peer.close()
    medians = {peer: [[statistics.median(one) for one in half] for half in found] for peer, found in times.items()}
    return {"points": list(points), "us": medians}


class Row(NamedTuple):
    """A point: time, time a unit and of the best of the others; the factors and flags of trend.py."""

    point: int
    us: float
    unit: float
    peer: str
    peer_us: float
    off: float
    cliff: bool
    rise: float
    rises: bool


def rows(name: str, record: Record) -> list[Row]:
    """What a record says; a factor is that of the two medians which is nearer to 1."""
    points, series = record["points"], SERIES[name]
    ours = record["us"][OURS]
    units = [[us / series.units(p) for us, p in zip(half, points, strict=True)] for half in ours]
    others = {peer: _means(halves) for peer, halves in record["us"].items() if peer != OURS}
    offs, ups = [off_trend(points, half) for half in ours], [rise(half) for half in units]
    off_the_trend, rises = cliffs(offs), above(ups)
    found = []
    for i, (point, us, unit) in enumerate(zip(points, _means(ours), _means(units), strict=True)):
        peer = min(others, key=lambda other: others[other][i], default="")
        off = min((half[i] for half in offs), key=lambda f: max(f, 1 / f))
        up = min(half[i] for half in ups)
        found.append(Row(point, us, unit, peer, others[peer][i] if peer else 0.0, off, off_the_trend[i], up, rises[i]))
    return found


def _means(halves: list[list[float]]) -> list[float]:
    return [statistics.mean(pair) for pair in zip(*halves, strict=True)]


def table(name: str, record: Record) -> str:
    """The rows as text, under a head."""
    lines = [f"{name}: {SERIES[name].axis}; a unit is {SERIES[name].unit}"]
    lines.append(
        f"{'point':>6}{'us':>12}{'us a unit':>12}{'peer us':>12} {'peer':<11}{'ratio':>6}{'trend':>7}{'rise':>6}"
    )
    for row in rows(name, record):
        flags = "  off the trend" * row.cliff + "  a unit costs more" * row.rises
        beside = f"{row.peer_us:>12.1f} {row.peer:<11}{row.peer_us / row.us:>6.2f}" if row.peer else f"{'':>30}"
        lines.append(f"{row.point:>6}{row.us:>12.1f}{row.unit:>12.3f}{beside}{row.off:>7.2f}{row.rise:>6.2f}{flags}")
    return "\n".join(lines)


def faults(name: str, record: Record) -> list[str]:
    """The points that --check refuses."""
    return [f"{name} {row.point}" for row in rows(name, record) if row.cliff or row.rises]
