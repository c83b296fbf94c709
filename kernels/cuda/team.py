"""What threads find together: the sum, the largest, the smallest of what each of them has, in an order that is always
the same; all of them get it.

A team is some lanes of a warp, a power of two, or a whole block. All threads of a block call these together.
"""

from .jit import barrier, from_partner, index, kernel, part, parts, scalar, shared, thread, threads
from .launch import WARP, team

lanes_for = kernel(team)


def joined(combine):
    """A function of x and of how many threads are a team: what `combine` makes of the x of all its threads."""
    memory = shared(WARP)  # one number of each warp of a block

    @kernel
    def join(x, lanes):
        step = index(1)
        while step < min(lanes, index(WARP)):
            x = combine(x, from_partner(x, step))
            step = index(step + step)
        if lanes > index(WARP):
            room = memory(x)
            if thread() % index(WARP) == 0:
                room[thread() // index(WARP)] = x
            barrier()
            x, warp = room[0], index(1)
            while warp < threads() // index(WARP):
                x = combine(x, room[warp])
                warp = index(warp + index(1))
            barrier()
        return x

    return join


def each_row(one):
    """A function of arrays and n rows of c numbers: one(arrays, row, c, me, lanes, there) by each thread of the team
    of a row. Teams that are left over go along the last row too, for company: they must not write (there: false)."""

    @kernel
    def rows(arrays, n, c):
        lanes, t = index(lanes_for(c)), thread()
        each = index(threads() // lanes)
        first = index(part() * each)
        while first < n:
            row = index(first + t // lanes)
            one(arrays, index(min(row, n - index(1))), c, index(t % lanes), lanes, row < n)
            first = index(first + parts() * each)

    return rows


def of_block(join):
    """The same of the whole block."""
    return kernel(lambda x: join(x, threads()))


def of_warp(join):
    """The same of each warp."""
    return kernel(lambda x: join(x, index(WARP)))


team_sum = joined(kernel(lambda a, b: a + b))
team_max = joined(scalar.maximum)
team_min = joined(kernel(lambda a, b: a if a < b else b))  # of numbers that are not NaN

block_sum, block_max, block_min = of_block(team_sum), of_block(team_max), of_block(team_min)
warp_sum, warp_max = of_warp(team_sum), of_warp(team_max)
