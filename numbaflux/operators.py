"""Python's operators, NumPy's methods and NumPy's functions on Values: three tables, and how they are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import functions as F
from . import shapes as H
from .op import DTypeError, ShapeError, expect
from .trace import Value


def _take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """As NumPy: of all elements unless an axis is named."""
    return H.take(H.reshape(x, -1), indices) if axis is None else H.take(x, indices, axis)


def _dot(a: Any, b: Any) -> Any:
    expect(b.ndim <= 2, "dot", "b", "of one or two axes", f"shape {b.shape}", "np.matmul for stacks", ShapeError)
    return F.matmul(a, b)


# What stands on Value as Python's operators and NumPy's methods.
OPERATORS: dict[str, Callable[..., Any]] = {
    "__add__": F.add, "__radd__": lambda a, b: F.add(b, a), "__sub__": F.sub, "__rsub__": lambda a, b: F.sub(b, a),
    "__mul__": F.mul, "__rmul__": lambda a, b: F.mul(b, a), "__truediv__": F.div,
    "__rtruediv__": lambda a, b: F.div(b, a),
    "__pow__": F.power, "__rpow__": lambda a, b: F.power(b, a), "__matmul__": F.matmul,
    "__rmatmul__": lambda a, b: F.matmul(b, a), "__neg__": F.negative, "__pos__": F.identity, "__abs__": F.absolute,
    "__lt__": F.less, "__le__": F.less_equal, "__gt__": F.greater, "__ge__": F.greater_equal, "__eq__": F.equal,
    "__ne__": F.not_equal, "__getitem__": H.getitem, "sum": F.sum, "mean": F.mean, "max": F.max,
    "min": F.min, "var": F.var,
    "reshape": H.reshape, "transpose": H.transpose, "swapaxes": H.swapaxes, "squeeze": H.squeeze, "astype": H.astype,
    "take": _take, "dot": _dot, "flatten": lambda x: H.reshape(x, -1), "ravel": lambda x: H.reshape(x, -1),
}  # fmt: skip
UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: F.add, np.subtract: F.sub, np.multiply: F.mul, np.divide: F.div, np.power: F.power, np.negative: F.negative,
    np.exp: F.exp, np.log: F.log, np.sqrt: F.sqrt, np.square: F.square, np.tanh: F.tanh,
    np.abs: F.absolute, np.sign: F.sign,
    np.maximum: F.maximum, np.minimum: F.minimum, np.less: F.less, np.less_equal: F.less_equal, np.equal: F.equal,
    np.not_equal: F.not_equal, np.greater: F.greater, np.greater_equal: F.greater_equal, np.matmul: F.matmul,
    np.positive: F.identity,
}  # fmt: skip
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: F.sum, np.mean: F.mean, np.max: F.max, np.min: F.min, np.var: F.var,
    np.reshape: lambda a, shape: H.reshape(a, shape),
    np.transpose: lambda a, axes=None: H.transpose(a, axes),
    np.swapaxes: H.swapaxes, np.squeeze: H.squeeze, np.expand_dims: H.expand_dims, np.concatenate: H.concatenate,
    np.stack: H.stack, np.take: _take, np.where: F.where, np.broadcast_to: H.broadcast_to, np.dot: _dot,
    np.ravel: lambda x: H.reshape(x, -1), np.shape: lambda x: x.shape, np.ndim: lambda x: x.ndim,
    np.size: lambda x: x.size,
}  # fmt: skip


def _array_ufunc(self: Value, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    known = UFUNCS.get(ufunc) if method == "__call__" and not kwargs else None
    if known is None:
        named = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise _unknown(f"np.{named}" + (f" with {', '.join(kwargs)}" if kwargs else ""))
    return known(*args)


def _array_function(self: Value, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    known = FUNCTIONS.get(function)
    if known is None:
        raise _unknown(f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1))
    return known(*args, **kwargs)


def _unknown(name: str) -> DTypeError:
    return DTypeError(f"{name}: has no gradient here; use numbaflux's functions, or nf.stop_gradient(x) for its value")


for _name, _function in (
    *OPERATORS.items(),
    ("T", property(H.transpose)),
    ("__array_ufunc__", _array_ufunc),
    ("__array_function__", _array_function),
):
    setattr(Value, _name, _function)
