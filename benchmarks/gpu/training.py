"""Training step by step on the CPU and on a GPU, from the same weights with the same batches: losses beside losses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import numbaflux as nf
from benchmarks.gpu.plans import Record, reason, record
from benchmarks.peers.cases import Training, lenet, recurrent
from benchmarks.peers.ours import step_of
from numbaflux.bound import Bound
from numbaflux.devices import moved
from numbaflux.kernels.cuda.launch import FLOAT32

MODELS = {"LeNet-5": lenet(32, 1), "LSTM": recurrent("lstm", (16, 32), 20, 16, 1)}
QUICK = {"LSTM": recurrent("lstm", (3, 4), 2, 2, 1)}
STEPS = 20
TOLERANCE = 2e-3  # of a loss in float32, step after step
OF_PARAMETERS = 1e-2  # of their length as one vector: Adam makes much of gradients near zero


def bound_step(gpu: Any, case: Training, products: str = FLOAT32) -> tuple[Bound, Any, np.ndarray, np.ndarray]:
    """A training step on a GPU, its compiled function, x and y."""
    step, x, y = step_of(case, put=partial(moved, gpu=gpu), products=products)
    program, _ = step.program((x, y))
    return program.plan, step, x, y


def compared(gpu: Any, case: Training, steps: int) -> tuple[float, float, list[float]]:
    """How far losses are apart at most, how far parameters in the end, of their length, and the losses."""
    ours, x, y = step_of(case)
    bound, theirs, _, _ = bound_step(gpu, case)
    rng, apart, losses = np.random.default_rng(5), 0.0, []
    try:
        for _ in range(steps):
            order = rng.permutation(len(x))
            batch = np.ascontiguousarray(x[order]), np.ascontiguousarray(y[order])
            here = float(ours(*batch))
            losses.append(float(theirs(*batch)))
            apart = max(apart, abs(losses[-1] - here) / max(abs(here), 1e-3))
    finally:
        bound.close()
    one, two = (np.concatenate([p.ravel() for p in nf.trainables(step.model)]) for step in (ours, theirs))
    return apart, float(np.linalg.norm(one - two) / np.linalg.norm(one)), losses


def checks(gpu: Any, family: str, quick: bool) -> Iterator[Record]:
    for name, case in (QUICK if quick else MODELS).items():
        steps = 2 if quick else STEPS
        try:
            apart, parameters, losses = compared(gpu, case, steps)
        except Exception as error:
            yield record(family, name, False, reason(error))
            continue
        good = apart <= TOLERANCE and parameters <= OF_PARAMETERS and all(np.isfinite(losses))
        way = f"{steps} steps, loss {losses[0]:.4f} to {losses[-1]:.4f}"
        said = f"{way}, apart by {apart:.1g}, parameters {parameters:.1g}"
        yield record(family, name, good, said, off=apart, losses=losses)
