"""The cases of recurrent layers: tiles of 8 samples, stretches of 64 rows, one sample and many, sequences that end
early, both directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.case import Input, normal, rows
from tests.reference.recurrent import GATES, SAVED, all_steps, grad_parts

CASES = (  # kind, samples, steps, in, hidden; b bias, s of the state, h and c first state, l lengths, r reverse
    ("rnn", 1, 1, 1, 1, ""),
    ("rnn", 9, 17, 3, 15, "bhl"),
    ("rnn", 17, 3, 16, 49, "br"),
    ("rnn_relu", 7, 9, 5, 16, "bh"),
    ("rnn_relu", 8, 8, 2, 3, "lr"),
    ("lstm", 2, 35, 4, 17, "bhc"),
    ("lstm", 7, 5, 3, 8, ""),
    ("lstm", 9, 21, 17, 7, "bhclr"),
    ("lstm", 18, 2, 1, 33, "bhl"),
    ("lstm", 3, 24, 2, 5, "bcl"),
    ("gru", 1, 5, 3, 40, "bsh"),
    ("gru", 9, 11, 7, 16, "bl"),
    ("gru", 17, 4, 33, 5, "shr"),
    ("gru_v3", 1, 7, 2, 5, "bh"),
    ("gru_v3", 10, 13, 9, 17, "bhl"),
    ("gru_v3", 8, 9, 3, 16, "r"),
)


def small(rng: Any, shape: tuple[int, ...]) -> Any:
    """Weights that neither forget a state at once nor let it grow."""
    return rng.normal(size=shape) * 0.7 / np.sqrt(shape[0])


def _inputs(kind: str, n: int, steps: int, features: int, hidden: int, given: str) -> list[Any]:
    wide = GATES[kind] * hidden
    optional = [("b", (wide,)), ("s", (wide,)), ("h", (n, hidden)), ("c", (n, hidden))]
    lengths = Input((n,), lambda rng, shape: rng.integers(0, steps + 1, shape)) if "l" in given else None
    weights = [Input((features, wide), small), Input((hidden, wide), small)]
    more = [Input(shape, normal) if letter in given else None for letter, shape in optional]
    return [Input((n, steps, features), normal), *weights, *more, lengths]


def _forward() -> list[Any]:
    table = []
    for i, (kind, *sizes, given) in enumerate(CASES):
        attrs = {"kind": kind, "reverse": "r" in given, "keep": i % 3 > 0}
        table.append((tuple(_inputs(kind, *sizes, given)), attrs))
    return table


def _backward() -> list[Any]:
    """What steps gave is put in by `fix`. Every third without gradients of all steps, or of the last state."""
    table = []
    for i, (kind, n, steps, features, hidden, given) in enumerate(CASES):
        y, state = Input((n, steps, hidden), normal), Input((n, hidden), normal)
        saved = [y, y if kind in ("lstm", "gru_v3") else None, y if SAVED[kind] else None]
        seeds = [None if i % 3 == 1 else y, None if i % 3 == 2 else state, state if kind == "lstm" else None]
        attrs = {"kind": kind, "reverse": "r" in given, "dx": i % 4 > 0}
        table.append(((*_inputs(kind, n, steps, features, hidden, given), *saved, *seeds), attrs))
    return table


def _sums(xs: list[Any]) -> tuple[float, int]:
    """The largest sum of absolute values in a gate, and how many roundings go into the last state."""
    x, wi, w, bias, state_bias, h0, *_ = xs
    x = np.where(np.isfinite(x), x, 0)
    h = 1 if h0 is None else max(1, abs(h0).max())
    biases = [abs(b).max() for b in (bias, state_bias) if b is not None]
    largest = (abs(x) @ abs(wi)).max() + h * abs(w).sum(0).max() + sum(biases)
    return float(largest), x.shape[1] + x.shape[2] + len(w)


def _size(xs: list[Any], at: dict[str, Any]) -> Any:
    largest, roundings = _sums(xs)
    return np.concatenate([np.full(p.size, largest * roundings) for p in all_steps(*xs, **at)])


def _grad_size(xs: list[Any], at: dict[str, Any]) -> Any:
    """Of each gradient by its largest number: terms of it are hardly larger."""
    largest, roundings = _sums(xs)
    n, steps, _ = xs[0].shape
    units = largest * roundings + n * steps
    return np.concatenate([np.full(p.size, (1 + abs(p).max(initial=0)) * units) for p in grad_parts(*xs, **at)])


RECURRENT = (
    rows("recurrent", *_forward(), ulp=1, size=_size, specials=frozenset((0,))),
    rows("recurrent_grad", *_backward(), ulp=1, size=_grad_size, specials=frozenset(), constants=frozenset((8, 9, 10))),
)  # fmt: skip
