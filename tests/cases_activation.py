"""The cases of activations. An exponential of u is off by as many units as u is large, where rounding makes u."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.case import ROUNDED, away, between, flat, normal
from tests.reference import oracle

LIMITS = ({"hi": 1.0, "lo": -1.0}, {"hi": 2.0, "lo": 0.0})
SLOPES = ({"a": 0.25}, {"a": -0.5}, {"a": 2.0})
BENDS = (
    {"alpha": 1.0, "rate": 1.0, "scale": 1.0}, {"alpha": 1.7580993408473766, "rate": 1.0, "scale": 1.0507009873554805},
    {"alpha": 0.7, "rate": 1 / 0.7, "scale": 1.0},
)  # fmt: skip


def spread(rng, shape):
    """Most near 0, some nearly as far as an exponential goes before it is subnormal and counts as 0."""
    return 80 * rng.uniform(-1, 1, shape) ** 3


def _bent(xs: list[Any], attrs: dict[str, Any]) -> Any:
    return oracle("elu_grad")(*xs, **attrs) * (1 + abs(np.where(xs[0] > 0, 0, attrs["rate"] * xs[0])))


def _gelu(xs: list[Any], attrs: dict[str, Any]) -> Any:
    return oracle("gelu")(*xs) * _power(xs[0])


def _power(x: Any) -> Any:
    """1 + |u| of gelu, where its exponential is not 0."""
    x = np.clip(x, -15, 0 * x)
    return 1 + 1.6 * abs(x + 0.044715 * x**3)


def _terms(name: str) -> Any:
    """dy times the absolute values of the two terms of the derivative of x share(x), the second being the rest."""
    shares = {"swish": "sigmoid", "gelu": "gelu", "gelu_erf": "gelu_erf", "mish": "mish"}

    def size(xs: list[Any], attrs: dict[str, Any]) -> Any:
        x, dy = np.where(xs[0] == 0, 1e-9, xs[0]), xs[1]
        share = oracle("sigmoid")(x) if name == "swish" else oracle(shares[name])(x) / x
        both = abs(share) + abs(oracle(f"{name}_grad")(x, 1 + 0 * dy) - share)
        return dy * np.where(np.isinf(x), 1, both) * (_power(x) if name == "gelu" else 1)

    return size


def _tanhs(xs: list[Any], attrs: dict[str, Any]) -> Any:
    return np.maximum(abs(np.tanh(xs[0])), abs(xs[0] - np.tanh(xs[0])))


ACTIVATION = (
    flat("clamp", between, numbers=LIMITS, extremes=True),
    flat("clamp_grad", between, normal, numbers=LIMITS, extremes=True),
    flat("leakyrelu", away, numbers=SLOPES, ulp=ROUNDED, extremes=True),
    flat("leakyrelu_grad", away, normal, numbers=SLOPES, ulp=ROUNDED, extremes=True),
    flat("elu", away, numbers=BENDS, ulp=4, extremes=True),
    flat("elu_grad", away, normal, numbers=BENDS, ulp=4, size=_bent),
    flat("swish", spread, ulp=4, extremes=True),
    flat("swish_grad", normal, normal, ulp=4, size=_terms("swish")),
    flat("gelu", normal, ulp=4, size=_gelu, extremes=True),
    flat("gelu_grad", normal, normal, ulp=4, size=_terms("gelu")),
    flat("gelu_erf", spread, ulp=6, extremes=True),
    flat("gelu_erf_grad", normal, normal, ulp=6, size=_terms("gelu_erf")),
    flat("softplus", spread, ulp=3, extremes=True),
    flat("logcosh", normal, ulp=5, extremes=True),
    flat("mish", spread, ulp=5, extremes=True),
    flat("mish_grad", normal, normal, ulp=6, size=_terms("mish")),
    flat("softsign", away, ulp=2, extremes=True),
    flat("tanhshrink", normal, ulp=4, size=_tanhs, extremes=True),
)
