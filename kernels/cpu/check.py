"""Entries that look whether a step may go on: they set a flag, or the status word [code, detail] where it is still
0."""

from ..jit import kernel
from ..scalar import inlined


@kernel
def finite(flag, x):
    """flag[0] = 1 where some element of x is NaN or infinite, else 0."""
    bad = 0
    for i in range(x.size):
        bad |= not (x[i] - x[i] == 0)
    flag[0] = bad


@kernel
def finite_one(status, x, code):
    """Stop where the only element of x is NaN or infinite."""
    if not (x[0] - x[0] == 0) and status[0] == 0:
        status[0] = code
        status[1] = 0


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
