"""Models as they are at one moment: copies whose norms are a part of the layers before them."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import functions as F
from .layers import BatchNorm, Chain, Conv, Dense
from .managed import beside, copy
from .op import DTypeError, expect
from .tree import STATIC, arrays, children, rebuilt, replaced


def fixed(model: Any) -> Any:
    """A copy of a model for inference: later changes of the model's arrays are not seen.

    A BatchNorm behind a Dense or Conv without activation goes into its weight and bias: one rounding instead of two.

    >>> model = Chain(Dense(2, 3), BatchNorm(3, F.relu))
    >>> fixed(model)
    Chain(
      0: identity,
      1: Dense(2, 3, relu),                          # 9 parameters
    )
    # 2 arrays, 9 parameters, 36 bytes
    """
    expect(bool(arrays(model)), "compile", "f", "a model where fixed=True", type(model).__name__, error=DTypeError)
    return _folded(replaced(model, lambda path, kind, x: copy(x) if isinstance(x, np.ndarray) else x))


def _folded(node: Any) -> Any:
    below = children(node, STATIC)
    if below is None:
        return node
    parts = [(key, _folded(child)) for _, key, child, _ in below]
    if isinstance(node, Chain):
        for i in range(len(parts) - 1):
            (key, one), (after, norm) = parts[i : i + 2]
            if _fits(one, norm):
                parts[i : i + 2] = [(key, F.identity), (after, _joined(one, norm))]
    return rebuilt(node, parts)


def _fits(one: Any, norm: Any) -> bool:
    """Whether one is followed by a norm by numbers that are known."""
    plain = isinstance(one, Dense | Conv) and one.activation is F.identity
    return plain and isinstance(norm, BatchNorm) and norm.mean is not None and not norm.active


def _joined(one: Any, norm: BatchNorm) -> Any:
    """(x w + b - mean) / sqrt(var + eps) * weight + bias as x w' + b'."""
    dtype = one.weight.dtype
    zero, unit = np.zeros(norm.channels), np.ones(norm.channels)
    wide = [np.asarray(a, np.float64) for a in (norm.mean, norm.var)]
    scale, shift = (
        other if a is None else a.astype(np.float64) for a, other in ((norm.weight, unit), (norm.bias, zero))
    )
    scale = scale / np.sqrt(wide[1] + norm.eps)
    bias = zero if one.bias is None else one.bias.astype(np.float64)
    new = {
        "weight": beside(one.weight, (one.weight * scale).astype(dtype)),
        "bias": beside(one.weight, ((bias - wide[0]) * scale + shift).astype(dtype)),
        "activation": norm.activation,
    }
    return rebuilt(one, list(new.items()))
