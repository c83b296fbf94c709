"""Arrays of other libraries that are on a GPU, and ours for them: the CUDA array interface, and DLPack."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from .managed import copied, empty, gpu_of
from .op import DeviceError, DTypeError, ShapeError, expect

MANAGED, CUDA, HOST = 13, 2, 1  # kinds of devices, as DLPack numbers them
CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # of dtypes
WANTED, USED = b"dltensor", b"used_dltensor"  # names of a capsule before and after it was taken
AXES = 64  # that NumPy allows
api = ctypes.pythonapi
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
api.PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("kind", ctypes.c_int32), ("number", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )  # fmt: skip


class Holder(ctypes.Structure):
    """DLManagedTensor: a tensor, and what to call when nobody needs it any more."""


Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(Holder))
Holder._fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", Deleter)]


class View:
    """An array of numbaflux on a GPU, for other libraries: the same memory. cuda_view makes one."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape, "typestr": array.dtype.str, "data": (array.ctypes.data, not array.flags.writeable),
            "strides": None if array.flags.c_contiguous else array.strides, "stream": None, "version": 3,
        }  # fmt: skip

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, gpu_of(self.array).number

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """A capsule; stream: nothing waits, since all that was computed here is done."""
        there = self.__dlpack_device__()
        expect(dl_device in (None, there), "cuda_view", "dl_device", f"None or {there}", repr(dl_device),
               error=DeviceError)  # fmt: skip
        expect(not copy, "cuda_view", "copy", "None or False", repr(copy), error=DeviceError)
        expect(self.array.flags.writeable, "cuda_view", "x", "writeable: DLPack knows no other", "a read-only array",
               error=DeviceError)  # fmt: skip
        return _capsule(self.array, there)


_given: dict[int, tuple[Any, ...]] = {}  # what other libraries hold: by the address of its holder


@Deleter
def _let_go(holder: Any) -> None:
    _given.pop(ctypes.addressof(holder.contents), None)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _unused(capsule: int) -> None:
    """A capsule ends that nobody took. It is being destroyed: as an object it must not come to life again."""
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
    if valid(("PyCapsule_IsValid", api))(capsule, WANTED):
        _given.pop(get(("PyCapsule_GetPointer", api))(capsule, WANTED), None)


def _capsule(array: np.ndarray, there: tuple[int, int]) -> Any:
    sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
    steps = (ctypes.c_int64 * array.ndim)(*(s // array.itemsize for s in array.strides))
    made = Holder(Tensor(array.ctypes.data, *there, array.ndim, CODES[array.dtype.kind], 8 * array.itemsize, 1, sizes,
                         steps, 0), None, _let_go)  # fmt: skip
    _given[ctypes.addressof(made)] = made, array, sizes, steps
    return api.PyCapsule_New(ctypes.addressof(made), WANTED, ctypes.cast(_unused, ctypes.c_void_p))


# ---------------------------------------------------------------------------------------------------------- from others


def taken(x: Any, gpu: Any) -> np.ndarray:
    """A copy on a GPU of an array of another library; nothing that it says is believed unseen."""
    if hasattr(x, "__cuda_array_interface__"):
        return _from_interface(x.__cuda_array_interface__, gpu)
    return _from_dlpack(x, gpu)


def _array(shape: Any, dtype: Any, strides: Any, address: Any, gpu: Any) -> np.ndarray:
    """A copy of memory that others describe: shape, strides in bytes or None, address."""
    good = isinstance(shape, tuple) and len(shape) <= AXES and all(isinstance(n, int) and n >= 0 for n in shape)
    expect(good, "gpu", "shape", f"a tuple of at most {AXES} sizes", repr(shape), error=ShapeError)
    expect(dtype.kind in CODES and dtype.isnative, "gpu", "dtype", "of floats, integers or booleans", str(dtype),
           error=DTypeError)  # fmt: skip
    size = math.prod(shape) * dtype.itemsize
    steps = [math.prod(shape[i + 1 :]) * dtype.itemsize for i in range(len(shape))]
    told = strides is None or isinstance(strides, tuple) and len(strides) == len(shape)
    plain = told and (strides is None or size == 0 or all(
        n == 1 or mine == theirs for n, mine, theirs in zip(shape, steps, strides, strict=True)))  # fmt: skip
    expect(plain, "gpu", "an array", "C-contiguous", f"strides {strides}", "x.contiguous(), cupy.ascontiguousarray(x)",
           ShapeError)  # fmt: skip
    number = isinstance(address, int) and not isinstance(address, bool)
    aligned = number and address >= 0 and address % dtype.itemsize == 0
    expect(aligned and (address > 0 or size == 0), "gpu", "the address", "of memory, aligned", repr(address),
           error=DeviceError)  # fmt: skip
    made = empty(shape, dtype, gpu)
    gpu.synchronize()  # whatever stream made it
    gpu.copy(made.ctypes.data, address, size, gpu.default)
    gpu.wait(gpu.default)
    return made


def _from_interface(told: Any, gpu: Any) -> np.ndarray:
    expect(isinstance(told, dict), "gpu", "__cuda_array_interface__", "a dict", type(told).__name__, error=DTypeError)
    missing = [name for name in ("shape", "typestr", "data", "version") if name not in told]
    expect(not missing, "gpu", "__cuda_array_interface__", f"with {missing[:1]}", "none", error=DTypeError)
    expect(told["version"] in (2, 3), "gpu", "version of __cuda_array_interface__", "2 or 3", repr(told["version"]),
           error=DeviceError)  # fmt: skip
    expect(told.get("mask") is None, "gpu", "mask", "None", type(told.get("mask")).__name__, error=DTypeError)
    stream = told.get("stream")
    good = stream is None or isinstance(stream, int) and stream > 0
    expect(good, "gpu", "stream", "None or a positive integer", repr(stream), error=DeviceError)
    try:
        dtype = np.dtype(told["typestr"])
    except TypeError:
        raise DTypeError(f"gpu: typestr must be of a dtype, got {told['typestr']!r:.80}") from None
    data = told["data"]
    expect(isinstance(data, tuple) and len(data) == 2, "gpu", "data", "(address, read-only)", repr(data),
           error=DTypeError)  # fmt: skip
    return _array(told["shape"], dtype, told.get("strides"), 0 if data[0] is None else data[0], gpu)


def _from_dlpack(x: Any, gpu: Any) -> np.ndarray:
    there = x.__dlpack_device__()
    known = isinstance(there, tuple) and len(there) == 2
    expect(known, "gpu", "__dlpack_device__()", "(kind, number)", repr(there), error=DTypeError)
    kind, number = int(there[0]), int(there[1])
    if kind == HOST:
        return copied(np.from_dlpack(x), gpu)
    good = kind in (CUDA, MANAGED)
    expect(good, "gpu", "an array", "on the CPU or a GPU of NVIDIA", f"device kind {kind}", error=DeviceError)
    capsule = x.__dlpack__(stream=-1)  # no stream waits: all of them are waited for
    valid = type(capsule).__name__ == "PyCapsule" and bool(api.PyCapsule_IsValid(capsule, WANTED))
    expect(valid, "gpu", "__dlpack__()", "a new capsule dltensor", type(capsule).__name__, error=DTypeError)
    holder = Holder.from_address(api.PyCapsule_GetPointer(capsule, WANTED))
    try:
        return _tensor(holder.tensor, kind, number, gpu)
    finally:
        api.PyCapsule_SetName(capsule, USED)
        if holder.deleter:
            holder.deleter(ctypes.pointer(holder))


def _tensor(t: Any, kind: int, number: int, gpu: Any) -> np.ndarray:
    same = (t.kind, t.number) == (kind, number)
    expect(same, "gpu", "a DLPack tensor", f"on the device that it named, {(kind, number)}", str((t.kind, t.number)),
           error=DeviceError)  # fmt: skip
    expect(0 <= t.ndim <= AXES, "gpu", "a DLPack tensor", f"of at most {AXES} axes", t.ndim, error=ShapeError)
    names = {code: letter for letter, code in CODES.items()}
    bits = {"f": (16, 32, 64), "b": (8,)}.get(names.get(t.code, ""), (8, 16, 32, 64))
    good = t.code in names and t.bits in bits and t.lanes == 1
    expect(good, "gpu", "a DLPack tensor", "of floats, integers or booleans", f"code {t.code}, {t.bits} bits",
           error=DTypeError)  # fmt: skip
    dtype = np.dtype(bool if names[t.code] == "b" else f"{names[t.code]}{t.bits // 8}")
    shape = tuple(t.shape[: t.ndim]) if t.ndim else ()
    strides = tuple(s * dtype.itemsize for s in t.strides[: t.ndim]) if t.ndim and t.strides else None
    return _array(shape, dtype, strides, (t.data or 0) + t.offset, gpu)
