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
from typing import Any

import numpy as np

from .device import released
from .kernels.cuda.launch import FLOAT32, ROUNDED
from .launches import Launch, Launches, Patch
from .lowering import Buf, Storage, up
from .managed import gpu_of, name_of
from .op import DeviceError, PlanError, expect
from .places import PLACE, RECORDS, Given, Part, Records, Slot, Twins, owned, starts

TENSOR_CORES = (8, 0)  # the first that take tf32 and bf16
SLOTS = 2  # batches that may be on the GPU: one at work, one on its way


class Bound:
    """Launches on a GPU, with memory of their own: an arena, places for two batches, twins of what is not there.

    run(*arrays) does it all, as Instance.run; or upload(*next batch) while launch() is at work, then finish(). Arrays
    may be on the CPU or on this GPU. What the plan keeps is read and changed where it is on the GPU; `reads`: kept
    buffers whose values are wanted after each run, in `values`. graph=False launches one by one, for a profile.
    Or queue() in the place of launch(), some times, and drain(): nobody waits for the runs between.
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
        self.records: Records | None = None  # of runs in the queue, when one comes
        self.open = False  # whether there may be such runs
        try:
            self._prepare(reads, stream)
        except BaseException:
            self.close()
            raise

    def _stream(self) -> Any:
        self.streams.append(owned(self.held, self.gpu.end_stream, self.gpu.stream()))
        return self.streams[-1]

    def _prepare(self, reads: Sequence[Buf], stream: Any) -> None:
        gpu, launches = self.gpu, self.launches
        rounds = launches.build.target.products in ROUNDED
        expect(gpu.capability >= TENSOR_CORES or not rounds, "gpu", "products", f"{FLOAT32!r} where tensor cores take "
               "nothing else", f"capability {gpu.capability}", error=PlanError)  # fmt: skip
        self.compute = stream or self._stream()
        self.copies: Any = None  # the stream of batches, when one comes
        self.arena = owned(self.held, gpu.free, gpu.allocate(launches.arena))
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
        back = owned(self.held, self.gpu.unpin, self.gpu.pinned(size))
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
        """Places that no batch is in: of those which a queued run still reads, the ones left first."""
        if self.free and (self.slots == SLOTS or not self.free[0].queued):
            return self.free.pop(0)
        expect(self.slots < SLOTS, "gpu", "a plan", "given the next batch when one of two is done", "a third",
               "finish()", PlanError)  # fmt: skip
        if self.copies is None:
            self.copies = self._stream()
        with ExitStack() as own:
            slot = Slot(self.gpu, own, self.given, self.written)
            slot.parts = self._parts({n: slot.address + at for n, at in slot.offsets.items()})
            for i, (calls, _) in enumerate(slot.parts if self.graph else ()):
                if calls:
                    graph = self.gpu.graph(calls, *self.marks[i : i + 1])
                    slot.parts[i] = Part(calls, owned(own, self.gpu.end_graph, graph))
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
        events = [[owned(self.held, self.gpu.end_event, self.gpu.event()) for _ in range(n)] for n in counts]
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
        self.waiting.append(slot)

    def launch(self) -> None:
        """Begin to run the plan on the batch that was uploaded first."""
        expect(not self.open, "gpu", "a plan", "drained before launch()", f"{self.queued} runs in its queue",
               error=PlanError)  # fmt: skip
        slot = self.running = self._first()
        self._begin(slot.parts, slot)

    def _first(self) -> Slot:
        """The batch that was uploaded first, when it is there."""
        good = self.running is None and bool(self.waiting)
        got = "launch() twice" if self.waiting else "launch() without"
        expect(good, "gpu", "a plan", "launched once for each batch uploaded, and finished", got, error=PlanError)
        slot = self.waiting.pop(0)
        self.gpu.after(self.compute, slot.arrived)
        return slot

    @property
    def queues(self) -> bool:
        """Whether runs may stand in a queue: Python has no turns."""
        return not self.launches.turns

    @property
    def queued(self) -> int:
        """Runs in the queue."""
        return self.records.count if self.records is not None else 0

    @property
    def stale(self) -> bool:
        """Whether twins in the queue are no longer what stands on the CPU."""
        return self.twins.stale

    def queue(self) -> None:
        """Begin to run the plan on the batch that was uploaded first, behind runs that nobody has waited for. The first
        of them takes twins along; what the plan gives beside `reads` stays there. A run behind one that fails changes
        nothing either, as the status word stays what it is."""
        if self.records is None:
            self.records = Records(self.gpu, self.held, self.reads[-1])
        good, got = self.queues and self.queued < RECORDS, f"{self.queued}, and {len(self.launches.turns)} turns"
        expect(good, "gpu", "a queue", f"of at most {RECORDS} runs without Python's turns", got, error=PlanError)
        slot = self._first()
        if not self.open:
            self.twins.send(self.compute, self.twins.first)
            self.open = True  # only now: drain() brings them back, wherever Ctrl-C comes
        self._play(slot.parts[0])
        self.records.add(self.address, self.compute)
        slot.leave(self.gpu, self.compute)
        self.free.append(slot)

    def drain(self) -> tuple[list[np.ndarray], Exception | None]:
        """Wait for the queue: values (runs, ...) of those before the first that failed, and what its check says."""
        expect(self.open, "gpu", "a plan", "queued before drain()", "drain() alone", error=PlanError)
        records: Any = self.records
        records.fetch(self.compute)
        self.twins.fetch(self.compute)
        self.gpu.wait(self.compute)
        self.twins.settle()
        status, values = records.taken()
        self.open = False
        failed = np.flatnonzero(status[:, 0])
        if not failed.size:
            return values, None
        self.status[...] = status[failed[0]]
        self._clear()
        return [v[: failed[0]] for v in values], self.error()

    def _begin(self, parts: Sequence[Part], slot: Slot | None = None) -> None:
        """Into the stream: what twins hold now, and the launches before Python's first turn."""
        self.twins.send(self.compute, self.twins.first)
        self._queue(parts, 0, slot)

    def _queue(self, parts: Sequence[Part], number: int, slot: Slot | None) -> None:
        """Into the stream: one part, and what comes back behind it; behind the last what the run gives."""
        gpu = self.gpu
        if self.marks:
            self.begun.append(monotonic_ns())
        self._play(parts[number])
        for b in self.reads[number]:
            gpu.download(self.view(b), self.address(b.storage) + b.offset, self.compute)
        if number == len(parts) - 1:
            self.twins.fetch(self.compute)
            if slot is not None:
                slot.fetch(gpu, self.compute)

    def _play(self, part: Part) -> None:
        if part.graph is not None:
            self.gpu.replay(part.graph, self.compute)
        else:
            for call in part.calls:
                self.gpu.launch(*call, self.compute)

    def _clear(self) -> None:
        """The next run is free to go."""
        status = self.launches.build.status
        self.gpu.zero(self.address(status.storage), status.nbytes, self.compute)

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
                self._clear()
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
