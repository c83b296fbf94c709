"""Functions of arrays and Values, in NumPy's and Flux's names: broadcasting, axes, weak numbers; and Python's
operators on Values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .op import DTypeError, Op, ShapeError, Spec, expect
from .ops import dense as D
from .ops import elementwise as E
from .ops import move as M
from .ops import reduce as R
from .ops import softmax as S
from .trace import Value, apply

Number = int | float | bool | np.generic
Axis = int | Sequence[int] | None


class Scalar:
    """A number that a compiled function may see change: assign to .value.

    >>> rate = Scalar(0.5)
    >>> rate.value = 0.25
    >>> rate
    Scalar(0.25)
    """

    def __init__(self, value: float) -> None:
        self.array = np.array(value, np.float64)
        self.arrays = {np.dtype(t): np.array(value, t) for t in (np.float32, np.float64)}

    @property
    def value(self) -> float:
        return float(self.array)

    @value.setter
    def value(self, value: float) -> None:
        for a in (self.array, *self.arrays.values()):
            a[...] = value

    def __repr__(self) -> str:
        return f"Scalar({self.value})"

    def __float__(self) -> float:
        return self.value


def asvalue(x: Any, dtype: Any, abstract: bool) -> Any:
    """A number, Scalar or array as an operand; beside abstract Values an abstract leaf that holds it."""
    if isinstance(x, Value):
        return x
    if isinstance(x, Scalar):
        x = x.arrays[dtype]
    array = np.asarray(x, dtype if isinstance(x, Number) else None)
    return Value(Spec(array.shape, array.dtype), memory=array) if abstract else array


def _pair(where: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands of one dtype and shape. Numbers take the other's dtype; unequal float types are refused."""
    strong = [x.dtype for x in (a, b) if isinstance(x, np.ndarray | Value)]
    dtype = strong[0] if strong else np.dtype(np.float32)
    expect(len(strong) < 2 or strong[0] == strong[1], where, "arguments", "of one dtype",
           " and ".join(map(str, strong)), "x.astype(np.float32) or nf.f64(model)", DTypeError)  # fmt: skip
    abstract = any(isinstance(x, Value) and x.abstract for x in (a, b))
    a, b = asvalue(a, dtype, abstract), asvalue(b, dtype, abstract)
    if a.shape != b.shape:
        shape = _broadcast_shapes(where, a.shape, b.shape)
        a, b = broadcast_to(a, shape), broadcast_to(b, shape)
    return a, b


def _broadcast_shapes(where: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(f"{where}: arguments must be of shapes that broadcast, got {a} and {b}") from None


def _binary(op: Op) -> Callable[[Any, Any], Any]:
    def function(a: Any, b: Any) -> Any:
        return apply(op, *_pair(op.name, a, b))

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"{op.name} of each pair of elements; shapes broadcast."
    return function


def _affine(a: Any, scale: float, shift: float) -> Any:
    return apply(E.AFFINE, a, scale=float(scale), shift=float(shift))


def _plain(x: Any) -> bool:
    return isinstance(x, int | float | np.generic) and not isinstance(x, np.bool_)


def _is_float_array(x: Any) -> bool:
    return isinstance(x, np.ndarray | Value) and x.dtype.kind == "f"


def add(a: Any, b: Any) -> Any:
    """Sum of each pair of elements; shapes broadcast.

    >>> add(np.ones((2, 1), np.float32), np.ones(3, np.float32)).tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """
    if _plain(a):
        a, b = b, a
    return _affine(a, 1.0, b) if _plain(b) and _is_float_array(a) else apply(E.ADD, *_pair("add", a, b))


def sub(a: Any, b: Any) -> Any:
    """Difference of each pair of elements; shapes broadcast."""
    if _plain(b) and _is_float_array(a):
        return _affine(a, 1.0, -b)
    return _affine(b, -1.0, a) if _plain(a) and _is_float_array(b) else apply(E.SUB, *_pair("sub", a, b))


def mul(a: Any, b: Any) -> Any:
    """Product of each pair of elements; shapes broadcast."""
    if _plain(a):
        a, b = b, a
    return _affine(a, b, -0.0) if _plain(b) and _is_float_array(a) else apply(E.MUL, *_pair("mul", a, b))


def power(a: Any, b: Any) -> Any:
    """a**b of each pair of elements; squares and roots are recognised."""
    if _plain(b) and _is_float_array(a):
        short = {2: square, 1: lambda x: x, 0.5: sqrt, -1: lambda x: div(1.0, x)}.get(b)
        if short:
            return short(a)
        if b == 3:
            return mul(square(a), a)
    return apply(E.POW, *_pair("pow", a, b))


div, maximum, minimum = map(_binary, (E.DIV, E.MAXIMUM, E.MINIMUM))
less, less_equal, equal = map(_binary, (E.LESS, E.LESS_EQUAL, E.EQUAL))
not_equal, greater, greater_equal = map(_binary, (E.NOT_EQUAL, E.GREATER, E.GREATER_EQUAL))


def _floats(x: Any) -> Any:
    """x as an array or Value; numbers and lists as float32."""
    if isinstance(x, np.ndarray | Value):
        return x
    array = np.asarray(x)
    return array.astype(np.float32) if not isinstance(x, np.generic) else array


def _unary(name: str, op: Op, doc: str) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        return apply(op, _floats(x))

    function.__name__ = function.__qualname__ = name  # pickled, saved and shown by name
    function.__doc__ = doc
    return function


exp = _unary("exp", E.EXP, "e**x of each element.")
log = _unary("log", E.LOG, "Natural logarithm of each element.")
sqrt = _unary("sqrt", E.SQRT, "Square root of each element.")
square = _unary("square", E.SQUARE, "x * x of each element.")
negative = _unary("negative", E.NEG, "-x of each element.")
absolute = _unary("absolute", E.ABS, "Absolute value of each element; its gradient at 0 is 0.")
sign = _unary("sign", E.SIGN, "-1, 0 or 1 of each element.")
tanh = _unary("tanh", E.TANH, "Hyperbolic tangent of each element.")
sigmoid = _unary("sigmoid", E.SIGMOID, "1 / (1 + exp(-x)) of each element.")
relu = _unary("relu", E.RELU, "max(0, x) of each element; NaN stays, the gradient at 0 is 0.")


def identity(x: Any) -> Any:
    """x itself."""
    return x


def stop_gradient(x: Any) -> Any:
    """x as a constant: no gradient goes through it."""
    return apply(M.STOP, x) if isinstance(x, Value) else x


def astype(x: Any, dtype: Any) -> Any:
    """x in another dtype."""
    return x if x.dtype == np.dtype(dtype) else apply(M.CAST, x, dtype=str(np.dtype(dtype)))


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where condition holds, else b; shapes broadcast. Both a and b are computed."""
    a, b = _pair("where", a, b)
    abstract = any(isinstance(x, Value) and x.abstract for x in (condition, a, b))
    mask = asvalue(condition, np.dtype(bool), abstract)
    shape = _broadcast_shapes("where", mask.shape, a.shape)
    return apply(E.WHERE, *(broadcast_to(x, shape) for x in (mask, a, b)))


def reshape(x: Any, *shape: Any) -> Any:
    """The elements of x in another shape; one size may be -1."""
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
    sizes = tuple(int(s) for s in sizes)
    if sizes.count(-1) == 1:
        known = -math.prod(sizes)
        expect(
            known > 0 and x.size % known == 0, "reshape", "shape", f"of {x.size} elements", str(sizes), error=ShapeError
        )
        sizes = tuple(x.size // known if s == -1 else s for s in sizes)
    return x if sizes == tuple(x.shape) else apply(M.RESHAPE, x, shape=sizes)


def flatten(x: Any) -> Any:
    """(n, ...) as (n, everything else).

    >>> flatten(np.ones((2, 3, 4), np.float32)).shape
    (2, 12)
    """
    return reshape(x, x.shape[0], math.prod(x.shape[1:]))


def _axis(axis: int, ndim: int, where: str) -> int:
    expect(-ndim <= axis < ndim, where, "axis", f"in {-ndim}..{ndim - 1}", axis, error=ShapeError)
    return axis % ndim


def transpose(x: Any, *axes: Any) -> Any:
    """x with its axes in another order; reversed unless told."""
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    order = tuple(range(x.ndim))[::-1] if order is None else tuple(_axis(a, x.ndim, "transpose") for a in order)
    expect(sorted(order) == list(range(x.ndim)), "transpose", "axes", f"each of 0..{x.ndim - 1} once", str(order),
           error=ShapeError)  # fmt: skip
    return x if order == tuple(range(x.ndim)) else apply(M.PERMUTE, x, axes=order)


def swapaxes(x: Any, a: int, b: int) -> Any:
    """x with two axes exchanged."""
    order = list(range(x.ndim))
    a, b = _axis(a, x.ndim, "swapaxes"), _axis(b, x.ndim, "swapaxes")
    order[a], order[b] = b, a
    return transpose(x, tuple(order))


def expand_dims(x: Any, axis: int) -> Any:
    """x with an axis of one element put in."""
    at = _axis(axis, x.ndim + 1, "expand_dims")
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Any, axis: Axis = None) -> Any:
    """x without axes of one element: all, or the ones named."""
    named = range(x.ndim) if axis is None else [_axis(a, x.ndim, "squeeze") for a in np.atleast_1d(axis)]
    if axis is not None:
        expect(
            all(x.shape[a] == 1 for a in named),
            "squeeze",
            "axis",
            "of one element",
            f"shape {x.shape}",
            error=ShapeError,
        )
    return reshape(x, tuple(s for a, s in enumerate(x.shape) if s != 1 or a not in named))


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """x repeated along missing axes and axes of one element."""
    shape = tuple(shape)
    if tuple(x.shape) == shape:
        return x
    lead = len(shape) - x.ndim
    new = [i < lead or (x.shape[i - lead] == 1 and shape[i] != 1) for i in range(len(shape))]
    fits = lead >= 0 and all(n or x.shape[i - lead] == shape[i] for i, n in enumerate(new))
    expect(fits, "broadcast_to", "shape", f"one that {tuple(x.shape)} broadcasts to", str(shape), error=ShapeError)
    y = reshape(x, tuple(s for s, n in zip(shape, new, strict=True) if not n))
    for start, stop in _runs([i for i, n in enumerate(new) if n]):
        y = apply(R.BROADCAST, y, start=start, sizes=shape[start:stop])
    return y


def _runs(axes: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending axes as ranges start..stop."""
    runs: list[tuple[int, int]] = []
    for a in axes:
        if runs and runs[-1][1] == a:
            runs[-1] = (runs[-1][0], a + 1)
        else:
            runs.append((a, a + 1))
    return runs


def _reduce(op: Op, x: Any, axis: Axis, keepdims: bool, scaled: bool = False, **numbers: float) -> Any:
    x = _floats(x)
    axes = range(x.ndim) if axis is None else sorted({_axis(int(a), x.ndim, op.name) for a in np.atleast_1d(axis)})
    kept = tuple(1 if a in axes else s for a, s in enumerate(x.shape))
    if scaled:
        count = math.prod(x.shape[a] for a in axes)
        expect(count > 0, "mean", "x", "of at least one element", f"shape {x.shape}", error=ShapeError)
        numbers["scale"] = 1.0 / count
    y = x
    for start, stop in reversed(_runs(list(axes))):
        y = apply(op, y, start=start, stop=stop, **numbers)
        numbers = dict.fromkeys(numbers, 1.0)
    return reshape(y, kept) if keepdims else y


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Sum over axes (all unless told).

    >>> sum(np.ones((2, 3), np.float32), axis=0).tolist()
    [2.0, 2.0, 2.0]
    """
    return _reduce(R.SUM, x, axis, keepdims, scale=1.0)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Mean over axes (all unless told)."""
    return _reduce(R.SUM, x, axis, keepdims, scaled=True)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Largest element over axes (all unless told); NaN if there is one. The gradient goes to the first of equals."""
    return _reduce(R.MAX, x, axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Smallest element over axes (all unless told); NaN if there is one."""
    return negative(max(negative(x), axis, keepdims))


def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Variance over axes: the mean of squared distances from the mean."""
    return mean(square(sub(x, mean(x, axis, True))), axis, keepdims)


def concatenate(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Arrays one after another along an axis."""
    arrays = list(arrays)
    expect(bool(arrays), "concatenate", "arrays", "at least one array", "none", error=ShapeError)
    return apply(M.CONCAT, *arrays, axis=_axis(axis, arrays[0].ndim, "concatenate"))


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape as the elements of a new axis."""
    return concatenate([expand_dims(a, axis) for a in arrays], axis)


def take(x: Any, index: Any, axis: int = 0) -> Any:
    """Rows of x along an axis, by an array of integers (any shape); out of range raises.

    >>> take(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([2, 0])).tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """
    index = index if isinstance(index, Value) else np.asarray(index)
    expect(index.dtype.kind in "iu", "take", "index", "an array of integers", str(index.dtype),
           "nf.where(mask, x, 0) for a mask", DTypeError)  # fmt: skip
    index = index.astype(np.int64, copy=False) if isinstance(index, np.ndarray) else astype(index, np.int64)
    axis = _axis(axis, x.ndim, "take")
    if axis == 0:
        return apply(M.TAKE, x, index)
    order = (axis, *(a for a in range(x.ndim) if a != axis))
    y = apply(M.TAKE, transpose(x, order), index)
    back = list(range(index.ndim, y.ndim))
    return transpose(y, (*back[:axis], *range(index.ndim), *back[axis:]))


def getitem(x: Any, key: Any) -> Any:
    """x[key]: integers, slices, ..., None, one array of integers."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if builtin_any(isinstance(k, np.ndarray | list | Value) for k in keys):
        at = next(i for i, k in enumerate(keys) if isinstance(k, np.ndarray | list | Value))
        plain = builtin_all(k == slice(None) for i, k in enumerate(keys) if i != at)
        expect(plain, "index", "key", "one array of integers among full slices", repr(key), error=ShapeError)
        return take(x, keys[at], at)
    used = len([k for k in keys if k is not None and k is not Ellipsis])
    expect(used <= x.ndim, "index", "key", f"of at most {x.ndim} axes", repr(key), error=ShapeError)
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    at = keys.index(Ellipsis)
    keys[at : at + 1] = [slice(None)] * (x.ndim - used)
    shape: list[int] = []
    axis, y = 0, x
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        start, step, size = _range(k, x.shape[axis])
        if (start, step, size) != (0, 1, x.shape[axis]):
            y = apply(M.SLICE, y, axis=axis, start=start, step=step, size=size)
        shape += [size] if isinstance(k, slice) else []
        axis += 1
    return reshape(y, tuple(shape))


def _range(k: Any, size: int) -> tuple[int, int, int]:
    if isinstance(k, slice):
        span = range(*k.indices(size))
        return (span[0] if span else 0), span.step, len(span)
    expect(isinstance(k, int | np.integer) and not isinstance(k, bool), "index", "key", "integers, slices, ... or None", repr(k), error=DTypeError)
    if not -size <= k < size:
        raise IndexError(f"index: key must be in {-size}..{size - 1}, got {k}")
    return int(k) % size, 1, 1


builtin_any, builtin_all = any, all


def matmul(a: Any, b: Any) -> Any:
    """Matrix product over the last axis of a and the last but one of b; leading axes of a, or equal ones of both.

    >>> matmul(np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)).shape
    (2, 4)
    """
    expect(
        a.ndim > 0 and b.ndim > 0,
        "matmul",
        "arguments",
        "of at least one axis",
        f"{a.shape} and {b.shape}",
        error=ShapeError,
    )
    if a.ndim == 1:
        y = matmul(expand_dims(a, 0), b)
        return reshape(y, y.shape[:-2] + y.shape[-1:])
    if b.ndim == 1:
        y = matmul(a, expand_dims(b, 1))
        return reshape(y, y.shape[:-1])
    if b.ndim == 2:
        return apply(D.MATMUL, a, b, ta=False, tb=False)
    lead = _broadcast_shapes("matmul", a.shape[:-2], b.shape[:-2])
    a, b = broadcast_to(a, lead + a.shape[-2:]), broadcast_to(b, lead + b.shape[-2:])
    return apply(D.BATCHED, a, b, ta=False, tb=False)


def dense(x: Any, w: Any, b: Any = None) -> Any:
    """x w + b: x (..., in), w (in, out), b (out,) or None."""
    return apply(D.DENSE, x, w, b)


def _last(op: Op, x: Any, axis: int) -> Any:
    x = _floats(x)
    axis = _axis(axis, x.ndim, op.name)
    return apply(op, x) if axis == x.ndim - 1 else swapaxes(apply(op, swapaxes(x, axis, -1)), axis, -1)


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) over its sum along an axis.

    >>> softmax(np.zeros((1, 4), np.float32)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    return _last(S.SOFTMAX, x, axis)


def logsoftmax(x: Any, axis: int = -1) -> Any:
    """Logarithm of softmax, without its overflow."""
    return _last(S.LOGSOFTMAX, x, axis)


def _take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """As NumPy: of all elements unless an axis is named."""
    return take(reshape(x, -1), indices) if axis is None else take(x, indices, axis)


def _dot(a: Any, b: Any) -> Any:
    expect(b.ndim <= 2, "dot", "b", "of one or two axes", f"shape {b.shape}", "np.matmul for stacks", ShapeError)
    return matmul(a, b)


# What stands on Value as Python's operators and NumPy's methods.
OPERATORS: dict[str, Callable[..., Any]] = {
    "__add__": add, "__radd__": lambda a, b: add(b, a), "__sub__": sub, "__rsub__": lambda a, b: sub(b, a),
    "__mul__": mul, "__rmul__": lambda a, b: mul(b, a), "__truediv__": div, "__rtruediv__": lambda a, b: div(b, a),
    "__pow__": power, "__rpow__": lambda a, b: power(b, a), "__matmul__": matmul,
    "__rmatmul__": lambda a, b: matmul(b, a), "__neg__": negative, "__pos__": identity, "__abs__": absolute,
    "__lt__": less, "__le__": less_equal, "__gt__": greater, "__ge__": greater_equal, "__eq__": equal,
    "__ne__": not_equal, "__getitem__": getitem, "sum": sum, "mean": mean, "max": max, "min": min, "var": var,
    "reshape": reshape, "transpose": transpose, "swapaxes": swapaxes, "squeeze": squeeze, "astype": astype,
    "take": _take, "dot": _dot, "flatten": lambda x: reshape(x, -1), "ravel": lambda x: reshape(x, -1),
}  # fmt: skip
UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: add, np.subtract: sub, np.multiply: mul, np.divide: div, np.power: power, np.negative: negative,
    np.exp: exp, np.log: log, np.sqrt: sqrt, np.square: square, np.tanh: tanh, np.abs: absolute, np.sign: sign,
    np.maximum: maximum, np.minimum: minimum, np.less: less, np.less_equal: less_equal, np.equal: equal,
    np.not_equal: not_equal, np.greater: greater, np.greater_equal: greater_equal, np.matmul: matmul,
    np.positive: identity,
}  # fmt: skip
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: sum, np.mean: mean, np.max: max, np.min: min, np.var: var, np.reshape: lambda a, shape: reshape(a, shape),
    np.transpose: lambda a, axes=None: transpose(a, axes),
    np.swapaxes: swapaxes, np.squeeze: squeeze, np.expand_dims: expand_dims, np.concatenate: concatenate,
    np.stack: stack, np.take: _take, np.where: where, np.broadcast_to: broadcast_to, np.dot: _dot,
    np.ravel: lambda x: reshape(x, -1), np.shape: lambda x: x.shape, np.ndim: lambda x: x.ndim,
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
    return DTypeError(
        f"{name}: has no gradient here; use numbaflux's functions, or nf.stop_gradient(x) for its value"
    )


for _name, _function in (
    *OPERATORS.items(),
    ("T", property(transpose)),
    ("__array_ufunc__", _array_ufunc),
    ("__array_function__", _array_function),
):
    setattr(Value, _name, _function)
