"""cuBLAS, called by ctypes: products of matrices by NVIDIA's library, in plans that ask for it (products="cublas").

The same bits each run, by one version on one kind of GPU: each plan brings its own workspace, nothing is added up in
an order that may change, and float32 is not rounded to fewer bits on the way.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np

from .op import DeviceError

KERNEL = "cublas.product"  # as entries name it
ALIGNED = 256  # bytes, on a multiple of which a workspace begins
WORKSPACE = (32 << 20) + ALIGNED  # bytes of an entry's: what NVIDIA advises for the largest GPUs, anywhere
MODES = {
    "cublasSetMathMode": 2,  # CUBLAS_PEDANTIC_MATH: float32 is float32, not TF32
    "cublasSetAtomicsMode": 0,  # CUBLAS_ATOMICS_NOT_ALLOWED
    "cublasSetPointerMode_v2": 0,  # CUBLAS_POINTER_MODE_HOST: graphs keep the numbers themselves
}
_int, _long, _pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
_one = (_pointer, _int, _int, _long, _long, _long, _pointer, _pointer, _long, _pointer, _long, _pointer, _pointer,
        _long)  # fmt: skip
_stack = (_pointer, _int, _int, _long, _long, _long, _pointer, _pointer, _long, _long, _pointer, _long, _long, _pointer,
          _pointer, _long, _long, _long)  # fmt: skip
TAKES: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (_pointer,),
    **dict.fromkeys(MODES, (_pointer, _int)),
    "cublasSetStream_v2": (_pointer, _pointer),
    "cublasSetWorkspace_v2": (_pointer, _pointer, ctypes.c_size_t),
    **dict.fromkeys(("cublasSgemm_v2_64", "cublasDgemm_v2_64"), _one),
    **dict.fromkeys(("cublasSgemmStridedBatched_64", "cublasDgemmStridedBatched_64"), _stack),
    "cublasGetStatusName": (_int,),
}
CURES = {
    "CUBLAS_STATUS_NOT_INITIALIZED": "the driver must know its CUDA (nvidia-smi), and some memory be free",
    "CUBLAS_STATUS_ALLOC_FAILED": "use smaller batches, or close() what is not needed",
}
NUMBERS = {"f4": ("S", ctypes.c_float), "f8": ("D", ctypes.c_double)}


class Cublas:
    """The library on the GPU that this thread has turned to. Any thread may call it."""

    def __init__(self, library: Any) -> None:
        try:
            self.calls = {name: getattr(library, name) for name in TAKES}
        except AttributeError as error:
            raise DeviceError(f"gpu: cuBLAS must be of version 12 or later, got another ({error})") from None
        for name, call in self.calls.items():
            call.argtypes = TAKES[name]
        self.calls["cublasGetStatusName"].restype = ctypes.c_char_p
        self.lock = threading.Lock()
        self.handle = _pointer()
        self._do("cublasCreate_v2", ctypes.byref(self.handle))
        for name, mode in MODES.items():
            self._do(name, self.handle, mode)

    def _do(self, name: str, *args: Any) -> None:
        status = self.calls[name](*args)
        if status:
            said = self.calls["cublasGetStatusName"](status).decode()
            cure = CURES.get(said, "")
            raise DeviceError(f"gpu: cuBLAS's {name} failed: {said}" + (f"; {cure}" if cure else ""))

    def product(self, code: str, words: np.ndarray, stream: Any) -> None:
        """Begin what an entry's words say (ops/dense.py), of arrays of that code."""
        c, b, a, memory = words[1:17:4].tolist()
        n, m, k, b_step, b_turned, a_step, a_turned, count, adds = words[17::2].tolist()
        letter, number = NUMBERS[code[:2]]
        sizes = self.handle, b_turned, a_turned, n, m, k, ctypes.byref(number(1))
        beta = ctypes.byref(number(adds))
        start = -(-memory // ALIGNED) * ALIGNED
        with self.lock:
            self._do("cublasSetStream_v2", self.handle, int(stream))
            self._do("cublasSetWorkspace_v2", self.handle, start, WORKSPACE - ALIGNED)  # a new stream has none
            if count == 1:
                self._do(f"cublas{letter}gemm_v2_64", *sizes, b, b_step, a, a_step, beta, c, n)
            else:
                self._do(f"cublas{letter}gemmStridedBatched_64", *sizes, b, b_step, k * n, a, a_step, m * k, beta, c, n,
                         m * n, count)  # fmt: skip
