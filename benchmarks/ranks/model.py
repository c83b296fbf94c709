"""The time of a training step on any number of ranks: arithmetic alone, seconds and bytes.

A step is what a rank computes on its share of the batch, what it says to others and cannot hide behind that, and
waiting for the slowest rank. A sum takes the better of two ways: everybody's vector in log2(ranks) messages, or halves,
quarters and so on there and back. The courier sums one bucket after another, each when it is ready.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

from numbaflux.distributed.world import WORDS


@dataclass(frozen=True)
class Network:
    """latency: of a message; speed: bytes a second of a rank, each way at once; call: of the library, a turn; adds:
    bytes a second that a rank adds to its own."""

    latency: float
    speed: float
    call: float = 0.0
    adds: float = math.inf

    def meet(self, ranks: int) -> float:
        """All hear a few words of all."""
        return self.call + steps(ranks) * self.latency + (ranks - 1) * 8 * WORDS / self.speed

    def sum(self, nbytes: float, ranks: int) -> float:
        whole = steps(ranks) * (self.latency + nbytes / self.speed + nbytes / self.adds)
        return self.call + min(whole, self._part(nbytes, ranks, True) + self._part(nbytes, ranks, False))

    def scatter(self, nbytes: float, ranks: int) -> float:
        """Sums, of which each rank gets its share."""
        return self.call + self._part(nbytes, ranks, True)

    def gather(self, nbytes: float, ranks: int) -> float:
        """Everybody's share for all."""
        return self.call + self._part(nbytes, ranks, False)

    def packed(self, nbytes: float, ranks: int) -> float:
        """A sum with half of the bytes: each rank sends every other its share, and the sums come back."""
        there = (ranks - 1) * self.latency + (ranks - 1) / ranks * nbytes / 2 / self.speed
        return 2 * self.call + there + nbytes / self.adds + self._part(nbytes / 2, ranks, False)

    def _part(self, nbytes: float, ranks: int, adding: bool) -> float:
        moved = (ranks - 1) / ranks * nbytes
        return steps(ranks) * self.latency + moved / self.speed + (moved / self.adds if adding else 0.0)


def steps(ranks: int) -> int:
    """Messages after which all have heard of all."""
    return math.ceil(math.log2(ranks))


@dataclass(frozen=True)
class Compute:
    """A step of one rank that need not ask anybody. loss: when it is known; ready: when each bucket is, and its bytes,
    in their order; back: when all is; update: what follows; spread: deviation of such steps, over their length."""

    loss: float
    ready: tuple[tuple[float, float], ...]
    back: float
    update: float
    spread: float = 0.0

    @property
    def total(self) -> float:
        return self.back + self.update

    @property
    def nbytes(self) -> float:
        return sum(nbytes for _, nbytes in self.ready)

    def times(self, factor: float, update: float = 1.0) -> Compute:
        """The same with so many times the samples, or as many times slower; update: that of the rest."""
        ready = tuple((at * factor, nbytes) for at, nbytes in self.ready)
        return Compute(self.loss * factor, ready, self.back * factor, self.update * update, self.spread)


class Way(NamedTuple):
    """How ranks share their gradients: options of DistributedOptimizer."""

    overlap: bool = False
    sharded: bool = False
    accumulate: int = 1
    packed: bool = False


class Parts(NamedTuple):
    """Where the seconds of a step go."""

    compute: float
    talk: float
    wait: float

    @property
    def total(self) -> float:
        return sum(self)


def longest(ranks: int) -> float:
    """How many deviations the slowest of so many ranks is above the mean, of normal times (Blom 1958).

    >>> longest(1), round(longest(2), 2), round(longest(1000), 1)
    (0.0, 0.59, 3.2)
    """
    return NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25))


def courier(ready: Sequence[tuple[float, float]]) -> float:
    """When the last of some tasks is done: each begins when it is ready and the one before is done.

    >>> courier([(1.0, 5.0), (2.0, 1.0), (9.0, 1.0)])
    10.0
    """
    now = 0.0
    for at, long in ready:
        now = max(now, at) + long
    return now


def predict(compute: Compute, network: Network, ranks: int, way: Way) -> Parts:
    """A step, on average over those that belong to one update."""
    if ranks == 1:
        return Parts(compute.back + compute.update / way.accumulate, 0.0, 0.0)
    work = compute.back + compute.update / way.accumulate / (ranks if way.sharded else 1)
    talk = _talk(compute, network, ranks, way) / way.accumulate
    return Parts(work, talk, longest(ranks) * compute.spread * work)


def _talk(compute: Compute, network: Network, ranks: int, way: Way) -> float:
    """What an update's messages take beyond the backward pass."""
    meeting = network.meet(ranks)
    if way.sharded:
        there, back = (f(compute.nbytes, ranks) for f in (network.scatter, network.gather))
        return meeting + there + meeting + back
    one = network.packed if way.packed else network.sum
    sums = [one(nbytes, ranks) for _, nbytes in compute.ready]
    if not way.overlap:
        return meeting + sum(sums)
    times = [at for at, _ in compute.ready]
    return max(0.0, courier([(compute.loss, meeting), *zip(times, sums, strict=True)]) - compute.back)
