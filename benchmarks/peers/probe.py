"""What this machine's register tile can do at most: products that stay in the first two caches, on all threads."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.cases import Call, Case, Product
from numbaflux.lowering import Array, Block, Build, Int, as_buf, cut, whole
from numbaflux.plan import Plan

ROWS, DEPTH, LINE, TILES = 64, 128, 192, 400  # LINE: bytes of a row of B, three vector registers or more


def dtype_of(case: Case) -> str:
    return case.dtype if isinstance(case, Product) else "float32"


def flops(case: Case) -> float:
    """Floating-point operations of a call."""
    return 2.0 * ROWS * TILES * (LINE // np.dtype(dtype_of(case)).itemsize) * DEPTH


def probe(name: str = "float32") -> Call:
    rng, dtype = np.random.default_rng(0), np.dtype(name)
    columns = LINE // dtype.itemsize
    a, b = (as_buf(rng.standard_normal(shape).astype(dtype)) for shape in ((ROWS, DEPTH), (DEPTH, columns)))
    build, rows = Build(), ROWS * TILES
    c = build.temp((rows, columns), dtype)  # used in one group only: one block a worker
    build.add(
        "dense.product", cut(c, rows * columns, write=True), whole(a, a.size), whole(b, b.size),
        Array(a.part(0, 0), (0,)), Block(), Int(ROWS), Int(columns), Int(columns), Int(DEPTH), Int(DEPTH),
        Int(columns), Int(DEPTH), Int(1), Int(columns), Int(0), Int(0), rows=rows, block=ROWS, work=1e6,
        commits=True,  # else nobody reads what it makes, and it is left out
    )  # fmt: skip
    return Plan(build).run


def make(case: Case, variant: str) -> Call:
    """Of any case of a dtype: the same."""
    return probe(dtype_of(case))
