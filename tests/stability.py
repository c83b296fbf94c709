"""Extremes, and what is right there: formulas as papers have them in 250 digits, where nothing overflows or cancels.

Rules of numbaflux that this states: subnormal numbers count as 0; what is too large for the dtype is Inf; where a slope
jumps, the gradient lies between both sides.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np

mp = mpmath.MPContext()
mp.dps = 250
STEP = mp.mpf(10) ** -80  # of differences: far below what any formula changes over, far above 250 digits

SUB = "subnormal"  # half the smallest normal number of a dtype
REAL = (0, SUB, 1e-30, -1e-30, 0.3, 1, -1, 1e30, -1e30)
POSITIVE = (0, SUB, 1e-30, 0.3, 1, 1e30)
SHARE = (0, SUB, 1e-30, 0.3, 0.5, 1)
BITS, SIGNS = (0, 1), (-1, 1)
ROWS = tuple(itertools.product((0, 1, 1e30, -1e30), repeat=3)) + ((SUB, 0, 0), (1e-30, -1e-30, 0), (0.3, -2, 1))
SHARES = ((1, 0, 0), (0, 0, 1), (0.5, 0.5, 0), (1e-30, 0, 1), (SUB, 1, 0), (0.2, 0.3, 0.5))
ONE = ((1,),)  # one class
PAIRS = tuple(itertools.product(SHARES, SHARES))
VECTORS = ((0, 0, 0), (SUB, 0, 0), (1e-30, 0, -1e-30), (1, -1, 0.5), (1e30, 1e30, -1e30), (1e30, 0, 1))


def numbers(values: Any, dtype: Any) -> np.ndarray:
    """As an array, SUB being half the smallest normal number."""
    tiny = np.finfo(dtype).smallest_normal / 2
    return np.vectorize(lambda v: tiny if v == SUB else dtype(float(v)), otypes=[dtype])(np.array(values, object))


def exact(x: Any) -> Any:
    """A number in 250 digits; a subnormal one counts as 0."""
    x, least = mp.mpf(float(x)), np.finfo(np.asarray(x).dtype).smallest_normal
    return mp.mpf(0) if abs(x) < float(least) else x


def xlogy(x, y):
    return mp.mpf(0) if x == 0 and y <= 0 else x * log(y)


def log(y):
    return mp.log(y) if y > 0 else mp.mpf("-inf") if y == 0 else mp.nan


def total(terms):
    return sum(terms, mp.mpf(0))


def logsoftmax(x):
    return [v - mp.log(total(mp.exp(u) for u in x)) for v in x]


def focal(share, q):
    return -share * max(1 - q, 0) ** 2 * log(q) if q > 0 else mp.inf


def distance(a, b):
    return mp.sqrt(total((x - y + mp.mpf(1e-6)) ** 2 for x, y in zip(a, b, strict=True)))


def cosine(a, b, y):
    lengths = [mp.sqrt(total(v * v for v in x) + mp.mpf(1e-12)) for x in (a, b)]
    cos = total(p * q for p, q in zip(a, b, strict=True)) / (lengths[0] * lengths[1])
    return 1 - cos if y > 0 else max(cos, 0)


class Oracle(NamedTuple):
    """The samples of a loss, the loss of one of them (e: the dtype's eps), and by how many eps of what it may be off:
    of 1 and of the result unless told."""

    samples: Any
    each: Callable[..., Any]
    scale: Callable[..., Any] = lambda *arrays: 1
    rows: bool = False  # whether a sample is a vector
    steep: Callable[..., Any] = lambda *arrays: 0  # the same of slopes, more than that


def product(*kinds):
    return tuple(itertools.product(*kinds))


def largest(*arrays):
    return max(abs(v) for x in arrays for v in (x if isinstance(x, list) else [x]))


TARGETS = (0, 0.3, 1)
LOSSES = {
    "mae": Oracle(product(REAL, REAL), lambda p, y, e: abs(p - y)),
    "mse": Oracle(product(REAL, REAL), lambda p, y, e: (p - y) ** 2),
    "msle": Oracle(product(POSITIVE, POSITIVE), lambda p, y, e: mp.log((p + e) / (y + e)) ** 2,
                   lambda p, y: 150, steep=lambda p, y, e: 3 / (p + e)),
    "huber_loss": Oracle(product(REAL, REAL), lambda p, y, e: (p - y) ** 2 / 2 if abs(p - y) < 1 else abs(p - y) - 0.5),
    "quantile_loss": Oracle(product(REAL, REAL), lambda p, y, e: abs(p - y) / 2),
    "poisson_loss": Oracle(product(POSITIVE, POSITIVE), lambda p, y, e: p - xlogy(y, p),
                           lambda p, y: 1 + p + (abs(xlogy(y, p)) if p > 0 else 0)),
    "hinge_loss": Oracle(product(REAL, SIGNS), lambda p, y, e: max(1 - p * y, 0)),
    "squared_hinge_loss": Oracle(product(REAL, SIGNS), lambda p, y, e: max(1 - p * y, 0) ** 2),
    "siamese_contrastive_loss": Oracle(product(POSITIVE, BITS),
                                       lambda p, y, e: (1 - y) * p**2 + y * max(1 - p, 0) ** 2),
    "binarycrossentropy": Oracle(product(SHARE, TARGETS), lambda p, y, e: -xlogy(y, p + e) - xlogy(1 - y, 1 - p + e),
                                 lambda p, y: 40),
    "logitbinarycrossentropy": Oracle(
        product(REAL, TARGETS), lambda p, y, e: (1 - y) * mp.log1p(mp.exp(p)) + y * mp.log1p(mp.exp(-p))),
    "binary_focal_loss": Oracle(product(SHARE, BITS), lambda p, y, e: focal(1, (p if y else 1 - p) + e)),
    "crossentropy": Oracle(PAIRS, lambda p, y, e: -total(xlogy(b, a + e) for a, b in zip(p, y, strict=True)),
                           lambda p, y: 40, rows=True),
    "logitcrossentropy": Oracle(product(ROWS, SHARES[:3]),
                                lambda p, y, e: -total(b * a for a, b in zip(logsoftmax(p), y, strict=True) if b),
                                lambda p, y: largest(p) + 1, rows=True),
    "nll_loss": Oracle(product(ROWS, SHARES[:3]), lambda p, y, e: -total(b * a for a, b in zip(p, y, strict=True) if b),
                       lambda p, y: largest(p), rows=True),
    "kldivergence": Oracle(PAIRS, lambda p, y, e: total(xlogy(b, b) - xlogy(b, a + e)
                                                        for a, b in zip(p, y, strict=True)),
                           lambda p, y: 40, rows=True),
    "focal_loss": Oracle(PAIRS, lambda p, y, e: total(focal(b, a + e) for a, b in zip(p, y, strict=True)),
                         lambda p, y: 40, rows=True),
    "dice_coeff_loss": Oracle(PAIRS, lambda p, y, e: 1 - (2 * total(a * b for a, b in zip(p, y, strict=True)) + 1) / (
        total(v * v for v in [*p, *y]) + 1), rows=True),
    "tversky_loss": Oracle(PAIRS, lambda p, y, e: 1 - (total(a * b for a, b in zip(p, y, strict=True)) + 1) / (
        total(a * b + mp.mpf(0.7) * (1 - b) * a + mp.mpf(0.3) * b * (1 - a)
              for a, b in zip(p, y, strict=True)) + 1), rows=True),
    "gaussian_nll_loss": Oracle(product(REAL, REAL, (0, SUB, 1e-30, 0.3, 1e30)),
                                lambda p, y, var, e: (mp.log(max(var, mp.mpf(1e-6)))
                                                      + (p - y) ** 2 / max(var, mp.mpf(1e-6))) / 2,
                                lambda p, y, var: 70),
    "margin_ranking_loss": Oracle(product(REAL, REAL, SIGNS), lambda a, b, y, e: max(-y * (a - b), 0)),
    "cosine_embedding_loss": Oracle(product(VECTORS, VECTORS, SIGNS), lambda a, b, y, e: cosine(a, b, y), rows=True),
    "triplet_margin_loss": Oracle(product(VECTORS, VECTORS, VECTORS[3:]),
                                  lambda a, b, c, e: max(distance(a, b) - distance(a, c) + 1, 0), largest, rows=True),
}  # fmt: skip

# name -> formula; what is 0 / 0 there or needs no more digits, as its limit
ACTIVATIONS = {
    "hardsigmoid": lambda x: min(max((x + 3) / 6, 0), 1),
    "hardtanh": lambda x: min(max(x, -1), 1),
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "leakyrelu": lambda x: max(mp.mpf(0.01) * x, x),
    "trelu": lambda x: x if x > 1 else mp.mpf(0),
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "celu": lambda x: x if x > 0 else mp.expm1(x),
    "selu": lambda x: mp.mpf(1.0507009873554805) * (x if x > 0 else mp.mpf(1.6732632423543772) * mp.expm1(x)),
    "gelu": lambda x: x / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))),
    "gelu_erf": lambda x: x / 2 * mp.erfc(-x / mp.sqrt(2)) if abs(x) < 1e3 else max(x, 0),
    "swish": lambda x: x / (1 + mp.exp(-x)),
    "hardswish": lambda x: x * min(max((x + 3) / 6, 0), 1),
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "logsigmoid": lambda x: -mp.log1p(mp.exp(-x)),
    "logcosh": lambda x: abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.log(2),
    "lisht": lambda x: x * mp.tanh(x),
    "softsign": lambda x: x / (1 + abs(x)),
    "softshrink": lambda x: x - min(max(x, mp.mpf(-0.5)), mp.mpf(0.5)),
    "tanhshrink": lambda x: x - mp.tanh(x),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "tanh": mp.tanh,
}  # fmt: skip


def slopes(f: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """The derivatives of f at x from the left and from the right; where f has no value on one side, that of the
    other."""
    here, found = f(x), []
    for step in (-STEP, STEP):
        slope = (f(x + step) - here) / step
        found.append(slope)
    left, right = found
    return (right, right) if mp.isnan(left) else (left, left) if mp.isnan(right) else (left, right)


def wrong(got: Any, low: Any, high: Any, dtype: Any, eps: float, scale: Any) -> str:
    """What is wrong with a number that is to lie from low to high, or nothing."""
    info = np.finfo(dtype)
    low, high = min(low, high), max(low, high)
    slack = eps * float(info.eps)
    if mp.isnan(low) or mp.isnan(high):
        return "" if not np.isfinite(got) else f"{got} where nothing is right"
    low -= slack * (abs(low) + scale) + float(info.smallest_normal)
    high += slack * (abs(high) + scale) + float(info.smallest_normal)
    most = float(info.max) * (1 - slack)
    if np.isinf(got):
        fits = high > most if got > 0 else low < -most
    else:
        fits = not np.isnan(got) and low <= mp.mpf(float(got)) <= high
    return "" if fits else f"{got} instead of {mp.nstr(low, 8)} .. {mp.nstr(high, 8)}"
