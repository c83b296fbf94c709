"""Activation functions in Flux's names. Each takes an array of any shape, and keeps shape and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import functions as F
from .functions import floats, sigmoid, tanh
from .op import DTypeError, ShapeError, expect
from .ops import activation as A
from .ops.random import UNIFORM
from .ranges import check
from .rng import Generator, as_generator
from .session import draw
from .shapes import Axis, axis_in
from .trace import apply

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017

sigmoid_fast, tanh_fast = sigmoid, tanh  # Flux's names of quicker, coarser ones; these are quick already


def _clamp(x: Any, lo: float, hi: float) -> Any:
    return apply(A.CLAMP, floats(x), lo=float(lo), hi=float(hi))


def _elu(x: Any, alpha: float, rate: float, scale: float) -> Any:
    return apply(A.ELU, floats(x), alpha=float(alpha), rate=float(rate), scale=float(scale))


def hardsigmoid(x: Any) -> Any:
    """(x + 3) / 6, at least 0 and at most 1; the gradient is 0 from the ends on.

    >>> hardsigmoid(np.array([-4.0, 0.0, 3.0], np.float32)).tolist()
    [0.0, 0.5, 1.0]
    """
    return F.mul(_clamp(F.add(floats(x), 3.0), 0, 6), 1 / 6)


def hardtanh(x: Any) -> Any:
    """x, at least -1 and at most 1; the gradient is 0 from the ends on.

    >>> hardtanh(np.array([-2.0, 0.25, 2.0], np.float32)).tolist()
    [-1.0, 0.25, 1.0]
    """
    return _clamp(x, -1, 1)


def relu6(x: Any) -> Any:
    """x, at least 0 and at most 6; the gradient is 0 from the ends on.

    >>> relu6(np.array([-1.0, 2.0, 7.0], np.float32)).tolist()
    [0.0, 2.0, 6.0]
    """
    return _clamp(x, 0, 6)


def leakyrelu(x: Any, a: float = 0.01) -> Any:
    """x where it is above 0, else a x.

    >>> leakyrelu(np.array([-4.0, 3.0], np.float32), a=0.25).tolist()
    [-1.0, 3.0]
    """
    return apply(A.LEAKYRELU, floats(x), a=float(check("leakyrelu.a", a)))


def rrelu(x: Any, l: float = 1 / 8, u: float = 1 / 3, rng: Generator | int | None = None) -> Any:  # noqa: E741
    """leakyrelu with a slope for each element that is drawn from [l, u) at each call, whether in training or not.

    Source: Xu et al. 2015, section 2.4.

    >>> y = rrelu(np.array([-1.0, 3.0], np.float32), rng=0)
    >>> bool(-1 / 3 < y[0] <= -1 / 8), float(y[1])
    (True, 3.0)
    """
    x, low, high = floats(x), float(check("rrelu.l", l)), float(check("rrelu.u", u))
    expect(low <= high, "rrelu", "u", f"at least l = {low}", high)
    words, offset = draw(as_generator(rng, "rrelu"))
    slopes = apply(UNIFORM, x, words, low=low, high=high, offset=offset)
    return F.where(F.less_equal(x, 0.0), F.mul(slopes, x), x)


def trelu(x: Any, theta: float = 1.0) -> Any:
    """x where it is above theta, else 0; also called thresholdrelu. Source: Konda et al. 2014.

    >>> trelu(np.array([0.5, 1.0, 1.5], np.float32)).tolist()
    [0.0, 0.0, 1.5]
    """
    x, theta = floats(x), float(check("trelu.theta", theta))
    expect(x.dtype.kind == "f", "trelu", "x", "an array of float32 or float64", str(x.dtype), "x.astype(np.float32)",
           DTypeError)  # fmt: skip
    return F.where(F.less_equal(x, theta), 0.0, x)


thresholdrelu = trelu


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is above 0, else alpha (exp(x) - 1). Source: Clevert et al. 2015.

    >>> elu(np.array([-1e9, 3.0], np.float32), alpha=0.5).tolist()
    [-0.5, 3.0]
    """
    return _elu(x, check("elu.alpha", alpha), 1.0, 1.0)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is above 0, else alpha (exp(x / alpha) - 1): of slope 1 at 0. Source: Barron 2017.

    >>> celu(np.array([-1e9, 3.0], np.float32), alpha=0.5).tolist()
    [-0.5, 3.0]
    """
    return _elu(x, check("celu.alpha", alpha), 1.0 / alpha, 1.0)


def selu(x: Any) -> Any:
    """1.0507 x where x is above 0, else 1.7581 (exp(x) - 1): it keeps mean 0 and variance 1.

    Source: Klambauer et al. 2017.

    >>> selu(np.array([-1e9, 1.0])).round(4).tolist()
    [-1.7581, 1.0507]
    """
    return _elu(x, SELU_SCALE * SELU_ALPHA, 1.0, SELU_SCALE)


def gelu(x: Any) -> Any:
    """x sigmoid(sqrt(8 / pi) (x + 0.044715 x**3)), the form by tanh; also called gelu_tanh and gelu_sigmoid.

    PyTorch's default is gelu_erf. Source: Hendrycks and Gimpel 2016, section 2.

    >>> gelu(np.array([-1e9, 0.0, 10.0], np.float32)).tolist()
    [-0.0, 0.0, 10.0]
    """
    return apply(A.GELU, floats(x))


gelu_tanh = gelu_sigmoid = gelu  # x (1 + tanh(u)) / 2 = x sigmoid(2 u)


def gelu_erf(x: Any) -> Any:
    """x times the normal distribution's share below x: x (1 + erf(x / sqrt(2))) / 2. Source: Hendrycks and Gimpel 2016.

    >>> gelu_erf(np.array([-1e9, 0.0, 10.0], np.float32)).tolist()
    [-0.0, 0.0, 10.0]
    """
    return apply(A.GELU_ERF, floats(x))


def swish(x: Any) -> Any:
    """x sigmoid(x), also known as SiLU. Source: Ramachandran et al. 2017.

    >>> swish(np.array([-1e9, 0.0, 1e9], np.float32)).tolist()
    [-0.0, 0.0, 1000000000.0]
    """
    return apply(A.SWISH, floats(x))


def hardswish(x: Any) -> Any:
    """x hardsigmoid(x). Source: Howard et al. 2019, section 5.2.

    >>> hardswish(np.array([-4.0, 0.0, 3.0], np.float32)).tolist()
    [-0.0, 0.0, 3.0]
    """
    x = floats(x)
    return F.mul(F.maximum(x, -3.0), hardsigmoid(x))  # below -3 it is 0, also for -inf


def mish(x: Any) -> Any:
    """x tanh(softplus(x)). Source: Misra 2019.

    >>> mish(np.array([-1e9, 0.0, 1e9], np.float32)).tolist()
    [-0.0, 0.0, 1000000000.0]
    """
    return apply(A.MISH, floats(x))


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without its overflow.

    >>> softplus(np.array([-1000.0, 0.0, 1000.0])).round(4).tolist()
    [0.0, 0.6931, 1000.0]
    """
    return apply(A.SOFTPLUS, floats(x))


def logsigmoid(x: Any) -> Any:
    """The logarithm of sigmoid(x), without its underflow: -softplus(-x).

    >>> logsigmoid(np.array([-1000.0, 0.0, 1000.0])).round(4).tolist()
    [-1000.0, -0.6931, -0.0]
    """
    return F.negative(softplus(F.negative(floats(x))))


def logcosh(x: Any) -> Any:
    """log(cosh(x)), without its overflow.

    >>> logcosh(np.array([0.0, 1000.0])).round(4).tolist()
    [0.0, 999.3069]
    """
    return apply(A.LOGCOSH, floats(x))


def lisht(x: Any) -> Any:
    """x tanh(x). Source: Roy et al. 2019.

    >>> lisht(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [1000.0, 0.0, 1000.0]
    """
    x = floats(x)
    return F.mul(x, tanh(x))


def softsign(x: Any) -> Any:
    """x / (1 + |x|). Source: Bergstra et al. 2009.

    >>> softsign(np.array([-1.0, 0.0, 3.0])).tolist()
    [-0.5, 0.0, 0.75]
    """
    return apply(A.SOFTSIGN, floats(x))


def softshrink(x: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by lambd, and 0 where it is nearer than that.

    >>> softshrink(np.array([-2.0, 0.25, 2.0])).tolist()
    [-1.5, 0.0, 1.5]
    """
    x, lambd = floats(x), float(check("softshrink.lambd", lambd))
    return F.sub(F.relu(F.sub(x, lambd)), F.relu(F.sub(-lambd, x)))


def tanhshrink(x: Any) -> Any:
    """x - tanh(x).

    >>> tanhshrink(np.array([-100.0, 0.0, 100.0])).tolist()
    [-99.0, 0.0, 99.0]
    """
    return apply(A.TANHSHRINK, floats(x))


def glu(x: Any, axis: int = -1) -> Any:
    """The first half of x along an axis, times the sigmoid of the second: (..., 2 c) gives (..., c).

    Raises ShapeError where the axis cannot be halved. Source: Dauphin et al. 2016, equation 1.

    >>> glu(np.array([[3.0, 0.0]])).tolist()
    [[1.5]]
    """
    x = floats(x)
    axis = axis_in(axis, x.ndim, "glu")
    half, odd = divmod(x.shape[axis], 2)
    expect(not odd, "glu", "x", "of an even number of elements along the axis", f"shape {tuple(x.shape)}",
           error=ShapeError)  # fmt: skip
    before = (slice(None),) * axis
    return F.mul(F.getitem(x, (*before, slice(half))), sigmoid(F.getitem(x, (*before, slice(half, None)))))


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over axes (all unless told), without its overflow; the gradient is softmax.

    >>> logsumexp(np.array([[1000.0, 1000.0]]), axis=1).round(4).tolist()
    [1000.6931]
    """
    x = floats(x)
    top = F.max(x, axis, True)
    limit = float(np.finfo(x.dtype).max)
    top = F.stop_gradient(_clamp(top, -limit, limit))  # finite, so that inf - inf is not asked for
    y = F.add(F.log(F.sum(F.exp(F.sub(x, top)), axis, True)), top)
    return y if keepdims else F.squeeze(y, axis)


ACTIVATIONS = (
    hardsigmoid, hardtanh, relu6, leakyrelu, rrelu, trelu, elu, celu, selu, gelu, gelu_erf, swish, hardswish, mish,
    softplus, logsigmoid, logcosh, lisht, softsign, softshrink, tanhshrink, glu, logsumexp,
)  # fmt: skip
