"""Softmax over the last axis, and the crossentropy of class labels with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..lowering import Buf, Build, Int, cut, elements_block, whole
from ..op import DTypeError, Op, RangeError, ShapeError, Spec, example, expect
from .elementwise import EXP, FILL, MUL, NEG, SUB
from .reduce import BROADCAST, SUM


def _rows(*specs: Spec) -> Spec:
    x = specs[0]
    expect(x.dtype.kind == "f", "softmax", "x", "an array of float32 or float64", str(x.dtype), error=DTypeError)
    good = len(x.shape) >= 1 and x.shape[-1] > 0
    expect(good, "softmax", "x", "of at least one class", f"shape {x.shape}", error=ShapeError)
    return x


def _by_rows(kernel: str) -> Any:
    def lower(b: Build, out: Buf, *ins: Buf) -> None:
        c = out.shape[-1]
        n = out.size // c
        arrays = [cut(out, n, c, write=True), *(cut(x, n, c) for x in ins)]
        b.add(f"softmax.{kernel}", *arrays, rows=n, block=elements_block(n, c), work=3.0 * out.size)

    return lower


def _row_sum(c: Any, x: Any) -> Any:
    """The sum over the last axis, repeated along it."""
    axis = len(x.shape) - 1
    total = c.apply(SUM, x, start=axis, stop=axis + 1, scale=1.0)
    return c.apply(BROADCAST, total, start=axis, sizes=(x.shape[axis],))


def _softmax_grad_y(c: Any, g: Any) -> Any:
    """Of y (dy - sum(y dy)) with respect to y."""
    y, dy = c.inputs
    direct = c.apply(MUL, g, c.apply(SUB, dy, _row_sum(c, c.apply(MUL, y, dy))))
    return c.apply(SUB, direct, c.apply(MUL, dy, _row_sum(c, c.apply(MUL, g, y))))


ONE, TWO = (example("f", (3, 4)),), (example("ff", (3, 4), (3, 4)),)
SOFTMAX = Op("softmax", _rows, _by_rows("softmax"), (lambda c, dy: c.apply(SOFTMAX_GRAD, c.y, dy),), examples=ONE)
SOFTMAX_GRAD: Op = Op(
    "softmax_grad",
    _rows,
    _by_rows("softmax_grad"),
    (_softmax_grad_y, lambda c, g: c.apply(SOFTMAX_GRAD, c.x, g)),
    examples=TWO,
)


def _logsoftmax_grad_y(c: Any, g: Any) -> Any:
    """Of dy - exp(y) sum(dy) with respect to y."""
    y, dy = c.inputs
    return c.apply(NEG, c.apply(MUL, c.apply(MUL, g, c.apply(EXP, y)), _row_sum(c, dy)))


def _logsoftmax_grad_dy(c: Any, g: Any) -> Any:
    return c.apply(SUB, g, _row_sum(c, c.apply(MUL, g, c.apply(EXP, c.x))))


LOGSOFTMAX = Op(
    "logsoftmax", _rows, _by_rows("logsoftmax"), (lambda c, dy: c.apply(LOGSOFTMAX_GRAD, c.y, dy),), examples=ONE
)
LOGSOFTMAX_GRAD: Op = Op(
    "logsoftmax_grad",
    _rows,
    _by_rows("logsoftmax_grad"),
    (_logsoftmax_grad_y, _logsoftmax_grad_dy),
    examples=TWO,
)


def _labels_shape(x: Spec, labels: Spec) -> Spec:
    _rows(x)
    expect(labels.dtype == np.int64, "crossentropy", "labels", "an array of integers", str(labels.dtype),
           error=DTypeError)  # fmt: skip
    expect(labels.shape == x.shape[:-1], "crossentropy", "labels", f"of shape {x.shape[:-1]}", str(labels.shape),
           error=ShapeError)  # fmt: skip
    return Spec(x.shape[:-1], x.dtype)


def _check_labels(b: Build, labels: Buf, classes: int) -> None:
    def error(position: int) -> Exception:
        return RangeError(f"crossentropy: labels must be in 0..{classes - 1}, got another at position {position}")

    b.check("check.indices", whole(labels, labels.size), Int(classes), error=error)


def _labels_lower(b: Build, out: Buf, x: Buf, labels: Buf) -> None:
    c = x.shape[-1]
    n = math.prod(out.shape)
    _check_labels(b, labels, c)
    b.add("softmax.crossentropy_labels", cut(out, n, write=True), cut(x, n, c), cut(labels, n),
          rows=n, block=elements_block(n, c), work=3.0 * n * c)  # fmt: skip


def _labels_grad_lower(b: Build, out: Buf, x: Buf, labels: Buf, dy: Buf) -> None:
    c = x.shape[-1]
    n = labels.size
    b.add("softmax.crossentropy_labels_grad", cut(out, n, c, write=True), cut(x, n, c), cut(labels, n), cut(dy, n),
          rows=n, block=elements_block(n, c), work=3.0 * n * c)  # fmt: skip


def _labels_grad_x(c: Any, g: Any) -> Any:
    """(softmax(x) - onehot) dy with respect to x: softmax's gradient of g dy."""
    x, _, dy = c.inputs
    wide = c.apply(BROADCAST, dy, start=len(dy.shape), sizes=(x.shape[-1],))
    return c.apply(SOFTMAX_GRAD, c.apply(SOFTMAX, x), c.apply(MUL, g, wide))


def _labels_grad_dy(c: Any, g: Any) -> Any:
    x, labels, dy = c.inputs
    ones = c.apply(FILL, dy, value=1.0)
    axis = len(x.shape) - 1
    product = c.apply(MUL, g, c.apply(CROSSENTROPY_GRAD, x, labels, ones))
    return c.apply(SUM, product, start=axis, stop=axis + 1, scale=1.0)


# -logsoftmax(x)[label] of each row
CROSSENTROPY = Op(
    "crossentropy",
    _labels_shape,
    _labels_lower,
    (lambda c, dy: c.apply(CROSSENTROPY_GRAD, *c.inputs, dy), None),
    examples=(example("fi", (3, 4), (3,)),),
)
CROSSENTROPY_GRAD: Op = Op(
    "crossentropy_grad",
    lambda x, labels, dy: x,
    _labels_grad_lower,
    (_labels_grad_x, None, _labels_grad_dy),
    examples=(example("fif", (3, 4), (3,), (3,)),),
)

OPS = (SOFTMAX, SOFTMAX_GRAD, LOGSOFTMAX, LOGSOFTMAX_GRAD, CROSSENTROPY, CROSSENTROPY_GRAD)
