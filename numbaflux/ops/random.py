"""Random operations. Each is given `words`, seed and draws made before as uint64, and `offset`, how many draws since;
what an element gets depends on these and on its number in the array."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lowering import Array, Buf, Build, Int, Num, cut, elements_block, leading, whole
from ..op import DTypeError, Op, Spec, example, expect

WORD, DOUBLE = np.dtype(np.uint32), np.dtype(np.float64)


def _shape(name: str) -> Any:
    def shape(x: Spec, words: Spec, **attrs: float) -> Spec:
        expect(x.dtype.kind == "f", name, "x", "an array of float32 or float64", str(x.dtype), "x.astype(np.float32)",
               DTypeError)  # fmt: skip
        good = words == Spec((2,), np.dtype(np.uint64))
        expect(good, name, "words", "two of uint64", f"{words.dtype} of shape {words.shape}", error=DTypeError)
        return x

    return shape


def _add(
    b: Build, kernel: str, out: Buf, ins: list[Buf], words: Buf, offset: int, *numbers: Int | Num, work: float
) -> None:  # fmt: skip
    """An entry over elements, given the number of a tile's first one."""
    rows, halves = leading(out.shape), Buf(words.storage, (4,), WORD, words.offset)
    width = out.size // max(rows, 1)
    arrays: list[Array] = [cut(out, out.size, write=True), *(cut(x, out.size) for x in ins)]
    b.add(kernel, *arrays, whole(halves), Int(0, width), Int(offset), *numbers,
          rows=rows, block=elements_block(rows, width), work=work * out.size)  # fmt: skip


def _dropout_lower(b: Build, out: Buf, x: Buf, words: Buf, p: float, offset: int) -> None:
    threshold = min(round(p * 2**32), 2**32 - 1)
    scale = 0.0 if p == 1 else 1 / (1 - p)
    _add(b, "random.dropout", out, [x], words, offset, Int(threshold), Num(scale, out.dtype), work=1.0)


def _uniform_lower(b: Build, out: Buf, x: Buf, words: Buf, low: float, high: float, offset: int) -> None:
    """In float64 whatever is asked for, so that both types get the same numbers but for rounding."""
    kind = out.dtype.type
    highest = np.nextafter(kind(high), kind(low))  # the sum can round up to high itself
    numbers = [Num(float(v), DOUBLE) for v in (high / 2**32 - low / 2**32, low / 2 + high / 2, kind(low), highest)]
    _add(b, "random.uniform", out, [], words, offset, *numbers, work=1.0)


# x / (1 - p) with probability 1 - p, else 0, for each element
DROPOUT: Op = Op(
    "dropout",
    _shape("dropout"),
    _dropout_lower,
    (lambda c, dy: c.apply(DROPOUT, dy, c.inputs[1], **c.attrs), None),
    examples=(example("fw", (5,), (2,), p=0.5, offset=0),),
)
# numbers of 32 random bits in [low, high), as many as those of x and of their type
UNIFORM = Op(
    "uniform",
    _shape("uniform"),
    _uniform_lower,
    (None, None),
    examples=(example("fw", (5,), (2,), low=0.0, high=1.0, offset=0),),
)

OPS = (DROPOUT, UNIFORM)
