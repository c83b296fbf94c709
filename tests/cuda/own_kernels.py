"""Kernels as users write them, for both devices. As a program, by a Python that has numba-cuda: compiles them."""

import json
import math
import sys

import numba


@numba.njit(error_model="numpy")
def double(x):
    return x + x


@numba.njit(error_model="numpy")
def bend(y, x, power, scale):
    for i in range(y.size):
        y[i] = scale * double(math.sin(x[i]) / power)


@numba.njit(error_model="numpy")
def bend_grad(dx, x, dy, power, scale):
    for i in range(dx.size):
        dx[i] = scale * double(math.cos(x[i]) / power) * dy[i]


@numba.njit(error_model="numpy")
def lengths(y, x):
    for i in range(y.shape[0]):
        total = y.dtype.type(0)
        for k in range(x.shape[1]):
            total += x[i, k] * x[i, k]
        y[i, 0] = total


@numba.njit(error_model="numpy")
def lengths_grad(dx, x, dy):
    for i in range(dx.shape[0]):
        for k in range(dx.shape[1]):
            dx[i, k] = 2 * x[i, k] * dy[i, 0]


@numba.njit(error_model="numpy")
def running(y, x):
    total = y.dtype.type(0)
    for i in range(y.size):
        total += x[i]
        y[i] = total


@numba.njit
def raises(y, x):
    for i in range(y.size):
        y[i] = 1 / x[i]


# For blocks of threads: what such a function takes from numba.cuda, and tests/cuda/test_own.py from the simulator.


def long_lengths(cuda):
    def long_lengths(y, x):
        parts = cuda.shared.array(256, numba.float64)
        for i in range(y.shape[0]):
            me, total = cuda.threadIdx.x, 0.0
            for k in range(me, x.shape[1], cuda.blockDim.x):
                total += x[i, k] * x[i, k]
            parts[me] = total
            cuda.syncthreads()
            if me == 0:
                for k in range(1, cuda.blockDim.x):
                    total += parts[k]
                y[i, 0] = total
            cuda.syncthreads()

    return long_lengths


def running_together(cuda):
    def running_together(y, x):
        for i in range(cuda.threadIdx.x, y.size, cuda.blockDim.x):
            total = x[0]
            for k in range(1, i + 1):
                total += x[k]
            y[i] = total

    return running_together


def main() -> None:
    """For a generation of GPUs, as JSON: name -> [name in the cubin, its bytes in hexadecimal digits], or an error;
    and whether numba compiles for a user's own kernels afterwards as it did before."""
    from numba import cuda
    from numba.cuda import codegen, dispatcher

    from numbaflux.cubin import build_own
    from numbaflux.own import Own

    theirs = dispatcher.get_current_device, codegen.CUDACodeLibrary._ensure_cc
    made = {}
    capability = json.loads(sys.argv[1])
    for f in ("f4", "f8"):
        for kernel, codes in (
            (Own(bend, True), (f"{f}:1",) * 2 + ("i", f)), (Own(bend_grad, True), (f"{f}:1",) * 3 + ("i", f)),
            (Own(lengths, True), (f"{f}:2",) * 2), (Own(lengths_grad, True), (f"{f}:2",) * 3),
            (Own(long_lengths(cuda), False), (f"{f}:2",) * 2),
            (Own(cuda.jit(device=True)(running_together(cuda)), False), (f"{f}:1",) * 2),
            (Own(raises, True), (f"{f}:1",) * 2), (Own(lambda y: y.nothing, False), (f"{f}:1",)),
        ):  # fmt: skip
            try:
                cubin = build_own(kernel, codes, 256, tuple(capability))
                made[f"{kernel.__name__} {f}"] = cubin.name, cubin.code.hex()
            except Exception as error:
                made[f"{kernel.__name__} {f}"] = type(error).__name__, str(error)
    made["as it was"] = theirs == (dispatcher.get_current_device, codegen.CUDACodeLibrary._ensure_cc)
    print(json.dumps(made))


if __name__ == "__main__":
    main()
