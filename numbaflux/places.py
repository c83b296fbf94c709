"""Places in a GPU's memory for what a plan is given and keeps: a batch, twins of arrays of the CPU, records of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from .device import released
from .lowering import Buf, Storage, up
from .managed import gpu_of

PLACE = 256  # bytes: where arguments begin
RECORDS = 1024  # runs that may be in a queue
Given = np.ndarray | None
Call = tuple[Any, tuple[int, int], int, np.ndarray]  # function, grid, threads, words


class Part(NamedTuple):
    """Launches between two of Python's turns; as a graph, if there is one."""

    calls: list[Call]
    graph: Any = None


def owned(held: ExitStack, free: Any, thing: Any) -> Any:
    """Something that is given back with the others."""
    held.callback(released, free, thing)
    return thing


def starts(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where things of so many bytes begin one behind another, and where they end.

    >>> starts([4, 300, 8])
    ([0, 256, 768], 1024)
    """
    ends = np.cumsum([0, *(up(size, PLACE) for size in sizes)]).tolist()
    return ends[:-1], ends[-1]


class Twins:
    """Arrays of the CPU that launches read or change, and their places on the GPU: what nobody changes is sent once,
    the others (counts of draws, numbers of a rule) before each run; those that the plan changes come back behind it."""

    def __init__(self, gpu: Any, held: ExitStack, storages: Sequence[Storage], written: set[int]) -> None:
        self.gpu = gpu
        kept: dict[tuple[int, int], tuple[np.ndarray, int]] = {}  # one place for each piece of memory
        for s in storages:
            key = (s.array.ctypes.data, s.nbytes)
            rank = 2 if id(s) in written else 0 if s.once else 1
            kept[key] = s.array, max(rank, kept[key][1] if key in kept else 0)
        order = sorted(kept, key=lambda key: kept[key][1])
        offsets, size = starts([nbytes for _, nbytes in order])
        self.address = owned(held, gpu.free, gpu.allocate(size))
        self.host = owned(held, gpu.unpin, gpu.pinned(size))
        self.sent, self.back, self.offsets = [], [], dict(zip(order, offsets, strict=True))
        self.first = self.last = size  # from where on places are sent again; come back
        for (key, (array, rank)), at in zip(((k, kept[k]) for k in order), offsets, strict=True):
            place = self.host[at : at + key[1]].view(array.dtype).reshape(array.shape)
            place[...] = array
            if rank > 0:
                self.first = min(self.first, at)
                self.sent.append((place, array))
            if rank > 1:
                self.last = min(self.last, at)
                self.back.append((place, array))

    def find(self, s: Storage) -> int:
        return int(self.address) + self.offsets[s.array.ctypes.data, s.nbytes]

    def send(self, stream: Any, first: int) -> None:
        """Take them to the GPU, from a place on."""
        for place, array in self.sent:
            place[...] = array
        self.gpu.upload(self.address + first, self.host[first:], stream)

    def fetch(self, stream: Any) -> None:
        """Bring back what was changed; `settle` when it is there."""
        self.gpu.download(self.host[self.last :], self.address + self.last, stream)

    @property
    def stale(self) -> bool:
        """Whether somebody here has changed one since they were sent, and no run was settled since."""
        return any(place.tobytes() != array.tobytes() for place, array in self.sent)

    def settle(self) -> None:
        for place, array in self.back:
            array[...] = place


class Slot:
    """A batch's places: arguments in the GPU's memory, the same in memory of the CPU that copies need not wait for;
    what is read first, then what is written."""

    def __init__(self, gpu: Any, held: ExitStack, given: dict[int, Storage], written: set[int]) -> None:
        order = sorted(given, key=lambda n: (n in written, n))
        offsets, size = starts([given[n].nbytes for n in order])
        self.offsets = dict(zip(order, offsets, strict=True))
        self.split = min((self.offsets[n] for n in written), default=size)
        self.address = owned(held, gpu.free, gpu.allocate(size))
        self.host = owned(held, gpu.unpin, gpu.pinned(size))
        self.arrived = owned(held, gpu.end_event, gpu.event())
        self.read = owned(held, gpu.end_event, gpu.event())
        self.queued = False  # whether a run that nobody has waited for may still read what is in it
        parts = {n: self.host[at : at + given[n].nbytes] for n, at in self.offsets.items()}
        places = {n: part.view(given[n].spec.dtype).reshape(given[n].spec.shape) for n, part in parts.items()}
        self.ins = {n: place for n, place in places.items() if n not in written}
        self.outs = {n: place for n, place in places.items() if n in written}
        self.parts: list[Part] = []
        self.arrays: tuple[Given, ...] = ()  # of the batch that is in it
        self.there: set[int] = set()  # which of them are on the GPU

    def fill(self, gpu: Any, arrays: tuple[Given, ...]) -> None:
        """Take the arrays of the CPU into their places there, when the copy of those before has left them."""
        if self.queued:
            gpu.until(self.arrived)
        here = [(n, arrays[n]) for n in self.offsets]
        self.arrays = arrays
        self.there = {n for n, a in here if gpu_of(a) is gpu and a.flags.c_contiguous}  # type: ignore[union-attr]
        for n, place in self.ins.items():
            if n not in self.there:
                place[...] = arrays[n]

    def send(self, gpu: Any, stream: Any) -> None:
        """Begin to copy what is read to its places on the GPU, when the run before has read them."""
        if self.queued:
            gpu.after(stream, self.read)
            self.queued = False
        self._send(gpu, stream)
        gpu.record(self.arrived, stream)

    def _send(self, gpu: Any, stream: Any) -> None:
        if not self.there.intersection(self.ins):
            gpu.upload(self.address, self.host[: self.split], stream)
            return
        for n, place in self.ins.items():
            if n in self.there:
                gpu.copy(self.address + self.offsets[n], self.arrays[n].ctypes.data, place.nbytes, stream)  # type: ignore[union-attr]
            else:
                gpu.upload(self.address + self.offsets[n], place, stream)

    def leave(self, gpu: Any, stream: Any) -> None:
        """Its run is in the stream, and nobody waits for it."""
        gpu.record(self.read, stream)
        self.queued, self.arrays = True, ()

    def fetch(self, gpu: Any, stream: Any) -> None:
        """Begin to copy what is written from there: to arrays on the GPU, for others to the CPU's places."""
        for n in self.there.intersection(self.outs):
            gpu.copy(self.arrays[n].ctypes.data, self.address + self.offsets[n], self.outs[n].nbytes, stream)  # type: ignore[union-attr]
        if self.outs.keys() - self.there:
            gpu.download(self.host[self.split :], self.address + self.split, stream)

    def settle(self) -> None:
        """What is written, from the CPU's places to the arrays."""
        for n, place in self.outs.items():
            if n not in self.there:
                self.arrays[n][...] = place  # type: ignore[index]


class Records:
    """What each run of a queue leaves behind, status and values, one record behind another; brought back together."""

    def __init__(self, gpu: Any, held: ExitStack, bufs: Sequence[Buf]) -> None:
        self.gpu, self.bufs = gpu, bufs
        self.form = np.dtype([(str(i), b.dtype, b.shape) for i, b in enumerate(bufs)], align=True)
        self.address = owned(held, gpu.free, gpu.allocate(RECORDS * self.form.itemsize))
        self.host = owned(held, gpu.unpin, gpu.pinned(RECORDS * self.form.itemsize))
        self.count = 0

    def add(self, address: Callable[[Storage], int], stream: Any) -> None:
        """Copy what a run has left, within the GPU's memory."""
        place = self.address + self.count * self.form.itemsize
        for i, b in enumerate(self.bufs):
            at = self.form.fields[str(i)][1]  # type: ignore[index]
            self.gpu.copy(place + at, address(b.storage) + b.offset, b.nbytes, stream)
        self.count += 1

    def fetch(self, stream: Any) -> None:
        self.gpu.download(self.host[: self.count * self.form.itemsize], self.address, stream)

    def taken(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """What was fetched: a status and values a run; none are left."""
        found = self.host[: self.count * self.form.itemsize].view(self.form).copy()
        self.count = 0
        return found["0"], [found[str(i)] for i in range(1, len(self.bufs))]
