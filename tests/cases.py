"""Every operation of the registry with its cases: shapes, numbers, how inputs are drawn, and how far rounding may
take the result.

Sizes are 1, around the tiles of the kernels (8 rows and 48 columns of a product, 16 lanes, 32 samples, 1024 elements of
a buffer), primes, and large enough for many tiles. A new operation needs its oracle in tests/reference and a row here,
or in the table of its family, cases_<family>.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbaflux.ops import REGISTRY
from tests.case import (
    ROUNDED,
    Draw,
    Input,
    Row,
    apart,
    away,
    below,
    between,
    flat,
    integers,
    mask,
    normal,
    positive,
    probability,
    rows,
    terms,
    whole,
    wide,
)  # fmt: skip
from tests.case import fix as fix
from tests.cases_activation import ACTIVATION
from tests.cases_attention import ATTENTION
from tests.cases_conv import CONV
from tests.cases_ctc import CTC
from tests.cases_norm import NORM
from tests.cases_pool import POOL
from tests.cases_random import RANDOM
from tests.cases_recurrent import RECURRENT
from tests.cases_scatter import SCATTER
from tests.reference import oracle

OPS = {op.name: op for op in REGISTRY}
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

ELEMENTWISE = (
    flat("neg", normal, extremes=True),
    flat("add", normal, normal, ulp=ROUNDED, extremes=True),
    flat("sub", normal, normal, ulp=ROUNDED, extremes=True),
    flat("mul", normal, normal, ulp=ROUNDED, extremes=True),
    flat("div", normal, away, ulp=ROUNDED, extremes=True),
    flat("affine", normal, ulp=ROUNDED, extremes=True,
         numbers=({"scale": 0.375, "shift": -1.25}, {"scale": -1.0, "shift": 3.0}, {"scale": 2.0, "shift": -0.0})),
    flat("fill", normal, numbers=({"value": 0.0}, {"value": -0.0}, {"value": 1.5}), extremes=True),
    flat("exp", wide, ulp=4, extremes=True),
    flat("log", positive, ulp=4, extremes=True),
    flat("sqrt", positive, ulp=ROUNDED, extremes=True),
    flat("square", normal, ulp=ROUNDED, extremes=True),
    flat("abs", away, extremes=True),
    flat("sign", away, extremes=True),
    flat("pow", positive, normal, ulp=2, extremes=True),
    flat("tanh", normal, ulp=4, extremes=True),
    flat("tanh_grad", probability, normal, ulp=2),
    flat("sigmoid", wide, ulp=4, extremes=True),
    flat("sigmoid_grad", probability, normal, ulp=3),
    flat("relu", away, extremes=True),
    flat("relu_grad", away, normal, extremes=True),
    *(flat(name, whole, whole, extremes=True)
      for name in ("less", "less_equal", "equal", "not_equal", "greater", "greater_equal")),
    flat("maximum", whole, between, extremes=True),
    flat("minimum", whole, between, extremes=True),
    flat("where", mask, normal, normal, extremes=True),
)  # fmt: skip

# ---------------------------------------------------------------- reductions

AXES = (  # shape, start, stop: one outer index or many, one element inside or many, short axes, long ones, none
    ((1,), 0, 1), ((97,), 0, 1), ((20_011,), 0, 1), ((33, 47), 1, 2), ((300, 48), 0, 1), ((32, 17), 0, 1),
    ((33, 5), 0, 1), ((5, 7, 11), 1, 2), ((300, 5, 7), 0, 2), ((4, 50, 6), 0, 2), ((3, 2, 2503), 2, 3),
    ((64, 1031), 0, 1), ((2, 131, 1031), 1, 2), ((101, 1), 1, 2), ((2, 3, 5), 0, 3), ((7,), 1, 1),
)  # fmt: skip
REPEATS = (  # shape, start, sizes
    ((), 0, (5,)), ((), 0, (20_011,)), ((3,), 0, (7,)), ((3,), 1, (7,)), ((4, 5), 1, (6,)), ((48,), 0, (300,)),
    ((300,), 1, (48,)), ((2, 3), 1, (4, 5)), ((1,), 0, (33, 2)), ((17, 16), 2, (15,)), ((1031,), 0, (2,)),
)  # fmt: skip


def _additions(xs: list[Any], attrs: dict[str, Any]) -> float:
    """Of a sum of k: one after another, or in blocks of 64 rows, of 64 additions in each lane, in up to 64 slots."""
    k = int(np.prod(xs[0].shape[attrs["start"] : attrs["stop"]]))
    return min(k, 128 + k / 64)


def _meetings(xs: list[Any], attrs: dict[str, Any]) -> float:
    return float(np.bincount(xs[1].ravel()).max())


def axes(name: str, draw: Draw, numbers: tuple[dict[str, Any], ...] = ({},), **row: Any) -> tuple[str, Row]:
    table = [
        ((Input(s, draw),), {"start": a, "stop": b, **numbers[i % len(numbers)]}) for i, (s, a, b) in enumerate(AXES)
    ]
    return rows(name, *table, **row)


def _max_grad() -> tuple[str, Row]:
    table = [
        ((Input(s, apart), Input(s[:a] + s[b:], normal), Input(s[:a] + s[b:], normal)), {"start": a, "stop": b})
        for s, a, b in AXES
    ]
    return rows("max_grad", *table, constants=frozenset((0, 1)), specials=frozenset((0, 2)))


REDUCE = (
    axes("sum", normal, ({"scale": 1.0}, {"scale": 0.375}),
         **terms("sum", _additions)),
    axes("max", apart),
    _max_grad(),
    rows("broadcast", *(((Input(s, normal),), {"start": a, "sizes": n}) for s, a, n in REPEATS)),
)  # fmt: skip

# ---------------------------------------------------------------- moves

RESHAPES = (
    ((), (1,)), ((1,), ()), ((6,), (2, 3)), ((2, 3), (6,)), ((15, 16), (16, 15)), ((300, 48), (100, 3, 48)),
    ((17, 1), (1, 17)), ((4, 1, 5), (2, 10)),
)  # fmt: skip
CASTS = (
    ((17,), normal, "float32"), ((17,), normal, "float64"), ((300, 48), normal, "float32"),
    ((300, 48), normal, "float64"), ((), wide, "float32"), ((97,), integers("int64"), "float32"),
    ((31, 3), integers("int32"), "float64"), ((16,), integers("uint8"), "float32"), ((15,), mask, "float32"),
    ((97,), wide, "int64"),
)  # fmt: skip
ORDERS = (
    ((1, 1), (1, 0)), ((3, 5), (1, 0)), ((97, 103), (1, 0)), ((300, 48), (1, 0)), ((2, 3, 5), (2, 0, 1)),
    ((2, 3, 5), (0, 2, 1)), ((4, 17, 16), (0, 2, 1)), ((2, 3, 4, 5), (3, 1, 2, 0)), ((1, 7, 1), (2, 1, 0)),
    ((2, 3, 4, 5, 6), (4, 2, 0, 3, 1)), ((33, 2, 50), (1, 2, 0)), ((15, 16, 17), (2, 1, 0)), ((101, 2, 3), (1, 0, 2)),
)  # fmt: skip
SLICES = (  # shape, axis, start, step, size
    ((1,), 0, 0, 1, 1), ((7,), 0, 2, 1, 3), ((7,), 0, 6, -1, 7), ((97, 5), 0, 96, -3, 33), ((5, 97), 1, 1, 2, 48),
    ((300, 48), 1, 0, 1, 17), ((300, 48), 0, 31, 8, 33), ((3, 4, 5), 1, 3, -2, 2), ((300, 3, 17), 2, 16, -16, 2),
    ((2, 20_011), 1, 1, 1, 20_010),
)  # fmt: skip
JOINS = (
    (0, (3,)), (0, (3,), (4,)), (1, (5, 1), (5, 48), (5, 7)), (0, (15, 3), (17, 3)), (1, (300, 16), (300, 31)),
    (2, (2, 3, 5), (2, 3, 1)), (1, (7, 1, 3), (7, 2, 3)), (0, (1,), (1,), (1,), (1,)), (0, (20_011,), (13,)),
    (1, (2, 0), (2, 3)),
)  # fmt: skip
TAKES = (  # table, index
    ((1,), (1,)), ((7,), ()), ((7, 3), (5,)), ((300, 48), (301,)), ((3, 17), (97,)), ((13, 2, 5), (4,)),
    ((31,), (7, 2)), ((5, 16), (2, 3, 2)), ((11, 1), (20_011,)),
)  # fmt: skip


def _placed(shape: tuple[int, ...], axis: int, start: int, step: int, size: int) -> Any:
    """The case of place that undoes one of slice."""
    cut = (*shape[:axis], size, *shape[axis + 1 :])
    return (Input(cut, normal),), {"axis": axis, "start": start, "step": step, "size": shape[axis]}


def _scattered(table: tuple[int, ...], index: tuple[int, ...]) -> Any:
    dy = Input((*index, *table[1:]), normal)
    return (dy, Input(index, below(table[0]))), {"rows": table[0]}


MOVE = (
    rows("reshape", *(((Input(s, normal),), {"shape": t}) for s, t in RESHAPES)),
    flat("copy", normal, extremes=True),
    flat("stop_gradient", normal, constants=frozenset((0,)), extremes=True),
    rows("cast", *(((Input(s, draw),), {"dtype": t}) for s, draw, t in CASTS), ulp=ROUNDED),
    rows("transpose", *(((Input(s, normal),), {"axes": t}) for s, t in ORDERS)),
    rows("slice", *(((Input(s, normal),), {"axis": a, "start": f, "step": d, "size": n}) for s, a, f, d, n in SLICES)),
    rows("place", *(_placed(*one) for one in SLICES)),
    rows("concatenate", *((tuple(Input(s, normal) for s in shapes), {"axis": a}) for a, *shapes in JOINS)),
    rows("take", *(((Input(t, normal), Input(i, below(t[0]))), {}) for t, i in TAKES)),
    rows("scatter_add", *(_scattered(*one) for one in TAKES), **terms("scatter_add", _meetings)),
)

# ---------------------------------------------------------------- products

DENSE = (  # leading axes of x, in, out, with a bias
    ((1,), 1, 1, True), ((7,), 8, 47, True), ((8,), 7, 48, True), ((9,), 16, 49, True), ((33,), 48, 97, False),
    ((256,), 31, 17, True), ((300,), 103, 96, False), ((2, 3, 5), 7, 11, True), ((), 13, 5, True),
    ((101,), 1, 53, True), ((40,), 130, 140, True), ((3,), 600, 2, False), ((5,), 290, 461, True),
)  # fmt: skip
MATRICES = (  # leading axes of a, k, n, ta, tb; with ta the leading axes are summed over
    ((1,), 1, 1, False, False), ((9,), 17, 49, False, False), ((300,), 31, 8, False, False),
    ((2, 5), 7, 3, False, False), ((8,), 48, 47, False, True), ((33,), 103, 97, False, True),
    ((40,), 130, 140, False, True), ((1,), 5, 7, True, False), ((7,), 8, 48, True, False),
    ((64,), 1031, 17, True, False),
    ((32,), 49, 16, True, False), ((300,), 5, 7, True, False), ((300,), 48, 97, True, False),
    ((33,), 150, 160, True, False), ((4, 17), 9, 1, True, False), ((), 6, 5, True, False),
    ((3,), 461, 290, False, True),
)  # fmt: skip
STACKS = (  # leading axes, m, k, n, ta, tb
    ((1,), 1, 1, 1, False, False), ((5,), 7, 8, 9, False, False), ((2, 3), 9, 17, 49, False, False),
    ((3,), 8, 48, 47, True, False), ((3,), 8, 48, 47, False, True), ((31,), 2, 3, 5, True, False),
    ((33,), 3, 1, 16, False, True), ((2,), 97, 31, 53, False, True), ((2,), 53, 300, 17, True, False),
    ((2,), 40, 130, 140, False, False),
)  # fmt: skip


def _matmul(lead: tuple[int, ...], k: int, n: int, ta: bool, tb: bool) -> Any:
    b = (*lead, n) if ta else (n, k) if tb else (k, n)
    return (Input((*lead, k), normal), Input(b, normal)), {"ta": ta, "tb": tb}


def _stack(lead: tuple[int, ...], m: int, k: int, n: int, ta: bool, tb: bool) -> Any:
    a, b = (k, m) if ta else (m, k), (n, k) if tb else (k, n)
    return (Input(lead + a, normal), Input(lead + b, normal)), {"ta": ta, "tb": tb}


def _depth(xs: list[Any], attrs: dict[str, Any]) -> int:
    return xs[0].size // xs[0].shape[-1] if attrs["ta"] else xs[0].shape[-1]


PRODUCTS = (
    rows("dense", *(((Input((*lead, k), normal), Input((k, n), normal), Input((n,), normal) if bias else None), {})
                    for lead, k, n, bias in DENSE), **terms("dense", lambda xs, at: xs[0].shape[-1] + 1)),
    rows("matmul", *(_matmul(*one) for one in MATRICES), **terms("matmul", _depth)),
    rows("batched_matmul", *(_stack(*one) for one in STACKS),
         **terms("batched_matmul", lambda xs, at: xs[0].shape[-2 if at["ta"] else -1])),
)  # fmt: skip

# ---------------------------------------------------------------- softmax

CLASSES = ((1,), (1, 1), (103, 10), (15, 16), (13, 17), (300, 48), (2, 1025), (3, 5, 7), (47, 2), (33, 31), (3, 5003))


def _softmax_size(xs: list[Any], attrs: dict[str, Any]) -> Any:
    """Relative to each probability: what rounding x - max(x) costs, the power, and the sum of c of them."""
    x = xs[0]
    p = oracle("softmax")(x)
    return p * (np.max(x, -1, keepdims=True) - x + 8 + np.log2(x.shape[-1]))


def _logsoftmax_size(xs: list[Any], attrs: dict[str, Any]) -> Any:
    x = xs[0]
    return np.max(x, -1, keepdims=True) - x + np.log(x.shape[-1]) + 4


def _at_labels(xs: list[Any], attrs: dict[str, Any]) -> Any:
    size = _logsoftmax_size(xs[:1], attrs)
    return np.take_along_axis(size, xs[1][..., None], -1)[..., 0]


def _grad_size(y: Any, dy: Any, of_sum: Any) -> Any:
    """Of dy less a row's sum: of each its own rounding, half a unit an addition at most."""
    return abs(dy) + abs(y) * np.sum(abs(of_sum), -1, keepdims=True) * (y.shape[-1] / 32 + 4)


def _crossentropy_grad_size(xs: list[Any], attrs: dict[str, Any]) -> Any:
    x, labels, dy = xs
    chosen = np.zeros(x.shape)
    np.put_along_axis(chosen, labels[..., None], 1, -1)
    return abs(dy)[..., None] * (_softmax_size([x], attrs) + chosen)


def classes(name: str, *draws: Draw, **row: Any) -> tuple[str, Row]:
    return rows(name, *((tuple(Input(s, d) for d in draws), {}) for s in CLASSES), **row)


def labelled(name: str, *draws: Draw, **row: Any) -> tuple[str, Row]:
    """Of logits, a label each, and arrays of a number each."""
    table = [((Input(s, wide), Input(s[:-1], below(s[-1])), *(Input(s[:-1], d) for d in draws)), {}) for s in CLASSES]
    return rows(name, *table, **row)


SOFTMAX = (
    classes("softmax", wide, ulp=1, size=_softmax_size),
    classes("softmax_grad", probability, normal, ulp=2, specials=frozenset((1,)),
            size=lambda xs, at: _grad_size(xs[0], xs[0] * xs[1], xs[0] * xs[1])),
    classes("logsoftmax", wide, ulp=2, size=_logsoftmax_size),
    classes("logsoftmax_grad", normal, normal, ulp=2, specials=frozenset((1,)),
            size=lambda xs, at: _grad_size(np.exp(xs[0]), xs[1], xs[1])),
    labelled("crossentropy", ulp=2, size=_at_labels),
    labelled("crossentropy_grad", normal, ulp=1, size=_crossentropy_grad_size, specials=frozenset((0,))),
)  # fmt: skip

ROWS: dict[str, Row] = dict(
    ELEMENTWISE + ACTIVATION + REDUCE + MOVE + SCATTER + PRODUCTS + SOFTMAX + CONV + POOL + NORM + RECURRENT + RANDOM
    + CTC
    + ATTENTION
)  # fmt: skip
CASES = [case for row in ROWS.values() for case in row.cases]
