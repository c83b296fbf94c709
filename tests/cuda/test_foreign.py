"""Arrays of other libraries, on a GPU that is not there: the CUDA array interface and DLPack, in and out; lies."""

import ctypes
import gc
from types import SimpleNamespace

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import device, foreign
from tests.cuda.fake_driver import FakeGPU


@pytest.fixture
def gpu(monkeypatch):
    made = FakeGPU()
    monkeypatch.setattr(device, "why_not", lambda: "")
    monkeypatch.setattr(device, "gpu", lambda number=0: made)
    return made


def told(array, **changes):
    """An array of another library in the GPU's memory, which says of itself what it is, but for some changes."""
    return SimpleNamespace(held=array, __cuda_array_interface__=nf.cuda_view(array).__cuda_array_interface__ | changes)


class Capsule:
    """What offers an array by DLPack alone, as it is or changed."""

    def __init__(self, array, change=None, there=(2, 0)):
        self.view, self.change, self.there = nf.cuda_view(array), change, there

    def __dlpack_device__(self):
        return self.there

    def __dlpack__(self, stream=None):
        assert stream == -1
        made = self.view.__dlpack__(stream=stream)
        if self.change:
            self.change(foreign.Holder.from_address(foreign.api.PyCapsule_GetPointer(made, b"dltensor")).tensor)
        return made


KINDS = [np.float32, np.float64, np.float16, np.int64, np.uint8, bool]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 3), (1, 4, 1)])
@pytest.mark.parametrize("offer", [told, Capsule])
def test_round_trip(gpu, offer, shape, dtype):
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    ours = nf.gpu(x)
    again = nf.gpu({"x": offer(ours)})["x"]
    assert isinstance(again, np.ndarray) and again is not ours and nf.get_device(again) == nf.gpu_device()
    assert (again.shape, again.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(again, x)
    if again.size:
        again[...] = 1
        np.testing.assert_array_equal(ours, x)  # a copy
    assert not foreign._given  # given back


def test_what_others_see(gpu):
    x = nf.gpu(np.arange(6, dtype=np.float32).reshape(2, 3))
    view = nf.cuda_view(x)
    assert view.__cuda_array_interface__ == {
        "shape": (2, 3), "typestr": "<f4", "data": (x.ctypes.data, False), "strides": None, "stream": None,
        "version": 3,
    }  # fmt: skip
    assert nf.cuda_view(x.T).__cuda_array_interface__["strides"] == (4, 12)
    assert view.__dlpack_device__() == (2, 0)
    fixed = x.view()
    fixed.flags.writeable = False
    assert nf.cuda_view(fixed).__cuda_array_interface__["data"][1]
    with pytest.raises(nf.DeviceError, match="cuda_view: x must be writeable"):
        nf.cuda_view(fixed).__dlpack__()
    with pytest.raises(nf.DeviceError, match=r"cuda_view: dl_device must be None or \(2, 0\), got \(1, 0\)"):
        view.__dlpack__(dl_device=(1, 0))
    with pytest.raises(nf.DeviceError, match="cuda_view: copy must be None or False"):
        view.__dlpack__(copy=True)


def test_a_capsule_keeps_the_memory_until_it_is_let_go(gpu):
    x = nf.gpu(np.ones((3, 2), np.float32))
    capsule = nf.cuda_view(x.T).__dlpack__()
    holder = foreign.Holder.from_address(foreign.api.PyCapsule_GetPointer(capsule, b"dltensor"))
    assert (list(holder.tensor.shape[:2]), list(holder.tensor.strides[:2])) == ([2, 3], [1, 2])
    del x
    gc.collect()
    assert not gpu.pool.spare and foreign._given
    del capsule, holder  # nobody took it
    assert gpu.pool.spare and not foreign._given
    x = nf.gpu(np.ones(3, np.float32))
    capsule = nf.cuda_view(x).__dlpack__()
    address = foreign.api.PyCapsule_GetPointer(capsule, b"dltensor")
    foreign.api.PyCapsule_SetName(capsule, b"used_dltensor")
    del x, capsule
    assert foreign._given  # who took it holds it
    holder = foreign.Holder.from_address(address)
    holder.deleter(ctypes.pointer(holder))
    assert not foreign._given


LIES = {
    "shape": ((-1, 3), "shape must be a tuple of at most 64 sizes"),
    "shape no tuple": ([2, 3], "shape must be a tuple"),
    "shape of texts": (("2", 3), "shape must be a tuple"),
    "shape of axes": ((1,) * 65, "shape must be a tuple of at most 64 sizes"),
    "typestr": ("<c8", "dtype must be of floats"),
    "typestr other": (">f4", "dtype must be of floats"),
    "typestr none": ("rubbish", "typestr must be of a dtype, got 'rubbish'"),
    "typestr object": ("|O", "dtype must be of floats"),
    "strides": ((4, 8), "an array must be C-contiguous, got strides"),
    "strides one": ((4,), "an array must be C-contiguous"),
    "data": ((1, False), "the address must be of memory, aligned, got 1"),
    "data none": ((0, False), "the address must be of memory"),
    "data text": (("0", False), "the address must be of memory"),
    "data one": (5, "data must be"),
    "stream": (0, "stream must be None or a positive integer, got 0"),
    "version": (1, "version of __cuda_array_interface__ must be 2 or 3"),
    "mask": (np.ones(1), "mask must be None"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_in_the_interface(gpu, name):
    value, words = LIES[name]
    x = told(nf.gpu(np.ones((2, 3), np.float32)), **{name.split()[0]: value})
    with pytest.raises(nf.Error, match=f"^gpu: {words}"):
        nf.gpu(x)


def test_an_interface_that_is_none(gpu):
    with pytest.raises(nf.DTypeError, match="__cuda_array_interface__ must be a dict, got list"):
        nf.gpu(SimpleNamespace(__cuda_array_interface__=[]))
    with pytest.raises(nf.DTypeError, match=r"__cuda_array_interface__ must be with \['typestr'\], got none"):
        nf.gpu(SimpleNamespace(__cuda_array_interface__={"shape": (), "data": (0, False), "version": 3}))


FALSE = {
    "device": (lambda t: setattr(t, "number", 3), r"on the device that it named, \(2, 0\), got \(2, 3\)"),
    "axes": (lambda t: setattr(t, "ndim", 99), "a DLPack tensor must be of at most 64 axes, got 99"),
    "below": (lambda t: setattr(t, "ndim", -1), "a DLPack tensor must be of at most 64 axes, got -1"),
    "lanes": (lambda t: setattr(t, "lanes", 4), "a DLPack tensor must be of floats"),
    "bits": (lambda t: setattr(t, "bits", 7), "a DLPack tensor must be of floats"),
    "code": (lambda t: setattr(t, "code", 5), "a DLPack tensor must be of floats"),
    "size": (lambda t: t.shape.__setitem__(0, -5), "shape must be a tuple"),
    "strides": (lambda t: t.strides.__setitem__(0, 1), "an array must be C-contiguous"),
    "nowhere": (lambda t: setattr(t, "data", None), "the address must be of memory"),
    "between": (lambda t: setattr(t, "offset", 2), "the address must be of memory, aligned"),
}


@pytest.mark.parametrize("name", FALSE)
def test_lies_in_a_capsule(gpu, name):
    change, words = FALSE[name]
    with pytest.raises(nf.Error, match=words):
        nf.gpu(Capsule(nf.gpu(np.ones((2, 3), np.float32)), change))
    assert not foreign._given  # given back all the same


def test_other_devices_and_no_capsules(gpu):
    x = nf.gpu(np.ones(3, np.float32))
    with pytest.raises(nf.DeviceError, match="on the CPU or a GPU of NVIDIA, got device kind 10"):
        nf.gpu(Capsule(x, there=(10, 0)))
    with pytest.raises(nf.DTypeError, match=r"__dlpack_device__\(\) must be"):
        nf.gpu(Capsule(x, there=5))
    no = SimpleNamespace(__dlpack__=lambda stream: "text", __dlpack_device__=lambda: (2, 0))
    with pytest.raises(nf.DTypeError, match="must be a new capsule dltensor, got str"):
        nf.gpu(no)


def test_a_tensor_of_pytorch_on_the_cpu(gpu):
    torch = pytest.importorskip("torch")
    x = torch.arange(6.0).reshape(2, 3)
    ours = nf.gpu(x)
    assert nf.get_device(ours) == nf.gpu_device() and ours.tolist() == x.tolist()
    weights = torch.nn.Linear(2, 1).weight.detach()
    assert nf.gpu([weights])[0].shape == (1, 2)
