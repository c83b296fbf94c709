"""What numbaflux.device asks of NVIDIA's driver: each call's arguments beside what cuda-bindings takes; errors."""

import gc
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import device
from numbaflux.cubin import Cubin
from tests.cuda.machine_code import with_cuda

# As in cuda-bindings 12.9 and 13.5, which agree on all of these: how many arguments each takes. What ends in _v2 has no
# such name in 13.5.
TAKES = {
    "cuInit": 1, "cuDeviceGetCount": 0, "cuDeviceGet": 1, "cuDeviceGetName": 2, "cuDeviceGetAttribute": 2,
    "cuDevicePrimaryCtxRetain": 1, "cuCtxSetCurrent": 1, "cuMemGetInfo": 0, "cuMemAlloc": 1, "cuMemFree": 1,
    "cuMemHostAlloc": 2, "cuMemFreeHost": 1, "cuMemcpyHtoDAsync": 4, "cuMemcpyDtoHAsync": 4, "cuMemsetD8Async": 4,
    "cuStreamCreate": 1, "cuStreamDestroy": 1, "cuStreamSynchronize": 1, "cuStreamWaitEvent": 3,
    "cuStreamBeginCapture": 2, "cuStreamEndCapture": 1, "cuEventCreate": 1, "cuEventRecord": 2,
    "cuEventElapsedTime": 2, "cuEventSynchronize": 1, "cuEventDestroy": 1, "cuModuleLoadData": 1,
    "cuModuleGetFunction": 2, "cuLaunchKernel": 11, "cuGraphInstantiate": 2, "cuGraphExecDestroy": 1,
    "cuGraphDestroy": 1, "cuMemcpyDtoDAsync": 4, "cuGraphLaunch": 2, "cuDriverGetVersion": 0, "cuCtxSynchronize": 0,
    "cuMemAllocManaged": 2, "cuMemAdvise_v2": 4, "cuMemPrefetchAsync_v2": 5, "cuMemHostRegister": 3,
    "cuEventRecordWithFlags": 3, "cuMemHostUnregister": 1, "cuDeviceGetUuid_v2": 1,
}  # fmt: skip
GIVES = {
    "cuDeviceGetCount": (1,), "cuDeviceGet": (0,), "cuDeviceGetName": (b"NVIDIA H200\0\0",), "cuMemGetInfo": (3, 4),
    "cuDevicePrimaryCtxRetain": ("context",), "cuMemAlloc": (512,), "cuMemAllocManaged": (4096,),
    "cuStreamCreate": ("stream",),
    "cuStreamEndCapture": ("captured",), "cuGraphInstantiate": ("graph",), "cuEventCreate": ("event",),
    "cuEventElapsedTime": (2.5,), "cuModuleLoadData": ("module",), "cuModuleGetFunction": ("function",),
    "cuDriverGetVersion": (13000,), "cuDeviceGetUuid_v2": (SimpleNamespace(bytes=bytes(16)),),
}  # fmt: skip


class Result(int):
    name = "CUDA_SUCCESS"


class Driver:
    """Notes each call, refuses a wrong number of arguments, and fails where told."""

    CUdevice_attribute = staticmethod(lambda number: number)
    CUmemLocation = SimpleNamespace
    CUmemLocationType = SimpleNamespace(CU_MEM_LOCATION_TYPE_DEVICE=1)
    CUmem_advise = SimpleNamespace(CU_MEM_ADVISE_SET_PREFERRED_LOCATION=3)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self):
        self.calls, self.fails, self.room, self.shares = [], {}, np.zeros(64, np.uint8), 1

    def __getattr__(self, name):
        count = TAKES[name]

        def call(*args):
            assert len(args) == count, name
            self.calls.append((name, *args))
            if name in self.fails:
                error = Result(1)
                error.name = self.fails[name]
                return (error, *[None] * len(GIVES.get(name, ())))
            if name == "cuMemHostAlloc":
                return Result(0), self.room.ctypes.data
            if name == "cuDeviceGetAttribute":
                return Result(0), {75: 9, 89: self.shares}.get(args[0], 0)
            return (Result(0), *GIVES.get(name, ()))

        return call


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    monkeypatch.setattr(device, "_driver", lambda: made)
    monkeypatch.setattr(device, "_here", SimpleNamespace())
    return made


def test_what_is_asked(driver, monkeypatch):
    gpu = device.GPU(0)
    assert (gpu.name, gpu.capability, gpu.memory()) == ("NVIDIA H200", (9, 0), (3, 4))
    assert gpu.versions()["cuda"] == "13.0"
    assert (device.count(), device.why_not(), gpu.allocate(7)) == (1, "", 512)
    host, stream, event = gpu.pinned(64), gpu.stream(), gpu.event()
    assert host.ctypes.data == driver.room.ctypes.data
    driver.calls.clear()
    gpu.upload(512, host, stream)
    gpu.zero(512, 16, stream)
    gpu.record(event, stream)
    gpu.after(stream, event)
    gpu.download(host[:4], 512, stream)
    gpu.copy(768, 512, 4, stream)
    gpu.wait(stream)
    where = host.ctypes.data
    assert driver.calls == [
        ("cuMemcpyHtoDAsync", 512, where, 64, "stream"), ("cuMemsetD8Async", 512, 0, 16, "stream"),
        ("cuEventRecord", "event", "stream"), ("cuStreamWaitEvent", "stream", "event", 0),
        ("cuMemcpyDtoHAsync", where, 512, 4, "stream"), ("cuMemcpyDtoDAsync", 768, 512, 4, "stream"),
        ("cuStreamSynchronize", "stream"),
    ]  # fmt: skip
    assert gpu.seconds(event, event) == 0.0025 and gpu.uuid == bytes(16)
    driver.calls.clear()
    own = np.zeros(8, np.float32)
    gpu.pin(own)
    gpu.let_go(own.ctypes.data)
    assert driver.calls == [("cuMemHostRegister", own.ctypes.data, 32, 0), ("cuMemHostUnregister", own.ctypes.data)]
    for end, thing in ((gpu.end_event, event), (gpu.end_stream, stream), (gpu.free, 512), (gpu.unpin, host)):
        end(thing)
    gpu.synchronize()
    driver.calls.clear()
    gpu.upload(512, host[:0], stream)  # nothing: the driver refuses 0 bytes
    gpu.download(host[:0], 512, stream)
    gpu.zero(512, 0, stream)
    assert driver.calls == []


def test_managed_memory(driver):
    gpu = device.GPU(0)
    assert gpu.managed(1024) == 4096
    gpu.prefetch(4096, 1024, "stream")
    here = SimpleNamespace(type=1, id=0)
    assert driver.calls[-3:] == [
        ("cuMemAllocManaged", 1024, 1), ("cuMemAdvise_v2", 4096, 1024, 3, here),
        ("cuMemPrefetchAsync_v2", 4096, 1024, here, 0, "stream"),
    ]  # fmt: skip
    newer = SimpleNamespace(cuMemAdvise=1)
    assert device.named(newer, "cuMemAdvise") == "cuMemAdvise"
    driver.shares = 0
    with pytest.raises(nf.DeviceError, match=r"one whose memory the CPU can read while it works, got NVIDIA H200"):
        gpu.managed(1024)


def test_kernels_and_graphs(driver, monkeypatch):
    gpu = device.GPU(0)
    what = ("elementwise.add", ("f4:1",), 256)
    loaded = []
    monkeypatch.setattr(
        device, "cubins", lambda asked, sm: loaded.extend(asked) or {w: Cubin("name", b"code") for w in asked}
    )
    assert gpu.load([what, what]) == gpu.load([what, what]) == ["function"] * 2
    assert loaded == [what]
    words = np.array([5, 6, 7], np.int64)
    seen = []
    driver.cuLaunchKernel = lambda *args: (
        seen.append((args, device.at(args[9], 24).view(np.uint64).tolist())) or (Result(0),)
    )
    gpu.launch("function", (4, 2), 256, words, "stream")
    [(args, pointers)] = seen
    assert args[:9] == ("function", 4, 2, 1, 256, 1, 1, 0, "stream") and args[10] == 0 and len(args) == 11
    assert [device.at(p, 8).view(np.int64)[0] for p in pointers] == [5, 6, 7]
    driver.calls.clear()
    driver.cuLaunchKernel = lambda *args: (seen.append(gc.isenabled()), (Result(0),))[1]
    assert gpu.graph([("function", (1, 1), 32, words)]) == "graph"
    assert seen[-1] is False and gc.isenabled()  # nothing that died is given back while a graph is made
    gpu.replay("graph", "stream")
    gpu.end_graph("graph")
    names = [call[0] for call in driver.calls]
    assert names == ["cuStreamCreate", "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate",
                     "cuGraphDestroy", "cuStreamDestroy", "cuGraphLaunch", "cuGraphExecDestroy"]  # fmt: skip
    driver.calls.clear()
    driver.cuLaunchKernel = lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        gpu.graph([("function", (1, 1), 32, words)])
    assert [call[0] for call in driver.calls][-2:] == ["cuStreamEndCapture", "cuStreamDestroy"]


def test_a_graph_sets_marks_between_its_launches(driver):
    gpu, words = device.GPU(0), np.array([5], np.int64)
    driver.calls.clear()
    gpu.graph([("one", (1, 1), 32, words), ("two", (1, 1), 32, words)], ["a", "b", "c"])
    inside = [call[:2] for call in driver.calls if call[0] in ("cuEventRecordWithFlags", "cuLaunchKernel")]
    kinds = ["cuEventRecordWithFlags", "cuLaunchKernel"]
    assert inside == [*zip(kinds * 2, ("a", "one", "b", "two"), strict=True), (kinds[0], "c")]
    external = 1  # CU_EVENT_RECORD_EXTERNAL
    assert {call[2:] for call in driver.calls if call[0] == kinds[0]} == {("stream", external)}


def test_errors_in_words(driver):
    gpu = device.GPU(0)
    driver.fails["cuMemAlloc"] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(
        nf.DeviceError, match=r"^gpu: allocating 8 bytes failed: CUDA_ERROR_OUT_OF_MEMORY; .* are free\)$"
    ):
        gpu.allocate(8)
    driver.fails["cuStreamSynchronize"] = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(nf.DeviceError, match=r"^gpu: running kernels failed: CUDA_ERROR_ILLEGAL_ADDRESS; .* anew$"):
        gpu.wait("stream")
    driver.fails["cuMemFree"] = "CUDA_ERROR_UNKNOWN"
    with pytest.raises(nf.DeviceError, match=r"^gpu: freeing memory failed: CUDA_ERROR_UNKNOWN$"):
        gpu.free(512)
    device.released(gpu.free, 512)  # says nothing
    with pytest.raises(nf.DeviceError, match=r"^gpu: number must be of a GPU, below 1, got 1; nvidia-smi"):
        device.GPU(1)
    driver.fails["cuDeviceGetCount"] = "CUDA_ERROR_NO_DEVICE"
    assert device.count() == 0 and "CUDA_ERROR_NO_DEVICE" in device.why_not()


def test_without_bindings_or_driver(monkeypatch):
    device._driver.cache_clear()
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert device.count() == 0
    assert device.why_not().startswith("gpu: cuda-bindings must be installed, got nothing")
    assert device.why_not().endswith("; pip install numbaflux[cuda]")

    def missing(flags):
        raise RuntimeError("no libcuda")

    stub = SimpleNamespace(driver=SimpleNamespace(cuInit=missing))
    monkeypatch.setitem(sys.modules, "cuda.bindings", stub)
    assert device.why_not() == "gpu: NVIDIA's driver must be installed, got nothing (no libcuda)"
    with pytest.raises(nf.DeviceError, match="driver must be installed"):
        device.GPU(0)


def test_cuda_bindings_takes_as_many():
    """Where it is installed, by the first line of each function's documentation."""
    code = (
        "import cuda.bindings.driver as d\nfor n in %r:\n"
        " f = getattr(d, n, None) or getattr(d, n.removesuffix('_v2'))\n"
        " print(n + f.__doc__.strip().splitlines()[0].removeprefix(f.__name__))"
    )
    done = subprocess.run([with_cuda(), "-c", code % list(TAKES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line, (name, count) in zip(done.stdout.splitlines(), TAKES.items(), strict=True):
        inside = re.fullmatch(rf"{name}\((.*)\)", line)[1]
        assert (inside.count(",") + 1 if inside else 0) == count, line
