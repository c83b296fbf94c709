"""The cases of convolutions and their gradients."""

from __future__ import annotations

import math
from typing import Any

from tests.case import Input, normal, rows, terms

ONE, SAME = (0, 0), (1, 1)
CONVS = (  # n, spatial sizes, window, in, out, stride, pad, dilation, groups, with a bias
    (1, (1,), (1,), 1, 1, (1,), (ONE,), (1,), 1, True),
    (2, (10,), (3,), 5, 7, (2,), ((1, 2),), (2,), 1, True),
    (18, (11,), (4,), 5, 7, (3,), ((1, 2),), (1,), 1, False),  # in lanes, a ragged block
    (3, (7,), (2,), 3, 49, (5,), ((3, 0),), (3,), 1, True),  # a stride beyond the window, fewer taps than phases
    (2, (8, 7), (3, 3), 3, 5, (1, 1), (ONE, ONE), (1, 1), 1, True),
    (3, (9, 7), (3, 3), 4, 20, (2, 2), (SAME, SAME), (1, 1), 1, False),
    (17, (12, 9), (5, 5), 1, 6, (1, 1), (ONE, ONE), (1, 1), 1, True),
    (33, (9, 9), (3, 3), 3, 6, (2, 1), ((1, 0), (2, 1)), (1, 2), 1, True),
    (16, (6, 7), (2, 3), 6, 16, (1, 1), (ONE, SAME), (1, 1), 1, False),
    (20, (4, 5), (1, 1), 8, 50, (1, 1), (ONE, ONE), (1, 1), 1, True),  # a product of matrices
    (4, (5, 5), (1, 1), 17, 12, (2, 2), (ONE, ONE), (1, 1), 1, True),
    (2, (5, 19), (3, 3), 64, 97, (1, 1), (SAME, SAME), (1, 1), 1, True),  # weights in panels, lines apart
    (1, (40, 33), (3, 3), 2, 33, (1, 1), (SAME, SAME), (1, 1), 1, True),  # one image, tiles of lines
    (3, (8, 8), (3, 3), 6, 9, (2, 2), (SAME, SAME), (1, 1), 3, True),
    (2, (7, 6), (3, 3), 8, 16, (1, 1), (SAME, SAME), (1, 1), 8, False),
    (2, (4,), (2,), 3, 3, (1,), ((1, 0),), (2,), 3, True),  # each channel by itself, few of them
    (3, (7, 19), (3, 5), 33, 33, (2, 1), (SAME, (2, 1)), (1, 2), 33, True),  # each channel by itself
    (1, (30, 17), (3, 3), 17, 17, (1, 1), (SAME, SAME), (1, 1), 17, False),
    (2, (3, 3), (3, 3), 130, 40, (1, 1), (SAME, SAME), (1, 1), 1, False),  # a gradient of weights by its own rows
    (2, (6, 7, 8), (3, 2, 3), 3, 4, (2, 1, 3), (SAME, (0, 1), (2, 2)), (1, 2, 1), 1, True),
    (1, (9, 9, 9), (3, 3, 3), 4, 16, (1, 1, 1), (SAME, SAME, SAME), (1, 1, 1), 1, False),
    (16, (3, 4, 5), (2, 2, 2), 2, 3, (1, 2, 1), (ONE, SAME, ONE), (1, 1, 1), 1, True),
)  # fmt: skip


def _out(spatial: Any, window: Any, stride: Any, pad: Any, dilation: Any) -> tuple[int, ...]:
    axes = zip(spatial, window, stride, pad, dilation, strict=True)
    return tuple((n + low + high - (k - 1) * d - 1) // s + 1 for n, k, s, (low, high), d in axes)


def _tables() -> tuple[list[Any], list[Any], list[Any]]:
    """The cases of conv, of the gradient of x, of that of w."""
    forward, grad_x, grad_w = [], [], []
    for n, spatial, window, c, o, stride, pad, dilation, groups, bias in CONVS:
        options = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
        w = Input((*window, c // groups, o), normal)
        x = Input((n, *spatial, c), normal)
        dy = Input((n, *_out(spatial, window, stride, pad, dilation), o), normal)
        forward.append(((x, w, Input((o,), normal) if bias else None), options))
        grad_x.append(((dy, w, Input((c,), normal) if bias else None), options | {"size": spatial}))
        grad_w.append(((x, dy), options | {"window": window}))
    return forward, grad_x, grad_w


FORWARD, GRAD_X, GRAD_W = _tables()
CONV = (
    rows("conv", *FORWARD, specials=frozenset((0, 2)),
         **terms("conv", lambda xs, at: math.prod(xs[1].shape[:-1]) + 1)),
    rows("conv_grad_x", *GRAD_X, specials=frozenset((0, 2)),
         **terms("conv_grad_x", lambda xs, at: math.prod(xs[1].shape[:-2]) * xs[1].shape[-1] + 1)),
    rows("conv_grad_w", *GRAD_W, specials=frozenset((0,)),
         **terms("conv_grad_w", lambda xs, at: math.prod(xs[1].shape[:-1]))),
    rows("conv_grad_wb", *GRAD_W, specials=frozenset((0,)),
         **terms("conv_grad_wb", lambda xs, at: math.prod(xs[1].shape[:-1]))),
)  # fmt: skip
