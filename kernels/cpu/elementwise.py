"""Loops over 1-D arrays of one length, output first; if it is an input too, no vectors are used, and it is slow."""

import operator

from .. import scalar
from ..jit import fma, kernel
from ..jit import sqrt as root


@kernel
def copy(y, x):
    """y = x, both 1-D; of different types it is a cast."""
    for i in range(y.size):
        y[i] = x[i]


@kernel
def fill(y, value):
    """y = value, 1-D."""
    for i in range(y.size):
        y[i] = value


def unary(name, f):
    """The kernel y[i] = f(x[i])."""

    def loop(y, x):
        for i in range(y.size):
            y[i] = f(x[i])

    loop.__name__ = loop.__qualname__ = name
    return kernel(loop)


def binary(name, f):
    """The kernel y[i] = f(a[i], b[i])."""

    def loop(y, a, b):
        for i in range(y.size):
            y[i] = f(a[i], b[i])

    loop.__name__ = loop.__qualname__ = name
    return kernel(loop)


cast = copy  # from one type to another
abs = unary("abs", abs)
sign = unary("sign", scalar.sign)
square = unary("square", scalar.square)
reciprocal = unary("reciprocal", scalar.reciprocal)
sqrt = unary("sqrt", root)
exp = unary("exp", scalar.exp)
log = unary("log", scalar.log)
tanh = unary("tanh", scalar.tanh)
sigmoid = unary("sigmoid", scalar.sigmoid)
relu = unary("relu", scalar.relu)

add = binary("add", operator.add)
sub = binary("sub", operator.sub)
mul = binary("mul", operator.mul)
div = binary("div", operator.truediv)
pow = binary("pow", scalar.pow)
maximum = binary("maximum", scalar.maximum)
minimum = binary("minimum", scalar.minimum)

# The output is of bool, or 0 and 1 of any type.
less = binary("less", operator.lt)
less_equal = binary("less_equal", operator.le)
equal = binary("equal", operator.eq)
not_equal = binary("not_equal", operator.ne)

# dx from (y, dy), y being the function's result.
tanh_grad = binary("tanh_grad", scalar.tanh_grad)
sigmoid_grad = binary("sigmoid_grad", scalar.sigmoid_grad)
relu_grad = binary("relu_grad", scalar.relu_grad)


@kernel
def where(y, mask, a, b):
    """a where the mask is not 0, else b."""
    for i in range(y.size):
        y[i] = a[i] if mask[i] else b[i]


@kernel
def affine(y, x, scale, shift):
    """y = scale x + shift, rounded once."""
    for i in range(y.size):
        y[i] = fma(scale, x[i], shift)
