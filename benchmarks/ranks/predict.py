"""What the model says: beside what was measured on few ranks, and of many."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from benchmarks.growth.series import allowed
from benchmarks.ranks.cases import MODELS, case_of
from benchmarks.ranks.launch import Ask, asked
from benchmarks.ranks.model import Compute, Network, Way, predict
from benchmarks.ranks.plans import compute_of

RANKS = [2**n for n in range(3, 13)]
GLOBAL = 4096  # samples of a batch that stays, on however many ranks
SHARES = (1, 8, 64, 256)  # samples of a rank that are measured, up to its own
NETWORKS = {  # seconds of a message, bytes a second of a rank each way
    "1 Gbit/s Ethernet": (50e-6, 0.118e9),
    "25 Gbit/s Ethernet": (15e-6, 2.9e9),
    "200 Gbit/s InfiniBand": (2e-6, 24e9),
}
WAYS = {
    "as it is": (1, Way(overlap=True)),
    "4 times the batch": (4, Way(overlap=True)),
    "accumulate=8": (1, Way(overlap=True, accumulate=8)),
    "sharded": (1, Way(sharded=True)),
    "16-bit wire": (1, Way(overlap=True, packed=True)),
}
AT = 512  # ranks of which ways are compared
ENDS = 0.5  # the efficiency at which adding ranks ends
Computes = dict[int, Compute]  # by samples


def computes(name: str, rounds: int) -> Computes:
    """A rank's step on some shares of a batch."""
    own = MODELS[name]
    return {n: compute_of(case_of(name, n).training, rounds) for n in sorted({own, *(s for s in SHARES if s < own)})}


def at(table: Computes, samples: float) -> Compute:
    """Between what was measured, on straight lines; beyond it, as many times the largest."""
    known = sorted(table)
    if samples >= known[-1]:
        return table[known[-1]].times(samples / known[-1])

    def line(values: list[float]) -> float:
        return float(np.interp(samples, known, values))

    rows = [table[n] for n in known]
    ready = tuple((line([row.ready[i][0] for row in rows]), nbytes) for i, (_, nbytes) in enumerate(rows[0].ready))
    loss, back, update, spread = (line([getattr(r, f) for r in rows]) for f in ("loss", "back", "update", "spread"))
    return Compute(loss, ready, back, update, spread)


def weak(table: Computes, network: Network, ranks: int, way: Way, batch: int) -> float:
    """Efficiency with so many samples on each rank: one rank's time over that of all."""
    one = at(table, batch)
    return predict(one, network, 1, way).total / predict(one, network, ranks, way).total


def strong(table: Computes, network: Network, ranks: int, way: Way, batch: int) -> float:
    """Efficiency with so many samples in all: one rank's time over that of all, and over their number."""
    many = predict(at(table, batch / ranks), network, ranks, way).total
    return predict(at(table, batch), network, 1, way).total / many / ranks


def predictions(name: str, table: Computes, call: float, adds: float) -> dict[str, Any]:
    """Efficiencies by network: weak and strong over RANKS, and of WAYS at AT ranks."""
    own, found = max(table), {}
    for label, (latency, speed) in NETWORKS.items():
        network = Network(latency, speed, call, adds)
        usual = WAYS["as it is"][1]
        found[label] = {
            "weak": [weak(table, network, n, usual, own) for n in RANKS],
            "strong": [strong(table, network, n, usual, GLOBAL) for n in RANKS],
            "ways": {key: weak(table, network, AT, way, own * times) for key, (times, way) in WAYS.items()},
        }
    return found


def ends(efficiencies: list[float]) -> int:
    """The most ranks up to which adding some pays; 0: none of RANKS."""
    good = [n for n, e in zip(RANKS, efficiencies, strict=True) if e >= ENDS]
    return max(good, default=0)


def check(name: str, table: Computes, network: Network, ranks: int, seconds: float, ask: Ask | None = None) -> Any:
    """Model and measurement, microseconds of a step. ask: of two ranks that have a core each and may overlap; else
    ranks are this machine's, and share its cores."""
    own = MODELS[name]
    crowd = 1.0 if ask else max(1.0, ranks / allowed())
    model = predict(table[own].times(crowd, crowd), network, ranks, Way(overlap=ask is not None))
    arguments = {"case": name, "batch": own * ranks, "seconds": seconds}
    found = ask("step", **arguments) if ask else asked(ranks, 1, "step", **arguments)
    return {"model": [1e6 * part for part in model], "measured": median(found["us"])}
