"""Where ranks add up the gradients of a GPU: in pinned memory of the CPU, or where they are."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..managed import gpu_of
from ..memory import pages
from ..op import DeviceError
from ..optim.vectors import Vectors
from .probe import reaches_gpus
from .world import World


class Staging:
    """Of a flat vector: the array that ranks add up in its place. On the CPU that is the vector itself. So it may be on
    a GPU, for an MPI that reaches its memory; else it is a vector of the CPU, to which stretches are copied and from
    which they come back.

    Any MPI could be handed managed memory as memory of the CPU, but page after page would go to the CPU and back, with
    a fault for each, and networks that read memory by themselves cannot be given pages that wander. Copies of pinned
    memory go at the speed of the bus, and what adds up vectors is what does it on CPUs, to the same bits.
    """

    def __init__(self, vector: np.ndarray, array: np.ndarray) -> None:
        self.array, self.gpu = array, gpu_of(vector)
        self.apart = array is not vector
        self.reached = self.gpu is not None and not self.apart
        if self.apart:
            self.gpu.pin(array)
            self.stream = self.gpu.stream()
            weakref.finalize(self, _end, self.gpu, self.stream, array.ctypes.data).atexit = False  # the driver does it

    def of(self, vector: np.ndarray) -> np.ndarray:
        """What stands for a vector of this size among ranks."""
        return self.array if self.apart else vector

    def fetch(self, vector: np.ndarray, start: int = 0, end: int | None = None) -> None:
        """Let the array hold a stretch of a vector; what the GPU was to write there has been waited for."""
        if self.apart:
            self.gpu.download(self.array[start:end], vector[start:end].ctypes.data, self.stream)
            self.gpu.wait(self.stream)
        elif self.gpu is not None:
            self.gpu.wait(self.gpu.default)  # turns this thread to the GPU: an MPI that reaches it asks which it is

    def give(self, vector: np.ndarray, start: int = 0, end: int | None = None) -> None:
        """Let a stretch of a vector hold what the array does."""
        if self.apart:
            self.gpu.upload(vector[start:end].ctypes.data, self.array[start:end], self.stream)
            self.gpu.wait(self.stream)


def staged(
    vectors: Sequence[Vectors], world: World, here: bool, memory: Callable[..., np.ndarray]
) -> dict[int, Staging]:
    """Of vectors, by their ids, where ranks add up their gradients. here: on the CPU, whatever MPI reaches; memory:
    what makes a vector for that."""
    gpu = gpu_of(vectors[0].grads)
    apart = gpu is not None and world.size > 1 and (not _reached(gpu, world) or here)
    arrays = [memory(v.grads.size, v.grads.dtype, "grads", pages) if apart else v.grads for v in vectors]
    return {id(v): Staging(v.grads, array) for v, array in zip(vectors, arrays, strict=True)}


def _reached(gpu: Any, world: World) -> bool:
    """Whether MPI reaches the memory of the GPUs of all ranks, each of which must ask. Warns where several use one."""
    who = int.from_bytes(hashlib.sha256(gpu.uuid).digest()[:6], "little")  # exact as float64
    found = world.meet("nf.setup on a GPU", [reaches_gpus(), who])
    same = [ranks.tolist() for one in np.unique(found[:, 1]) if len(ranks := np.flatnonzero(found[:, 1] == one)) > 1]
    if same and world.rank == 0:
        warnings.warn(f"ranks {same[0]} share one GPU, its memory and its time; start a rank for each GPU",
                      stacklevel=4)  # fmt: skip
    return bool(found[:, 0].all())


def _end(gpu: Any, stream: Any, address: int) -> None:
    with contextlib.suppress(DeviceError):  # one that takes no more work has said so before
        gpu.end_stream(stream)
        gpu.let_go(address)
