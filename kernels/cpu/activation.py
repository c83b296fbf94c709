"""Activations and their gradients over 1-D arrays of one length, output first; numbers in the order of their names."""

from .. import activation as scalar
from ..jit import kernel
from .elementwise import binary, unary

mish = unary("mish", scalar.mish)
softplus = unary("softplus", scalar.softplus)
logcosh = unary("logcosh", scalar.logcosh)
gelu_erf = unary("gelu_erf", scalar.gelu_erf)

# dx from (x, dy).
mish_grad = binary("mish_grad", scalar.mish_grad)
gelu_erf_grad = binary("gelu_erf_grad", scalar.gelu_erf_grad)


@kernel
def clamp(y, x, hi, lo):
    for i in range(y.size):
        y[i] = scalar.clamp(x[i], hi, lo)


@kernel
def clamp_grad(dx, y, dy, hi, lo):
    for i in range(dx.size):
        dx[i] = scalar.clamp_grad(y[i], dy[i], hi, lo)


@kernel
def leakyrelu(y, x, a):
    for i in range(y.size):
        y[i] = scalar.leakyrelu(x[i], a)


@kernel
def leakyrelu_grad(dx, x, dy, a):
    for i in range(dx.size):
        dx[i] = scalar.leakyrelu_grad(x[i], dy[i], a)


@kernel
def elu(y, x, alpha, rate, scale):
    for i in range(y.size):
        y[i] = scalar.elu(x[i], alpha, rate, scale)


@kernel
def elu_grad(dx, x, dy, alpha, rate, scale):
    for i in range(dx.size):
        dx[i] = scalar.elu_grad(x[i], dy[i], alpha, rate, scale)


@kernel
def gated(y, x, cubic, rate):
    for i in range(y.size):
        y[i] = scalar.gated(x[i], cubic, rate)


@kernel
def gated_grad(dx, x, dy, cubic, rate):
    for i in range(dx.size):
        dx[i] = scalar.gated_grad(x[i], dy[i], cubic, rate)
