"""Matrices of a batch: products of each with another, with a vector, transposed."""

from __future__ import annotations

from typing import Any

from . import functions as F
from .op import DTypeError, ShapeError, expect


def _matrices(where: str, name: str, x: Any, least: int = 3, shown: str = "(n, rows, columns)") -> Any:
    good = hasattr(x, "shape") and hasattr(x, "dtype") and x.dtype.kind == "f"
    expect(good, where, name, "an array of float32 or float64", str(getattr(x, "dtype", type(x).__name__)),
           "x.astype(np.float32)", DTypeError)  # fmt: skip
    expect(least <= x.ndim <= 3, where, name, f"of shape {shown}", str(tuple(x.shape)), error=ShapeError)
    return x


def _fits(where: str, a: Any, b: Any, axis: int) -> None:
    """Whether there are as many of both, or one of either, and columns of a as elements of b along an axis."""
    n, m = a.shape[0] if a.ndim == 3 else 1, b.shape[0] if b.ndim == 1 - axis else 1
    expect(n == m or 1 in (n, m), where, "b", f"a batch of {n} or 1 as a", str(tuple(b.shape)), error=ShapeError)
    expect(a.shape[-1] == b.shape[axis], where, "b", f"of {a.shape[-1]} along axis {axis} as a has columns",
           str(tuple(b.shape)), error=ShapeError)  # fmt: skip


def batched_mul(a: Any, b: Any) -> Any:
    """The matrix product of each pair: a (n, i, k), b (n, k, j) -> (n, i, j).

    Either may be one matrix for all, (1, rows, columns) or (rows, columns). Raises ShapeError, DTypeError.

    >>> import numpy as np
    >>> batched_mul(np.ones((5, 2, 3), np.float32), np.ones((5, 3, 4), np.float32)).shape
    (5, 2, 4)
    """
    shown = "(n, rows, columns) or (rows, columns)"
    a, b = (_matrices("batched_mul", name, x, 2, shown) for name, x in (("a", a), ("b", b)))
    expect(3 in (a.ndim, b.ndim), "batched_mul", "a", "of shape (n, rows, columns) where b is one matrix",
           str(tuple(a.shape)), "a @ b", ShapeError)  # fmt: skip
    _fits("batched_mul", a, b, -2)
    one = b.ndim == 3 and b.shape[0] == 1 and a.ndim == 3
    return F.matmul(a, F.reshape(b, b.shape[1:]) if one else b)  # one product for all rows of a


def batched_vec(a: Any, b: Any) -> Any:
    """The product of each matrix with a vector: a (n, i, k), b (n, k), or (k,) for all -> (n, i).

    Raises ShapeError, DTypeError.

    >>> import numpy as np
    >>> batched_vec(np.ones((5, 2, 3), np.float32), np.ones((5, 3), np.float32)).shape
    (5, 2)
    """
    a = _matrices("batched_vec", "a", a)
    expect(1 <= getattr(b, "ndim", 0) <= 2, "batched_vec", "b", "of shape (n, k) or (k,)",
           str(getattr(b, "shape", type(b).__name__)), error=ShapeError)  # fmt: skip
    _fits("batched_vec", a, b, -1)
    return F.squeeze(batched_mul(a, F.expand_dims(b, b.ndim)), -1)


def batched_transpose(x: Any) -> Any:
    """Each matrix transposed: x (n, rows, columns) -> (n, columns, rows).

    >>> import numpy as np
    >>> batched_transpose(np.ones((5, 2, 3), np.float32)).shape
    (5, 3, 2)
    """
    return F.swapaxes(_matrices("batched_transpose", "x", x), 1, 2)


def batched_adjoint(x: Any) -> Any:
    """Each matrix's adjoint, of real numbers its transpose: x (n, rows, columns) -> (n, columns, rows).

    >>> import numpy as np
    >>> batched_adjoint(np.ones((5, 2, 3), np.float32)).shape
    (5, 3, 2)
    """
    return F.swapaxes(_matrices("batched_adjoint", "x", x), 1, 2)
