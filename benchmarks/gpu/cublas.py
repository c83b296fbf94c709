"""cuBLAS: whether it is there, and its product of square matrices whose factors are rounded, which no plan asks for."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from numbaflux import device
from numbaflux.op import DeviceError

FLOAT, DEFAULT = 0, -1  # as cuBLAS numbers types of numbers, and algorithms
COMPUTE = {"tf32": 77, "bf16": 75}  # and how it computes


def why_not(gpu: Any) -> str:
    """What says that it is not installed; empty where it is. Raises what else is wrong with it."""
    try:
        assert gpu.blas.handle
    except DeviceError as error:
        if "must be installed" not in str(error):
            raise
        return str(error)
    return ""


def product(n: int, a: int, b: int, c: int, products: str) -> Callable[[Any], None]:
    """work(stream): C = A B, all n x n of float32 at addresses of the GPU; factors rounded as named."""
    blas, handle = device.cublas(), ctypes.c_void_p()
    _good(blas.cublasCreate_v2(ctypes.byref(handle)))
    one, nought = ctypes.c_float(1), ctypes.c_float(0)

    def work(stream: Any) -> None:
        _good(blas.cublasSetStream_v2(handle, ctypes.c_void_p(int(stream))))
        pointers = [ctypes.c_void_p(address) for address in (b, a, c)]  # columns there are rows here
        first, second, result = pointers
        _good(blas.cublasGemmEx(handle, 0, 0, n, n, n, ctypes.byref(one), first, FLOAT, n, second, FLOAT, n,
                                ctypes.byref(nought), result, FLOAT, n, COMPUTE[products], DEFAULT))  # fmt: skip

    return work


def _good(status: int) -> None:
    if status:
        raise DeviceError(f"cuBLAS gives status {status}")
