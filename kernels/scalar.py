"""Scalar maths and derivatives, written once for float32 and float64, for loops on the CPU and threads on a GPU.

No branch, no table, no libm: a plain loop over one of these vectorises, and its remainder has the bits of its body. NaN
passes; infinities and the signs of zeros are IEEE's. Accuracy is stated with FMA, subnormal numbers kept; without FMA
it is 4 ulp, and worse for pow in float64.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from .jit import HAS_FMA, fma

inlined = njit(error_model="numpy", nogil=True, _nrt=False, forceinline=True)  # a call in a loop would stop its vectors

WIDTH = {types.float32: 32, types.float64: 64}
MANTISSA = {types.float32: 23, types.float64: 52}
ROUNDER = {types.float32: 1.5 * 2**23, types.float64: 1.5 * 2**52}  # adding it rounds to integers, held in the low bits


def _choose(typ, single, double):
    return {types.float32: single, types.float64: double}.get(typ)


def constant(single, double):
    """A function of x: the constant in the type of x."""

    @intrinsic
    def value(typing, x):
        number = _choose(x, single, double)
        if number is None:
            return None
        return x(x), lambda context, builder, sig, args: ir.Constant(context.get_value_type(x), number)

    return value


def polynomial(single, double):
    """A function of x: the polynomial with the coefficients for x's type, constant term first, by Horner's rule."""

    @intrinsic
    def evaluate(typing, x):
        def generate(context, builder, sig, args):
            typ = context.get_value_type(x)
            *rest, y = [ir.Constant(typ, c) for c in _choose(x, single, double)]
            for c in reversed(rest):
                y = builder.fma(args[0], y, c) if HAS_FMA else builder.fadd(builder.fmul(args[0], y), c)
            return y

        return (x(x), generate) if x in WIDTH else None

    return evaluate


@intrinsic
def typed(typing, value, x):
    """The number `value` in the type of x, so that float32 stays float32."""
    return x(value, x), lambda context, builder, sig, args: context.cast(builder, args[0], value, x)


@intrinsic
def power_of_two(typing, t):
    """2**n from t = n + exponent_shift(t): n and the exponent's bias stand in the low bits of t."""

    def generate(context, builder, sig, args):
        integer = ir.IntType(WIDTH[t])
        shifted = builder.shl(builder.bitcast(args[0], integer), integer(MANTISSA[t]))
        return builder.bitcast(shifted, context.get_value_type(t))

    return t(t), generate


@intrinsic
def split(typing, x):
    """(k, m), both floats: x = 2**k * m with m from sqrt(1/2) to sqrt(2), for normal x > 0."""
    root = _choose(x, np.float32(0.5**0.5).view(np.int32), np.float64(0.5**0.5).view(np.int64))
    view = _choose(x, np.int32, np.int64)

    def generate(context, builder, sig, args):
        typ, integer = context.get_value_type(x), ir.IntType(WIDTH[x])
        bits = builder.bitcast(args[0], integer)
        k = builder.ashr(builder.sub(bits, integer(int(root))), integer(MANTISSA[x]))
        m = builder.bitcast(builder.sub(bits, builder.shl(k, integer(MANTISSA[x]))), typ)
        rounder = np.array(ROUNDER[x], str(x))
        k = builder.bitcast(builder.add(k, integer(int(rounder.view(view)))), typ)
        return context.make_tuple(builder, sig.return_type, (builder.fsub(k, ir.Constant(typ, float(rounder))), m))

    return types.UniTuple(x, 2)(x), generate


def _instruct(name, context, builder, sig, args):
    typ = args[0].type
    kind = ir.FunctionType(typ, [typ] * len(args))
    return builder.call(builder.module.declare_intrinsic(name, [typ], kind), args)


@intrinsic
def copysign(typing, x, y):
    """x with the sign of y; by bits, as the compiler for GPUs has no such instruction."""

    def generate(context, builder, sig, args):
        integer = ir.IntType(WIDTH[x])
        sign = integer(1 << WIDTH[x] - 1)
        size, signed = (builder.bitcast(a, integer) for a in args)
        bits = builder.or_(builder.and_(size, builder.not_(sign)), builder.and_(signed, sign))
        return builder.bitcast(bits, context.get_value_type(x))

    return x(x, y), generate


@intrinsic
def floor(typing, x):
    """The largest integer that is not above x, as a float."""
    return x(x), lambda *given: _instruct("llvm.floor", *given)


# ln(2) as few bits, so that products with exponents are exact, and the rest.
LN2 = ((0.693145751953125, 1.4286068203094173e-06), (0.6931471805601177, -1.7239444525614835e-13))
LN2_HIGH, LN2_LOW = (constant(LN2[0][i], LN2[1][i]) for i in (0, 1))
LN4_HIGH, LN4_LOW = (constant(2 * LN2[0][i], 2 * LN2[1][i]) for i in (0, 1))
THIRD_LOW = 1.850371707708594e-17  # 1/3 less the float64 nearest to it
LOG2E = 1.4426950408889634
exponent_shift = constant(ROUNDER[types.float32] + 127, ROUNDER[types.float64] + 1023)
exp_highest, exp_lowest = constant(89.0, 710.0), constant(-104.0, -746.0)
tanh_highest = constant(10.0, 20.0)
normal_lowest = constant(2.0**-126, 2.0**-1022)

# Minimax fits of the relative error by Remez' exchange, in 300 bits, then rounded.
exp_series = polynomial(  # e**r, |r| <= ln(2); off by 2**-30, 2**-56
    (1, 1, 0.50000001147051563, 0.16666674293495077, 0.041666517193267543, 0.0083324959134310857, 0.0013893890000652990,
     0.00020115118708244295, 0.000024433563644521775),
    (1, 1, 0.49999999999999926631, 0.16666666666666942202, 0.0416666666667026645, 0.0083333333332688372656,
     0.0013888888883505495911, 0.00019841269893484890911, 0.000024801590866234876368, 2.7557300459185811812e-6,
     2.755614998732250507e-7, 2.5055053586993337234e-8, 2.106298069956202278e-9, 1.5935161811624996015e-10),
)  # fmt: skip
expm1_series = polynomial(  # (e**r - 1 - r) / r**2, |r| <= ln(2) / 2; off by 2**-32, 2**-56
    (0.50000000468117589, 0.16666666352783209, 0.041666348735220281, 0.0083333915283272608, 0.0013941651003447946,
     0.00019846021475541608),
    (0.50000000000000052748, 0.16666666666666587794, 0.041666666666575409832, 0.0083333333333904099288,
     0.0013888888932045720492, 0.0001984126971761658536, 0.000024801504656616971906, 2.7557408203291860779e-6,
     2.762629658572200821e-7, 2.5053786228030935041e-8),
)  # fmt: skip
log_series = polynomial(  # (2 atanh(s) - 2 s) / s**3 in s**2, |s| <= tan(pi/8)**2; off by 2**-30, 2**-60
    (0.66666776677963909, 0.39977499446074640, 0.29872985678557779),
    (0.66666666666667347675, 0.39999999999411761798, 0.28571428743136948715, 0.22222198487306120453,
     0.18183569211460668394, 0.1531391557872564111, 0.14797393847445430961),
)  # fmt: skip
atanh_series = polynomial(  # ((atanh(s) / s - 1) / s**2 - 1/3) / s**2 in s**2, the same s; off by 2**-73 of atanh
    (),
    (0.19999999999999988805, 0.1428571428572253679, 0.11111111108769742097, 0.090909094352410807483,
     0.076922784161719051406, 0.066681598570742185712, 0.058373794369375595551, 0.059947991690748841779),
)  # fmt: skip


@inlined
def exp_of_sum(x, low):
    """e**(x + low), low being less than a unit in the last place of x.

    The power of two is applied in two halves: the first product is exact, so a subnormal result is rounded once.
    """
    x = exp_highest(x) if x > exp_highest(x) else x
    x = exp_lowest(x) if x < exp_lowest(x) else x
    t = fma(x, typed(LOG2E / 2, x), exponent_shift(x))
    n = t - exponent_shift(x)
    r = fma(n, -LN4_LOW(x), fma(n, -LN4_HIGH(x), x)) + low
    half = power_of_two(t)
    return exp_series(r) * half * half


@inlined
def exp(x):
    """e**x, within 1.5 units in the last place (ulp) in float32 and float64."""
    return exp_of_sum(x, typed(-0.0, x))


@inlined
def log(x):
    """The natural logarithm, within 1 ulp; -inf at 0, NaN below."""
    scale, none = typed(2.0**64, x), typed(0, x)
    subnormal = x < normal_lowest(x)
    k, m = split(x * scale if subnormal else x)
    k -= typed(64, x) if subnormal else none
    f = m - typed(1, x)
    s = f / (m + typed(1, x))
    z, half_square = s * s, typed(0.5, x) * f * f
    tail = fma(s, fma(z, log_series(z), half_square), k * LN2_LOW(x))
    y = fma(k, LN2_HIGH(x), -((half_square - tail) - f))
    y = x if x == typed(np.inf, x) else y
    y = typed(-np.inf, x) if x == none else y
    return y if x >= none else typed(np.nan, x)


@inlined
def tanh(x):
    """The hyperbolic tangent, within 2.6 ulp: e / (e + 2) with e = exp(2 |x|) - 1 = 2**n (exp(r) - 1) + (2**n - 1)."""
    a = abs(x)
    a = tanh_highest(x) if a > tanh_highest(x) else a
    t = fma(a, typed(2 * LOG2E, x), exponent_shift(x))
    n = t - exponent_shift(x)
    r = fma(n, -LN2_LOW(x), fma(n, -LN2_HIGH(x), a + a))
    scale = power_of_two(t)
    e = fma(scale, fma(r * r, expm1_series(r), r), scale - typed(1, x))
    return copysign(e / (e + typed(2, x)), x)


@inlined
def sigmoid(x):
    """1 / (1 + exp(-x)), within 3 ulp however negative x is."""
    e, one = exp(-abs(x)), typed(1, x)
    return (one if x >= typed(0, x) else e) / (one + e)


@inlined
def log_pair(x):
    """The logarithm of a positive, finite float64 as a sum (high, low), off by 2**-65 of itself."""
    subnormal = x < normal_lowest(x)
    k, m = split(x * 2.0**64 if subnormal else x)
    k -= 64.0 if subnormal else 0.0
    f, g = m - 1.0, m + 1.0
    s = f / g
    s_low = fma(-s, m - (g - 1.0), fma(-s, g, f)) / g  # f = (s + s_low) (1 + m), g having been rounded
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    q = z * atanh_series(z)
    t = 1 / 3 + q
    t_low = 1 / 3 - t + q + THIRD_LOW
    u = z * t
    u_low = fma(z, t, -u) + (z * t_low + z_low * t)
    v = s * u
    v_low = fma(s, u, -v) + (s * u_low + s_low * u)
    w = s + v  # atanh(s) = s + s (u + u_low)
    w_low = s - w + v + (s_low + v_low)
    base = k * LN2_HIGH(x)
    high = base + 2.0 * w
    return high, base - high + 2.0 * w + fma(k, LN2_LOW(x), 2.0 * w_low)


@inlined
def power32(a, y):
    """By float64, whose 29 more bits are enough."""
    x = typed(a, 1.0)
    return typed(exp(typed(y, x) * log(x)), a)


@inlined
def power64(a, y):
    """By a logarithm of twice the bits, since y multiplies its error; where the CPU has no FMA the low half is lost."""
    high, low = log_pair(a)
    high = typed(-np.inf, a) if a == 0.0 else high
    high = high if a < np.inf else a
    p = y * high
    p_low = fma(y, high, -p) + y * low
    return exp_of_sum(p, p_low if abs(p) < 1000.0 else 0.0)


def power(a, y):
    """a**y for a >= 0, all but the rules for ones, infinities and zeros that only pow knows."""


@overload(power)
def choose_power(a, y):
    chosen = _choose(a, power32, power64)
    return lambda a, y: chosen(a, y)


@inlined
def pow(x, y):
    """x**y within 0.6 ulp (float32), 1.8 (float64), by IEEE's rules: 1 where y = 0 or x = 1; x < 0: integer y only."""
    one, half = typed(1, x), typed(0.5, x) * y
    infinite = typed(np.inf, x)
    integer = floor(y) == y
    odd = integer and floor(half) != half
    result = power(abs(x), y)
    result = copysign(result, x) if odd else result
    result = typed(np.nan, x) if x < typed(0, x) and x > -infinite and not integer else result
    return one if y == typed(0, x) or x == one or (x == -one and abs(y) == infinite) else result


@inlined
def square(x):
    return x * x


@inlined
def reciprocal(x):
    return typed(1, x) / x


@inlined
def sign(x):
    """-1, 1, or x itself where that is 0 or NaN."""
    y = typed(-1, x) if x < typed(0, x) else x
    return typed(1, x) if x > typed(0, x) else y


@inlined
def relu(x):
    return typed(0, x) if x <= typed(0, x) else x


@inlined
def maximum(x, y):
    """The larger; NaN where either is."""
    return x if x > y or x != x else y


@inlined
def minimum(x, y):
    """The smaller; NaN where either is."""
    return x if x < y or x != x else y


@inlined
def tanh_grad(y, dy):
    """From y = tanh(x)."""
    return fma(-y, y, typed(1, y)) * dy


@inlined
def sigmoid_grad(y, dy):
    """From y = sigmoid(x)."""
    return y * (typed(1, y) - y) * dy


@inlined
def relu_grad(y, dy):
    """From y = relu(x): 0 at 0; a NaN lets dy pass, so that it is not hidden."""
    return typed(0, y) if y <= typed(0, y) else dy
