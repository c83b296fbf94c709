"""Arrays in memory that a GPU and the CPU both reach ("managed"): which GPU an array is on, new ones, copies.

They are NumPy arrays, so whatever reads arrays reads them. What owns their memory is found behind `.base`: views of
them are on the GPU too, and what NumPy computes from them is not.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from .op import DeviceError, expect

GRAIN = 512  # bytes: sizes that the driver is asked for
KEEP = 64 << 20  # bytes of dead arrays that new ones of their size may take: to ask the driver takes long

used = False  # whether there was an array on a GPU yet: until then nobody looks for them


class Managed:
    """Memory of one array and its views. It goes back to the GPU's pool when no array needs it any more."""

    __slots__ = ("__array_interface__", "__weakref__", "gpu")

    def __init__(self, gpu: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        global used
        used = True
        size = max(1, -(-math.prod(shape) * dtype.itemsize // GRAIN)) * GRAIN
        address = gpu.pool.take(size)
        weakref.finalize(self, gpu.pool.give, size, address).atexit = False  # the driver does it
        self.gpu = gpu
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}


class Pool:
    """Managed memory of one GPU that no array has: for the next array of that size, or the driver."""

    def __init__(self, gpu: Any) -> None:
        self.gpu = gpu
        self.free: dict[int, list[int]] = {}  # addresses by their bytes
        self.lock = threading.Lock()

    def give(self, size: int, address: int) -> None:
        """An array has died: anywhere, perhaps while a graph is made, so the driver is not asked now."""
        self.free.setdefault(size, []).append(address)

    def take(self, size: int) -> int:
        with self.lock:
            if self.free.get(size):
                return self.free[size].pop()
            self.trim(KEEP)
            try:
                return int(self.gpu.managed(size))
            except DeviceError:
                if not self.spare:
                    raise
                self.trim(0)
                return int(self.gpu.managed(size))

    @property
    def spare(self) -> int:
        """Bytes that no array has."""
        return sum(size * len(addresses) for size, addresses in self.free.copy().items())

    def trim(self, keep: int) -> None:
        """Give the driver back what no array has, up to so many bytes."""
        spare = self.spare
        for size, addresses in self.free.copy().items():
            while addresses and spare > keep:
                self.gpu.free(addresses.pop())
                spare -= size


def gpu_of(array: Any) -> Any:
    """The GPU that an array is on; None: it is on the CPU.

    >>> gpu_of(np.ones(3)) is None
    True
    """
    owner = array.base
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner.gpu if type(owner) is Managed else None


def name_of(gpu: Any) -> str:
    """As users read it: gpu:0, cpu."""
    return "cpu" if gpu is None else f"gpu:{gpu.number}"


def empty(shape: tuple[int, ...], dtype: Any, gpu: Any) -> np.ndarray:
    """A new array on a GPU, or the CPU (None); nobody has written there."""
    return np.empty(shape, dtype) if gpu is None else np.asarray(Managed(gpu, shape, np.dtype(dtype)))


def copied(array: np.ndarray, gpu: Any) -> np.ndarray:
    """A copy on a GPU, or the CPU (None)."""
    if gpu is None:
        return np.array(array)
    made = empty(array.shape, array.dtype, gpu)
    gpu.upload(made.ctypes.data, np.ascontiguousarray(array), gpu.default)
    gpu.wait(gpu.default)
    return made


def fetched(array: np.ndarray) -> np.ndarray:
    """The array, all of it in the GPU's own memory if it is on one, after Python wrote there."""
    gpu = gpu_of(array)
    if gpu is not None and array.size:
        gpu.prefetch(array.ctypes.data, array.nbytes, gpu.default)
        gpu.wait(gpu.default)
    return array


def copy(array: np.ndarray) -> np.ndarray:
    """A copy where the array is.

    >>> copy(np.ones(2)).tolist()
    [1.0, 1.0]
    """
    return copied(array, gpu_of(array))


def beside(x: Any, array: np.ndarray) -> np.ndarray:
    """An array that was just made, for use beside x, an array or a traced one: on the GPU where x is there."""
    held = getattr(x, "array", x) if used else None
    gpu = gpu_of(held) if isinstance(held, np.ndarray) else None
    return array if gpu is None else copied(array, gpu)


def along(x: Any, array: Any) -> Any:
    """A number for use beside x: on the GPU where x is there, so that what is made of it is there too."""
    return beside(x, array) if used and isinstance(array, np.ndarray) and not heavy(array) else array


def contiguous(array: np.ndarray) -> np.ndarray:
    """The array, or a C-contiguous copy where it is."""
    return array if array.flags.c_contiguous else copy(array) if used else np.ascontiguousarray(array)


def heavy(array: Any) -> bool:
    """Whether an array must be where the others are; numbers, indices and masks are taken along."""
    return array.dtype.kind == "f" and array.size > 1


def common(where: str, arrays: Iterable[tuple[str, Any]]) -> Any:
    """The GPU (None: the CPU) that all floating arrays of more than one number are on; raises DeviceError where they
    are not on the same. arrays: (name, array)."""
    known = [(name, a, gpu_of(a)) for name, a in arrays if a is not None]
    there = [(name, a, gpu) for name, a, gpu in known if gpu is not None]
    if not there:
        return None
    first, _, gpu = next((one for one in there if heavy(one[1])), there[0])
    for name, a, own in known:
        good = own is gpu or not heavy(a)
        expect(good, where, name, f"on {name_of(gpu)}, as {first} is", f"one on {name_of(own)}",
               f"nf.gpu(x{f', {gpu.number}' if gpu.number else ''}), or nf.cpu of the other", DeviceError)  # fmt: skip
    return gpu
