"""NVIDIA's GPUs by their driver: memory, copies, launches, graphs. The one file that calls the driver, and that knows
which arrays of the CPU have a twin in a GPU's memory. The driver is looked for where first needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .cubin import Capability, What, cubins
from .op import DeviceError, expect

MAJOR, MINOR = 75, 76  # attributes of a device, as the driver numbers them
NOT_BLOCKING = 1  # a stream that does not wait for the driver's default stream
THREAD_LOCAL = "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"  # other threads may use the driver meanwhile
LOST = "the GPU takes no more work of this process: start it anew"
CURES = {
    "CUDA_ERROR_OUT_OF_MEMORY": "use smaller batches, or close() what is not needed",
    "CUDA_ERROR_NO_DEVICE": "nvidia-smi lists the GPUs; CUDA_VISIBLE_DEVICES may hide them",
    "CUDA_ERROR_INVALID_DEVICE": "nvidia-smi lists the GPUs; CUDA_VISIBLE_DEVICES may hide them",
    "CUDA_ERROR_NOT_INITIALIZED": "a forked child cannot use GPUs: start workers by spawn",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "restart the machine after the driver was updated",
    "CUDA_ERROR_ILLEGAL_ADDRESS": LOST,
    "CUDA_ERROR_MISALIGNED_ADDRESS": LOST,
    "CUDA_ERROR_ILLEGAL_INSTRUCTION": LOST,
    "CUDA_ERROR_LAUNCH_FAILED": LOST,
    "CUDA_ERROR_LAUNCH_TIMEOUT": LOST,
}

_here = threading.local()  # .number: whose context this thread has


@functools.cache
def _driver() -> Any:
    """The driver, started."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        cure = "pip install numbaflux[cuda]"
        raise DeviceError(f"gpu: cuda-bindings must be installed, got nothing ({error}); {cure}") from None
    try:
        result = driver.cuInit(0)
    except RuntimeError as error:
        raise DeviceError(f"gpu: NVIDIA's driver must be installed, got nothing ({error})") from None
    _value("starting the driver", result)
    return driver


def _value(tried: str, result: tuple[Any, ...]) -> Any:
    """What a call of the driver gives; raises what it reports."""
    error, *found = result
    if int(error) != 0:
        name = getattr(error, "name", str(error))
        cure = CURES.get(name, "")
        raise DeviceError(f"gpu: {tried} failed: {name}" + (f"; {cure}" if cure else ""))
    return found[0] if len(found) == 1 else found


def why_not() -> str:
    """Why no GPU can be used; empty where one can.

    >>> isinstance(why_not(), str)
    True
    """
    try:
        return "" if _value("counting GPUs", _driver().cuDeviceGetCount()) else "gpu: there is none"
    except DeviceError as error:
        return str(error)


def count() -> int:
    """How many GPUs can be used; 0 also where the driver or cuda-bindings are missing: `why_not` says so."""
    return 0 if why_not() else int(_value("counting GPUs", _driver().cuDeviceGetCount()))


@functools.cache
def gpu(number: int = 0) -> GPU:
    """One of the GPUs: the same object each time, since it knows what lies in its memory."""
    return GPU(number)


class GPU:
    """A GPU: its memory by addresses, streams of work, kernels. Any thread may call it."""

    def __init__(self, number: int = 0) -> None:
        driver = self._driver = _driver()
        found = int(_value("counting GPUs", driver.cuDeviceGetCount()))
        expect(0 <= number < found, "gpu", "number", f"of a GPU, below {found}", number, CURES["CUDA_ERROR_NO_DEVICE"],
               DeviceError)  # fmt: skip
        self.number = number
        self.device = _value(f"taking GPU {number}", driver.cuDeviceGet(number))
        self.context = _value(f"taking GPU {number}", driver.cuDevicePrimaryCtxRetain(self.device))
        self.functions: dict[What, Any] = {}
        self.mirrors = Mirrors(self)

    def _do(self, tried: str, name: str, *args: Any) -> Any:
        """A call of the driver, in this GPU's context."""
        driver = self._driver
        if getattr(_here, "number", None) != self.number:
            _value(f"turning to GPU {self.number}", driver.cuCtxSetCurrent(self.context))
            _here.number = self.number
        return _value(tried, getattr(driver, name)(*args))

    # ---------------------------------------------------------------- what it is

    @functools.cached_property
    def name(self) -> str:
        """As NVIDIA sells it."""
        raw: bytes = self._do("asking for the name", "cuDeviceGetName", 256, self.device)
        return raw.split(b"\0")[0].decode()

    @functools.cached_property
    def capability(self) -> Capability:
        """Which machine code it runs: (9, 0)."""
        kinds = self._driver.CUdevice_attribute
        ask = functools.partial(self._do, "asking for the capability", "cuDeviceGetAttribute")
        return int(ask(kinds(MAJOR), self.device)), int(ask(kinds(MINOR), self.device))

    def memory(self) -> tuple[int, int]:
        """Free bytes, and all."""
        free, total = self._do("asking for free memory", "cuMemGetInfo")
        return int(free), int(total)

    def versions(self) -> dict[str, str]:
        """Of the driver, and of what compiles and calls."""
        number = int(self._do("asking for the version", "cuDriverGetVersion"))
        found = {"cuda": f"{number // 1000}.{number % 1000 // 10}"}  # the newest that the driver knows
        with contextlib.suppress(OSError):
            text = Path("/proc/driver/nvidia/version").read_text()
            number_there = re.search(r"\d{3}\.\d+(\.\d+)?", text)
            found["driver"] = number_there[0] if number_there else "unknown"
        for package in ("cuda-bindings", "numba-cuda"):
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
        return found

    # ---------------------------------------------------------------- memory

    def allocate(self, nbytes: int) -> int:
        """The address of new memory, on a multiple of 256 bytes; nobody has written there."""
        try:
            return int(self._do(f"allocating {nbytes} bytes", "cuMemAlloc", max(nbytes, 1)))
        except DeviceError as error:
            if "OUT_OF_MEMORY" not in str(error):
                raise
            free, total = self.memory()
            raise DeviceError(f"{error} ({free / 1e9:.2f} of {total / 1e9:.2f} GB are free)") from None

    def free(self, address: int) -> None:
        """Give memory back; waits for what still runs there."""
        self._do("freeing memory", "cuMemFree", address)

    def pinned(self, nbytes: int) -> np.ndarray:
        """Bytes of the CPU's memory that stay in place, so that copies run by themselves; `unpin` gives them back."""
        address = int(self._do(f"pinning {nbytes} bytes", "cuMemHostAlloc", max(nbytes, 1), 0))
        return at(address, nbytes)

    def unpin(self, array: np.ndarray) -> None:
        """No copy may be under way."""
        self._do("unpinning memory", "cuMemFreeHost", array.ctypes.data)

    def zero(self, address: int, nbytes: int, stream: Any) -> None:
        if nbytes:
            self._do(f"clearing {nbytes} bytes", "cuMemsetD8Async", address, 0, nbytes, stream)

    def upload(self, address: int, array: np.ndarray, stream: Any) -> None:
        """Copy an array there; one that is not pinned is taken before this returns."""
        if array.nbytes:
            tried = f"copying {array.nbytes} bytes to the GPU"
            self._do(tried, "cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: np.ndarray, address: int, stream: Any) -> None:
        """Fill an array from there; it is there when the stream is done."""
        if array.nbytes:
            tried = f"copying {array.nbytes} bytes from the GPU"
            self._do(tried, "cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream)

    def copy(self, to: int, start: int, nbytes: int, stream: Any) -> None:
        """From one place of the GPU's memory to another."""
        if nbytes:
            self._do(f"copying {nbytes} bytes", "cuMemcpyDtoDAsync", to, start, nbytes, stream)

    # ---------------------------------------------------------------- streams and events

    def stream(self) -> Any:
        """Work that runs in order, beside that of other streams."""
        return self._do("making a stream", "cuStreamCreate", NOT_BLOCKING)

    def end_stream(self, stream: Any) -> None:
        self._do("ending a stream", "cuStreamDestroy", stream)

    def wait(self, stream: Any) -> None:
        """Until all of a stream is done; raises what went wrong on the way."""
        self._do("running kernels", "cuStreamSynchronize", stream)

    def synchronize(self) -> None:
        """Until all that this process asked of the GPU is done."""
        self._do("running kernels", "cuCtxSynchronize")

    def event(self) -> Any:
        """A mark that streams can set and wait for."""
        return self._do("making an event", "cuEventCreate", 0)

    def end_event(self, event: Any) -> None:
        self._do("ending an event", "cuEventDestroy", event)

    def record(self, event: Any, stream: Any) -> None:
        """Set the mark when the stream comes here."""
        self._do("setting an event", "cuEventRecord", event, stream)

    def after(self, stream: Any, event: Any) -> None:
        """Let a stream go on only when the mark is set."""
        self._do("letting a stream wait", "cuStreamWaitEvent", stream, event, 0)

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks that are set."""
        self._do("running kernels", "cuEventSynchronize", end)
        return float(self._do("asking for a time", "cuEventElapsedTime", start, end)) / 1e3

    # ---------------------------------------------------------------- kernels

    def load(self, wanted: Iterable[What]) -> list[Any]:
        """The functions of some entries, from the cache of cubins, compiled where missing."""
        asked = list(wanted)
        absent = dict.fromkeys(what for what in asked if what not in self.functions)
        for what, cubin in cubins(absent, self.capability).items():
            image = np.frombuffer(cubin.code, np.uint8)
            module = self._do(f"loading {what[0]}", "cuModuleLoadData", image.ctypes.data)
            found = self._do(f"loading {what[0]}", "cuModuleGetFunction", module, cubin.name.encode())
            self.functions[what] = found
        return [self.functions[what] for what in asked]

    def launch(self, function: Any, grid: tuple[int, int], threads: int, words: np.ndarray, stream: Any) -> None:
        """Run a function with 8-byte words as its arguments; they are taken before this returns."""
        pointers = words.ctypes.data + 8 * np.arange(words.size, dtype=np.uint64)
        tried = f"launching {grid[0]} x {grid[1]} blocks of {threads} threads"
        self._do(tried, "cuLaunchKernel", function, *grid, 1, threads, 1, 1, 0, stream, pointers.ctypes.data, 0)

    def graph(self, launches: Sequence[tuple[Any, tuple[int, int], int, np.ndarray]]) -> Any:
        """Launches (function, grid, threads, words) one after another, as one thing to run."""
        mode = getattr(self._driver.CUstreamCaptureMode, THREAD_LOCAL)
        stream = self.stream()
        with contextlib.ExitStack() as after:
            after.callback(self.end_stream, stream)
            self._do("beginning a graph", "cuStreamBeginCapture", stream, mode)
            try:
                for one in launches:
                    self.launch(*one, stream)
            except BaseException:
                self._driver.cuStreamEndCapture(stream)  # what went wrong is said already
                raise
            made = self._do("ending a graph", "cuStreamEndCapture", stream)
            after.callback(self._do, "making a graph", "cuGraphDestroy", made)
            return self._do("making a graph", "cuGraphInstantiate", made, 0)

    def replay(self, graph: Any, stream: Any) -> None:
        self._do("launching a graph", "cuGraphLaunch", graph, stream)

    def end_graph(self, graph: Any) -> None:
        self._do("ending a graph", "cuGraphExecDestroy", graph)


def at(address: int, nbytes: int) -> np.ndarray:
    """Bytes of the CPU's memory that somebody else keeps."""
    return np.frombuffer((ctypes.c_char * nbytes).from_address(address), np.uint8) if nbytes else np.empty(0, np.uint8)


class Mirror:
    """An array of the CPU and its twin in a GPU's memory."""

    def __init__(self, owner: np.ndarray, low: int, nbytes: int, address: int) -> None:
        self.owner = owner  # kept, so that no other array comes to lie at its address
        self.low, self.nbytes, self.address = low, nbytes, address
        self.users = 0

    def place(self, array: np.ndarray) -> int:
        """Where an array that is a part of this one begins in the GPU's memory."""
        return self.address + array.ctypes.data - self.low


class Mirrors:
    """Which arrays have a twin: one for all that plans read and write, so that they see each other's results. An array
    is found by the one that owns its memory; views of it are a part of the twin."""

    def __init__(self, gpu: Any) -> None:
        self.gpu = gpu
        self.kept: list[Mirror] = []
        self.lock = threading.RLock()

    def find(self, array: np.ndarray) -> Mirror | None:
        """The twin that an array is a part of."""
        start, end = array.ctypes.data, array.ctypes.data + array.nbytes
        for mirror in self.kept:
            low, high = mirror.low, mirror.low + mirror.nbytes
            if low <= start and end <= high:
                return mirror
            expect(end <= low or high <= start, "gpu", "an array", "of memory of its own, or a view of one that is",
                   f"shape {array.shape}, which shares memory in part", "array.copy()", DeviceError)  # fmt: skip
        return None

    def take(self, array: np.ndarray, stream: Any) -> Mirror:
        """The twin of an array, filled unless it is there; until as many `give`."""
        with self.lock:
            mirror = self.find(array) or self._made(array, stream)
            mirror.users += 1
            return mirror

    def _made(self, array: np.ndarray, stream: Any) -> Mirror:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        low, high = np.lib.array_utils.byte_bounds(owner)
        self.find(at(low, high - low))  # refuses what shares memory with another twin
        mirror = Mirror(owner, low, high - low, self.gpu.allocate(high - low))
        self.kept.append(mirror)
        self.gpu.upload(mirror.address, at(low, high - low), stream)
        return mirror

    def give(self, mirror: Mirror) -> None:
        """One user less; the last frees the memory."""
        with self.lock:
            mirror.users -= 1
            if mirror.users == 0:
                self.kept.remove(mirror)
                self.gpu.free(mirror.address)

    def send(self, arrays: Iterable[np.ndarray], stream: Any) -> None:
        """What has changed on the CPU, to the GPU."""
        for array, mirror in self._twins(arrays):
            self.gpu.upload(mirror.place(array), array, stream)
        self.gpu.wait(stream)

    def fetch(self, arrays: Iterable[np.ndarray], stream: Any) -> None:
        """What has changed on the GPU, to the CPU."""
        for array, mirror in self._twins(arrays):
            self.gpu.download(array, mirror.place(array), stream)
        self.gpu.wait(stream)

    def _twins(self, arrays: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, Mirror]]:
        for array in arrays:
            mirror = self.find(array)
            good = mirror is not None and array.flags.c_contiguous
            expect(good, "gpu", "an array", "one that a plan uses there, C-contiguous", f"shape {array.shape}",
                   error=DeviceError)  # fmt: skip
            yield array, mirror  # type: ignore[misc]


def released(free: Callable[..., None], *what: Any) -> None:
    """Give something back; a GPU that takes no more work has said so before."""
    with contextlib.suppress(DeviceError):
        free(*what)
