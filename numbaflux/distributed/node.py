"""Ranks of one node add up gradients in memory that all of them see, where messages would copy them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from ..lowering import Buf, Build, as_buf, cut, elements_block
from ..optim.vectors import up
from ..plan import Plan
from .waiting import Watch


class Node:
    """The ranks of this node, and memory that they share. across: the ranks of the other nodes that are the same on
    theirs; None on one node."""

    def __init__(self, comm: Any, across: Any, MPI: Any, timeout: float) -> None:
        self.comm, self.across, self._mpi = comm, across, MPI
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._watch = Watch(comm.Dup(), MPI, timeout)
        self._far = None if across is None else Watch(across.Dup(), MPI, timeout)
        self.windows: list[Any] = []  # kept, as their memory is used

    def vectors(self, size: int, dtype: np.dtype[Any]) -> list[np.ndarray]:
        """A vector of zeros for each rank, which all can read and write; every rank must ask."""
        info = self._mpi.Info.Create()
        info.Set("alloc_shared_noncontig", "true")  # each rank's begins on a page of its own, near its cores
        nbytes = size * dtype.itemsize
        window = self._mpi.Win.Allocate_shared(nbytes, dtype.itemsize, info, self.comm)
        self.windows.append(window)
        found = [np.frombuffer(window.Shared_query(rank)[0], dtype, size) for rank in range(self.size)]
        found[self.rank][...] = 0
        return found

    def barrier(self, what: str) -> None:
        """Wait for the ranks of this node: what they wrote before it is seen after it."""
        self._watch.wait(self.comm.Ibarrier(), what)

    def sum_across(self, part: np.ndarray, what: str) -> None:
        """Let a vector hold its sum over nodes, in place."""
        if self._far is not None:
            self._far.wait(self.across.Iallreduce(self._mpi.IN_PLACE, part), what)


class Shared:
    """A vector of each rank of a node, to be added up or brought together. serial: on one thread of each rank."""

    def __init__(self, node: Node, vectors: list[np.ndarray], serial: bool) -> None:
        self.node, self.vectors, self.serial = node, vectors, serial
        self.bufs = [as_buf(v) for v in vectors]
        self.plans: dict[tuple[str, tuple[int, ...]], Plan] = {}

    @property
    def own(self) -> np.ndarray:
        return self.vectors[self.node.rank]

    def sum(self, start: int, end: int, known: bool) -> None:
        """Let a stretch of each rank's vector hold the sum over all. known: whether all ranks are known to have it."""
        ends = self.shares(start, end)
        if not known:
            self.node.barrier("gradients")
        first, last = ends[self.node.rank : self.node.rank + 2]
        self.reduce(ends)
        self.node.sum_across(self.own[first:last], "gradients")
        self.node.barrier("sums")
        self.bring(ends)
        self.node.barrier("gradients of all")  # none may write again before all have read

    def shares(self, start: int, end: int) -> tuple[int, ...]:
        """Where the shares of the ranks begin and end, of about one size."""
        each = up(-(-(end - start) // self.node.size))
        return tuple(min(start + rank * each, end) for rank in range(self.node.size + 1))

    def reduce(self, ends: tuple[int, ...]) -> None:
        """Let this rank's share of its vector hold the sum over the ranks, added in their order."""
        self._run("reduce", ends)

    def bring(self, ends: tuple[int, ...]) -> None:
        """Let this rank's vector hold the other ranks' shares of theirs."""
        self._run("bring", ends)

    def _run(self, kind: str, ends: tuple[int, ...]) -> None:
        if (kind, ends) not in self.plans:
            build = Build()
            for name, out, *ins in self._reduced(build, ends) if kind == "reduce" else self._brought(ends):
                build.add(f"elementwise.{name}", cut(out, write=True), *map(cut, ins), rows=out.size,
                          block=elements_block(out.size, 1))  # fmt: skip
            plan = self.plans[kind, ends] = Plan(build)
            plan.serial = plan.serial or self.serial
        self.plans[kind, ends].run()

    def _reduced(self, build: Build, ends: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
        first, last = ends[self.node.rank : self.node.rank + 2]
        parts = [buf.part(first, last - first) for buf in self.bufs]
        total = parts[0]
        for rank, part in enumerate(parts[1:], 1):
            out = parts[self.node.rank] if rank == len(parts) - 1 else build.temp(part.shape, part.dtype)
            yield "add", out, total, part
            total = out

    def _brought(self, ends: tuple[int, ...]) -> Iterator[tuple[str, Buf, Buf]]:
        own = self.bufs[self.node.rank]
        for rank, (first, last) in enumerate(pairwise(ends)):
            if rank != self.node.rank:
                yield "copy", own.part(first, last - first), self.bufs[rank].part(first, last - first)
