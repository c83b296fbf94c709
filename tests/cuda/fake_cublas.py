"""cuBLAS that is not there: C functions, as its header declares them, that compute with NumPy in a fake GPU's memory,
when it is the stream's turn. It refuses what cuBLAS refuses, and spoils its workspace."""

import ctypes
from ctypes import c_int, c_int64, c_size_t, c_void_p
from types import SimpleNamespace

import numpy as np

INVALID, BAD_STATE = 7, 14
NAMES = {7: ctypes.create_string_buffer(b"CUBLAS_STATUS_INVALID_VALUE"),
         14: ctypes.create_string_buffer(b"CUBLAS_STATUS_INTERNAL_ERROR")}  # fmt: skip
# As cublas_api.h of 12.9 and 13.1 has them: handle; operations; m, n, k; alpha; A, lda; B, ldb; beta; C, ldc.
GEMM = (c_void_p, c_int, c_int, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_void_p,
        c_void_p, c_int64)  # fmt: skip
# The same with a stride (long long) behind each leading dimension, then how many.
STACK = (c_void_p, c_int, c_int, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64,
         c_int64, c_void_p, c_void_p, c_int64, c_int64, c_int64)  # fmt: skip
HEADER = {
    "cublasCreate_v2": (c_void_p,), "cublasSetMathMode": (c_void_p, c_int), "cublasSetAtomicsMode": (c_void_p, c_int),
    "cublasSetPointerMode_v2": (c_void_p, c_int), "cublasSetStream_v2": (c_void_p, c_void_p),
    "cublasSetWorkspace_v2": (c_void_p, c_void_p, c_size_t), "cublasGetStatusName": (c_int,),
    "cublasSgemm_v2_64": GEMM, "cublasDgemm_v2_64": GEMM,
    "cublasSgemmStridedBatched_64": STACK, "cublasDgemmStridedBatched_64": STACK,
}  # fmt: skip
MODES = {"cublasSetMathMode": 2, "cublasSetAtomicsMode": 0, "cublasSetPointerMode_v2": 0}  # pedantic; not allowed; host
HANDLE = 4711


class State:
    """What a handle knows; `calls` has all that was asked of it."""

    def __init__(self, gpu, streams):
        self.gpu, self.streams = gpu, streams
        self.modes, self.calls = {}, []
        self.stream = self.workspace = None

    def asked(self, name, *args):
        self.calls.append((name, *args))
        if name == "cublasCreate_v2":
            c_void_p.from_address(args[0]).value = HANDLE
            return 0
        if args[0] != HANDLE:
            return INVALID
        if name == "cublasSetStream_v2":
            self.stream, self.workspace = self.streams[args[1]], None
        elif name == "cublasSetWorkspace_v2":
            if args[1] % 256:
                return INVALID
            self.workspace = args[1:]
        elif "gemm" in name:
            dtype, given = np.dtype(np.float32 if "Sgemm" in name else np.float64), args[1:]
            if "Strided" not in name:
                *sizes, a, lda, b, ldb, beta, c, ldc = given
                given = (*sizes, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1)
            return self.gemm(dtype, *given)
        else:
            self.modes[name] = args[1]
        return 0

    def gemm(self, dtype, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count):
        """C = alpha op(A) op(B) + beta C, by columns, each some elements behind the one before."""
        shapes = (k, m) if ta else (m, k), (n, k) if tb else (k, n), (m, n)
        short = any(ld < max(1, shape[0]) for ld, shape in zip((lda, ldb, ldc), shapes, strict=True))
        if min(m, n, k, count) < 1 or short:
            return INVALID
        if self.workspace is None or self.modes != MODES:
            return BAD_STATE
        scale, keep = (np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(p), dtype)[0] for p in (alpha, beta))
        workspace = self.workspace

        def matrix(address, ld, shape):
            rows, columns = shape
            raw = self.gpu.part(address, (ld * (columns - 1) + rows) * dtype.itemsize).view(dtype)
            return np.lib.stride_tricks.as_strided(raw, shape, (dtype.itemsize, ld * dtype.itemsize))

        def run():
            self.gpu.part(*workspace)[...] = 0xFF
            for i in range(count):
                at = [p + i * s * dtype.itemsize for p, s in zip((a, b, c), (sa, sb, sc), strict=True)]
                x, y, z = (matrix(*one) for one in zip(at, (lda, ldb, ldc), shapes, strict=True))
                x, y = (w.astype(np.float64).T if t else w.astype(np.float64) for w, t in ((x, ta), (y, tb)))
                z[...] = scale * (x @ y) + (keep * z if keep else 0.0)

        self.gpu._later(self.stream, "gemm", run)
        return 0


def library(gpu, streams):
    """What ctypes.CDLL gives; `.state` beside it."""
    state, made = State(gpu, streams), {}
    for name, takes in HEADER.items():
        if name == "cublasGetStatusName":
            made[name] = ctypes.CFUNCTYPE(c_void_p, *takes)(lambda status: ctypes.addressof(NAMES[status]))
        else:
            made[name] = ctypes.CFUNCTYPE(c_int, *takes)(lambda *args, name=name: state.asked(name, *args))
    return SimpleNamespace(**made, state=state)
