"""Pairs of numbers of each column of a matrix, that the threads of a block find in its rows and join."""

from .jit import barrier, index, kernel, part, parts, shared, thread, threads
from .launch import STRIP, THREADS


def make_strip(own, combine):
    """A function that makes a block's pair of numbers of a column, of width columns from `left` on: own(arrays, o,
    column, first, k, jump) -> a, b, rows is of the rows first, first + jump, .. < k; combine joins two of these.

    It gives what this thread's column has, which column that is, and which of how many threads that have it this is.
    """
    memory_a, memory_b, memory_rows = shared(THREADS), shared(THREADS), shared(THREADS)

    @kernel
    def strip(arrays, o, left, width, k):
        t = thread()
        groups, group, column = index(threads() // width), index(t // width), index(left + t % width)
        a, b, rows = own(arrays, o, column, group, k if group < groups else index(0), groups)
        room_a, room_b, room_rows, some = memory_a(a), memory_b(b), memory_rows(rows), groups
        room_a[t], room_b[t], room_rows[t] = a, b, rows
        barrier()
        while some > index(1):  # the upper half to the lower
            half = index((some + index(1)) // index(2))
            if group + half < some:
                other = index(t + half * width)
                a, b, rows = combine(a, b, rows, room_a[other], room_b[other], room_rows[other])
                room_a[t], room_b[t], room_rows[t] = a, b, rows
            barrier()
            some = half
        a, b = room_a[index(t % width)], room_b[index(t % width)]
        barrier()
        return a, b, column, group, groups

    return strip


def each_strip(do):
    """do(arrays, o, left, width) for each of outer matrices and each strip of c columns, by a block each."""

    @kernel
    def strips(arrays, outer, c):
        count, item = index((c + index(STRIP - 1)) // index(STRIP)), part()
        while item < outer * count:
            left = index(item % count * index(STRIP))
            do(arrays, index(item // count), left, index(min(c - left, index(STRIP))))
            item = index(item + parts())

    return strips


def each_group(do, then):
    """The same by one block for all strips of a matrix, and then(arrays, o), which sees what all have written."""

    @kernel
    def wholes(arrays, outer, c):
        o = part()
        while o < outer:
            left = index(0)
            while left < c:
                do(arrays, o, left, index(min(c - left, index(STRIP))))
                left = index(left + index(STRIP))
            barrier()
            then(arrays, o)
            o = index(o + parts())

    return wholes
