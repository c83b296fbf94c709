"""Scalar activations and their derivatives, written once for float32 and float64, as in scalar.py: no branch, no libm.

NaN passes, and nothing overflows on the way to a finite result. Accuracy is stated with FMA, subnormal numbers kept, in
units in the last place (ulp) of the result; where |u| stands in it, u is what e is raised to.
"""

from .jit import fma
from .scalar import (
    LN2_HIGH,
    LN2_LOW,
    constant,
    exp,
    exp_of_sum,
    expm1_series,
    exponent_shift,
    inlined,
    log_series,
    polynomial,
    power_of_two,
    relu,
    sigmoid,
    typed,
)

LOG2E = 1.4426950408889634
LN2 = 0.6931471805599453
DENSITY = 0.3989422804014327  # of the normal distribution at 0: 1 / sqrt(2 pi)
FAR = 1000.0  # beyond it, each exponential here is 0 or 1 in both types
tail_end = constant(15.0, 40.0)  # where the normal distribution has no more weight in the type
lowest_power = constant(-30.0, -50.0)  # e to less than this is nothing beside 1

# Chebyshev's fits in 300 bits, then rounded, of (a + 4) Phi(-a) exp(a**2 / 2).
mills_series = polynomial(  # in (a - 4) / (a + 4), 0 <= a <= tail_end; off by 2**-31, 2**-58
    (0.75528513063683049149, -0.60789664262038216712, 0.38713737302500923382, -0.18652183856068397172,
     0.060397145991932653128, -0.007540166937425406028, -0.003483948684414628824, 0.0016285609708286730669,
     0.0001466597385626279281, -0.00021874635555528647917, -0.000016640478916352000093, 0.000014553964073910872685),
    (0.75528513041575149275, -0.60789664197189208999, 0.38713740074221471455, -0.18652185795965909974,
     0.060396574890926743965, -0.0075401889666701104414, -0.0034796923671728700372, 0.0016308184568070216879,
     0.00013334430982456516156, -0.00023109492938839243558, -1.908240607845203707e-6, 0.000035144661400398189296,
     7.165886646833504122e-7, -5.9201127141407493205e-6, -6.2947884084397317436e-7, 1.0214789020416029219e-6,
     2.7141218191472953827e-7, -1.5495755932412737827e-7, -8.4971755408083653184e-8, 1.3383416712902123534e-8,
     1.9350538253064025057e-8, 1.7976553520531678738e-9, -2.457242849207197769e-9, -6.8091877793133619174e-10,
     4.8970406594139059247e-12),
)  # fmt: skip


@inlined
def clamp(x, hi, lo):
    """x, moved into lo..hi."""
    y = lo if x < lo else x
    return hi if y > hi else y


@inlined
def clamp_grad(y, dy, hi, lo):
    """From y = clamp(x): 0 at the ends; a NaN lets dy pass, so that it is not hidden."""
    return typed(0, y) if y <= lo or y >= hi else dy


@inlined
def leakyrelu(x, a):
    return x if x > typed(0, x) else a * x


@inlined
def leakyrelu_grad(x, dy, a):
    """a dy at 0 and below."""
    return a * dy if x <= typed(0, x) else dy


@inlined
def expm1(x):
    """exp(x) - 1 for x <= 0, within 1.5 ulp."""
    x = lowest_power(x) if x < lowest_power(x) else x
    t = fma(x, typed(LOG2E, x), exponent_shift(x))
    n = t - exponent_shift(x)
    r = fma(n, -LN2_LOW(x), fma(n, -LN2_HIGH(x), x))
    scale = power_of_two(t)
    return fma(scale, fma(r * r, expm1_series(r), r), scale - typed(1, x))


@inlined
def log1p(x):
    """log(1 + x) for 0 <= x <= 1, within 1.5 ulp; from sqrt(2) - 1 on as log(2) + log((1 + x) / 2)."""
    upper = x > typed(0.41421356, x)
    f = typed(0.5, x) * (x - typed(1, x)) if upper else x
    k = typed(1, x) if upper else typed(0, x)
    s, half_square = f / (f + typed(2, x)), typed(0.5, x) * f * f
    z = s * s
    tail = fma(s, fma(z, log_series(z), half_square), k * LN2_LOW(x))
    return fma(k, LN2_HIGH(x), -((half_square - tail) - f))


@inlined
def elu(x, alpha, rate, scale):
    """scale x above 0, alpha (exp(rate x) - 1) below, rate > 0; within 3 ulp."""
    return scale * x if x > typed(0, x) else alpha * expm1(rate * x)


@inlined
def elu_grad(x, dy, alpha, rate, scale):
    """Within 3 + |u| ulp."""
    return scale * dy if x > typed(0, x) else alpha * rate * exp(rate * x) * dy


@inlined
def gated(x, cubic, rate):
    """x sigmoid(u), u = rate x + cubic x**3; within 4 ulp where cubic is 0 and rate 1, else within 4 + 3 |u|."""
    near = clamp(x, typed(FAR, x), typed(-FAR, x))
    return (x if x > near else near) * sigmoid(near * fma(cubic, near * near, rate))


@inlined
def gated_grad(x, dy, cubic, rate):
    """dy sigmoid(u) (1 + x u' sigmoid(-u)); of the absolute values of the two terms as gated."""
    x = clamp(x, typed(FAR, x), typed(-FAR, x))
    square, one = x * x, typed(1, x)
    u = x * fma(cubic, square, rate)
    e = exp(-abs(u))
    high = one / (one + e)
    low = e * high
    up, down = (high, low) if u >= typed(0, x) else (low, high)
    return dy * up * fma(x * fma(typed(3, x) * cubic, square, rate), down, one)


@inlined
def mish(x):
    """x tanh(log(1 + exp(x))), a ratio of polynomials in exp(-|x|); within 5 ulp."""
    e, low = exp(-abs(x)), typed(-FAR, x)
    above = x > typed(0, x)
    over = fma(typed(2, x), e, typed(1, x)) if above else e * (e + typed(2, x))
    under = over + (typed(2, x) * e * e if above else typed(2, x))
    return (low if x < low else x) * (over / under)


@inlined
def mish_grad(x, dy):
    """dy (t + x t') with t = tanh(log(1 + exp(x))); within 6 ulp of the absolute values of the two terms."""
    x = clamp(x, typed(FAR, x), typed(-FAR, x))
    e, one, two = exp(-abs(x)), typed(1, x), typed(2, x)
    above = x > typed(0, x)
    over = fma(two, e, one) if above else e * (e + two)
    factor = one / (over + (two * e * e if above else two))
    slope = typed(4, x) * e * (one + e) * (e if above else one) * factor
    return dy * (factor * fma(x, slope, over))


@inlined
def softplus(x):
    """log(1 + exp(x)), within 3 ulp however negative x is."""
    return relu(x) + log1p(exp(-abs(x)))


@inlined
def logcosh(x):
    """log(cosh(x)), within 5 ulp: of 1 + (cosh(x) - 1) near 0, of exp(|x|) (1 + exp(-2 |x|)) / 2 beyond."""
    a = abs(x)
    m = expm1(-a)
    e = m + typed(1, x)
    near = a < typed(1, x)
    base = typed(0, x) if near else a - typed(LN2, x)
    return base + log1p(typed(0.5, x) * m * m / e if near else e * e)


@inlined
def normal(x):
    """(a, p, q): |x| as far as it counts, exp(-a**2 / 2), and Phi(-a) / p, Phi being the normal distribution."""
    a = abs(x)
    a = tail_end(x) if a > tail_end(x) else a
    square = a * a
    p = exp_of_sum(typed(-0.5, x) * square, typed(-0.5, x) * fma(a, a, -square))
    r = typed(1, x) / (a + typed(4, x))
    return a, p, mills_series((a - typed(4, x)) * r) * r


@inlined
def gelu_erf(x):
    """x Phi(x), within 6 ulp however negative x is."""
    _, p, q = normal(x)
    low = -tail_end(x)
    return x * (typed(1, x) - p * q) if x > typed(0, x) else (low if x < low else x) * q * p


@inlined
def gelu_erf_grad(x, dy):
    """dy (Phi(x) + x Phi'(x)); within 6 ulp of the absolute values of the two terms."""
    a, p, q = normal(x)
    tail = p * fma(-a, typed(DENSITY, x), q)
    return dy * (typed(1, x) - tail if x > typed(0, x) else tail)
