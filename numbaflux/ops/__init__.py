"""The gradient registry: every built-in operation, once."""

from . import (
    activation,
    attention,
    conv,
    ctc,
    dense,
    elementwise,
    move,
    norm,
    pool,
    random,
    recurrent,
    reduce,
    scatter,
    softmax,
)
from .dense import DENSE, MATMUL
from .elementwise import ADD
from .move import COPY

REGISTRY = (
    elementwise.OPS + activation.OPS + attention.OPS + reduce.OPS + move.OPS + scatter.OPS + dense.OPS + conv.OPS
    + pool.OPS + softmax.OPS + ctc.OPS + norm.OPS + recurrent.OPS + random.OPS
)  # fmt: skip

__all__ = ["ADD", "COPY", "DENSE", "MATMUL", "REGISTRY"]
