"""Normalisation where moments are those of neighbours in memory: the part of norm.py by rows. A team has a group of a
row."""

from .held import fetch, make_put
from .jit import aligned, flat, fma, index, kernel, load4, local, scalar, sqrt, store4, typed
from .launch import HELD
from .team import each_row, team_sum

room, other_room = local(HELD), local(HELD)


@kernel
def moments_of_row(arrays, row, c, me, lanes, there):
    stats, x = arrays
    groups = index(stats.shape[2])
    at, span, first, values = index(row * c), index(lanes * index(HELD)), index(0), room(x)
    start, none = x[at], x.dtype.type(0)
    share, total, square = typed(1, none) / typed(c, none), none, none
    while first < c:
        fetch(values, x, at, first, c, me, lanes, start)
        for j in range(0, HELD, 4):
            total += ((values[j] - start) + (values[j + 1] - start)) + (
                (values[j + 2] - start) + (values[j + 3] - start)
            )
        first = index(first + span)
    total, first = team_sum(total, lanes), index(0)
    mean = fma(total, share, start)
    rest = fma(total, share, start - mean)  # that rounding has lost
    while first < c:
        if c > span:
            fetch(values, x, at, first, c, me, lanes, start)
        for j in range(0, HELD, 4):
            i = index(first + index(4) * me + index(j) * lanes)
            for q in range(4):
                d = values[j + q] - mean if i + index(q) < c else none
                square = fma(d, d, square)
        first = index(first + span)
    square = fma(team_sum(square, lanes), share, -rest * rest)
    if there and me == 0:
        s, g = index(row // groups), index(row % groups)
        stats[s, 0, g], stats[s, 1, g] = mean, scalar.maximum(square, none)


each_row_moments = each_row(moments_of_row)


@kernel
def row_moments(stats, x):
    """stats(o, 2, g) = mean and variance of each group of the row x(o, c), its first element being taken off first."""
    o, _, groups = stats.shape
    each_row_moments((stats, flat(x)), index(o * groups), index(x.shape[1] // groups))


@kernel
def scale_of(stats, row, groups, eps):
    """The mean of a row's group, and 1 / sqrt(var + eps)."""
    s, g = index(row // groups), index(row % groups)
    return stats[s, 0, g], typed(1, eps) / sqrt(stats[s, 1, g] + eps)


@kernel
def normal_row(arrays, row, c, me, lanes, there):
    y, x, stats, w, b, eps = arrays
    groups = index(stats.shape[2])
    mean, scale = scale_of(stats, row, groups, eps)
    at, here, i, weighted = index(row * c), index(row % groups * c), me, w.size > 0
    if not there:
        return
    if at % index(4) == 0 and here % index(4) == 0 and aligned(y) and aligned(x) and aligned(w) and aligned(b):
        while i < c // index(4):
            j = index(index(4) * i)
            p, q, r, s = load4(x, index(at + j))
            p, q, r, s = (p - mean) * scale, (q - mean) * scale, (r - mean) * scale, (s - mean) * scale
            if weighted:
                w0, w1, w2, w3 = load4(w, index(here + j))
                b0, b1, b2, b3 = load4(b, index(here + j))
                p, q, r, s = fma(p, w0, b0), fma(q, w1, b1), fma(r, w2, b2), fma(s, w3, b3)
            store4(y, index(at + j), p, q, r, s)
            i = index(i + lanes)
        i = index(c - c % index(4) + me)
    while i < c:
        value = (x[index(at + i)] - mean) * scale
        y[index(at + i)] = fma(value, w[index(here + i)], b[index(here + i)]) if weighted else value
        i = index(i + lanes)


each_normal_row = each_row(normal_row)


@kernel
def rows(y, x, stats, w, b, eps):
    """y(o, c) = (x - mean) / sqrt(var + eps) * w + b, by the stats(o, 2, g) of each row's groups."""
    o, _, groups = stats.shape
    arrays = flat(y), flat(x), stats, w, b, eps
    each_normal_row(arrays, index(o * groups), index(x.shape[1] // groups))


@kernel
def weighted(values, w, here, first, c, me, lanes):
    """values *= w[here:], of the elements that fetch has found."""
    for j in range(0, HELD, 4):
        i = index(first + index(4) * me + index(j) * lanes)
        for q in range(4):
            if i + index(q) < c:
                values[j + q] *= w[index(here + i + index(q))]


@kernel
def fetch_terms(us, hs, arrays, row, first, c, me, lanes):
    """us = dy * w, hs = x - mean."""
    _, x, dy, stats, w, eps = arrays
    groups = index(stats.shape[2])
    at, (mean, _) = index(row * c), scale_of(stats, row, groups, eps)
    fetch(us, dy, at, first, c, me, lanes, typed(0, mean))
    fetch(hs, x, at, first, c, me, lanes, mean)
    if w.size > 0:
        weighted(us, w, index(row % groups * c), first, c, me, lanes)
    for j in range(HELD):
        hs[j] -= mean


put_slope = make_put(kernel(lambda u, h, i, numbers: fma(numbers[0], u, fma(numbers[1], h, numbers[2]))))


@kernel
def grad_of_row(arrays, row, c, me, lanes, there):
    dx, x, _, stats, _, eps = arrays
    at, span, first, us, hs = index(row * c), index(lanes * index(HELD)), index(0), room(x), other_room(x)
    total, product = x.dtype.type(0), x.dtype.type(0)
    while first < c:
        fetch_terms(us, hs, arrays, row, first, c, me, lanes)
        for j in range(0, HELD, 4):
            total += (us[j] + us[j + 1]) + (us[j + 2] + us[j + 3])
            product += fma(us[j], hs[j], us[j + 1] * hs[j + 1]) + fma(us[j + 2], hs[j + 2], us[j + 3] * hs[j + 3])
        first = index(first + span)
    share = typed(1, total) / typed(c, total)
    total, product = team_sum(total, lanes) * share, team_sum(product, lanes) * share
    _, scale = scale_of(stats, row, index(stats.shape[2]), eps)
    numbers, first = (scale, -product * scale * scale * scale, -total * scale), index(0)
    while there and first < c:
        if c > span:
            fetch_terms(us, hs, arrays, row, first, c, me, lanes)
        put_slope(dx, us, hs, at, first, c, me, lanes, numbers)
        first = index(first + span)


each_row_grad = each_row(grad_of_row)


@kernel
def row_grad(dx, x, dy, stats, w, eps):
    """dx = scale (u - the mean of u - h * the mean of u h) with u = dy * w and h = (x - mean) * scale, of each group of
    each row; w (c,) may be empty: 1."""
    o, _, groups = stats.shape
    arrays = flat(dx), flat(x), flat(dy), stats, w, eps
    each_row_grad(arrays, index(o * groups), index(x.shape[1] // groups))
