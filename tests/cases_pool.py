"""The cases of pools and their gradients."""

from __future__ import annotations

import math
from typing import Any

from tests.case import Input, apart, normal, rows, terms, whole
from tests.reference import oracle

NONE, ONE = (0, 0), (1, 1)
POOLS = (  # n, spatial sizes, channels, window, stride, pad
    (1, (1,), 1, (1,), (1,), (NONE,)),
    (3, (10,), 5, (3,), (2,), ((1, 0),)),
    (33, (17,), 16, (2,), (2,), (NONE,)),
    (2, (9,), 17, (4,), (5,), ((2, 3),)),  # elements that no window covers
    (7, (30,), 1, (5,), (1,), ((2, 2),)),
    (1, (2, 2), 1, (2, 2), (2, 2), (NONE, NONE)),
    (5, (12, 9), 6, (2, 2), (2, 2), (NONE, NONE)),
    (17, (7, 8), 16, (3, 3), (1, 1), (ONE, ONE)),
    (2, (11, 10), 3, (3, 2), (2, 3), (ONE, (0, 1))),
    (300, (4, 4), 3, (2, 2), (2, 2), (NONE, NONE)),  # many tiles of samples
    (18, (5, 6), 70, (3, 3), (2, 2), (ONE, NONE)),  # four registers of channels and a rest
    (1, (64, 50), 17, (2, 2), (2, 2), (NONE, NONE)),  # one large image, tiles of lines
    (1, (40, 41), 8, (3, 3), (2, 2), (ONE, ONE)),  # windows that reach into two tiles
    (3, (33, 30), 9, (3, 4), (1, 1), (ONE, (2, 1))),
    (1, (5, 6, 7), 2, (2, 3, 2), (2, 1, 2), ((1, 0), ONE, NONE)),
    (2, (9, 8, 8), 7, (3, 3, 3), (2, 2, 2), (ONE, ONE, ONE)),
    (16, (4, 5, 3), 3, (2, 2, 2), (1, 2, 3), (NONE, ONE, NONE)),
)  # fmt: skip


def _table(*draws: Any, gradient: bool = False) -> list[Any]:
    """A case of each pool; draws: what goes in, each of the shape of x ("x") or of the result ("y")."""
    found = []
    for n, size, c, window, stride, pad in POOLS:
        axes = zip(size, window, stride, pad, strict=True)
        out = tuple((a + low + high - k) // s + 1 for a, k, s, (low, high) in axes)
        shapes = {"x": (n, *size, c), "y": (n, *out, c)}
        attrs = {"window": window, "stride": stride, "pad": pad}
        if gradient:
            attrs |= {"size": size}
        found.append((tuple(Input(shapes[which], draw) for which, draw in draws), attrs))
    return found


def _meetings(attrs: dict[str, Any]) -> float:
    """How many windows an element may lie in."""
    return math.prod(-(-k // s) for k, s in zip(attrs["window"], attrs["stride"], strict=True))


def _max_grad_size(xs: list[Any], attrs: dict[str, Any]) -> Any:
    return _meetings(attrs) * oracle("maxpool_grad")(xs[0], xs[1], abs(xs[2]), **attrs)


OF_MAX: dict[str, Any] = {"constants": frozenset((0, 1)), "specials": frozenset((0, 2))}
POOL = (
    rows("maxpool", *_table(("x", apart))),
    rows("maxpool_grad", *_table(("x", whole), ("y", normal), ("y", normal)), ulp=1, size=_max_grad_size, **OF_MAX),
    rows("maxpool_pick", *_table(("x", whole), ("y", normal), ("x", normal)), **OF_MAX),
    rows("meanpool", *_table(("x", normal)), **terms("meanpool", lambda xs, at: math.prod(at["window"]) + 1)),
    rows("meanpool_grad", *_table(("y", normal), gradient=True),
         **terms("meanpool_grad", lambda xs, at: _meetings(at) + 1)),
)  # fmt: skip
