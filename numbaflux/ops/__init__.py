"""The gradient registry: every built-in operation, once."""

from . import activation, conv, dense, elementwise, move, norm, pool, random, recurrent, reduce, softmax
from .dense import DENSE, MATMUL
from .elementwise import ADD
from .move import COPY

REGISTRY = (
    elementwise.OPS + activation.OPS + reduce.OPS + move.OPS + dense.OPS + conv.OPS + pool.OPS + softmax.OPS + norm.OPS
    + recurrent.OPS + random.OPS
)  # fmt: skip

__all__ = ["ADD", "COPY", "DENSE", "MATMUL", "REGISTRY"]
