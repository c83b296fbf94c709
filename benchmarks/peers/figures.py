"""What follows from the times of a run. A row is a case: flops, targets, its peers' times (microseconds, one a round),
first steps (seconds), memory (MiB), and why a peer failed.
"""

from __future__ import annotations

import statistics
from typing import Any

Row = dict[str, Any]
OURS, PEAK = "numbaflux", "peak"


def others(row: Row) -> list[str]:
    return [peer for peer in row["peers"] if peer not in (OURS, PEAK)]


def median(row: Row, peer: str) -> float:
    return statistics.median(row["peers"][peer]["times"])


def best(row: Row, library: str) -> str | None:
    """The fastest way to use a library."""
    ways = [peer for peer in row["peers"] if peer.split("-")[0] == library]
    return min(ways, key=lambda peer: median(row, peer), default=None)


def ratio(row: Row, peer: str | None) -> float | None:
    """A peer's time over ours."""
    known = OURS in row["peers"] and peer in row["peers"]
    return median(row, peer) / median(row, OURS) if known and peer else None


def ratios(row: Row) -> dict[str, float]:
    """By library, of its fastest way."""
    libraries = dict.fromkeys(peer.split("-")[0] for peer in row["peers"] if peer != OURS)
    found = {library: ratio(row, best(row, library)) for library in libraries}
    return {library: value for library, value in found.items() if value is not None}


def gflops(row: Row, peer: str) -> float:
    return 1e-3 * row["flops"] / median(row, peer)


def of_peak(row: Row, peer: str) -> float | None:
    """Share of what our register tile alone does, measured in turn with the case."""
    return median(row, PEAK) / median(row, peer) if PEAK in row["peers"] else None


def least(row: Row, library: str, quantity: str) -> float | None:
    """Of all ways to use a library."""
    return min((one[quantity] for peer, one in row["peers"].items() if peer.split("-")[0] == library), default=None)


def missed(row: Row) -> list[str]:
    """Targets that are not reached."""
    found = ratios(row)
    return [
        f"{found[library]:.2f} of {target:g} against {library}"
        for library, target in row["targets"].items()
        if found.get(library, target) < target
    ]


def found(rows: dict[str, Row]) -> dict[str, dict[str, float]]:
    """Of each case, what there is a target for: by library, its time over ours."""
    return {name: {k: v for k, v in ratios(row).items() if k in row["targets"]} for name, row in rows.items()}


def peak(rows: dict[str, Row], threads: int) -> float | None:
    """GFLOP/s a core of the register tile, the median of all cases it ran beside."""
    rates = [gflops(row, PEAK) / threads for row in rows.values() if PEAK in row["peers"]]
    return statistics.median(rates) if rates else None


def behind(row: Row) -> list[str]:
    """Libraries that are faster."""
    return [library for library, value in ratios(row).items() if value < 1 and library != PEAK]
