"""Rows of which each thread of a team has HELD numbers in registers: some fours, so that loads are of 16 bytes."""

from .jit import aligned, index, kernel, store4
from .launch import HELD
from .reduce import four


@kernel
def fetch(values, x, at, first, c, me, lanes, none):
    """values = what this thread has of the row x[at : at + c] from its element `first` on, fours; none beyond it."""
    side = at % index(4) == 0 and aligned(x)
    for j in range(0, HELD, 4):
        i = index(first + index(4) * me + index(j) * lanes)
        if i + index(4) <= c:
            values[j], values[j + 1], values[j + 2], values[j + 3] = four(x, index(at + i), side)
        else:
            for q in range(4):
                values[j + q] = x[index(at + i + index(q))] if i + index(q) < c else none


def make_put(finish):
    """A function that writes finish(value, other, i, numbers) where fetch has found value, and other."""

    @kernel
    def put(y, values, others, at, first, c, me, lanes, numbers):
        side = at % index(4) == 0 and aligned(y)
        for j in range(0, HELD, 4):
            i = index(first + index(4) * me + index(j) * lanes)
            if i + index(4) <= c and side:
                store4(
                    y, index(at + i),
                    finish(values[j], others[j], i, numbers),
                    finish(values[j + 1], others[j + 1], index(i + index(1)), numbers),
                    finish(values[j + 2], others[j + 2], index(i + index(2)), numbers),
                    finish(values[j + 3], others[j + 3], index(i + index(3)), numbers),
                )  # fmt: skip
            else:
                for q in range(4):
                    k = index(i + index(q))
                    if k < c:
                        y[index(at + k)] = finish(values[j + q], others[j + q], k, numbers)

    return put
