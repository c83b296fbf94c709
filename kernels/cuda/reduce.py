"""Sums and maxima of x(outer, k, inner) over k, and gradients: kernels/cpu/reduce.py on a GPU. A sum's order depends on
k and inner alone."""

import math

from .jit import (
    aligned,
    barrier,
    flat,
    index,
    int32,
    kernel,
    load4,
    part,
    parts,
    rank,
    ranks,
    scalar,
    shared,
    store4,
    thread,
    threads,
)
from .launch import FEW_ROWS, STRIP, THREADS
from .team import each_row, joined

FOURS = 32  # that a thread combines before it adds them to its total, so that long sums keep their digits


@kernel
def four(x, at, side):
    """x[at : at + 4], at once if that lies on 16 bytes, which is what `side` says."""
    if side:
        return load4(x, at)
    return x[at], x[at + index(1)], x[at + index(2)], x[at + index(3)]


def make_walk(combine, along, down, put):
    """A function that combines what threads find in x(outer, k, inner) over k; its arrays are for the functions it is
    made of. Neighbouring threads read neighbours: a team goes along a row, or threads go down columns.

    along or down(arrays, place, at, step, first, k, jump) is what a thread finds in x.flat[at + j * step] for j =
    first, first + jump, .. < k; along may take fours. put(arrays, place, at, step, first, k, jump, found) is for what
    all have found for one of outer * inner places.
    """
    join, memory = joined(combine), shared(THREADS)

    @kernel
    def row(arrays, place, k, me, lanes, there):
        at = index(place * k)
        found = join(along(arrays, place, at, index(1), me, k, lanes), lanes)
        if there:
            put(arrays, place, at, index(1), me, k, lanes, found)

    rows = each_row(row)

    @kernel
    def singly(arrays, start, outer, k, inner, step):
        i = rank()
        while i < outer * inner:
            at = index(start + i // inner * k * step + i % inner)
            found = down(arrays, i, at, step, index(0), k, index(1))
            put(arrays, i, at, step, index(0), k, index(1), found)
            i = index(i + ranks())

    @kernel
    def strips(arrays, start, outer, k, inner, step):
        count = index((inner + index(STRIP - 1)) // index(STRIP))
        item, t = part(), thread()
        while item < outer * count:
            o, left = item // count, index(item % count * index(STRIP))
            width = index(min(inner - left, index(STRIP)))
            groups, group, column = index(threads() // width), index(t // width), index(left + t % width)
            place, at = index(o * inner + column), index(start + o * k * step + column)
            end = k if group < groups else index(0)
            found = down(arrays, place, at, step, group, end, groups)
            room, some = memory(found), groups
            room[t] = found
            barrier()
            while some > index(1):  # the upper half to the lower
                half = index((some + index(1)) // index(2))
                if group + half < some:
                    room[t] = combine(room[t], room[index(t + half * width)])
                barrier()
                some = half
            if group < end:
                put(arrays, place, at, step, group, k, groups, room[index(t % width)])
            barrier()
            item = index(item + parts())

    @kernel
    def walk(arrays, start, outer, k, inner, step):
        if step == index(1):  # then it starts at 0
            rows(arrays, outer, k)
        elif k <= index(FEW_ROWS):
            singly(arrays, start, outer, k, inner, step)
        else:
            strips(arrays, start, outer, k, inner, step)

    return walk


def make_reduce(combine, neutral):
    """A walk with arrays y, x, scale: y = scale * what `combine` makes of x's elements."""

    @kernel
    def along(arrays, place, at, step, me, k, lanes):
        _, x, _ = arrays
        nothing = x.dtype.type(neutral)
        total, i, end = nothing, me, index(k // index(4))
        side = at % index(4) == 0 and aligned(x)
        while i < end:
            a = b = c = d = nothing
            stop = index(min(end, index(i + lanes * index(FOURS))))
            while i + lanes < stop:  # two loads on their way at once
                p, q, r, s = four(x, index(at + index(4) * i), side)
                t, u, v, w = four(x, index(at + index(4) * (i + lanes)), side)
                a, b = combine(combine(a, p), t), combine(combine(b, q), u)
                c, d = combine(combine(c, r), v), combine(combine(d, s), w)
                i = index(i + lanes + lanes)
            while i < stop:
                p, q, r, s = four(x, index(at + index(4) * i), side)
                a, b, c, d = combine(a, p), combine(b, q), combine(c, r), combine(d, s)
                i = index(i + lanes)
            total = combine(total, combine(combine(a, b), combine(c, d)))
        rest = index(end * index(4) + me)
        return combine(total, x[index(at + rest)]) if rest < k else total

    @kernel
    def down(arrays, place, at, step, first, k, jump):
        _, x, _ = arrays
        nothing = x.dtype.type(neutral)
        total, j, far = nothing, first, index(jump * step)
        while j < k:
            some, stop = nothing, index(min(k, index(j + jump * index(FOURS))))
            while j + index(3) * jump < stop:
                i = index(at + j * step)
                a, b = x[i], x[index(i + far)]
                c, d = x[index(i + index(2) * far)], x[index(i + index(3) * far)]
                some = combine(some, combine(combine(a, b), combine(c, d)))
                j = index(j + index(4) * jump)
            while j < stop:
                some = combine(some, x[index(at + j * step)])
                j = index(j + jump)
            total = combine(total, some)
        return total

    @kernel
    def put(arrays, place, at, step, first, k, jump, found):
        y, _, scale = arrays
        if first == 0:
            y[place] = scale * found

    return make_walk(combine, along, down, put)


walk_sum = make_reduce(kernel(lambda a, b: a + b), 0)
walk_max = make_reduce(scalar.maximum, -math.inf)


@kernel
def sum(y, x, scale):
    """y(outer, inner) = scale * the sum over k of x(outer, k, inner)."""
    outer, k, inner = x.shape
    walk_sum((flat(y), flat(x), scale), index(0), index(outer), index(k), index(inner), index(inner))


@kernel
def max(y, x):
    """y(outer, inner) = the largest of x(outer, k, inner) over k; NaN where one is."""
    outer, k, inner = x.shape
    one = x.dtype.type(1)
    walk_max((flat(y), flat(x), one), index(0), index(outer), index(k), index(inner), index(inner))


@kernel
def sum_slots(y, slots, at):
    """y(m,) = the sum of the columns at, at + 1, .. of slots(t, columns)."""
    t, columns = slots.shape
    one = y.dtype.type(1)
    walk_sum((y, flat(slots), one), index(at), index(1), index(t), index(y.size), index(columns))


@kernel
def find(arrays, place, at, step, first, k, jump):
    """The first j with x's largest or NaN; k if there is none."""
    _, x, y, _ = arrays
    value, j = y[place], first
    while j < k:
        one = x[index(at + j * step)]
        if one == value or one != one:
            return int32(j)
        j = index(j + jump)
    return int32(k)


@kernel
def put_there(arrays, place, at, step, first, k, jump, found):
    dx, _, _, dy = arrays
    value, j = dy[place], first
    while j < k:
        dx[index(at + j * step)] = value if j == found else dx.dtype.type(0)
        j = index(j + jump)


walk_grad = make_walk(kernel(lambda a, b: a if a < b else b), find, find, put_there)


@kernel
def max_grad(dx, x, y, dy):
    """dx(outer, k, inner) = dy(outer, inner) at the first of x's largest (or first NaN), else 0; y = max(x)."""
    outer, k, inner = x.shape
    arrays = flat(dx), flat(x), flat(y), flat(dy)
    walk_grad(arrays, index(0), index(outer), index(k), index(inner), index(inner))


@kernel
def spread(y, x, n, inner):
    """y.flat[i] = x[i // n * inner + i % inner]: x(outer, inner) for each of the rows that make n elements of y."""
    i, step, size = rank(), ranks(), index(y.size)
    if aligned(y):
        whole = inner % index(4) == 0 and aligned(x)  # then fours come from one row
        while i < size // index(4):
            at = index(index(4) * i)
            o, j, c = index(at // n), index(at % n), index(at % inner)
            if whole:
                p, q, r, s = load4(x, index(o * inner + c))
            else:
                p = x[index(o * inner + c)]
                o, j, c = after(o, j, c, n, inner)
                q = x[index(o * inner + c)]
                o, j, c = after(o, j, c, n, inner)
                r = x[index(o * inner + c)]
                o, j, c = after(o, j, c, n, inner)
                s = x[index(o * inner + c)]
            store4(y, at, p, q, r, s)
            i = index(i + step)
        i = index(size - size % index(4) + rank())
    while i < size:
        y[i] = x[index(i // n * inner + i % inner)]
        i = index(i + step)


@kernel
def after(o, j, c, n, inner):
    """Where the next element is: of which n, at which of them, in which column."""
    j, c = index(j + index(1)), index(c + index(1))
    return (
        index(o + index(1)) if j == n else o,
        index(0) if j == n else j,
        index(0) if c == inner else c,
    )


@kernel
def broadcast(y, x):
    """y(outer, k, inner) = x(outer, inner) for all k: the gradient of sum, as sum is of broadcast."""
    _, k, inner = y.shape
    spread(flat(y), flat(x), index(k * inner), index(inner))
