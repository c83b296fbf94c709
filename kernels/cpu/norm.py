"""Normalisation by moments. x(o * k, c): o samples (or all as one), k positions, c channels, in g groups of neighbours.

Moments are joined in float64, part by part (Chan, Golub, LeVeque 1983), so that a mean far larger than the deviation
costs no digits. Where channels are few, several positions make one wide row, whose elements are called lanes.
"""

from ..jit import fma, kernel
from ..jit import sqrt as root
from ..scalar import inlined, maximum, typed
from .reduce import BLOCK, part, stack, sum_of

WIDE = 256  # lanes of a wide row, at most: several vectors, so that sums do not wait for each other
ROWS = 16  # wide rows summed in x's own type, in the L1 cache, before they are joined to the total in float64


@inlined
def together(c, k):
    """How many of k positions make a wide row: fewer where each lane would see less than ROWS."""
    return max(1, min(WIDE // c, k // ROWS))


@inlined
def spread(lanes, f, s, which, left):
    """lanes = f[s, which, left:] of a strip of channels, again and again; a strip that is cut has no second turn."""
    width = min(f.shape[2] - left, WIDE)
    for i in range(min(width, lanes.size)):
        lanes[i] = f[s, which, left + i]
    for i in range(width, lanes.size):
        lanes[i] = lanes[i - width]


@inlined
def add_distances(sums, x, at, rows, step, centres, squared):
    """sums += the distances of rows of x.flat from the centres, or their squares; four rows at once: loads are dear."""
    width, fours = sums.size, rows // 4
    for j in range(fours):
        here = at + 4 * j * step
        a, b = part(x, here, width), part(x, here + step, width)
        c, d = part(x, here + 2 * step, width), part(x, here + 3 * step, width)
        for i in range(width):
            p, q, r, s = a[i] - centres[i], b[i] - centres[i], c[i] - centres[i], d[i] - centres[i]
            sums[i] += fma(p, p, q * q) + fma(r, r, s * s) if squared else (p + q) + (r + s)
    for j in range(4 * fours, rows):
        row = part(x, at + j * step, width)
        for i in range(width):
            p = row[i] - centres[i]
            sums[i] += p * p if squared else p


@inlined
def join(means, squares, mean, square, seen, rows):
    """Moments of `rows` numbers a lane joined to those of `seen`; squares: sums of squared distances from the mean."""
    weight = rows / (seen + rows)
    for i in range(mean.size):
        d = mean[i] - means[i]
        means[i] = fma(d, weight, means[i])
        squares[i] += fma(d * d, seen * weight, square[i])


@inlined
def join_rows(means, squares, x, at, seen, rows, step, sums, centres, rests):
    """Join rows of x.flat, the first at `at`, one every `step`, to the moments of sums.size lanes. Their own mean is
    centre + rest, so that nothing is lost where it is large."""
    width, share = sums.size, typed(1, sums[0]) / typed(rows, sums[0])
    first = part(x, at, width)
    for i in range(width):
        sums[i] = typed(0, share)
    add_distances(sums, x, at, rows, step, first, False)
    for i in range(width):
        centres[i] = fma(sums[i], share, first[i])
        rests[i] = fma(sums[i], share, first[i] - centres[i])
        sums[i] = typed(0, share)
    add_distances(sums, x, at, rows, step, centres, True)
    weight = rows / (seen + rows)
    for i in range(width):
        rest = typed(rests[i], weight)
        d = centres[i] - means[i] + rest
        means[i] = fma(d, weight, means[i])
        squares[i] += fma(d * d, seen * weight, sums[i] - rows * rest * rest)


@kernel
def moments(slots, x):
    """slots(o, 2, c) = the mean of x(o * k, c) over k, and the sum of squared distances from it."""
    o, _, c = slots.shape
    k = x.shape[0] // o
    wide = together(c, k)
    count, rest, step = k // wide, k % wide, c * wide
    means, squares, sums, centres, rests = stack(slots), stack(slots), stack(x), stack(x), stack(x)
    for s in range(o):
        for strip in range((c + WIDE - 1) // WIDE):
            left = strip * WIDE
            width, at = min(c - left, WIDE), s * k * c + left
            for i in range(width * wide):
                means[i] = squares[i] = 0.0
            for block in range((count + ROWS - 1) // ROWS):
                row = block * ROWS
                lanes = part(sums, 0, width * wide)
                rows = min(count - row, ROWS)
                join_rows(means, squares, x, at + row * step, row, rows, step, lanes, centres, rests)
            if rest > 0:
                lanes = part(sums, 0, width * rest)
                join_rows(means, squares, x, at + count * step, count, 1, step, lanes, centres, rests)
            seen = 0
            for turn in range(wide):
                rows = count + (1 if turn < rest else 0)
                mean, square = part(means, turn * width, width), part(squares, turn * width, width)
                if turn > 0:
                    join(means, squares, mean, square, seen, rows)
                seen += rows
            for i in range(width):
                slots[s, 0, left + i] = means[i]
                slots[s, 1, left + i] = squares[i]


@kernel
def join_slots(stats, joined, slots, rows, total):
    """stats(o, 2, g) = mean and variance over `total` positions and a group's channels, from slots(o * t, 2, c) of
    `rows` positions each, the last perhaps of fewer. joined(o, 2, c) is the moments of each channel."""
    o, _, groups = stats.shape
    c, turns = joined.shape[2], slots.shape[0] // o
    m = c // groups
    share = 1.0 / (total * m)
    for s in range(o):
        mean, var = part(stats, s * 2 * groups, groups), part(stats, (s * 2 + 1) * groups, groups)
        means, squares = part(joined, s * 2 * c, c), part(joined, (s * 2 + 1) * c, c)
        for i in range(c):
            means[i] = squares[i] = 0.0
        for t in range(turns):
            at = (s * turns + t) * 2 * c
            join(means, squares, part(slots, at, c), part(slots, at + c, c), t * rows, min(rows, total - t * rows))
        if m == 1:
            for i in range(c):
                mean[i] = means[i]
                var[i] = squares[i] * share
            continue
        for g in range(groups):
            centre = square = 0.0
            for i in range(g * m, g * m + m):
                centre += means[i]
            centre /= m
            for i in range(g * m, g * m + m):
                d = means[i] - centre
                square += fma(d * d, typed(total, d), squares[i])
            mean[g], var[g] = centre, square * share


@inlined
def repeat(f, s, turns):
    """The factors of sample s, f[s * turns], for the turns - 1 rows behind it too."""
    size = f.shape[1] * f.shape[2]
    source = part(f, s * turns * size, size)
    for t in range(1, turns):
        target = part(f, (s * turns + t) * size, size)
        for i in range(size):
            target[i] = source[i]


@kernel
def factors(f, stats, w, b, eps):
    """f(o * t, 3, c) = mean, w / sqrt(var + eps) and b of each channel, t times each of stats(o, 2, g); w and b may be
    empty: 1 and 0."""
    o, _, groups = stats.shape
    p, _, c = f.shape
    turns, m = p // o, c // groups
    for s in range(o):
        for g in range(groups):
            scale = typed(1, eps) / root(stats[s, 1, g] + eps)
            for i in range(g * m, g * m + m):
                f[s * turns, 0, i] = stats[s, 0, g]
                f[s * turns, 1, i] = scale
                f[s * turns, 2, i] = typed(0, eps)
        if w.size > 0:
            for i in range(c):
                f[s * turns, 1, i] *= w[i]
                f[s * turns, 2, i] = b[i]
        repeat(f, s, turns)


@kernel
def apply(y, x, f, least):
    """y = (x - mean) * scale + shift, but at least `least`: x(o * k, c), f(o, 3, c) the three of each channel."""
    o, _, c = f.shape
    k = x.shape[0] // o
    wide = together(c, k)
    means, scales, shifts = stack(x), stack(x), stack(x)
    for s in range(o):
        for strip in range((c + WIDE - 1) // WIDE):
            left = strip * WIDE
            width = min(c - left, WIDE)
            for which, lanes in enumerate((means, scales, shifts)):
                spread(part(lanes, 0, width * wide), f, s, which, left)
            for turn in range((k + wide - 1) // wide):
                row = turn * wide
                at, count = (s * k + row) * c + left, min(k - row, wide) * width
                target, source = part(y, at, count), part(x, at, count)
                for i in range(count):
                    value = fma(source[i] - means[i], scales[i], shifts[i])
                    target[i] = least if value <= least else value


@kernel
def sums(slots, x, dy, f):
    """slots(o, 2, c) = the sums over k of dy(o * k, c), and of dy * (x - mean) * scale; f(o, 3, c) as for apply."""
    o, _, c = slots.shape
    k = x.shape[0] // o
    wide = together(c, k)
    total, product, adds, products, means = stack(slots), stack(slots), stack(x), stack(x), stack(x)
    for s in range(o):
        for strip in range((c + WIDE - 1) // WIDE):
            left = strip * WIDE
            width = min(c - left, WIDE)
            lanes = width * wide
            spread(part(means, 0, lanes), f, s, 0, left)
            for i in range(lanes):
                total[i] = product[i] = 0.0
            for block in range((k + wide * ROWS - 1) // (wide * ROWS)):
                for i in range(lanes):
                    adds[i] = products[i] = typed(0, adds[i])
                for turn in range(block * ROWS, min((block + 1) * ROWS, (k + wide - 1) // wide)):
                    row = turn * wide
                    at, count = (s * k + row) * c + left, min(k - row, wide) * width
                    source, grad = part(x, at, count), part(dy, at, count)
                    for i in range(count):
                        adds[i] += grad[i]
                        products[i] = fma(grad[i], source[i] - means[i], products[i])
                for i in range(lanes):
                    total[i] += adds[i]
                    product[i] += products[i]
            for turn in range(1, wide):
                for i in range(width):
                    total[i] += total[turn * width + i]
                    product[i] += product[turn * width + i]
            for i in range(width):
                slots[s, 0, left + i] = total[i]
                slots[s, 1, left + i] = product[i] * f[s, 1, left + i]


@kernel
def grad_factors(f, totals, slots, stats, w, eps, positions):
    """totals(o, 2, c) = the sums of slots(o * t, 2, c) over t; f(o * u, 4, c), u times each: mean, a, b, d of
    dx = a dy + b (x - mean) + d, of `positions` over which each channel's moments are."""
    o, _, groups = stats.shape
    p, _, c = f.shape
    slot_turns, turns, m = slots.shape[0] // o, p // o, c // groups
    share = 1.0 / (positions * m)
    for s in range(o):
        total = part(totals, s * 2 * c, 2 * c)
        for i in range(2 * c):
            total[i] = 0.0
        for t in range(slot_turns):
            slot = part(slots, (s * slot_turns + t) * 2 * c, 2 * c)
            for i in range(2 * c):
                total[i] += slot[i]
        for g in range(groups):
            scale = 1.0 / root(typed(stats[s, 1, g], share) + typed(eps, share))
            add = product = 0.0
            for i in range(g * m, g * m + m):
                weight = w[i] if w.size > 0 else typed(1, eps)
                add = fma(typed(weight, share), total[i], add)
                product = fma(typed(weight, share), total[c + i], product)
            for i in range(g * m, g * m + m):
                weight = w[i] if w.size > 0 else typed(1, eps)
                f[s * turns, 0, i] = stats[s, 0, g]
                f[s * turns, 1, i] = typed(weight, share) * scale
                f[s * turns, 2, i] = -scale * scale * share * product
                f[s * turns, 3, i] = -scale * share * add
        repeat(f, s, turns)


@kernel
def grad_apply(dx, x, dy, f):
    """dx = a dy + b (x - mean) + d: x(o * k, c), f(o, 4, c) mean, a, b and d of each channel."""
    o, _, c = f.shape
    k = x.shape[0] // o
    wide = together(c, k)
    means, slopes, pulls, shifts = stack(x), stack(x), stack(x), stack(x)
    for s in range(o):
        for strip in range((c + WIDE - 1) // WIDE):
            left = strip * WIDE
            width = min(c - left, WIDE)
            for which, lanes in enumerate((means, slopes, pulls, shifts)):
                spread(part(lanes, 0, width * wide), f, s, which, left)
            for turn in range((k + wide - 1) // wide):
                row = turn * wide
                at, count = (s * k + row) * c + left, min(k - row, wide) * width
                target, source, grad = part(dx, at, count), part(x, at, count), part(dy, at, count)
                for i in range(count):
                    target[i] = fma(slopes[i], grad[i], fma(pulls[i], source[i] - means[i], shifts[i]))


@kernel
def row_moments(stats, x):
    """stats(o, 2, g) = mean and variance of each group of the row x(o, c), its first element being taken off first."""
    o, _, groups = stats.shape
    m = x.shape[1] // groups
    buffer, share = stack(x), typed(1, x[0, 0]) / typed(m, x[0, 0])
    for s in range(o):
        for g in range(groups):
            start = (s * groups + g) * m
            first, centre, square = x[s, g * m], typed(0, share), typed(0, share)
            for block in range((m + BLOCK - 1) // BLOCK):
                taken = min(m - block * BLOCK, BLOCK)
                row, some = part(x, start + block * BLOCK, taken), part(buffer, 0, taken)
                for i in range(taken):
                    some[i] = row[i] - first
                centre += sum_of(some)
            mean = fma(centre, share, first)
            for block in range((m + BLOCK - 1) // BLOCK):
                taken = min(m - block * BLOCK, BLOCK)
                row, some = part(x, start + block * BLOCK, taken), part(buffer, 0, taken)
                for i in range(taken):
                    some[i] = (row[i] - mean) * (row[i] - mean)
                square += sum_of(some)
            rest = fma(centre, share, first - mean)  # that rounding the mean has lost
            stats[s, 0, g], stats[s, 1, g] = mean, maximum(fma(square, share, -rest * rest), typed(0, share))


@kernel
def rows(y, x, stats, w, b, eps):
    """y(o, c) = (x - mean) / sqrt(var + eps) * w + b, by the stats(o, 2, g) of each row's groups."""
    o, _, groups = stats.shape
    m = x.shape[1] // groups
    for s in range(o):
        for g in range(groups):
            mean, scale = stats[s, 0, g], typed(1, eps) / root(stats[s, 1, g] + eps)
            at = (s * groups + g) * m
            target, source = part(y, at, m), part(x, at, m)
            if w.size > 0:
                weight, shift = part(w, g * m, m), part(b, g * m, m)
                for i in range(m):
                    target[i] = fma((source[i] - mean) * scale, weight[i], shift[i])
            else:
                for i in range(m):
                    target[i] = (source[i] - mean) * scale


@kernel
def row_grad(dx, x, dy, stats, w, eps):
    """dx = scale (u - the mean of u - h * the mean of u h) with u = dy * w and h = (x - mean) * scale, of each group of
    each row; w (c,) may be empty: 1."""
    o, _, groups = stats.shape
    m = x.shape[1] // groups
    products, share = stack(x), typed(1, eps) / typed(m, eps)
    for s in range(o):
        for g in range(groups):
            start, mean, scale = (s * groups + g) * m, stats[s, 0, g], typed(1, eps) / root(stats[s, 1, g] + eps)
            target, source, grad = part(dx, start, m), part(x, start, m), part(dy, start, m)
            if w.size > 0:
                weight = part(w, g * m, m)
                for i in range(m):
                    target[i] = grad[i] * weight[i]
            else:
                for i in range(m):
                    target[i] = grad[i]
            product = typed(0, eps)
            for block in range((m + BLOCK - 1) // BLOCK):
                at, taken = block * BLOCK, min(m - block * BLOCK, BLOCK)
                u, h, some = part(target, at, taken), part(source, at, taken), part(products, 0, taken)
                for i in range(taken):
                    some[i] = u[i] * (h[i] - mean)
                product += sum_of(some)
            pull, shift = -product * share * scale * scale * scale, -sum_of(target) * share * scale
            for i in range(m):
                target[i] = fma(scale, target[i], fma(pull, source[i] - mean, shift))
