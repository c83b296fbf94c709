"""Normalisation by moments: kernels/cpu/norm.py on a GPU. x(o * k, c): o samples (or all as one), k positions, c
channels, in g groups of neighbours.

A thread takes some rows of a channel at once, in x's own type, and joins them in float64 (Chan, Golub, LeVeque 1983):
a mean far larger than the deviation costs no digits.
"""

from .columns import each_group, each_strip, make_strip
from .jit import aligned, flat, fma, index, kernel, load4, local, rank, ranks, sqrt, store4, thread, threads, typed
from .launch import WARP
from .norm_rows import row_grad as row_grad
from .norm_rows import row_moments as row_moments
from .norm_rows import rows as rows
from .team import warp_sum

ROWS = 8  # that a thread has in registers
some_rows = local(ROWS)


@kernel
def joined(mean, square, rows, other_mean, other_square, other_rows):
    """Moments of both together; squares: sums of squared distances from the mean."""
    if other_rows == 0:
        return mean, square, rows
    d, weight = other_mean - mean, other_rows / (rows + other_rows)
    return fma(d, weight, mean), square + fma(d * d, rows * weight, other_square), rows + other_rows


@kernel
def added(a, b, rows, other_a, other_b, other_rows):
    return a + other_a, b + other_b, rows


@kernel
def moments_of_rows(arrays, o, column, first, k, jump):
    slots, x, positions = arrays
    c, values, zero = index(slots.shape[2]), some_rows(x), slots.dtype.type(0)
    at, j, mean, square, seen = index(o * positions * c + column), first, zero, zero, zero
    while j < k:
        start = x[index(at + j * c)]
        for i in range(ROWS):
            row = index(j + index(i) * jump)
            values[i] = x[index(at + row * c)] if row < k else start
        total = adds = x.dtype.type(0)
        for i in range(ROWS):
            total += values[i] - start
        count = index(min(index(ROWS), index((k - j + jump - index(1)) // jump)))
        rows, share = typed(count, start), typed(1, start) / typed(count, start)
        centre = fma(total, share, start)
        rest = fma(total, share, start - centre)  # that rounding has lost
        for i in range(ROWS):
            d = values[i] - centre if index(i) < count else x.dtype.type(0)
            adds = fma(d, d, adds)
        far = typed(centre, zero) - mean + typed(rest, zero)
        weight = typed(rows / (typed(seen, rows) + rows), zero)  # its rounding is relative to what is added
        mean = fma(far, weight, mean)
        square += fma(far * far, seen * weight, typed(adds - rows * rest * rest, zero))
        seen += typed(count, zero)
        j = index(j + index(ROWS) * jump)
    return mean, square, seen


moments_strip = make_strip(moments_of_rows, joined)


@kernel
def put_moments(arrays, o, left, width):
    slots, _, positions = arrays
    mean, square, column, group, _ = moments_strip(arrays, o, left, width, positions)
    if group == 0:
        slots[o, 0, column], slots[o, 1, column] = mean, square


each_moments = each_strip(put_moments)


@kernel
def moments(slots, x):
    """slots(o, 2, c) = the mean of x(o * k, c) over k, and the sum of squared distances from it."""
    o, _, c = slots.shape
    each_moments((slots, flat(x), index(x.shape[0] // o)), index(o), index(c))


@kernel
def moments_of_slots(arrays, o, column, first, k, jump):
    _, _, slots, rows, total, turns = arrays
    mean, square, seen, t = slots.dtype.type(0), slots.dtype.type(0), slots.dtype.type(0), first
    while t < k:
        slot = index(o * turns + t)
        count = typed(min(rows, total - t * rows), mean)
        mean, square, seen = joined(mean, square, seen, slots[slot, 0, column], slots[slot, 1, column], count)
        t = index(t + jump)
    return mean, square, seen


slots_strip = make_strip(moments_of_slots, joined)


@kernel
def put_joined(arrays, o, left, width):
    stats, moments, _, _, total, turns = arrays
    mean, square, column, group, _ = slots_strip(arrays, o, left, width, turns)
    if group == 0:
        moments[o, 0, column], moments[o, 1, column] = mean, square
        if stats.shape[2] == moments.shape[2]:
            stats[o, 0, column], stats[o, 1, column] = mean, square / typed(total, square)


@kernel
def put_groups(arrays, o):
    """Moments of a group's channels together, a warp a group."""
    stats, moments, _, _, total, _ = arrays
    groups = index(stats.shape[2])
    m, g, lane = index(moments.shape[2] // groups), index(thread() // index(WARP)), index(thread() % index(WARP))
    zero = moments.dtype.type(0)
    share = typed(1, zero) / typed(m, zero)
    while g < groups:
        centre, square, i = zero, zero, lane
        while i < m:
            centre += moments[o, 0, index(g * m + i)]
            i = index(i + index(WARP))
        centre, i = warp_sum(centre) * share, lane
        while i < m:
            d = moments[o, 0, index(g * m + i)] - centre
            square += fma(d * d, typed(total, d), moments[o, 1, index(g * m + i)])
            i = index(i + index(WARP))
        square = warp_sum(square) * share
        if lane == 0:
            stats[o, 0, g], stats[o, 1, g] = centre, square / typed(total, square)
        g = index(g + threads() // index(WARP))


each_joined, each_joined_group = each_strip(put_joined), each_group(put_joined, put_groups)


@kernel
def join_slots(stats, joined, slots, rows, total):
    """stats(o, 2, g) = mean and variance over `total` positions and a group's channels, from slots(o * t, 2, c) of
    `rows` positions each, the last perhaps of fewer. joined(o, 2, c) is the moments of each channel."""
    o, _, groups = stats.shape
    c = joined.shape[2]
    arrays = stats, joined, slots, rows, total, index(slots.shape[0] // o)
    if groups == c:
        each_joined(arrays, index(o), index(c))
    else:
        each_joined_group(arrays, index(o), index(c))


@kernel
def factors(f, stats, w, b, eps):
    """f(o * t, 3, c) = mean, w / sqrt(var + eps) and b of each channel, t times each of stats(o, 2, g); w and b may be
    empty: 1 and 0."""
    o, _, groups = stats.shape
    p, _, c = f.shape
    turns, m, i = index(p // o), index(c // groups), rank()
    while i < index(p * c):
        place, column = index(i // index(c)), index(i % index(c))
        s, g = index(place // turns), index(column // m)
        scale, shift = typed(1, eps) / sqrt(stats[s, 1, g] + eps), typed(0, eps)
        if w.size > 0:
            scale, shift = scale * w[column], b[column]
        f[place, 0, column], f[place, 1, column], f[place, 2, column] = stats[s, 0, g], scale, shift
        i = index(i + ranks())


@kernel
def normal(x, mean, scale, shift, least):
    value = fma(x - mean, scale, shift)
    return least if value <= least else value


@kernel
def apply(y, x, f, least):
    """y = (x - mean) * scale + shift, but at least `least`: x(o * k, c), f(o, 3, c) the three of each channel."""
    o, _, width = f.shape
    y, x, f, i = flat(y), flat(x), flat(f), rank()
    c, size = index(width), index(x.size)
    per = index(size // index(o))
    if c % index(4) == 0 and aligned(y) and aligned(x) and aligned(f):
        while i < size // index(4):
            at = index(index(4) * i)
            here = index(at // per * index(3) * c + at % c)
            x0, x1, x2, x3 = load4(x, at)
            m0, m1, m2, m3 = load4(f, here)
            a0, a1, a2, a3 = load4(f, index(here + c))
            b0, b1, b2, b3 = load4(f, index(here + index(2) * c))
            store4(
                y, at, normal(x0, m0, a0, b0, least), normal(x1, m1, a1, b1, least), normal(x2, m2, a2, b2, least),
                normal(x3, m3, a3, b3, least),
            )  # fmt: skip
            i = index(i + ranks())
        return
    while i < size:
        here = index(i // per * index(3) * c + i % c)
        y[i] = normal(x[i], f[here], f[index(here + c)], f[index(here + index(2) * c)], least)
        i = index(i + ranks())


@kernel
def sums_of_rows(arrays, o, column, first, k, jump):
    slots, x, dy, f, positions = arrays
    c, zero, mean = index(slots.shape[2]), slots.dtype.type(0), f[o, 0, column]
    at, j, total, product = index(o * positions * c + column), first, zero, zero
    while j < k:
        adds = products = x.dtype.type(0)
        for i in range(ROWS):
            row = index(j + index(i) * jump)
            grad = dy[index(at + row * c)] if row < k else x.dtype.type(0)
            d = x[index(at + row * c)] - mean if row < k else x.dtype.type(0)
            adds, products = adds + grad, fma(grad, d, products)
        total, product = total + typed(adds, zero), product + typed(products, zero)
        j = index(j + index(ROWS) * jump)
    return total, product, zero


sums_strip = make_strip(sums_of_rows, added)


@kernel
def put_sums(arrays, o, left, width):
    slots, _, _, f, positions = arrays
    total, product, column, group, _ = sums_strip(arrays, o, left, width, positions)
    if group == 0:
        slots[o, 0, column], slots[o, 1, column] = total, product * typed(f[o, 1, column], product)


each_sums = each_strip(put_sums)


@kernel
def sums(slots, x, dy, f):
    """slots(o, 2, c) = the sums over k of dy(o * k, c), and of dy * (x - mean) * scale; f(o, 3, c) as for apply."""
    o, _, c = slots.shape
    each_sums((slots, flat(x), flat(dy), f, index(x.shape[0] // o)), index(o), index(c))


@kernel
def totals_of_slots(arrays, o, column, first, k, jump):
    _, _, slots, _, _, _, _, turns, _ = arrays
    zero, t = slots.dtype.type(0), first
    total, product = zero, zero
    while t < k:
        slot = index(o * turns + t)
        total, product = total + slots[slot, 0, column], product + slots[slot, 1, column]
        t = index(t + jump)
    return total, product, zero


totals_strip = make_strip(totals_of_slots, added)


@kernel
def weight_of(w, column, zero):
    return typed(w[column], zero) if w.size > 0 else typed(1, zero)


@kernel
def put_factors(f, place, column, mean, weight, scale, share, total, product):
    """What stands before dy and x - mean, and what is added, in dx."""
    f[place, 0, column], f[place, 1, column] = mean, weight * scale
    f[place, 2, column], f[place, 3, column] = -scale * scale * share * product, -scale * share * total


@kernel
def put_totals(arrays, o, left, width):
    f, totals, _, stats, w, eps, positions, slot_turns, turns = arrays
    total, product, column, group, groups = totals_strip(arrays, o, left, width, slot_turns)
    if group == 0:
        totals[o, 0, column], totals[o, 1, column] = total, product
    if stats.shape[2] == totals.shape[2]:
        one = typed(1, total)
        share, weight = one / typed(positions, one), weight_of(w, column, one)
        scale, t = one / sqrt(typed(stats[o, 1, column], one) + typed(eps, one)), group
        while group < groups and t < turns:
            put_factors(
                f, index(o * turns + t), column, stats[o, 0, column], weight, scale, share, weight * total,
                weight * product,
            )  # fmt: skip
            t = index(t + groups)


@kernel
def put_group_factors(arrays, o):
    """A warp a group."""
    f, totals, _, stats, w, eps, positions, _, turns = arrays
    groups = index(stats.shape[2])
    m, g, lane = index(totals.shape[2] // groups), index(thread() // index(WARP)), index(thread() % index(WARP))
    one = totals.dtype.type(1)
    share = one / (typed(positions, one) * typed(m, one))
    while g < groups:
        scale = one / sqrt(typed(stats[o, 1, g], one) + typed(eps, one))
        total, product, i = one - one, one - one, lane
        while i < m:
            column = index(g * m + i)
            weight = weight_of(w, column, one)
            total = fma(weight, totals[o, 0, column], total)
            product = fma(weight, totals[o, 1, column], product)
            i = index(i + index(WARP))
        total, product, i = warp_sum(total), warp_sum(product), lane
        while i < m * turns:
            column, place = index(g * m + i % m), index(o * turns + i // m)
            weight = weight_of(w, column, one)
            put_factors(f, place, column, stats[o, 0, g], weight, scale, share, total, product)
            i = index(i + index(WARP))
        g = index(g + threads() // index(WARP))


each_totals, each_totals_group = each_strip(put_totals), each_group(put_totals, put_group_factors)


@kernel
def grad_factors(f, totals, slots, stats, w, eps, positions):
    """totals(o, 2, c) = the sums of slots(o * t, 2, c) over t; f(o * u, 4, c), u times each: mean, a, b, d of
    dx = a dy + b (x - mean) + d, of `positions` over which each channel's moments are."""
    o, _, groups = stats.shape
    c = totals.shape[2]
    arrays = f, totals, slots, stats, w, eps, positions, index(slots.shape[0] // o), index(f.shape[0] // o)
    if groups == c:
        each_totals(arrays, index(o), index(c))
    else:
        each_totals_group(arrays, index(o), index(c))


@kernel
def slope(x, dy, mean, a, b, d):
    return fma(a, dy, fma(b, x - mean, d))


@kernel
def grad_apply(dx, x, dy, f):
    """dx = a dy + b (x - mean) + d: x(o * k, c), f(o, 4, c) mean, a, b and d of each channel."""
    o, _, width = f.shape
    dx, x, dy, f, i = flat(dx), flat(x), flat(dy), flat(f), rank()
    c, size = index(width), index(x.size)
    per = index(size // index(o))
    if c % index(4) == 0 and aligned(dx) and aligned(x) and aligned(dy) and aligned(f):
        while i < size // index(4):
            at = index(index(4) * i)
            here = index(at // per * index(4) * c + at % c)
            x0, x1, x2, x3 = load4(x, at)
            g0, g1, g2, g3 = load4(dy, at)
            m0, m1, m2, m3 = load4(f, here)
            a0, a1, a2, a3 = load4(f, index(here + c))
            b0, b1, b2, b3 = load4(f, index(here + index(2) * c))
            d0, d1, d2, d3 = load4(f, index(here + index(3) * c))
            store4(
                dx, at, slope(x0, g0, m0, a0, b0, d0), slope(x1, g1, m1, a1, b1, d1), slope(x2, g2, m2, a2, b2, d2),
                slope(x3, g3, m3, a3, b3, d3),
            )  # fmt: skip
            i = index(i + ranks())
        return
    while i < size:
        here = index(i // per * index(4) * c + i % c)
        b, d = f[index(here + index(2) * c)], f[index(here + index(3) * c)]
        dx[i] = slope(x[i], dy[i], f[here], f[index(here + c)], b, d)
        i = index(i + ranks())
