"""Entries that look whether a step may go on: they set a flag, or the status word [code, detail] where it is still
0."""

from ..jit import kernel


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
