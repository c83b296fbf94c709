"""A plan bound to a GPU: what Instance is on the CPU. Arguments are copied to places that stay, so that the launches
are made once, as a graph; what a run gives is copied back behind it, in the same stream. Where Python has its turn the
stream ends, and a graph for what follows begins.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from time import monotonic_ns
from typing import Any, NamedTuple

import numpy as np

from .device import released
from .kernels.cuda.launch import FLOAT32, ROUNDED
from .launches import Launch, Launches, Patch
from .lowering import Buf, Storage, up
from .managed import gpu_of, name_of
from .op import DeviceError, PlanError, expect

PLACE = 256  # bytes: where arguments begin
TENSOR_CORES = (8, 0)  # the first that take tf32 and bf16
SLOTS = 2  # batches that may be on the GPU: one at work, one on its way
Given = np.ndarray | None
Call = tuple[Any, tuple[int, int], int, np.ndarray]  # function, grid, threads, words


class Part(NamedTuple):
    """Launches between two of Python's turns; as a graph, if there is one."""

    calls: list[Call]
    graph: Any = None


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
        self.address = _kept(held, gpu.free, gpu.allocate(size))
        self.host = _kept(held, gpu.unpin, gpu.pinned(size))
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
        self.address = _kept(held, gpu.free, gpu.allocate(size))
        self.host = _kept(held, gpu.unpin, gpu.pinned(size))
        self.arrived = _kept(held, gpu.end_event, gpu.event())
        parts = {n: self.host[at : at + given[n].nbytes] for n, at in self.offsets.items()}
        places = {n: part.view(given[n].spec.dtype).reshape(given[n].spec.shape) for n, part in parts.items()}
        self.ins = {n: place for n, place in places.items() if n not in written}
        self.outs = {n: place for n, place in places.items() if n in written}
        self.parts: list[Part] = []
        self.arrays: tuple[Given, ...] = ()  # of the batch that is in it
        self.there: set[int] = set()  # which of them are on the GPU

    def fill(self, gpu: Any, arrays: tuple[Given, ...]) -> None:
        """Take the arrays of the CPU into their places there."""
        here = [(n, arrays[n]) for n in self.offsets]
        self.arrays = arrays
        self.there = {n for n, a in here if gpu_of(a) is gpu and a.flags.c_contiguous}  # type: ignore[union-attr]
        for n, place in self.ins.items():
            if n not in self.there:
                place[...] = arrays[n]

    def send(self, gpu: Any, stream: Any) -> None:
        """Begin to copy what is read to its places on the GPU."""
        if not self.there.intersection(self.ins):
            gpu.upload(self.address, self.host[: self.split], stream)
            return
        for n, place in self.ins.items():
            if n in self.there:
                gpu.copy(self.address + self.offsets[n], self.arrays[n].ctypes.data, place.nbytes, stream)  # type: ignore[union-attr]
            else:
                gpu.upload(self.address + self.offsets[n], place, stream)

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


class Bound:
    """Launches on a GPU, with memory of their own: an arena, places for two batches, twins of what is not there.

    run(*arrays) does it all, as Instance.run; or upload(*next batch) while launch() is at work, then finish(). Arrays
    may be on the CPU or on this GPU. What the plan keeps is read and changed where it is on the GPU; `reads`: kept
    buffers whose values are wanted after each run, in `values`. graph=False launches one by one, for a profile.
    direct(*arrays), with all of them on this GPU, needs no places. One thread at a time, but for run and direct.
    """

    def __init__(
        self, gpu: Any, launches: Launches, reads: Sequence[Buf] = (), graph: bool = True, stream: Any = None
    ) -> None:
        self.gpu, self.launches = gpu, launches
        self.held = ExitStack()
        self.streams: list[Any] = []
        self.close = weakref.finalize(self, _end, gpu, self.streams, self.held)  # also when nobody knows it any more
        self.close.atexit = False  # the driver does it
        self.lock = threading.Lock()
        self.waiting: list[Slot] = []  # uploaded
        self.running: Slot | None = None
        self.free: list[Slot] = []
        self.slots = 0
        self.graph = graph
        self.marks: list[list[Any]] = []
        self.begun: list[int] = []  # when parts were asked for, where there are marks, by time.monotonic_ns
        try:
            self._prepare(reads, stream)
        except BaseException:
            self.close()
            raise

    def _stream(self) -> Any:
        self.streams.append(_kept(self.held, self.gpu.end_stream, self.gpu.stream()))
        return self.streams[-1]

    def _prepare(self, reads: Sequence[Buf], stream: Any) -> None:
        gpu, launches = self.gpu, self.launches
        rounds = launches.build.target.products in ROUNDED
        expect(gpu.capability >= TENSOR_CORES or not rounds, "gpu", "products", f"{FLOAT32!r} where tensor cores take "
               "nothing else", f"capability {gpu.capability}", error=PlanError)  # fmt: skip
        self.compute = stream or self._stream()
        self.copies: Any = None  # the stream of batches, when one comes
        self.arena = _kept(self.held, gpu.free, gpu.allocate(launches.arena))
        gpu.zero(self.arena, launches.arena, self.compute)
        self._find()
        self.found, self.patches = launches.bound(self.address)
        self.functions = gpu.load([(one.kernel, one.codes, one.threads) for one in self.found])
        self._bring(reads)
        self.twins.send(self.compute, 0)
        gpu.wait(self.compute)

    def _bring(self, reads: Sequence[Buf]) -> None:
        """What comes back before each of Python's turns, and at the end; its places in memory of the CPU."""
        status, turns = self.launches.build.status, self.launches.turns
        own = [[a.buf for a in turn.entry.arrays if a.buf.storage.kind == "temp"] for turn in turns]
        self.reads = [[status, *some] for some in (*own, reads)]
        bufs = {(id(b.storage), b.offset): b for some in self.reads for b in some}
        offsets, size = starts([b.nbytes for b in bufs.values()])
        back = _kept(self.held, self.gpu.unpin, self.gpu.pinned(size))
        self.places = {
            key: back[at : at + b.nbytes].view(b.dtype) for (key, b), at in zip(bufs.items(), offsets, strict=True)
        }
        self.status, *self.values = map(self.view, self.reads[-1])

    def _find(self) -> None:
        """What the launches use beside the arena."""
        used = [a for e in self.launches.entries for a in e.arrays if 0 not in a.shape]
        self.given = {a.buf.storage.number: a.buf.storage for a in used if a.buf.storage.kind == "argument"}
        self.written = {a.buf.storage.number for a in used if a.write and a.buf.storage.kind == "argument"}
        kept = {id(a.buf.storage): a.buf.storage for a in used if a.buf.storage.kind == "array"}
        changed = {id(a.buf.storage) for a in used if a.write}
        for s in kept.values():
            there = gpu_of(s.array)
            expect(there in (None, self.gpu), "gpu", "an array of the plan", f"on {name_of(self.gpu)}", name_of(there),
                   error=DeviceError)  # fmt: skip
        absent = [s for s in kept.values() if gpu_of(s.array) is None]
        self.twins = Twins(self.gpu, self.held, absent, changed)
        self.addresses = {key: s.array.ctypes.data for key, s in kept.items()}
        self.addresses |= {id(s): self.twins.find(s) for s in absent}

    def address(self, s: Storage) -> int:
        """Where a storage of the plan begins in the GPU's memory."""
        return self.addresses[id(s)] if s.kind == "array" else self.arena + self.launches.offsets[id(s)]

    @property
    def memory(self) -> int:
        """Bytes on the GPU, without arrays that stay."""
        return self.launches.arena + sum(up(s.nbytes, PLACE) for s in self.given.values()) * self.slots

    def _slot(self) -> Slot:
        """Places that no batch is in."""
        if self.free:
            return self.free.pop()
        expect(self.slots < SLOTS, "gpu", "a plan", "given the next batch when one of two is done", "a third",
               "finish()", PlanError)  # fmt: skip
        if self.copies is None:
            self.copies = self._stream()
        with ExitStack() as own:
            slot = Slot(self.gpu, own, self.given, self.written)
            slot.parts = self._parts({n: slot.address + at for n, at in slot.offsets.items()})
            for i, (calls, _) in enumerate(slot.parts if self.graph else ()):
                if calls:
                    slot.parts[i] = Part(
                        calls, _kept(own, self.gpu.end_graph, self.gpu.graph(calls, *self.marks[i : i + 1]))
                    )
            self.held.enter_context(own.pop_all())
        self.slots += 1
        return slot

    def _parts(self, places: dict[int, int]) -> list[Part]:
        pairs = zip(self.functions, patched(self.found, self.patches, places), strict=True)
        calls = [(function, one.grid, one.threads, one.words) for function, one in pairs]
        return [Part(calls[start:end]) for start, end in self._cuts()]

    def _cuts(self) -> list[tuple[int, int]]:
        """The launches of each part: the first, and the first that is no longer of it."""
        return list(pairwise([0, *(turn.launches for turn in self.launches.turns), len(self.found)]))

    def mark(self) -> list[list[Any]]:
        """Before the first run: events of each part, which each run sets before it and behind each of its launches."""
        counts = [end - start + 1 if end > start else 0 for start, end in self._cuts()]
        events = [[_kept(self.held, self.gpu.end_event, self.gpu.event()) for _ in range(n)] for n in counts]
        self.marks = events
        return events

    def upload(self, *arrays: Given) -> None:
        """Begin to copy a batch to the GPU; returns when arrays of the CPU may be changed again. What the plan gives
        goes into those of the arrays that it writes."""
        expect(self.close.alive, "gpu", "a plan", "used before it is closed", "a call afterwards", error=PlanError)
        slot = self._slot()
        try:
            slot.fill(self.gpu, arrays)
        except BaseException:
            self.free.append(slot)
            raise
        slot.send(self.gpu, self.copies)
        self.gpu.record(slot.arrived, self.copies)
        self.waiting.append(slot)

    def launch(self) -> None:
        """Begin to run the plan on the batch that was uploaded first."""
        good = self.running is None and bool(self.waiting)
        got = "launch() twice" if self.waiting else "launch() without"
        expect(good, "gpu", "a plan", "launched once for each batch uploaded, and finished", got, error=PlanError)
        slot = self.running = self.waiting.pop(0)
        self.gpu.after(self.compute, slot.arrived)
        self._begin(slot.parts, slot)

    def _begin(self, parts: Sequence[Part], slot: Slot | None = None) -> None:
        """Into the stream: what twins hold now, and the launches before Python's first turn."""
        self.twins.send(self.compute, self.twins.first)
        self._queue(parts, 0, slot)

    def _queue(self, parts: Sequence[Part], number: int, slot: Slot | None) -> None:
        """Into the stream: one part, and what comes back behind it; behind the last what the run gives."""
        gpu, (calls, graph) = self.gpu, parts[number]
        if self.marks:
            self.begun.append(monotonic_ns())
        if graph is not None:
            gpu.replay(graph, self.compute)
        else:
            for call in calls:
                gpu.launch(*call, self.compute)
        for b in self.reads[number]:
            gpu.download(self.view(b), self.address(b.storage) + b.offset, self.compute)
        if number == len(parts) - 1:
            self.twins.fetch(self.compute)
            if slot is not None:
                slot.fetch(gpu, self.compute)

    def _rest(self, parts: Sequence[Part], slot: Slot | None = None) -> None:
        """Wait for what is in the stream; then Python's turns, each with the launches behind it. Raises what a turn
        or a check has found, the next run being free to go; else takes what has changed."""
        self.gpu.wait(self.compute)
        try:
            for number, turn in enumerate(self.launches.turns, 1):
                turn.entry.host(self)  # type: ignore[misc]
                written = [a.buf for a in turn.entry.arrays if a.write and a.buf.storage.kind == "temp"]
                for b in (self.launches.build.status, *written):
                    self.gpu.upload(self.address(b.storage) + b.offset, self.view(b), self.compute)
                self._queue(parts, number, slot)
                self.gpu.wait(self.compute)
            error = self.error()
            if error is not None:
                raise error
        finally:
            if self.status[0]:
                status = self.launches.build.status
                self.gpu.zero(self.address(status.storage), status.nbytes, self.compute)
        self.twins.settle()

    def error(self) -> Exception | None:
        """What the check that failed says; None where none did."""
        number, detail = self.status.tolist()
        check: Any = self.launches.checks[number - 1].check if number > 0 else None  # below 0: left out on purpose
        return check(detail) if check is not None else None

    def view(self, buf: Buf) -> np.ndarray:
        """What a buffer held that came back: Python may change it in a turn that writes it."""
        return self.places[id(buf.storage), buf.offset].reshape(buf.shape)

    def finish(self) -> None:
        """Wait for it: what it gives is in the arrays then; raises what a check has found: then nothing changed."""
        slot = self.running
        expect(slot is not None, "gpu", "a plan", "launched before finish()", "finish() alone", error=PlanError)
        try:
            self._rest(slot.parts, slot)  # type: ignore[union-attr]
            slot.settle()  # type: ignore[union-attr]
        finally:
            slot.arrays = ()  # type: ignore[union-attr]
            self.running = None
            self.free.append(slot)  # type: ignore[arg-type]

    def run(self, *arrays: Given) -> None:
        """All of it on one batch."""
        with self.lock:
            self.upload(*arrays)
            self.launch()
            self.finish()

    def direct(self, *arrays: Given) -> None:
        """Launch by launch on arrays of this GPU, where they are."""
        places = {n: arrays[n].ctypes.data for n in self.given}  # type: ignore[union-attr]
        parts = self._parts(places)
        with self.lock:
            self._begin(parts)
            self._rest(parts)


def _kept(held: ExitStack, free: Any, thing: Any) -> Any:
    """Something that is given back with the others."""
    held.callback(released, free, thing)
    return thing


def _end(gpu: Any, streams: list[Any], held: ExitStack) -> None:
    """Give everything back, when nothing runs there any more."""
    for stream in streams:
        released(gpu.wait, stream)
    held.close()


def patched(launches: Sequence[Launch], patches: Sequence[Patch], places: dict[int, int]) -> list[Launch]:
    """Launches with the addresses of the arguments in their words."""
    made = [one._replace(words=one.words.copy()) for one in launches]
    for p in patches:
        if p.argument in places:  # else it has no elements
            made[p.launch].words[p.word] += places[p.argument]
    return made
