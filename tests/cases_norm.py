"""The cases of normalisation: of batches, samples, groups, rows; few channels and many, one large image, many small."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.case import Input, normal, positive, rows, terms
from tests.reference import oracle

VIEWS = (  # shape, lead, groups
    ((7, 3), 0, 3),
    ((300, 48), 0, 48),
    ((20_011, 1), 0, 1),
    ((33, 5, 7), 0, 7),
    ((64, 9, 11, 3), 0, 3),  # many tiles of samples
    ((1, 70, 61, 6), 0, 6),  # one image, tiles of lines
    ((5, 3, 1100), 0, 1100),  # more channels than a buffer
    ((40, 17, 300), 0, 300),
    ((5, 9, 11, 4), 1, 4),
    ((70, 6, 17), 1, 17),
    ((3, 40, 41, 8), 1, 2),  # few large samples: several tiles each
    ((2, 31, 600), 1, 3),
    ((17, 6, 12), 1, 3),
    ((1, 33, 40, 4), 1, 2),
    ((33, 20), 1, 1),
    ((9, 24), 1, 4),
    ((19, 2500), 1, 2),
    ((4, 7, 50), 2, 1),
    ((300, 3), 1, 1),
    ((2, 1), 0, 1),
    ((1, 1), 0, 1),
    ((6, 2, 5), 2, 5),  # one number of each
)
CONSTANT = 2  # the last of them, of variance 0: nothing to normalise, and nothing but rounding in gradients


def shifted(rng: Any, shape: tuple[int, ...]) -> Any:
    return 3 + 2 * rng.normal(size=shape)


def _stats(shape: tuple[int, ...], lead: int, groups: int) -> tuple[int, ...]:
    return (*shape[:lead], 2, groups)


def _moments() -> list[Any]:
    return [((Input(s, shifted),), {"lead": lead, "groups": g}) for s, lead, g in VIEWS]


def _norms() -> list[Any]:
    """Every second without weights. The statistics are put in by `fix`."""
    table = []
    for i, (s, lead, g) in enumerate(VIEWS[:-CONSTANT]):
        weights = (Input(s[-1:], normal),) * 2 if i % 2 else (None, None)
        attrs = {"eps": (1e-5, 0.5, 1e-3)[i % 3]}
        table.append(((Input(s, shifted), Input(_stats(s, lead, g), positive), *weights), attrs))
    return table


def _fixed() -> list[Any]:
    return [
        ((x, Input(x.shape[-1:], normal), Input(x.shape[-1:], positive), *weights), attrs)
        for (x, _, *weights), attrs in _norms()
    ]


def _tracks() -> list[Any]:
    """Statistics of a batch, and of samples."""
    table = []
    for i, (*lead, c) in enumerate(((1,), (7,), (48,), (1031,), (1, 3), (5, 6), (33, 17), (4, 7, 2))):
        old, attrs = Input((c,), positive), {"momentum": (0.1, 1.0, 0.25)[i % 3], "count": 2 + 7 * i}
        table.append(((old, old, Input((*lead, 2, c), positive)), attrs))
    return table


def _grads() -> list[Any]:
    return [((x, stats, w, Input(x.shape, normal)), attrs) for (x, stats, w, _), attrs in _norms()]


ADDED = 45  # half a unit each: additions that a term of a sum goes through, in lanes of 64 and blocks of 1024


def _moments_size(xs: list[Any], at: dict[str, Any]) -> Any:
    """Of the mean, the largest number it is of; of the variance, itself."""
    [x] = xs
    size = oracle("moments")(x, **at)
    for i in np.ndindex(*x.shape[: at["lead"]]):
        parts = x[i].reshape(-1, at["groups"], x.shape[-1] // at["groups"])
        size[(*i, 0)] = abs(parts).max((0, 2))
    return ADDED * size


def _norm_size(name: str) -> Any:
    def size(xs: list[Any], at: dict[str, Any]) -> Any:
        *others, w, b = xs
        hat = oracle(name)(*others, None, None, **at)
        return abs(hat) if w is None else abs(hat * w) + abs(b)

    return size


def _grad_size(xs: list[Any], at: dict[str, Any]) -> Any:
    """Each of the three terms of dx by its own size; sums by the sizes of their terms."""
    x, stats, w, dy = xs
    hat = abs(oracle("norm")(x, stats, None, None, **at))
    u = abs(dy) if w is None else abs(dy * w)
    lead, groups = stats.ndim - 2, stats.shape[-1]
    scale = oracle("norm")(np.ones_like(x), stats * [[0], [1]], None, None, **at)
    means = [oracle("moments")(v, lead, groups) * [[1], [0]] for v in (u, u * hat)]
    spread = [-oracle("norm")(np.zeros_like(x), m, None, None, 1.0) for m in means]
    dx = scale * (u + ADDED * (spread[0] + hat * spread[1]))
    leading = tuple(range(x.ndim - 1))
    sums = [np.sum(abs(dy), leading), np.sum(abs(dy) * (hat + abs(x) * scale), leading)]
    return np.concatenate([dx.ravel(), *(10 * s for s in sums)])


OWN: dict[str, Any] = {"constants": frozenset((1,))}  # the statistics are those of x
NORM = (
    rows("moments", *_moments(), ulp=1, size=_moments_size, specials=frozenset()),
    rows("norm", *_norms(), ulp=4, size=_norm_size("norm"), specials=frozenset((2, 3)), **OWN),
    rows("norm_fixed", *_fixed(), ulp=4, size=_norm_size("norm_fixed"), constants=frozenset((1, 2)),
         specials=frozenset((0, 3, 4))),
    rows("track", *_tracks(), constants=frozenset((0, 1, 2)),
         **terms("track", lambda xs, at: xs[2].size // xs[0].size)),
    rows("norm_grad", *_grads(), ulp=3, size=_grad_size, specials=frozenset(), **OWN),
)  # fmt: skip
