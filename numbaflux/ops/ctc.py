"""The loss of connectionist temporal classification: logits of a series of times against labels without times."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lowering import SMALL, Array, Buf, Build, Int, cut, samples, whole
from ..op import DTypeError, Op, RangeError, ShapeError, Spec, example, expect

DOUBLE, WHOLE = np.dtype(np.float64), np.dtype(np.int64)
COUNTS = (("target", 2, "of shape (n, l), labels"), ("target_lengths", 1, "of shape (n,)"),
          ("input_lengths", 1, "of shape (n,)"))  # fmt: skip


def _shape(x: Spec, *counts: Spec, blank: int) -> Spec:
    """x (n, time, classes), labels (n, l), and how many of them and of the times count (n,)."""
    expect(x.dtype.kind == "f", "ctc_loss", "prediction", "an array of float32 or float64", str(x.dtype),
           error=DTypeError)  # fmt: skip
    good = len(x.shape) == 3 and 0 not in x.shape[1:]
    expect(good, "ctc_loss", "prediction", "of shape (n, time, classes)", str(x.shape), error=ShapeError)
    for (name, axes, expected), given in zip(COUNTS, counts, strict=True):
        expect(given.dtype == WHOLE, "ctc_loss", name, "integers", str(given.dtype), error=DTypeError)
        fits = len(given.shape) == axes and given.shape[0] == x.shape[0]
        expect(fits, "ctc_loss", name, f"{expected}, n being {x.shape[0]}", str(given.shape), error=ShapeError)
    expect(0 <= blank < x.shape[2], "ctc_loss", "blank", f"in 0..{x.shape[2] - 1}", blank)
    return Spec(x.shape[:1], x.dtype)


def _tiling(x: Buf, labels: Buf) -> dict[str, Any]:
    """Samples a tile: few where each takes long. A state at one time costs about 30 ns."""
    n, times, classes = x.shape
    each = times * (classes + 16 * (2 * labels.shape[1] + 1))
    return {"rows": n, "block": min(samples(n), max(1, 4 * SMALL // each)), "work": 2.0 * n * each}


def _inputs(x: Buf, labels: Buf, counts: Buf, times: Buf) -> list[Array]:
    n, length, classes = x.shape
    return [cut(x, n * length, classes), cut(labels, n, labels.shape[1]), cut(counts, n), cut(times, n)]


def _lower(b: Build, out: Buf, x: Buf, labels: Buf, counts: Buf, times: Buf, blank: int) -> None:
    (n, length, classes), width = x.shape, labels.shape[1]
    for name, given, size in (("target_lengths", counts, width), ("input_lengths", times, length)):
        b.check("check.indices", whole(given, n), Int(size + 1), error=_too_long(name, size))
    bad, work = b.temp((n,), WHOLE), b.temp((n, length + 4 * (2 * width + 3)), DOUBLE)
    b.add("ctc.loss", cut(out, n, write=True), cut(bad, n, write=True), cut(work, *work.shape, write=True),
          *_inputs(x, labels, counts, times), Int(blank), **_tiling(x, labels))  # fmt: skip

    def error(position: int) -> Exception:
        others = f"in 0..{classes - 1} and not {blank}, the blank"
        return RangeError(f"ctc_loss: target must be {others}, got another in sample {position}")

    b.check("check.flags", whole(bad, n), error=error)


def _too_long(name: str, size: int) -> Any:
    return lambda position: RangeError(f"ctc_loss: {name} must be in 0..{size}, got another at position {position}")


def _grad_lower(
    b: Build, out: Buf, x: Buf, labels: Buf, counts: Buf, times: Buf, dy: Buf, blank: int
) -> None:  # fmt: skip
    (n, length, classes), width = x.shape, labels.shape[1]
    work = b.temp((n, length + (length + 5) * (2 * width + 3)), DOUBLE)
    b.add("ctc.grad", cut(out, n * length, classes, write=True), cut(work, *work.shape, write=True),
          *_inputs(x, labels, counts, times), cut(dy, n), Int(blank), **_tiling(x, labels))  # fmt: skip


CTC = Op(
    "ctc",
    _shape,
    _lower,
    (lambda c, dy: c.apply(CTC_GRAD, *c.inputs, dy, **c.attrs), None, None, None),
    examples=(example("fiii", (2, 5, 4), (2, 2), (2,), (2,), blank=3),),
)
CTC_GRAD: Op = Op(
    "ctc_grad",
    lambda x, labels, counts, times, dy, blank: x,
    _grad_lower,
    None,
    "second derivatives of ctc_loss would need every pair of times; take differences of its gradient",
    examples=(example("fiiif", (2, 5, 4), (2, 2), (2,), (2,), (2,), blank=3),),
)

OPS = (CTC, CTC_GRAD)
