"""cuBLAS's product of square matrices, called by ctypes: what is installed with the toolkit or with PyTorch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

FLOAT, DEFAULT = 0, -1  # as cuBLAS numbers types of numbers, and algorithms
COMPUTE = {"float32": 68, "tf32": 77, "bf16": 75}  # and how it computes


def library() -> Any:
    """cuBLAS; raises OSError where there is none."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    except (ImportError, RuntimeError):
        for name in ("libcublas.so.13", "libcublas.so.12", "libcublas.so"):
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue
    raise OSError("cuBLAS is not installed")


def product(n: int, a: int, b: int, c: int, products: str) -> Callable[[Any], None]:
    """work(stream): C = A B, all n x n of float32 at addresses of the GPU; factors rounded as named."""
    blas, handle = library(), ctypes.c_void_p()
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
        raise OSError(f"cuBLAS gives status {status}")
