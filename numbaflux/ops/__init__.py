"""The gradient registry: every built-in operation, once."""

from . import dense, elementwise, move, reduce, softmax
from .dense import DENSE, MATMUL
from .elementwise import ADD
from .move import COPY

REGISTRY = elementwise.OPS + reduce.OPS + move.OPS + dense.OPS + softmax.OPS

__all__ = ["ADD", "COPY", "DENSE", "MATMUL", "REGISTRY"]
