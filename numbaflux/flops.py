"""How many floating point operations entries do, and how many bytes they touch: what a profile divides by time.

Only products of matrices and what is made of them are counted, a multiplication and an addition as two; padding counts
as if it were multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .cublas import KERNEL as CUBLAS
from .lowering import Block, Entry, Int, Origin

# The kernels that multiply beside products: what their operations are made of besides moves elements.
MULTIPLY = frozenset(
    {
        *"conv.conv conv.conv_images conv.conv_grad_w conv.conv_images_grad_w".split(),
        *"depthwise.conv depthwise.conv_grad_w attention.attention attention.attention_grad".split(),
        *"recurrent.forward recurrent.backward".split(),
    }
)


def _product(e: Entry) -> int:
    """Of a product of matrices, by its own arguments: the sizes of each tile's."""

    def size(i: int, row: int) -> int:
        return min(_number(a, e.block, row) for a in e.args[i : i + 2])

    return sum(math.prod(max(0, size(i, row)) for i in (4, 6, 8)) for row in range(0, e.rows, e.block))


def _by_cublas(e: Entry) -> int:
    """The same of one that cuBLAS makes, or of a stack of them."""
    return math.prod(_number(e.args[i], 1, 0) for i in (4, 5, 6, 11))


def _number(a: object, block: int, row: int) -> int:
    """What an integer argument is in the tile that begins at a row."""
    return block if isinstance(a, Block) else a.start + a.per_row * row if isinstance(a, Int) else 0


PRODUCTS: dict[str, Callable[[Entry], int]] = {"dense.product": _product, CUBLAS: _by_cublas}


def _taps(shape: tuple[int, ...]) -> int:
    """Of weights (window, in // groups, out): multiplications an output element."""
    return math.prod(shape[:-1])


def _attention(o: Origin, parts: int) -> tuple[int, int]:
    """Over all scores: products of q and k, those with v; half of them where none looks ahead."""
    q, k, v = (_shape(o, i) for i in range(3))
    scores = q[0] * q[1] * k[1] // (1 + o.attrs["causal"])
    return scores * q[2], scores * v[2]


def _attention_grad(o: Origin, parts: int) -> int:
    """Scores and their gradients, made anew by each part; then dq, dk, dv."""
    depth, width = _attention(o, parts)
    return parts * (depth + width) + 2 * depth + width


def _recurrent(o: Origin, inputs: int, states: int) -> int:
    """So many products with the weights of the inputs, and of the states, in every step."""
    n, steps, features = _shape(o, 0)
    hidden, columns = _shape(o, 2)
    return n * steps * columns * (inputs * features + states * hidden)


def _shape(o: Origin, i: int) -> tuple[int, ...]:
    return o.inputs[i].shape  # type: ignore[union-attr]


# Multiplications of an operation, or of one of its kernels; parts: how many entries of that kernel share them.
COUNTS: dict[str, Callable[[Origin, int], int]] = {
    "conv": lambda o, parts: o.outs[0].size * _taps(_shape(o, 1)),
    "conv_grad_x": lambda o, parts: math.prod(_shape(o, 0)) * _taps(_shape(o, 1)),
    **dict.fromkeys(("conv_grad_w", "conv_grad_wb"), lambda o, parts: math.prod(_shape(o, 1)) * _taps(o.outs[0].shape)),
    "attention": lambda o, parts: sum(_attention(o, parts)),
    "attention_grad": _attention_grad,
    "recurrent": lambda o, parts: _recurrent(o, 1, 1),
    "recurrent_grad": lambda o, parts: _recurrent(o, 1, 2),
}
# On a GPU only the chain of steps: all else are products.
ON_GPU = COUNTS | dict.fromkeys(("recurrent", "recurrent_grad"), lambda o, parts: _recurrent(o, 0, 1))


def flops(entries: Sequence[Entry], gpu: bool = False) -> list[float]:
    """Of each entry of a plan; 0 where it is not known. Entries of one kernel of an operation share by their work."""
    counts = ON_GPU if gpu else COUNTS
    together: dict[tuple[int, str], list[int]] = {}
    for i, e in enumerate(entries):
        if e.origin is not None and e.kernel in MULTIPLY:
            together.setdefault((id(e.origin), e.kernel), []).append(i)
    found = [2.0 * PRODUCTS[e.kernel](e) if e.kernel in PRODUCTS else 0.0 for e in entries]
    for places in together.values():
        origin = entries[places[0]].origin
        count = counts.get(origin.op)  # type: ignore[union-attr]
        work = sum(entries[i].work for i in places)
        for i in places if count is not None else ():
            found[i] = 2.0 * count(origin, len(places)) * entries[i].work / work  # type: ignore[misc, arg-type]
    return found


def touched(e: Entry, tiles: int) -> int:
    """Bytes of the arrays that an entry reads and writes, each once."""
    return sum(math.prod(a.shape) * a.buf.dtype.itemsize * (tiles if a.per_tile else 1) for a in e.arrays)
