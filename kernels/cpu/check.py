"""Entries that look whether a step may go on: they set a flag, or the status word [code, detail] where it is still
0."""

from llvmlite import ir
from numba.extending import intrinsic

from ..jit import kernel
from ..scalar import inlined


@intrinsic
def either(typing, x, y):
    """The number whose bits are those of x and those of y: NaN beside 0 is NaN. Unlike a sum it may be taken in any
    order, so by vectors."""

    def generate(context, builder, signature, args):
        bits = [builder.bitcast(a, ir.IntType(x.bitwidth)) for a in args]
        return builder.bitcast(builder.or_(*bits), args[0].type)

    return x(x, y), generate


@inlined
def nothing(x):
    """0 where all elements of x are finite, else NaN."""
    found = x.dtype.type(0)
    for i in range(x.size):
        found = either(found, x[i] - x[i])
    return found


@kernel
def finite(flag, x):
    """flag[0] = 1 where some element of x is NaN or infinite, else 0."""
    flag[0] = nothing(x) != 0


@kernel
def finite_all(status, x, code):
    """Stop where an element of x is NaN or infinite; the detail is the place of the first."""
    if nothing(x) != 0 and status[0] == 0:
        first = x.size
        for i in range(x.size):
            first = min(first, i) if x[i] - x[i] != 0 else first
        status[0], status[1] = code, first


@kernel
def flags(status, flags, code):
    """Stop where a flag is set; the detail is its number."""
    for i in range(flags.size):
        if flags[i] != 0 and status[0] == 0:
            status[0] = code
            status[1] = i


@kernel
def indices(status, index, size, code):
    """Where status[0] is 0 and an index is not in 0 .. size - 1: status(2,) = code, the position of the first such."""
    first = index.size
    for i in range(index.size):
        bad = index[i] < 0 or index[i] >= size
        first = min(first, i) if bad else first
    if status[0] == 0 and first < index.size:
        status[0], status[1] = code, first


@inlined
def clamped(index, size):
    """The index, moved into range: what a check reports must not be followed meanwhile."""
    return min(max(index, 0), size - 1)
