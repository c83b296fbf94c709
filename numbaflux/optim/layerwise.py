"""Rules that look at each parameter as a whole: at its norm, or at it as a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..lowering import Buf, as_buf, cut, whole
from ..lowering import Num as Number
from ..ops.dense import Product, lower_product
from .rules import ELEMENTWISE, HYPER, Adam, Rule
from .vectors import Segment, Stage, Vectors

SERIES = (3.4445, -4.7750, 2.0315)  # of x, x**3, x**5: Jordan's, which brings singular values near 1 the fastest
TIMES = 5


@dataclass(frozen=True)
class LAMB(Adam):
    """You et al. 2020, algorithm 2: each parameter's step as long as the parameter, for large batches.

    p -= eta |p| / |r| r, r = m^ / (sqrt(v^) + eps) + decay p, with the moments of Adam and 2-norms of each array by
    itself; their ratio counts as 1 where one is 0.

    >>> LAMB(0.01, decay=0.01)
    LAMB(eta=0.01, beta=(0.9, 0.999), eps=1e-06, decay=0.01)
    """

    eps: float = 1e-6
    decay: float = 0.0

    def memory(self) -> dict[str, float]:
        """The kernel of Adam makes -r: a step with an eta of 1 from 0, and from there the decay."""
        numbers = super().memory()
        return numbers | {"rate": numbers["eta"], "eta": 1.0, "decay": -numbers["decay"], "p": 2.0}

    def lower(self, stage: Stage) -> None:
        for v in stage.vectors:
            steps, p = stage.build.temp(v.params.shape, v.params.dtype), v.bufs["params"]
            given = [v.bufs[name] for name in (*stage.states(self.states), stage.gradient)]
            for start, end in v.runs():
                n = end - start
                r, m, mean, g = (b.part(start, n) for b in (steps, *given))
                stage.over(n, "elementwise.fill", cut(r, write=True), Number(0.0, r.dtype))
                stage.over(n, self.kernel, *(cut(b, write=True) for b in (r, m, mean)), cut(g), whole(stage.numbers))
                stage.over(n, "optim.decay", cut(r, write=True), cut(p.part(start, n)), whole(stage.numbers))
            for s in (s for s in v.segments if not s.frozen):
                own, r = p.part(s.start, s.size), steps.part(s.start, s.size)
                stage.blend(own, r, stage.trust(stage.norm([own]), stage.norm([r]), stage.numbers))
        stage.tick()


def _is_matrix(s: Segment) -> bool:
    return len(s.shape) > 1


def _row(**numbers: float) -> Buf:
    """Numbers in memory that no step changes."""
    return as_buf(np.array([numbers.get(name, 0.0) for name in HYPER]))


def _slots(norm: float) -> Buf:
    """What optim.norm would make of something of that norm."""
    return as_buf(np.array([[1.0, norm**2]]))


@dataclass(frozen=True)
class Muon(Rule):
    """Jordan et al. 2024: for matrices, momentum made orthogonal; Adam for parameters of fewer than two axes.

    m = rho m + (1 - rho) g; u = rho m + (1 - rho) g; x = u / |u|, and five times x = a x + b (x x') x + c (x x')**2 x,
    which brings all singular values near 1; p -= eta (sqrt(max(1, out / in)) x + decay p). A weight of more axes is the
    matrix (all but the last, last). adam_eta, beta, eps are Adam's, whose step has adam_eta decay p too. Embeddings and
    last layers are matrices here as well.

    >>> Muon(0.01)
    Muon(eta=0.01, rho=0.95, decay=0.0, adam_eta=0.0003, beta=(0.9, 0.95), eps=1e-10)
    """

    eta: float = 0.02
    rho: float = 0.95
    decay: float = 0.0
    adam_eta: float = 3e-4
    beta: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-10
    states = ("m", "v")
    kernel = "optim.adam"

    def memory(self) -> dict[str, float]:
        numbers = {name: float(value) for name, value in self.numbers().items()}
        rate, rho, decay, eta = (numbers.pop(name) for name in ("eta", "rho", "decay", "adam_eta"))
        return numbers | {"rate": rate, "keep": rho, "give": 1 - rho, "eta_decay": decay, "eta": eta, "p": 2.0}

    def lower(self, stage: Stage) -> None:
        names = "params", *stage.states(self.states)
        stage.passes(self.kernel, names, (stage.gradient,), wanted=lambda s: not _is_matrix(s))
        mean = stage.states(self.states)[0]
        for v, s in _matrices(stage):
            p, m, g = (v.bufs[name].part(s.start, s.size) for name in ("params", mean, stage.gradient))
            weights = stage.numbers.part(HYPER.index("keep"), 2)
            stage.blend(m, g, weights)
            u = stage.build.temp((s.size,), p.dtype)
            stage.over(s.size, "elementwise.copy", cut(u, write=True), cut(m))
            stage.blend(u, g, weights)
            x = _orthogonal(stage, u, s.shape[-1])
            wide = s.shape[-1] ** 2 / s.size
            stage.blend(p, x, stage.trust(_slots(max(1.0, wide) ** 0.5), _slots(1.0), stage.numbers))
        stage.tick()


def _matrices(stage: Stage) -> Iterator[tuple[Vectors, Segment]]:
    return ((v, s) for v in stage.vectors for s in v.segments if _is_matrix(s) and not s.frozen)


def _orthogonal(stage: Stage, x: Buf, cols: int) -> Buf:
    """Minus a matrix whose singular values are brought near 1: Newton and Schulz's iteration, on the smaller of x x'
    and x' x. x is changed."""
    build, dtype, rows = stage.build, x.dtype, x.size // cols
    numbers = _row(rate=1.0, p=2.0, delta=np.inf)
    first = stage.trust(_slots(1.0), stage.norm([x]), numbers)
    stage.over(x.size, "optim.clip", cut(x, write=True), whole(first.part(1, 1)), whole(numbers))
    n, a, b, c = min(rows, cols), *SERIES
    if rows <= cols:
        gram, turn = Product(n, n, cols, cols, 1, 1, cols), Product(n, cols, n, n, 1, cols, 1)
    else:
        gram, turn = Product(n, n, rows, 1, n, n, 1), Product(rows, n, n, n, 1, n, 1)
    inner = as_buf(np.array([c, b]))
    for i in range(TIMES):
        square, fourth, y = (build.temp((size,), dtype) for size in (n * n, n * n, x.size))
        _product(stage, gram, square, x, x)
        _product(stage, Product(n, n, n, n, 1, n, 1), fourth, square, square)
        stage.blend(fourth, square, inner)
        _product(stage, turn, y, *((fourth, x) if rows <= cols else (x, fourth)))
        sign = -1.0 if i == TIMES - 1 else 1.0  # steps are added
        stage.blend(y, x, as_buf(np.array([sign, sign * a])))
        x = y
    return x


def _product(stage: Stage, p: Product, out: Buf, left: Buf, right: Buf) -> None:
    """A product in the part of the step that changes what lasts: what it reads is made there."""
    before = len(stage.build.entries)
    lower_product(stage.build, p, out, left, right)
    for entry in stage.build.entries[before:]:
        entry.commits = True


RULES = (*ELEMENTWISE, LAMB, Muon)
