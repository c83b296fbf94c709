"""Single operations, each compiled to a plan of its own, on one thread."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import numbaflux as nf
from benchmarks.timed import Timed, on_threads

IMAGES, ROWS, SEQUENCES = (32, 32, 32, 16), (256, 512), (32, 64, 64)
Function = Callable[..., Any]
# The function, and the shapes of its arguments.
PRODUCTS: dict[str, tuple[Function, tuple[int, ...], tuple[int, ...]]] = {
    "product": (operator.matmul, (512, 512), (512, 512)),
    "product, tall": (operator.matmul, (8192, 32), (32, 32)),
    "product, one row": (operator.matmul, (1, 1024), (1024, 1024)),
    "products, batch": (nf.batched_mul, (64, 64, 64), (64, 64, 64)),
    "convolution 1x1": (nf.conv, IMAGES, (1, 1, 16, 16)),
    "convolution 3x3": (nf.conv, IMAGES, (3, 3, 16, 16)),
    "convolution 5x5, few channels": (nf.conv, (32, 28, 28, 1), (5, 5, 1, 6)),
    "convolution, strided": (lambda x, w: nf.conv(x, w, stride=2), IMAGES, (3, 3, 16, 16)),
    "convolution, grouped": (lambda x, w: nf.conv(x, w, groups=4), IMAGES, (3, 3, 4, 16)),
    "convolution, depthwise": (nf.depthwiseconv, IMAGES, (3, 3, 1, 16)),
    "convolution, transposed": (lambda x, w: nf.conv_transpose(x, w, stride=2), IMAGES, (2, 2, 16, 16)),
    "add": (operator.add, ROWS, ROWS),
    "add, broadcast": (operator.add, ROWS, (512,)),
}
OF_ONE: dict[str, tuple[Function, tuple[int, ...]]] = {
    "max pool": (lambda x: nf.maxpool(x, (2, 2)), IMAGES),
    "mean pool": (lambda x: nf.meanpool(x, (2, 2)), IMAGES),
    "norm pool": (lambda x: nf.lpnormpool(x, 2, (2, 2)), IMAGES),
    "upsample": (lambda x: nf.upsample_bilinear(x, 2), (8, 32, 32, 16)),
    "pad": (lambda x: nf.pad_reflect(x, 1), IMAGES),
    "softmax": (nf.softmax, ROWS),
    "logsumexp": (nf.logsumexp, ROWS),
    "normalise": (nf.normalise, ROWS),
    "relu": (nf.relu, ROWS),
    "tanh": (nf.tanh, ROWS),
    "gelu": (nf.gelu, ROWS),
    "exp": (np.exp, ROWS),
    "sum of rows": (lambda x: x.sum(axis=1), ROWS),
    "sum of columns": (lambda x: x.sum(axis=0), ROWS),
    "largest of rows": (lambda x: x.max(axis=1), ROWS),
    "transpose": (np.transpose, ROWS),
    "attention": (lambda x: nf.dot_product_attention(x, x, x, nheads=4), SEQUENCES),
}
KERNELS: dict[str, tuple[Any, ...]] = PRODUCTS | OF_ONE


@cache
def ready(name: str, dtype: str) -> Callable[[], object]:
    """The call of an operation, made once."""
    function, *shapes = KERNELS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    compiled = nf.compile(function)
    compiled(*arrays)
    return lambda: compiled(*arrays)


class Kernels(Timed):
    """Seconds of an operation."""

    params = list(KERNELS)
    param_names = ("operation",)
    dtype = "float32"

    def setup(self, name: str) -> None:
        on_threads(1)
        self.call = ready(name, self.dtype)

    def time_call(self, name: str) -> None:
        self.call()


class DoubleKernels(Kernels):
    """The same in double precision, of a few."""

    params = ["product", "convolution 3x3", "softmax", "tanh", "sum of columns"]
    dtype = "float64"
