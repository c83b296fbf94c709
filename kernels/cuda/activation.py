"""Activations and their gradients over 1-D arrays of one length: kernels/cpu/activation.py on a GPU."""

from .elementwise import binary, from_one, from_two, unary
from .jit import activation as scalar
from .jit import kernel

mish = unary("mish", scalar.mish)
softplus = unary("softplus", scalar.softplus)
logcosh = unary("logcosh", scalar.logcosh)
gelu_erf = unary("gelu_erf", scalar.gelu_erf)

# dx from (x, dy).
mish_grad = binary("mish_grad", scalar.mish_grad)
gelu_erf_grad = binary("gelu_erf_grad", scalar.gelu_erf_grad)

each_clamp, each_clamp_grad = from_one(scalar.clamp), from_two(scalar.clamp_grad)
each_leakyrelu, each_leakyrelu_grad = from_one(scalar.leakyrelu), from_two(scalar.leakyrelu_grad)
each_elu, each_elu_grad = from_one(scalar.elu), from_two(scalar.elu_grad)
each_gated, each_gated_grad = from_one(scalar.gated), from_two(scalar.gated_grad)


@kernel
def clamp(y, x, hi, lo):
    each_clamp(y, x, (hi, lo))


@kernel
def clamp_grad(dx, y, dy, hi, lo):
    each_clamp_grad(dx, y, dy, (hi, lo))


@kernel
def leakyrelu(y, x, a):
    each_leakyrelu(y, x, (a,))


@kernel
def leakyrelu_grad(dx, x, dy, a):
    each_leakyrelu_grad(dx, x, dy, (a,))


@kernel
def elu(y, x, alpha, rate, scale):
    each_elu(y, x, (alpha, rate, scale))


@kernel
def elu_grad(dx, x, dy, alpha, rate, scale):
    each_elu_grad(dx, x, dy, (alpha, rate, scale))


@kernel
def gated(y, x, cubic, rate):
    each_gated(y, x, (cubic, rate))


@kernel
def gated_grad(dx, x, dy, cubic, rate):
    each_gated_grad(dx, x, dy, (cubic, rate))
