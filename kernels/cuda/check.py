"""Entries that look whether a step may go on: kernels/cpu/check.py on a GPU, one block each."""

from .jit import aligned, index, int32, kernel, load4, signed, thread, threads
from .team import block_min


@kernel
def nothing(x, i):
    """0 where the four numbers at 4 i are finite, else NaN."""
    a, b, c, d = load4(x, index(index(4) * i))
    return ((a - a) + (b - b)) + ((c - c) + (d - d))


@kernel
def finite(flag, x):
    """flag[0] = 1 where some element of x is NaN or infinite, else 0."""
    n, i, step, found = index(x.size), thread(), threads(), x.dtype.type(0)
    if aligned(x):
        fours = n // index(4)
        while i + index(3) * step < fours:  # several loads on their way at once
            p, q = nothing(x, i), nothing(x, index(i + step))
            r, s = nothing(x, index(i + index(2) * step)), nothing(x, index(i + index(3) * step))
            found += (p + q) + (r + s)
            i = index(i + index(4) * step)
        while i < fours:
            found += nothing(x, i)
            i = index(i + step)
        i = index(n - n % index(4) + thread())
    while i < n:
        found += x[i] - x[i]
        i = index(i + step)
    good = block_min(int32(1) if found == 0 else int32(0))
    if thread() == 0:
        flag[0] = 1 - good


@kernel
def stop(status, code, detail):
    if status[0] == 0:
        status[0], status[1] = code, detail


def make_first(bad):
    """A function that stops at the first element of x with bad(element, number)."""

    @kernel
    def first(status, x, number, code):
        n, i = index(x.size), thread()
        found = signed(n)
        while i < n:
            found = min(found, signed(i)) if bad(x[i], number) else found
            i = index(i + threads())
        found = block_min(found)
        if thread() == 0 and found < n:
            stop(status, code, found)

    return first


first_set = make_first(kernel(lambda flag, none: flag != none))
first_nonfinite = make_first(kernel(lambda x, none: not (x - x == 0)))
first_outside = make_first(kernel(lambda i, size: i < 0 or i >= size))


@kernel
def finite_all(status, x, code):
    """Stop where an element of x is NaN or infinite; the detail is the place of the first."""
    first_nonfinite(status, x, 0, code)


@kernel
def flags(status, flags, code):
    """Stop where a flag is set; the detail is its number."""
    first_set(status, flags, 0, code)


@kernel
def indices(status, index, size, code):
    """Stop where an index is not in 0 .. size - 1; the detail is the position of the first such."""
    first_outside(status, index, size, code)


@kernel
def clamped(index, size):
    """The index, moved into range: what a check reports must not be followed meanwhile."""
    return min(max(index, 0), size - 1)
