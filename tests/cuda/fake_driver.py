"""A GPU that is not there: numbaflux.device.GPU on memory of the CPU, kernels in the simulator. It is as late as a GPU
may be: a stream runs only when somebody waits for it, or another stream must, so a copy that waits for too little
brings what was there before. Or (early=True) streams of copies alone run as soon as what they wait for is done, so that
one which waits for too little overwrites what is still to be read."""

import functools
import inspect
import threading
import weakref
from collections import deque

import numpy as np

from numbaflux.cublas import KERNEL, Cublas
from numbaflux.device import without_collection
from numbaflux.interpreter import arguments
from numbaflux.managed import Pool
from numbaflux.op import DeviceError
from numbaflux.own import Own
from tests.cuda import fake_cublas, simulator

STREAMS = weakref.WeakValueDictionary()  # by what libraries are given


class Stream:
    def __init__(self):
        self.queue = deque()  # (name, what it does, whether it may go on)
        self.works = False  # whether kernels or clearing are in it, or what it brings is asked for
        self.busy = False
        STREAMS[id(self)] = self

    def __int__(self):
        return id(self)


class Event:
    def __init__(self):
        self.stream = None  # where it was last set
        self.marks = 0  # how often
        self.passed = 0  # of these, how often the stream has come there
        self.time = 0.0  # when it was there last


class FakeGPU:
    """What device.GPU is; `calls` has the name of what was asked, in order, `done` what has run, and in which order."""

    number, name, capability, uuid = 0, "a GPU that is not there", (9, 0), b"one"

    def __init__(self, room=1 << 30, order="forward", early=False):
        self.room, self.order, self.early = room, order, early
        self.blocks, self.pins, self.streams = {}, {}, []
        self.calls, self.done, self.functions = [], [], {}
        self.open = {"stream": 0, "event": 0, "graph": 0}
        self.capturing = False
        self.clock = 0.0  # seconds: a microsecond for all that is done, and one for each block of a launch
        self.pool = Pool(self)
        self.shared = set()  # addresses of managed memory
        self.working = threading.RLock()  # whoever waits for a stream waits for what another thread took from it too
        self.default = Stream()
        self.streams.append(self.default)

    def _asked(self, name, allowed=True):
        self.calls.append(name)
        if self.capturing and not allowed:
            raise DeviceError(f"gpu: {name} failed: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")

    # ---------------------------------------------------------------- memory

    def memory(self):
        return self.room - sum(b.nbytes for b in self.blocks.values()), self.room

    def versions(self):
        return {"cuda": "0.0", "driver": "000.00"}

    def allocate(self, nbytes):
        self._asked("allocate", False)
        if nbytes > self.memory()[0]:
            raise DeviceError(f"gpu: allocating {nbytes} bytes failed: CUDA_ERROR_OUT_OF_MEMORY")
        raw = np.full(max(nbytes, 1) + 256, 0xFF, np.uint8)  # NaN: nobody has written there
        block = raw[-raw.ctypes.data % 256 :][: max(nbytes, 1)]
        self.blocks[block.ctypes.data] = block
        return block.ctypes.data

    def managed(self, nbytes):
        address = self.allocate(nbytes)
        self.calls[-1] = "managed"
        self.shared.add(address)
        return address

    def prefetch(self, address, nbytes, stream):
        self._later(stream, "prefetch", lambda: self.part(address, nbytes))

    def free(self, address):
        self._asked("free", False)
        self.synchronize()
        self.shared.discard(address)
        del self.blocks[address]

    def part(self, address, nbytes):
        """Some of the GPU's memory."""
        for start, block in list(self.blocks.items()):  # other threads may allocate
            if start <= address and address + nbytes <= start + block.nbytes:
                return block[address - start :][:nbytes]
        raise DeviceError("gpu: running kernels failed: CUDA_ERROR_ILLEGAL_ADDRESS")

    def pinned(self, nbytes):
        self._asked("pinned", False)
        array = np.full(max(nbytes, 1), 0xFF, np.uint8)
        self.pins[array.ctypes.data] = array
        return array[:nbytes]

    def unpin(self, array):
        self._asked("unpin", False)
        del self.pins[array.ctypes.data]

    def pin(self, array):
        self._asked("pin", False)
        self.pins[array.ctypes.data] = array

    def let_go(self, address):
        self._asked("let_go", False)
        del self.pins[address]

    def _stays(self, array):
        start, end = array.ctypes.data, array.ctypes.data + array.nbytes
        return any(s <= start and end <= s + p.nbytes for s, p in self.pins.items())

    def zero(self, address, nbytes, stream):
        self._later(stream, "zero", lambda: self.part(address, nbytes).fill(0))

    def upload(self, address, array, stream):
        if array.nbytes:
            given = array if self._stays(array) else array.copy()
            raw = given.reshape(-1).view(np.uint8)
            self._later(stream, "upload", lambda: self.part(address, raw.nbytes).__setitem__(slice(None), raw))

    def download(self, array, address, stream):
        if array.nbytes:
            raw = array.reshape(-1).view(np.uint8)
            self._later(stream, "download", lambda: raw.__setitem__(slice(None), self.part(address, raw.nbytes)))

    def copy(self, to, start, nbytes, stream):
        self._later(stream, "copy", lambda: np.copyto(self.part(to, nbytes), self.part(start, nbytes)))

    # ---------------------------------------------------------------- streams and events

    def _later(self, stream, name, do, ready=lambda: True):
        self._asked(name)
        stream.queue.append((name, do, ready))
        stream.works |= name in ("zero", "launch", "download", "prefetch")
        self._hurry()

    def _run(self, stream, until=lambda: False):
        with without_collection(), self.working:  # a dead plan's end waits for all streams: not inside of one
            while stream.queue and not until():
                self._go(stream)
                self._hurry()

    def _go(self, stream):
        name, do, _ = stream.queue.popleft()
        stream.busy = True
        do()
        stream.busy = False
        self.clock += 1e-6
        self.done.append(name)

    def _hurry(self):
        """Streams of copies go on as far as they may."""
        for stream in self.streams if self.early else ():
            while not (stream.works or stream.busy) and stream.queue and stream.queue[0][2]():
                self._go(stream)

    def stream(self):
        self._asked("stream")
        self.open["stream"] += 1
        self.streams.append(Stream())
        return self.streams[-1]

    def end_stream(self, stream):
        self._asked("end_stream")
        self.open["stream"] -= 1
        self.streams.remove(stream)

    def wait(self, stream):
        self._asked("wait", False)
        self._run(stream)

    def synchronize(self):
        for stream in self.streams:
            self._run(stream)

    def event(self):
        self._asked("event")
        self.open["event"] += 1
        return Event()

    def end_event(self, event):
        self._asked("end_event")
        self.open["event"] -= 1

    def record(self, event, stream):
        event.stream, event.marks = stream, event.marks + 1
        mark = event.marks
        self._later(stream, "record", lambda: (setattr(event, "passed", mark), self._passed(event)))

    def _passed(self, event):
        event.time = self.clock

    def after(self, stream, event):
        mark, other = event.marks, event.stream

        def passed():
            return other is None or event.passed >= mark

        self._later(stream, "after", lambda: other and self._run(other, passed), passed)

    def until(self, event):
        self._asked("until", False)
        self._run(event.stream, lambda mark=event.marks: event.passed >= mark)

    def seconds(self, start, end):
        if end.stream is not None:  # else a graph has set it, and somebody has waited for that
            self._run(end.stream)
        return end.time - start.time

    # ---------------------------------------------------------------- kernels

    @functools.cached_property
    def blas(self):
        self._asked("blas", False)
        self.library = fake_cublas.library(self, STREAMS)
        return Cublas(self.library)

    def load(self, wanted):
        self._asked("load", False)
        asked = list(wanted)
        return [functools.partial(self.blas.product, what[1][0]) if what[0] == KERNEL else what for what in asked]

    def launch(self, function, grid, threads, words, stream):
        if callable(function):
            function(words, stream)
            return
        given = words.copy()
        self._later(stream, "launch", lambda: self._launched(function, grid, threads, given))

    def _launched(self, function, grid, threads, words):
        kernel, codes, block = function
        assert block == threads
        status, *row = words.tolist()
        self.clock += 1e-6 * grid[0] * grid[1]
        if status and self.part(status, 8).view(np.int64)[0]:
            return
        tiles, together = grid[0], threads
        own = isinstance(kernel, Own)
        run = getattr(kernel.kernel, "py_func", kernel.kernel) if own else simulator.find(kernel)
        if own and kernel.alone:
            tiles, together = row.pop(), 1
            assert grid[0] == -(-tiles // threads)
        for tile in range(tiles)[:: -1 if self.order == "backward" else 1]:
            args = arguments(codes, row, tile)
            for a in args:
                if isinstance(a, np.ndarray) and a.size:
                    self.part(a.ctypes.data, a.nbytes)
            simulator.simulate(run, args, together, grid[1], self.order)

    def graph(self, launches, marks=()):
        self._asked("graph")
        stream, self.capturing = Stream(), True
        assert len(marks) in (0, len(launches) + 1)
        try:
            self._mark(marks[:1], stream)
            for i, one in enumerate(launches, 1):
                self.launch(*one, stream)
                self._mark(marks[i : i + 1], stream)
        finally:
            self.capturing = False
        self.open["graph"] += 1
        return list(stream.queue)

    def _mark(self, events, stream):
        for event in events:
            self._later(stream, "mark", functools.partial(self._passed, event))

    def replay(self, graph, stream):
        self._asked("replay")
        stream.queue.extend(graph)
        stream.works = True

    def end_graph(self, graph):
        self._asked("end_graph")
        self.open["graph"] -= 1


def interface(kind):
    """Name -> arguments of all that a GPU can be asked."""
    found = {
        name: thing for name, thing in vars(kind).items() if not name.startswith("_") and inspect.isfunction(thing)
    }
    return {name: list(inspect.signature(thing).parameters) for name, thing in found.items()}
