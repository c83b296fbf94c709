"""What this machine's register tile can do at most: products that stay in the first two caches, on all threads."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.cases import Call, Case
from numbaflux.lowering import Array, Block, Build, Int, as_buf, cut, whole
from numbaflux.plan import Plan

ROWS, DEPTH, COLUMNS, TILES = 64, 128, 48, 400


FLOPS = 2.0 * ROWS * TILES * COLUMNS * DEPTH


def probe() -> tuple[Call, float]:
    """A call, and its floating-point operations."""
    rng = np.random.default_rng(0)
    a, b = (as_buf(rng.standard_normal(shape).astype(np.float32)) for shape in ((ROWS, DEPTH), (DEPTH, COLUMNS)))
    build, rows = Build(), ROWS * TILES
    c = build.temp((rows, COLUMNS), np.dtype(np.float32))  # used in one group only: one block a worker
    build.add(
        "dense.product", cut(c, rows * COLUMNS, write=True), whole(a, a.size), whole(b, b.size),
        Array(a.part(0, 0), (0,)), Block(), Int(ROWS), Int(COLUMNS), Int(COLUMNS), Int(DEPTH), Int(DEPTH),
        Int(COLUMNS), Int(DEPTH), Int(1), Int(COLUMNS), Int(0), Int(0), rows=rows, block=ROWS, work=1e6,
        commits=True,  # else nobody reads what it makes, and it is left out
    )  # fmt: skip
    return Plan(build).run, FLOPS


def make(case: Case, variant: str) -> Call:
    """Of any case: the same."""
    return probe()[0]
