"""Activations with kernels of their own; the others are made of these and of elementwise operations."""

from __future__ import annotations

import math
from typing import Any

from .. import lanes
from ..lowering import Buf, Build, Num, elementwise
from ..op import Op, example
from . import elementwise as E
from .elementwise import ADD, AFFINE, FILL, MUL, SIGMOID, TANH, Rule, same

COST = {"clamp": 0.5, "clamp_grad": 0.5, "leakyrelu": 0.5, "leakyrelu_grad": 0.5}  # ns an element; others 1.5
FAR, HUGE = 1000.0, 1e30  # beyond these a sigmoid is 0 or 1, and 1 + x is x


def op(
    name: str, *grad: Rule | None, kernel: str = "", fixed: tuple[tuple[str, float], ...] = (), **attrs: float
) -> Op:
    """An operation on floats by a kernel, its own name's unless told, with numbers that are fixed or attrs."""

    def lower(b: Build, out: Buf, *ins: Buf, **numbers: float) -> None:
        given = [Num(value, out.dtype) for _, value in sorted([*fixed, *numbers.items()])]
        loop, cost = f"activation.{kernel or name}", COST.get(name, 1.5)
        lanes.elementwise(b, loop, out, *ins, numbers=given, cost=cost)

    return Op(name, same(name), lower, grad, examples=(example("f" * len(grad), *[(5,)] * len(grad), **attrs),))


def _below(c: Any, dx: Any) -> Any:
    """dx where x <= 0, else 0."""
    zero = c.apply(FILL, dx, value=0.0)
    return c.apply(E.WHERE, c.apply(E.LESS_EQUAL, c.x, c.apply(FILL, c.x, value=0.0)), dx, zero)


def _scaled(c: Any, x: Any, scale: float, shift: float = -0.0) -> Any:
    return c.apply(AFFINE, x, scale=scale, shift=shift)


# x moved into lo..hi; its gradient at the ends is 0
CLAMP: Op = op("clamp", lambda c, dy: c.apply(CLAMP_GRAD, c.y, dy, **c.attrs), lo=0.0, hi=6.0)
CLAMP_GRAD: Op = op("clamp_grad", None, lambda c, g: c.apply(CLAMP_GRAD, c.x, g, **c.attrs), lo=0.0, hi=6.0)

# x above 0, a x below
LEAKYRELU: Op = op("leakyrelu", lambda c, dy: c.apply(LEAKYRELU_GRAD, c.x, dy, **c.attrs), a=0.01)
LEAKYRELU_GRAD: Op = op("leakyrelu_grad", None, lambda c, g: c.apply(LEAKYRELU_GRAD, c.x, g, **c.attrs), a=0.01)


def _elu_grad_x(c: Any, g: Any) -> Any:
    """Below 0 the derivative is a power of e, so its own is itself times rate."""
    dx = c.apply(ELU_GRAD, c.x, c.apply(MUL, g, c.inputs[1]), **c.attrs)
    return _below(c, _scaled(c, dx, c.attrs["rate"]))


# scale x above 0, alpha (exp(rate x) - 1) below
ELU: Op = op("elu", lambda c, dy: c.apply(ELU_GRAD, c.x, dy, **c.attrs), alpha=1.0, rate=1.0, scale=1.0)
ELU_GRAD: Op = op(
    "elu_grad", _elu_grad_x, lambda c, g: c.apply(ELU_GRAD, c.x, g, **c.attrs), alpha=1.0, rate=1.0, scale=1.0
)


def _gated_grad_x(cubic: float, rate: float) -> Rule:
    """dy s' (2 u' + x u'' + x u' u' (1 - 2 s)) with s = sigmoid(u), u = rate x + cubic x**3."""

    def rule(c: Any, g: Any) -> Any:
        x = c.apply(CLAMP, c.x, lo=-FAR, hi=FAR)
        square = c.apply(MUL, x, x)
        s = c.apply(SIGMOID, c.apply(MUL, x, _scaled(c, square, cubic, rate)))
        slope = _scaled(c, square, 3 * cubic, rate)
        bent = c.apply(MUL, c.apply(MUL, x, c.apply(MUL, slope, slope)), _scaled(c, s, -2.0, 1.0))
        total = c.apply(ADD, _scaled(c, square, 12 * cubic, 2 * rate), bent)
        return c.apply(MUL, c.apply(E.SIGMOID_GRAD, s, g), c.apply(MUL, c.inputs[1], total))

    return rule


def _gated(name: str, cubic: float, rate: float) -> tuple[Op, Op]:
    """x sigmoid(rate x + cubic x**3), and its gradient."""
    fixed = (("cubic", cubic), ("rate", rate))
    grad: Op = op(f"{name}_grad", _gated_grad_x(cubic, rate), lambda c, g: c.apply(grad, c.x, g),
                  kernel="gated_grad", fixed=fixed)  # fmt: skip
    return op(name, lambda c, dy: c.apply(grad, c.x, dy), kernel="gated", fixed=fixed), grad


SWISH, SWISH_GRAD = _gated("swish", 0.0, 1.0)
GELU, GELU_GRAD = _gated("gelu", 0.044715 * math.sqrt(8 / math.pi), math.sqrt(8 / math.pi))


def _gelu_erf_grad_x(c: Any, g: Any) -> Any:
    """dy phi(x) (2 - x**2), phi being the density of the normal distribution."""
    x = c.apply(CLAMP, c.x, lo=-FAR, hi=FAR)
    square = c.apply(MUL, x, x)
    density = _scaled(c, c.apply(E.EXP, _scaled(c, square, -0.5)), 1 / math.sqrt(2 * math.pi))
    return c.apply(MUL, c.apply(MUL, g, c.inputs[1]), c.apply(MUL, density, _scaled(c, square, -1.0, 2.0)))


GELU_ERF: Op = op("gelu_erf", lambda c, dy: c.apply(GELU_ERF_GRAD, c.x, dy))
GELU_ERF_GRAD: Op = op("gelu_erf_grad", _gelu_erf_grad_x, lambda c, g: c.apply(GELU_ERF_GRAD, c.x, g))

# log(1 + exp(x)), log(cosh(x))
SOFTPLUS = op("softplus", lambda c, dy: c.apply(MUL, dy, c.apply(SIGMOID, c.x)))
LOGCOSH = op("logcosh", lambda c, dy: c.apply(MUL, dy, c.apply(TANH, c.x)))


def _mish_grad_x(c: Any, g: Any) -> Any:
    """dy w (2 + x (1 - s - 2 t s)) with s = sigmoid(x), t = tanh(softplus(x)), w = (1 - t t) s, which is t'."""
    x = c.apply(CLAMP, c.x, lo=-FAR, hi=FAR)
    s, t = c.apply(SIGMOID, x), c.apply(TANH, c.apply(SOFTPLUS, x))
    inner = c.apply(E.SUB, _scaled(c, s, -1.0, 1.0), c.apply(MUL, _scaled(c, t, 2.0), s))
    total = _scaled(c, c.apply(MUL, x, inner), 1.0, 2.0)
    w = c.apply(E.TANH_GRAD, t, s)
    return c.apply(MUL, c.apply(MUL, g, c.inputs[1]), c.apply(MUL, w, total))


# x tanh(softplus(x))
MISH: Op = op("mish", lambda c, dy: c.apply(MISH_GRAD, c.x, dy))
MISH_GRAD: Op = op("mish_grad", _mish_grad_x, lambda c, g: c.apply(MISH_GRAD, c.x, g))


def _softsign(b: Build, out: Buf, x: Buf) -> None:
    near, size, below = (b.temp(x.shape, x.dtype) for _ in range(3))
    limits = [Num(HUGE, x.dtype), Num(-HUGE, x.dtype)]  # an infinity over another would be NaN
    elementwise(b, "activation.clamp", near, x, numbers=limits)
    elementwise(b, "elementwise.abs", size, near)
    elementwise(b, "elementwise.affine", below, size, numbers=[Num(1.0, x.dtype)] * 2)
    elementwise(b, "elementwise.div", out, near, below, cost=1.0)


def _softsign_grad(c: Any, dy: Any) -> Any:
    """dy / (1 + |x|)**2: of the quotient's rule, which subtracts, little would be left where x is large."""
    below = _scaled(c, c.apply(E.ABS, c.x), 1.0, 1.0)
    return c.apply(E.DIV, c.apply(E.DIV, dy, below), below)


def _tanhshrink(b: Build, out: Buf, x: Buf) -> None:
    y = b.temp(x.shape, x.dtype)
    elementwise(b, "elementwise.tanh", y, x, cost=1.0)
    elementwise(b, "elementwise.sub", out, x, y)


# x / (1 + |x|), x - tanh(x): by kernels that are there, with gradients that rounding leaves whole
SOFTSIGN = Op("softsign", same("softsign"), _softsign, (_softsign_grad,), examples=(example("f", (5,)),))
TANHSHRINK = Op(
    "tanhshrink",
    same("tanhshrink"),
    _tanhshrink,
    (lambda c, dy: c.apply(MUL, dy, c.apply(E.SQUARE, c.apply(TANH, c.x))),),
    examples=(example("f", (5,)),),
)

OPS = (
    CLAMP, CLAMP_GRAD, LEAKYRELU, LEAKYRELU_GRAD, ELU, ELU_GRAD, SWISH, SWISH_GRAD, GELU, GELU_GRAD, GELU_ERF,
    GELU_ERF_GRAD, SOFTPLUS, LOGCOSH, MISH, MISH_GRAD, SOFTSIGN, TANHSHRINK,
)  # fmt: skip
