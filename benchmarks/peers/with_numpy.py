"""Products in NumPy."""

from __future__ import annotations

from benchmarks.peers.cases import Call, Product


def make(case: Product, variant: str) -> Call:
    a, b = case.data()
    return lambda: a @ b
