"""Operations on each element: one array, or two of the same shape (broadcasting is an operation of its own)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import lanes
from ..lowering import Buf, Build, Num, elementwise
from ..op import DTypeError, Op, ShapeError, Spec, example, expect

Rule = Callable[..., Any]
COST = {"exp": 1.0, "log": 1.5, "tanh": 1.0, "sigmoid": 1.0, "pow": 15.0, "div": 1.0, "sqrt": 1.0}  # ns an element


def same(name: str, floats: bool = True) -> Callable[..., Spec]:
    """The shape rule of operations whose arguments agree in shape and dtype."""

    def shape(first: Spec, *others: Spec, **attrs: Any) -> Spec:
        expect(not floats or first.dtype.kind == "f", name, "x", "an array of float32 or float64", str(first.dtype),
               "x.astype(np.float32)", DTypeError)  # fmt: skip
        for other in others:
            expect(other.shape == first.shape, name, "arguments", f"of shape {first.shape}", str(other.shape),
                   error=ShapeError)  # fmt: skip
            expect(other.dtype == first.dtype, name, "arguments", f"all {first.dtype}", str(other.dtype),
                   f"x.astype(np.{first.dtype})", DTypeError)  # fmt: skip
        return first

    return shape


def _kernel(name: str, turned: bool = False) -> Callable[..., None]:
    """turned: the kernel is given the inputs in the other order."""

    def lower(b: Build, out: Buf, *ins: Buf, **numbers: float) -> None:
        given = [Num(numbers[n], out.dtype) for n in sorted(numbers)]  # kernels take them in the order of names
        inputs = reversed(ins) if turned else ins
        lanes.elementwise(b, f"elementwise.{name}", out, *inputs, numbers=given, cost=COST.get(name, 0.5))

    return lower


def op(name: str, *grad: Rule | None, **attrs: float) -> Op:
    """An operation on floats whose kernel has its name."""
    shown = example("f" * len(grad), *[(5,)] * len(grad), **attrs)
    return Op(name, same(name), _kernel(name), grad, examples=(shown,))


def compare(name: str, turned: str = "") -> Op:
    """An operation that gives booleans, and no gradient; turned: the one that it is of b and a."""
    rule = same(name, floats=False)
    shape = lambda a, b: Spec(rule(a, b).shape, np.dtype(bool))  # noqa: E731
    lower = _kernel(turned or name, bool(turned))
    return Op(name, shape, lower, (None, None), examples=(example("ff", (5,), (5,)),))


NEG: Op = Op(
    "neg",
    same("neg"),
    lambda b, out, x: lanes.elementwise(
        b, "elementwise.affine", out, x, numbers=[Num(v, out.dtype) for v in (-1.0, -0.0)]
    ),
    (lambda c, dy: c.apply(NEG, dy),),
    examples=(example("f", (5,)),),
)
ADD = op("add", lambda c, dy: dy, lambda c, dy: dy)
SUB = op("sub", lambda c, dy: dy, lambda c, dy: c.apply(NEG, dy))
MUL: Op = op("mul", lambda c, dy: c.apply(MUL, dy, c.inputs[1]), lambda c, dy: c.apply(MUL, dy, c.x))
DIV: Op = op(
    "div",
    lambda c, dy: c.apply(DIV, dy, c.inputs[1]),
    lambda c, dy: c.apply(NEG, c.apply(DIV, c.apply(MUL, dy, c.y), c.inputs[1])),
)
# x * scale + shift, with numbers that stand in the plan
AFFINE: Op = op("affine", lambda c, dy: c.apply(AFFINE, dy, scale=c.attrs["scale"], shift=-0.0), scale=2.0, shift=1.0)
FILL = Op(
    "fill",
    lambda x, value: x,
    lambda b, out, x, value: elementwise(b, "elementwise.fill", out, numbers=[Num(value, out.dtype)]),
    (None,),
    examples=(example("f", (5,), value=0.0),),
)
EXP = op("exp", lambda c, dy: c.apply(MUL, dy, c.y))
LOG = op("log", lambda c, dy: c.apply(DIV, dy, c.x))
SQRT = op("sqrt", lambda c, dy: c.apply(DIV, c.apply(AFFINE, dy, scale=0.5, shift=-0.0), c.y))
SQUARE = op("square", lambda c, dy: c.apply(MUL, dy, c.apply(AFFINE, c.x, scale=2.0, shift=-0.0)))
ABS = op("abs", lambda c, dy: c.apply(MUL, dy, c.apply(SIGN, c.x)))
SIGN: Op = op("sign", None)


def _pow_grad_base(c: Any, dy: Any) -> Any:
    """b a**(b-1), and 0 where b is 0, also of a = 0."""
    a, b = c.inputs
    at_zero = c.apply(EQUAL, b, c.apply(FILL, b, value=0.0))
    less = c.apply(WHERE, at_zero, c.apply(FILL, b, value=1.0), c.apply(AFFINE, b, scale=1.0, shift=-1.0))
    return c.apply(MUL, dy, c.apply(MUL, b, c.apply(POW, a, less)))


def _pow_grad_exponent(c: Any, dy: Any) -> Any:
    """x**y log x, and 0 where x is 0."""
    at_zero = c.apply(EQUAL, c.x, c.apply(FILL, c.x, value=0.0))
    log = c.apply(LOG, c.apply(WHERE, at_zero, c.apply(FILL, c.x, value=1.0), c.x))
    return c.apply(MUL, dy, c.apply(MUL, c.y, log))


POW = op("pow", _pow_grad_base, _pow_grad_exponent)
TANH = op("tanh", lambda c, dy: c.apply(TANH_GRAD, c.y, dy))
# (1 - y y) dy: its own gradients are -2 y dy g and itself
TANH_GRAD: Op = op(
    "tanh_grad",
    lambda c, g: c.apply(MUL, g, c.apply(MUL, c.apply(AFFINE, c.x, scale=-2.0, shift=-0.0), c.inputs[1])),
    lambda c, g: c.apply(TANH_GRAD, c.x, g),
)
SIGMOID = op("sigmoid", lambda c, dy: c.apply(SIGMOID_GRAD, c.y, dy))
# y (1 - y) dy
SIGMOID_GRAD: Op = op(
    "sigmoid_grad",
    lambda c, g: c.apply(MUL, g, c.apply(MUL, c.apply(AFFINE, c.x, scale=-2.0, shift=1.0), c.inputs[1])),
    lambda c, g: c.apply(SIGMOID_GRAD, c.x, g),
)
RELU = op("relu", lambda c, dy: c.apply(RELU_GRAD, c.y, dy))
RELU_GRAD: Op = op("relu_grad", None, lambda c, g: c.apply(RELU_GRAD, c.x, g))


def _mask(condition: Op) -> Rule:
    """dy where the condition on the two inputs holds, else 0."""

    def rule(c: Any, dy: Any) -> Any:
        zero = c.apply(FILL, dy, value=0.0)
        return c.apply(WHERE, c.apply(condition, *c.inputs), dy, zero)

    return rule


LESS, LESS_EQUAL, EQUAL, NOT_EQUAL = map(compare, ("less", "less_equal", "equal", "not_equal"))
GREATER, GREATER_EQUAL = compare("greater", "less"), compare("greater_equal", "less_equal")
MAXIMUM = op("maximum", _mask(GREATER_EQUAL), _mask(LESS))  # equal arguments: all to the first
MINIMUM = op("minimum", _mask(LESS_EQUAL), _mask(GREATER))


def _where_shape(mask: Spec, a: Spec, b: Spec) -> Spec:
    expect(mask.dtype == bool, "where", "condition", "an array of bool", str(mask.dtype), error=DTypeError)
    expect(mask.shape == a.shape, "where", "condition", f"of shape {a.shape}", str(mask.shape), error=ShapeError)
    return same("where", floats=False)(a, b)


def _where_rule(first: bool) -> Rule:
    def rule(c: Any, dy: Any) -> Any:
        zero = c.apply(FILL, dy, value=0.0)
        return c.apply(WHERE, c.x, *((dy, zero) if first else (zero, dy)))

    return rule


WHERE = Op(
    "where",
    _where_shape,
    _kernel("where"),
    (None, _where_rule(True), _where_rule(False)),
    examples=(example("bff", (5,), (5,), (5,)),),
)

OPS = (
    NEG, ADD, SUB, MUL, DIV, AFFINE, FILL, EXP, LOG, SQRT, SQUARE, ABS, SIGN, POW, TANH, TANH_GRAD, SIGMOID,
    SIGMOID_GRAD, RELU, RELU_GRAD, LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, GREATER, GREATER_EQUAL, MAXIMUM, MINIMUM, WHERE,
)  # fmt: skip
