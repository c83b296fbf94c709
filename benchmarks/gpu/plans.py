"""Functions as launches on a GPU, without what the CPU's plan of them would compile; and what a check found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbaflux.bound import Bound
from numbaflux.kernels.cuda.launch import FLOAT32
from numbaflux.launches import Launches
from numbaflux.lowering import GPU, argument
from numbaflux.op import Spec
from numbaflux.program import Program, abstract, flat_results
from numbaflux.session import Session

Record = dict[str, Any]  # family, check, good, said; beside it the figures that were found


def record(family: str, check: str, good: bool, said: str = "", **figures: Any) -> Record:
    return {"family": family, "check": check, "good": good, "said": said, **figures}


def reason(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def launches_of(
    f: Callable[..., Any], arrays: Sequence[np.ndarray], products: str = FLOAT32
) -> tuple[Launches, list[Spec]]:
    """The launches of a pure function of such arrays, and what it gives; factors of products rounded as named."""
    with Session(training=False, planned=True) as session:
        found = flat_results(f(*abstract(tuple(arrays), 0)))
    program, specs = Program(GPU.rounding(products)), [v.spec for v in found]
    targets = [argument(s, len(arrays) + i) for i, s in enumerate(specs)]
    program.results(list(zip(found, targets, strict=True)), session)
    program.commit(session)
    return Launches(program.build), specs


def wanted(launches: Launches) -> list[tuple[str, tuple[str, ...], int]]:
    """What must be compiled for them."""
    return [(one.kernel, one.codes, one.threads) for one in launches.bound(lambda storage: 0)[0]]


def run(gpu: Any, launches: Launches, specs: Sequence[Spec], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results on a GPU, whose memory is given back."""
    outs = [np.empty(s.shape, s.dtype) for s in specs]
    bound = Bound(gpu, launches)
    try:
        bound.run(*arrays, *outs)
    finally:
        bound.close()
    return outs
