"""NVIDIA's GPUs by their driver: memory, copies, launches, graphs. The one file that calls the driver, which is looked
for where first needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .cubin import Capability, What, cubins
from .cublas import KERNEL, Cublas
from .managed import Pool
from .op import DeviceError, expect
from .own import name_of

MAJOR, MINOR, SHARES = 75, 76, 89  # attributes of a device, as the driver numbers them
SHARED = 1  # managed memory that every stream may use
MARKS = 1  # an event that a graph sets whenever it runs
NOT_BLOCKING = 1  # a stream that does not wait for the driver's default stream
THREAD_LOCAL = "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"  # other threads may use the driver meanwhile
_collecting = threading.RLock()  # who switches collection off, and on again
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


def cublas() -> Any:
    """NVIDIA's library of products, where pip, conda or the system have put it."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    except (ImportError, OSError, RuntimeError) as error:
        cure = "pip install nvidia-cublas-cu12"
        said = " ".join(str(error).split())
        raise DeviceError(f"gpu: cuBLAS must be installed, got nothing ({said}); {cure}") from None


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
        self.pool = Pool(self)

    def _do(self, tried: str, name: str, *args: Any) -> Any:
        """A call of the driver, in this GPU's context."""
        self._turn()
        return _value(tried, getattr(self._driver, name)(*args))

    def _turn(self) -> None:
        """Let what this thread asks for next be of this GPU."""
        if getattr(_here, "number", None) != self.number:
            _value(f"turning to GPU {self.number}", self._driver.cuCtxSetCurrent(self.context))
            _here.number = self.number

    # ---------------------------------------------------------------- what it is

    @functools.cached_property
    def name(self) -> str:
        """As NVIDIA sells it."""
        raw: bytes = self._do("asking for the name", "cuDeviceGetName", 256, self.device)
        return raw.split(b"\0")[0].decode()

    @functools.cached_property
    def uuid(self) -> bytes:
        """By which it is told from all others, whatever its number is in which process."""
        return bytes(self._do("asking for the UUID", named(self._driver, "cuDeviceGetUuid"), self.device).bytes)

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
        return self._allocated(nbytes, "cuMemAlloc", max(nbytes, 1))

    def managed(self, nbytes: int) -> int:
        """The address of new memory that the CPU reaches too, and whose place is the GPU."""
        ask = self._driver.CUdevice_attribute(SHARES)
        shares = int(self._do("asking for managed memory", "cuDeviceGetAttribute", ask, self.device))
        expect(shares == 1, "gpu", "the GPU", "one whose memory the CPU can read while it works",
               f"{self.name} under this driver", "Linux on the machine itself", DeviceError)  # fmt: skip
        address = self._allocated(nbytes, "cuMemAllocManaged", max(nbytes, 1), SHARED)
        advice = self._driver.CUmem_advise.CU_MEM_ADVISE_SET_PREFERRED_LOCATION
        self._do(
            "placing memory", named(self._driver, "cuMemAdvise"), address, max(nbytes, 1), advice, self._location()
        )
        return address

    def _allocated(self, nbytes: int, name: str, *args: int) -> int:
        try:
            return int(self._do(f"allocating {nbytes} bytes", name, *args))
        except DeviceError as error:
            if "OUT_OF_MEMORY" not in str(error):
                raise
            free, total = self.memory()
            raise DeviceError(f"{error} ({free / 1e9:.2f} of {total / 1e9:.2f} GB are free)") from None

    def prefetch(self, address: int, nbytes: int, stream: Any) -> None:
        """Bring managed memory to the GPU that the CPU has touched, before a kernel asks for it page by page."""
        name = named(self._driver, "cuMemPrefetchAsync")
        self._do(f"fetching {nbytes} bytes", name, address, max(nbytes, 1), self._location(), 0, stream)

    def _location(self) -> Any:
        """This GPU, as a place of memory."""
        location = self._driver.CUmemLocation()
        location.type = self._driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        location.id = self.number
        return location

    def free(self, address: int) -> None:
        """Give memory back; waits for what still runs there."""
        self._do("freeing memory", "cuMemFree", address)

    def pinned(self, nbytes: int) -> np.ndarray:
        """Bytes of the CPU's memory that stay in place, so that copies run by themselves; `unpin` gives them back."""
        address = int(self._do(f"pinning {nbytes} bytes", "cuMemHostAlloc", max(nbytes, 1), 0))
        return at(address, max(nbytes, 1))[:nbytes]

    def unpin(self, array: np.ndarray) -> None:
        """No copy may be under way."""
        self._do("unpinning memory", "cuMemFreeHost", array.ctypes.data)

    def pin(self, array: np.ndarray) -> None:
        """Let memory of the CPU that is there already stay in place, until `let_go` of its address."""
        self._do(f"pinning {array.nbytes} bytes", "cuMemHostRegister", array.ctypes.data, array.nbytes, 0)

    def let_go(self, address: int) -> None:
        """No copy may be under way."""
        self._do("unpinning memory", "cuMemHostUnregister", address)

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

    @functools.cached_property
    def default(self) -> Any:
        """The stream of operations that run one by one."""
        return self.stream()

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

    def until(self, event: Any) -> None:
        """Wait here until the mark is set."""
        self._do("running kernels", "cuEventSynchronize", event)

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks that are set."""
        self.until(end)
        return float(self._do("asking for a time", "cuEventElapsedTime", start, end)) / 1e3

    # ---------------------------------------------------------------- kernels

    @functools.cached_property
    def blas(self) -> Cublas:
        """cuBLAS, when a plan asks for it."""
        self._turn()
        return Cublas(cublas())

    def load(self, wanted: Iterable[What]) -> list[Any]:
        """The functions of some entries, from the cache of cubins, compiled where missing; cuBLAS's are its own."""
        asked = list(wanted)
        for what in asked:
            if what[0] == KERNEL and what not in self.functions:
                self.functions[what] = functools.partial(self.blas.product, what[1][0])
        absent = dict.fromkeys(what for what in asked if what not in self.functions)
        for what, cubin in cubins(absent, self.capability).items():
            image = np.frombuffer(cubin.code, np.uint8)
            tried = f"loading {name_of(what[0])}"
            module = self._do(tried, "cuModuleLoadData", image.ctypes.data)
            found = self._do(tried, "cuModuleGetFunction", module, cubin.name.encode())
            self.functions[what] = found
        return [self.functions[what] for what in asked]

    def launch(self, function: Any, grid: tuple[int, int], threads: int, words: np.ndarray, stream: Any) -> None:
        """Run a function with 8-byte words as its arguments; they are taken before this returns."""
        if callable(function):  # a library's own
            self._turn()
            function(words, stream)
            return
        pointers = words.ctypes.data + 8 * np.arange(words.size, dtype=np.uint64)
        tried = f"launching {grid[0]} x {grid[1]} blocks of {threads} threads"
        self._do(tried, "cuLaunchKernel", function, *grid, 1, threads, 1, 1, 0, stream, pointers.ctypes.data, 0)

    def graph(self, launches: Sequence[tuple[Any, tuple[int, int], int, np.ndarray]], marks: Sequence[Any] = ()) -> Any:
        """Launches (function, grid, threads, words) one after another, as one thing to run. marks: events that each run
        sets, one before the launches and one behind each of them."""
        mode = getattr(self._driver.CUstreamCaptureMode, THREAD_LOCAL)
        stream = self.stream()
        with contextlib.ExitStack() as after, without_collection():
            after.callback(self.end_stream, stream)
            self._do("beginning a graph", "cuStreamBeginCapture", stream, mode)
            try:
                self._mark(marks[:1], stream)
                for i, one in enumerate(launches, 1):
                    self.launch(*one, stream)
                    self._mark(marks[i : i + 1], stream)
            except BaseException:
                self._driver.cuStreamEndCapture(stream)  # what went wrong is said already
                raise
            made = self._do("ending a graph", "cuStreamEndCapture", stream)
            after.callback(self._do, "making a graph", "cuGraphDestroy", made)
            return self._do("making a graph", "cuGraphInstantiate", made, 0)

    def _mark(self, events: Sequence[Any], stream: Any) -> None:
        for event in events:
            self._do("setting an event", "cuEventRecordWithFlags", event, stream, MARKS)

    def replay(self, graph: Any, stream: Any) -> None:
        self._do("launching a graph", "cuGraphLaunch", graph, stream)

    def end_graph(self, graph: Any) -> None:
        self._do("ending a graph", "cuGraphExecDestroy", graph)


def named(driver: Any, name: str) -> str:
    """Before CUDA 13 what takes a location has another name."""
    return name + "_v2" if hasattr(driver, name + "_v2") else name


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Dead plans and arrays wait: what they give back the driver would refuse now, and end what is being made. One
    thread at a time: another's end would switch collection on too early."""
    with _collecting:
        before = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if before:
                gc.enable()


def at(address: int, nbytes: int) -> np.ndarray:
    """Bytes of the CPU's memory that somebody else keeps."""
    return np.frombuffer((ctypes.c_char * nbytes).from_address(address), np.uint8)


def released(free: Callable[..., None], *what: Any) -> None:
    """Give something back; a GPU that takes no more work has said so before."""
    with contextlib.suppress(DeviceError):
        free(*what)
