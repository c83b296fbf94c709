"""The loss of connectionist temporal classification: labels whose times are not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functions as F
from ..op import DTypeError, ShapeError, expect
from ..ops.ctc import CTC
from ..trace import Value, apply
from .targets import Agg, aggregated


def ctc_loss(
    prediction: Any, target: Any, agg: Agg = F.mean, input_lengths: Any = None, target_lengths: Any = None,
    blank: int | None = None, zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """Mean of -log of the probability that labels come in this order, at whatever times, by softmax of logits.

    prediction: logits (n, time, classes); target: labels (n, l), of which the first target_lengths (n,) count, or a
    list of n sequences of labels. input_lengths (n,): how many times of each sample count; all unless told. A single
    sample is (time, classes) and (l,). blank: the class that stands for no label, the last unless told.
    Where there are fewer times than labels, and a blank between equal neighbours, take, the loss is infinite and its
    gradient 0; with zero_infinity such a sample counts as 0. Losses are not divided by the lengths of labels. There are
    no second derivatives. Raises ShapeError, DTypeError, and RangeError for labels and lengths out of range; what
    stands behind the lengths is not looked at.

    Source: Graves et al. 2006, equations 5 to 16.

    >>> logits = np.zeros((1, 2, 3), np.float32)
    >>> round(float(ctc_loss(logits, [[0]])), 4)  # three of nine paths: 0 0, 0 blank, blank 0
    1.0986
    >>> float(ctc_loss(logits, [[0, 0]]))  # needs three times
    inf
    """
    logits = F.floats(prediction)
    fits = logits.ndim in (2, 3) and logits.shape[-1] > 0
    expect(fits, "ctc_loss", "prediction", "of shape (n, time, classes) or (time, classes)", str(tuple(logits.shape)),
           error=ShapeError)  # fmt: skip
    one = logits.ndim == 2
    if isinstance(target, list | tuple) and not one:
        expect(target_lengths is None, "ctc_loss", "target_lengths", "left out where target is a list",
               type(target_lengths).__name__, error=DTypeError)  # fmt: skip
        target, target_lengths = _padded(target)
    n, times = (1, logits.shape[0]) if one else logits.shape[:2]
    labels = _integers("target", target)
    counts = _lengths("target_lengths", target_lengths, n, labels.shape[-1] if labels.ndim else 0, one)
    taken = _lengths("input_lengths", input_lengths, n, times, one)
    if one:
        logits, labels = F.expand_dims(logits, 0), F.expand_dims(labels, 0)
    last = logits.shape[2] - 1
    blank = last if blank is None else blank
    expect(isinstance(blank, int | np.integer) and not isinstance(blank, bool), "ctc_loss", "blank",
           f"an integer in 0..{last}", blank, error=DTypeError)  # fmt: skip
    each = apply(CTC, logits, labels, counts, taken, blank=int(blank))
    if zero_infinity:
        each = F.where(F.equal(each, np.inf), 0.0, each)
    return aggregated(agg, F.reshape(each, ()) if one else each)


def _integers(name: str, x: Any) -> Any:
    """As int64; an empty list is one of no labels."""
    array = x if isinstance(x, Value) else np.asarray(x)
    if isinstance(array, np.ndarray) and array.size == 0 and not isinstance(x, np.ndarray):
        array = array.astype(np.int64)
    expect(array.dtype.kind in "iu", "ctc_loss", name, "integers", str(array.dtype), "x.astype(np.int64)", DTypeError)
    return F.astype(array, np.int64) if isinstance(array, Value) else array.astype(np.int64, copy=False)


def _lengths(name: str, given: Any, n: int, size: int, one: bool) -> Any:
    """Of each sample; all of them unless told."""
    if given is None:
        return np.full(n, size)
    found = _integers(name, given)
    return F.reshape(found, (1,)) if one and found.ndim == 0 else found


def _padded(target: Sequence[Any]) -> tuple[Any, Any]:
    """Sequences of labels as one array, zeros behind the shorter ones, and their lengths."""
    rows = [_integers(f"target[{i}]", row) for i, row in enumerate(target)]
    for i, row in enumerate(rows):
        flat = isinstance(row, np.ndarray) and row.ndim == 1
        expect(flat, "ctc_loss", f"target[{i}]", "a sequence of labels", f"shape {tuple(row.shape)}", error=ShapeError)
    lengths = np.array([row.size for row in rows], np.int64)
    labels = np.zeros((len(rows), max(lengths, default=0)), np.int64)
    for i, row in enumerate(rows):
        labels[i, : row.size] = row
    return labels, lengths
