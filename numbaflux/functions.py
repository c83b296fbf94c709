"""Functions of arrays and Values that compute, in NumPy's and Flux's names: broadcasting, axes, weak numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import managed
from .onehot import OneHot
from .op import DTypeError, Op, ShapeError, Spec, expect
from .ops import dense as D
from .ops import elementwise as E
from .ops import move as M
from .ops import reduce as R
from .ops import softmax as S
from .shapes import Axis, axis_in, runs
from .shapes import astype as astype
from .shapes import broadcast_to as broadcast_to
from .shapes import cat as cat
from .shapes import concatenate as concatenate
from .shapes import expand_dims as expand_dims
from .shapes import flatten as flatten
from .shapes import getitem as getitem
from .shapes import reshape as reshape
from .shapes import squeeze as squeeze
from .shapes import stack as stack
from .shapes import swapaxes as swapaxes
from .shapes import take as take
from .shapes import transpose as transpose
from .trace import Value, apply

Number = int | float | bool | np.generic


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
    if isinstance(x, OneHot):
        x = x.astype(dtype)
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
    a, b = managed.along(b, a), managed.along(a, b)
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


def add(a: Any, b: Any, *more: Any) -> Any:
    """Sum of each pair of elements, and of what more there is; shapes broadcast.

    >>> add(np.ones((2, 1), np.float32), np.ones(3, np.float32)).tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """
    if more:
        return add(add(a, b), *more)
    if _plain(a):
        a, b = b, a
    return _affine(a, 1.0, b) if _plain(b) and _is_float_array(a) else apply(E.ADD, *_pair("add", a, b))


def sub(a: Any, b: Any) -> Any:
    """Difference of each pair of elements; shapes broadcast."""
    if _plain(b) and _is_float_array(a):
        return _affine(a, 1.0, -b)
    return _affine(b, -1.0, a) if _plain(a) and _is_float_array(b) else apply(E.SUB, *_pair("sub", a, b))


def mul(a: Any, b: Any) -> Any:
    """Product of each pair of elements; shapes broadcast.

    >>> mul(np.ones((1, 2), np.float32), 3.0).tolist()
    [[3.0, 3.0]]
    """
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


def floats(x: Any) -> Any:
    """x as an array or Value; numbers and lists as float32."""
    if isinstance(x, np.ndarray | Value):
        return x
    try:
        array = np.asarray(x)
        return array.astype(np.float32) if not isinstance(x, np.generic) else array
    except (TypeError, ValueError):
        raise DTypeError(f"x must be an array or numbers, got {type(x).__name__}") from None


def _unary(name: str, op: Op, doc: str, shown: str) -> Callable[[Any], Any]:
    """A function of one array; shown: arguments and results of the example in its docstring, "x -> y"."""
    x_shown, _, y_shown = shown.partition(" -> ")

    def function(x: Any) -> Any:
        return apply(op, floats(x))

    function.__name__ = function.__qualname__ = name  # pickled, saved and shown by name
    function.__doc__ = f"{doc}\n\n>>> {name}(np.array({x_shown}, np.float32)).tolist()\n{y_shown}\n"
    return function


exp = _unary("exp", E.EXP, "e**x of each element.", "[0.0] -> [1.0]")
log = _unary("log", E.LOG, "Natural logarithm of each element.", "[1.0] -> [0.0]")
sqrt = _unary("sqrt", E.SQRT, "Square root of each element.", "[9.0] -> [3.0]")
square = _unary("square", E.SQUARE, "x * x of each element.", "[3.0] -> [9.0]")
negative = _unary("negative", E.NEG, "-x of each element.", "[1.0] -> [-1.0]")
absolute = _unary("absolute", E.ABS, "Absolute value of each element; its gradient at 0 is 0.", "[-2.0] -> [2.0]")
sign = _unary("sign", E.SIGN, "-1, 0 or 1 of each element.", "[-2.0, 0.0] -> [-1.0, 0.0]")
tanh = _unary("tanh", E.TANH, "Hyperbolic tangent of each element.", "[0.0] -> [0.0]")
sigmoid = _unary("sigmoid", E.SIGMOID, "1 / (1 + exp(-x)) of each element.", "[0.0] -> [0.5]")
relu = _unary("relu", E.RELU, "max(0, x): NaN stays, the gradient at 0 is 0.", "[-1.0, 2.0] -> [0.0, 2.0]")


def identity(x: Any) -> Any:
    """x itself.

    >>> identity(3)
    3
    """
    return x


def stop_gradient(x: Any) -> Any:
    """x as a constant: no gradient goes through it.

    >>> from numbaflux import gradient
    >>> gradient(lambda x: (x * stop_gradient(x)).sum(), np.array([3.0], np.float32)).tolist()
    [3.0]
    """
    return apply(M.STOP, x) if isinstance(x, Value) else x


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where condition holds, else b; shapes broadcast. Both a and b are computed.

    >>> where(np.array([True, False]), np.array([1.0, 2.0], np.float32), 0.0).tolist()
    [1.0, 0.0]
    """
    a, b = _pair("where", a, b)
    abstract = any(isinstance(x, Value) and x.abstract for x in (condition, a, b))
    mask = asvalue(condition, np.dtype(bool), abstract)
    shape = _broadcast_shapes("where", mask.shape, a.shape)
    return apply(E.WHERE, *(broadcast_to(managed.along(mask, x), shape) for x in (mask, a, b)))


def _reduce(op: Op, x: Any, axis: Axis, keepdims: bool, scaled: bool = False, **numbers: float) -> Any:
    x = floats(x)
    axes = range(x.ndim) if axis is None else sorted({axis_in(int(a), x.ndim, op.name) for a in np.atleast_1d(axis)})
    kept = tuple(1 if a in axes else s for a, s in enumerate(x.shape))
    if scaled:
        count = math.prod(x.shape[a] for a in axes)
        expect(count > 0, "mean", "x", "of at least one element", f"shape {x.shape}", error=ShapeError)
        numbers["scale"] = 1.0 / count
    y = x
    for start, stop in reversed(runs(list(axes))):
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


def _transposed(b: Any) -> Any:
    """The matrix that a traced one is the transpose of, if it is one: products take either, with the same bits."""
    made = b.call if isinstance(b, Value) else None
    if made is None or made.op is not M.PERMUTE or made.attrs["axes"] != (1, 0):
        return None
    return made.inputs[0]


def matmul(a: Any, b: Any) -> Any:
    """Matrix product over the last axis of a and the last but one of b; leading axes of a, or equal ones of both.

    >>> matmul(np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)).shape
    (2, 4)
    """
    if isinstance(a, OneHot):
        return a @ b
    if isinstance(b, OneHot):
        b = b.astype(a.dtype)
    expect(
        a.ndim > 0 and b.ndim > 0,
        "matmul",
        "arguments",
        "of at least one axis",
        f"{a.shape} and {b.shape}",
        error=ShapeError,
    )
    if b.ndim == 1:
        y = matmul(a, expand_dims(b, 1))
        return reshape(y, y.shape[:-1])
    if a.ndim == 1:
        y = matmul(expand_dims(a, 0), b)
        return reshape(y, y.shape[:-2] + y.shape[-1:])
    if b.ndim == 2:
        source = _transposed(b)
        return apply(D.MATMUL, a, b if source is None else source, ta=False, tb=source is not None)
    lead = _broadcast_shapes("matmul", a.shape[:-2], b.shape[:-2])
    a, b = broadcast_to(a, lead + a.shape[-2:]), broadcast_to(b, lead + b.shape[-2:])
    return apply(D.BATCHED, a, b, ta=False, tb=False)


def dense(x: Any, w: Any, b: Any = None) -> Any:
    """x w + b: x (..., in), w (in, out), b (out,) or None."""
    for name, array in (("x", x), ("w", w)):
        expect(array is not None, "dense", name, "an array", "None", error=DTypeError)
    if isinstance(x, OneHot):
        return x @ w if b is None else add(x @ w, b)
    return apply(D.DENSE, x, w, b)


def _last(op: Op, x: Any, axis: int) -> Any:
    x = floats(x)
    axis = axis_in(axis, x.ndim, op.name)
    return apply(op, x) if axis == x.ndim - 1 else swapaxes(apply(op, swapaxes(x, axis, -1)), axis, -1)


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) over its sum along an axis.

    >>> softmax(np.zeros((1, 4), np.float32)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    return _last(S.SOFTMAX, x, axis)


def logsoftmax(x: Any, axis: int = -1) -> Any:
    """Logarithm of softmax, without its overflow.

    >>> logsoftmax(np.array([[1000.0, 0.0]], np.float32)).tolist()
    [[0.0, -1000.0]]
    """
    return _last(S.LOGSOFTMAX, x, axis)
