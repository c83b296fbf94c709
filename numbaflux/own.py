"""Kernels of a user's own as a GPU runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .op import DTypeError, expect


@dataclass(frozen=True)
class Own:
    """A user's kernel on a GPU: `alone`, each tile is a thread's, so that what is written for a core of the CPU runs
    as it is; else all threads of a block share a tile, and the kernel is written for that."""

    kernel: Any
    alone: bool

    def __post_init__(self) -> None:
        expect(callable(self.kernel), "Op", "cuda", "a function", repr(self.kernel), error=DTypeError)

    @property
    def __name__(self) -> str:
        return str(self.kernel.__name__)


def name_of(kernel: Any) -> str:
    """How a kernel is called: "dense.product", or the name of a user's function.

    >>> name_of("dense.product"), name_of(Own(max, True))
    ('dense.product', 'max')
    """
    return str(getattr(kernel, "__name__", kernel))
