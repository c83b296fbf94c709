"""A plan bound to a GPU: what Instance is on the CPU. Arguments are copied to places that stay, so that the launches
are made once, as a graph; what a run gives is copied back behind it, in the same stream.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from .device import Mirror, released
from .kernels.cuda.launch import FLOAT32
from .launches import Launch, Launches, Patch
from .lowering import Buf, Storage, up
from .op import PlanError, expect

PLACE = 256  # bytes: where arguments begin
TENSOR_CORES = (8, 0)  # the first that take tf32 and bf16
SLOTS = 2  # batches that may be on the GPU: one at work, one on its way


class Slot:
    """A batch's places: arguments in the GPU's memory, the same in memory of the CPU that copies need not wait for;
    what is read first, then what is written."""

    def __init__(self, gpu: Any, held: ExitStack, given: dict[int, Storage], written: set[int]) -> None:
        self.offsets: dict[int, int] = {}
        size = 0
        for number in sorted(given, key=lambda n: (n in written, n)):
            self.offsets[number] = size
            size += up(given[number].nbytes, PLACE)
        self.split = min((self.offsets[n] for n in written), default=size)
        self.address = gpu.allocate(size)
        held.callback(released, gpu.free, self.address)
        self.host = gpu.pinned(size)
        held.callback(released, gpu.unpin, self.host)
        self.arrived = gpu.event()
        held.callback(released, gpu.end_event, self.arrived)
        parts = {n: self.host[at : at + given[n].nbytes] for n, at in self.offsets.items()}
        places = {n: part.view(given[n].spec.dtype).reshape(given[n].spec.shape) for n, part in parts.items()}
        self.ins = {n: place for n, place in places.items() if n not in written}
        self.outs = {n: place for n, place in places.items() if n in written}
        self.calls: list[tuple[Any, tuple[int, int], int, np.ndarray]] = []
        self.graph: Any = None


class Bound:
    """Launches on a GPU, with memory of their own: an arena, places for two batches, twins of the arrays that stay.

    run(*arrays) does it all, as Instance.run; or upload(*next batch) while launch() is at work, then finish(*arrays).
    Arrays that the plan changes where they are (parameters) change on the GPU: `fetch` brings them back, `send` takes
    there what Python has changed. `reads`: kept buffers whose values are wanted after each run, in `values`.
    graph=False launches one by one, for a profile. One thread at a time.
    """

    def __init__(self, gpu: Any, launches: Launches, reads: Sequence[Buf] = (), graph: bool = True) -> None:
        self.gpu, self.launches = gpu, launches
        self.held = ExitStack()
        self.streams: list[Any] = []
        self.close = weakref.finalize(self, _end, gpu, self.streams, self.held)  # also when nobody knows it any more
        self.close.atexit = False  # the driver does it
        self.mirrors: dict[int, Mirror] = {}
        self.waiting: list[Slot] = []  # uploaded
        self.running: Slot | None = None
        self.free: list[Slot] = []
        self.slots = 0
        self.graph = graph
        try:
            self._prepare(reads)
        except BaseException:
            self.close()
            raise

    def _keep(self, free: Any, thing: Any) -> Any:
        self.held.callback(released, free, thing)
        return thing

    def _prepare(self, reads: Sequence[Buf]) -> None:
        gpu, launches = self.gpu, self.launches
        turns = any(e.host is not None for e in launches.build.entries)
        expect(not turns, "gpu", "a plan", "of kernels alone", "one in which Python has its turn (several ranks)",
               "run it on CPUs", PlanError)  # fmt: skip
        own = [e.kernel for e in launches.entries if not isinstance(e.kernel, str)]
        expect(not own, "gpu", "a plan", "of kernels of numbaflux", f"{own[:1]}", "run it on a CPU", PlanError)
        rounds = launches.build.target.products != FLOAT32
        expect(gpu.capability >= TENSOR_CORES or not rounds, "gpu", "products", f"{FLOAT32!r} where tensor cores take "
               "nothing else", f"capability {gpu.capability}", error=PlanError)  # fmt: skip
        self.compute = self._keep(gpu.end_stream, gpu.stream())
        self.copies = self._keep(gpu.end_stream, gpu.stream())
        self.streams += [self.compute, self.copies]
        self.arena = self._keep(gpu.free, gpu.allocate(launches.arena))
        gpu.zero(self.arena, launches.arena, self.compute)
        used = [a for e in launches.entries for a in e.arrays if 0 not in a.shape]
        self.given = {a.buf.storage.number: a.buf.storage for a in used if a.buf.storage.kind == "argument"}
        self.written = {a.buf.storage.number for a in used if a.write and a.buf.storage.kind == "argument"}
        stay = {id(a.buf.storage): a.buf.storage for a in used if a.buf.storage.kind == "array"}
        for key, s in stay.items():
            self.mirrors[key] = self._keep(gpu.mirrors.give, gpu.mirrors.take(s.array, self.compute))
        changed = [a.buf.storage for a in used if a.write and a.buf.storage.kind == "array"]
        self.changed = list({(s.array.ctypes.data, s.nbytes): s.array for s in changed}.values())
        self.found, self.patches = launches.bound(self.address)
        self.functions = gpu.load([(one.kernel, one.codes, one.threads) for one in self.found])
        self.reads = [launches.build.status, *reads]
        sizes = [up(b.nbytes, PLACE) for b in self.reads]
        self.back = self._keep(gpu.unpin, gpu.pinned(sum(sizes)))
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.places = [self.back[at : at + b.nbytes] for at, b in zip(starts, self.reads, strict=True)]
        self.status, *self.values = [
            place.view(b.dtype).reshape(b.shape) for place, b in zip(self.places, self.reads, strict=True)
        ]
        gpu.wait(self.compute)

    def address(self, s: Storage) -> int:
        """Where a storage of the plan begins in the GPU's memory."""
        return self.mirrors[id(s)].place(s.array) if s.kind == "array" else self.arena + self.launches.offsets[id(s)]

    def _slot(self) -> Slot:
        """Places that no batch is in."""
        if self.free:
            return self.free.pop()
        expect(self.slots < SLOTS, "gpu", "a plan", "given the next batch when one of two is done", "a third",
               "finish()", PlanError)  # fmt: skip
        with ExitStack() as own:
            slot = Slot(self.gpu, own, self.given, self.written)
            launches = patched(self.found, self.patches, {n: slot.address + at for n, at in slot.offsets.items()})
            pairs = zip(self.functions, launches, strict=True)
            slot.calls = [(function, one.grid, one.threads, one.words) for function, one in pairs]
            if self.graph and slot.calls:
                slot.graph = self.gpu.graph(slot.calls)
                own.callback(released, self.gpu.end_graph, slot.graph)
            self.held.enter_context(own.pop_all())
        self.slots += 1
        return slot

    def upload(self, *arrays: np.ndarray | None) -> None:
        """Begin to copy a batch to the GPU; returns when the arrays may be changed again."""
        expect(self.close.alive, "gpu", "a plan", "used before it is closed", "a call afterwards", error=PlanError)
        slot = self._slot()
        try:
            for number, place in slot.ins.items():
                place[...] = arrays[number]
        except BaseException:
            self.free.append(slot)
            raise
        self.gpu.upload(slot.address, slot.host[: slot.split], self.copies)
        self.gpu.record(slot.arrived, self.copies)
        self.waiting.append(slot)

    def launch(self) -> None:
        """Begin to run the plan on the batch that was uploaded first."""
        good = self.running is None and bool(self.waiting)
        got = "launch() twice" if self.waiting else "launch() without"
        expect(good, "gpu", "a plan", "launched once for each batch uploaded, and finished", got, error=PlanError)
        slot = self.running = self.waiting.pop(0)
        gpu = self.gpu
        gpu.after(self.compute, slot.arrived)
        if slot.graph is not None:
            gpu.replay(slot.graph, self.compute)
        else:
            for call in slot.calls:
                gpu.launch(*call, self.compute)
        for place, b in zip(self.places, self.reads, strict=True):
            gpu.download(place, self.address(b.storage) + b.offset, self.compute)
        gpu.download(slot.host[slot.split :], slot.address + slot.split, self.compute)

    def finish(self, *arrays: np.ndarray | None) -> None:
        """Wait for it, and copy what it gives into the arrays; raises what a check has found: then nothing changed."""
        slot = self.running
        expect(slot is not None, "gpu", "a plan", "launched before finish()", "finish() alone", error=PlanError)
        self.gpu.wait(self.compute)
        self.running = None
        self.free.append(slot)  # type: ignore[arg-type]
        if self.status[0]:
            raise self._error()
        for number, place in slot.outs.items():  # type: ignore[union-attr]
            arrays[number][...] = place  # type: ignore[index]

    def _error(self) -> Exception:
        """What the check that failed says; the next run is free to go."""
        code, detail = self.status.tolist()
        status = self.launches.build.status
        self.gpu.zero(self.address(status.storage), status.nbytes, self.compute)
        check: Any = self.launches.checks[code - 1].check
        return check(detail)

    def run(self, *arrays: np.ndarray | None) -> None:
        """All of it on one batch."""
        self.upload(*arrays)
        self.launch()
        self.finish(*arrays)

    def fetch(self) -> None:
        """Bring back every array that the plan changes where it is."""
        self.gpu.mirrors.fetch(self.changed, self.compute)

    def send(self, *arrays: np.ndarray) -> None:
        """Take arrays to the GPU that Python has changed."""
        self.gpu.mirrors.send(arrays, self.compute)


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
