"""Attention without its scores in memory: kernels/cpu/attention.py on a GPU.

A block has 64 positions of a head (queries; for the gradients of keys and values keys), and walks past those of the
other side, 64 at once. A thread has four by four of their scores, and of what is summed by them. The 16 threads that
share rows are lanes of one warp. What a block works on lies in its memory in rows of 64 numbers.
"""

import math

from ..attention import BIAS, CAUSAL, DEPTH, HEADS, KEYS, MASK, QUERIES, TILE, WHICH, WIDTH
from .block import (
    ACROSS,
    OWN,
    SIDE,
    anew,
    clear,
    exp,
    factors,
    log,
    maximum,
    memory,
    mine,
    own_place,
    product,
    read,
    scale_rows,
    scores,
    shifts,
    some,
    spread,
    sums,
    tops,
    totals,
    weigh,
    write,
)
from .jit import from_lane, index, kernel, load4, signed, store4, typed
from .launch import WARP
from .team import team_max, team_sum


@kernel
def of_queries(sizes):
    """Channels of a head of q and k, and numbers from one position to the next. What sizes tell is asked for where it
    is needed, and again, rather than kept: registers are what a block has least of."""
    return index(sizes[DEPTH]), index(sizes[HEADS] * sizes[DEPTH])


@kernel
def of_values(sizes):
    """The same of v and y."""
    return index(sizes[WIDTH]), index(sizes[HEADS] * sizes[WIDTH])


@kernel
def place(tile, count, sizes):
    """Of a tile of so many positions: its first, its head, its sample."""
    tile, heads, rows = index(tile), index(sizes[HEADS]), index(sizes[TILE])
    tiles = index(index(count + rows - 1) // rows)
    return index(tile % tiles * rows), index(tile // tiles % heads), index(tile // tiles // heads)


@kernel
def begins(head, sample, sizes):
    """Where a head of a sample begins in q, k, v, y and lse."""
    heads, depth, width, lq, lk = sizes[HEADS], sizes[DEPTH], sizes[WIDTH], sizes[QUERIES], sizes[KEYS]
    to_q, to_k = sample * lq * heads, sample * lk * heads
    return (to_q + head) * depth, (to_k + head) * depth, (to_k + head) * width, (to_q + head) * width, to_q + head


@kernel
def hidden(bias, mask, sizes, sample, head):
    """What `marked` needs of a head: bias and mask, which may be empty, and where its part of them begins."""
    bias_at = sample * sizes[BIAS] + head * sizes[BIAS + 1]
    mask_at = sample * sizes[MASK] + head * sizes[MASK + 1]
    return bias, mask, bias_at, mask_at, sizes


@kernel
def marked(x, query, key, marks):
    """The score x of a query and a key, with its bias; minus infinity where that is not to be seen."""
    bias, mask, bias_at, mask_at, sizes = marks
    none = typed(-math.inf, x)
    if key >= sizes[KEYS] or query >= sizes[QUERIES]:
        return none
    if bias.size:
        x += bias[bias_at + index(query * sizes[BIAS + 2] + key * sizes[BIAS + 3])]
    if mask.size and not mask[mask_at + index(query * sizes[MASK + 2] + key * sizes[MASK + 3])]:
        return none
    return none if sizes[CAUSAL] and key > query else x


@kernel
def mark(room, i0, j0, marks, turned):
    """The scores that this thread has spread, if need be; turned: rows are keys, columns queries."""
    (g, h), (bias, mask, _, _, sizes) = mine(), marks
    edge = signed(j0) + SIDE > sizes[QUERIES if turned else KEYS]
    if bias.size or mask.size or sizes[CAUSAL] or edge:
        e, start = index(0), own_place()
        while e < some() * index(OWN):
            i, j = index(e % index(OWN)), index(e // index(OWN))
            row, column = index(i0 + index(OWN) * g + i), index(j0 + index(OWN) * h + j)
            at = index(start + j * index(SIDE) + i)
            room[at] = marked(room[at], column if turned else row, row if turned else column, marks)
            e = index(e + index(1))


@kernel
def team():
    """The lane that begins the team of this thread's rows, and which of them it keeps numbers of."""
    t = anew()
    return index(t % index(WARP) // index(ACROSS) * index(ACROSS)), index(t % index(OWN))


@kernel
def powers(room, kept, factors, shifts, totals):
    """Scores in memory become exp(score - top), tops the largest of each row so far, and factors what puts sums so far
    under these. kept: the top of a row and the sum of its powers; each lane keeps them of one of its rows."""
    begin, own = team()
    start, lowest = own_place(), typed(-math.inf, kept[0])
    at, end = start, index(start + some() * index(SIDE))
    for i in range(OWN):
        shifts[i], totals[i] = lowest, typed(0, lowest)
    while at < end:
        p, q, r, s = load4(room, at)
        shifts[0], shifts[1] = maximum(shifts[0], p), maximum(shifts[1], q)
        shifts[2], shifts[3] = maximum(shifts[2], r), maximum(shifts[3], s)
        at = index(at + index(SIDE))
    for i in range(OWN):
        old = from_lane(kept[0], index(begin + index(i)))
        top = maximum(team_max(shifts[i], index(ACROSS)), old)
        shifts[i] = typed(0, top) if top == lowest else top
        factors[i] = exp(old - shifts[i]) if old > lowest else typed(1, old)
        if own == index(i):
            kept[0], kept[1] = top, kept[1] * factors[i]
    at = start
    while at < end:
        p, q, r, s = load4(room, at)
        p, q, r, s = exp(p - shifts[0]), exp(q - shifts[1]), exp(r - shifts[2]), exp(s - shifts[3])
        store4(room, at, p, q, r, s)
        totals[0], totals[1], totals[2], totals[3] = totals[0] + p, totals[1] + q, totals[2] + r, totals[3] + s
        at = index(at + index(SIDE))
    for i in range(OWN):
        total = team_sum(totals[i], index(ACROSS))
        if own == index(i):
            kept[1] += total


@kernel
def marks_of(bias, mask, tile, sizes):
    """What `marked` needs of a tile's head; like lse_at worked out where it is needed, since no registers are left."""
    _, head, sample = place(tile, sizes[QUERIES], sizes)
    return hidden(bias, mask, sizes, sample, head)


@kernel
def lse_at(tile, sizes):
    """Where lse of a tile's head begins."""
    _, head, sample = place(tile, sizes[QUERIES], sizes)
    return sample * sizes[QUERIES] * sizes[HEADS] + head


@kernel
def rows_of(y, lse, q, k, v, bias, mask, scale, i0, m, tile, sizes):
    """64 rows of a tile's head, of which y, q, k and v are."""
    room, s, acc, kept, factor = memory(q), scores(q), sums(q), tops(q), factors(q)
    clear(acc)
    kept[0], kept[1] = typed(-math.inf, scale), typed(0, scale)
    stays, j0 = sizes[WIDTH] <= SIDE and q.itemsize == 4, index(0)  # whether sums have registers to stay in
    while signed(j0) < (min(sizes[KEYS], signed(i0) + SIDE) if sizes[CAUSAL] else sizes[KEYS]):
        depth, c = of_queries(sizes)
        product(s, room, q, i0, m, k, j0, index(sizes[KEYS]), depth, c, scale)
        spread(room, s)
        mark(room, i0, j0, marks_of(bias, mask, tile, sizes), False)
        powers(room, kept, factor, shifts(q), totals(q))
        (width, cv), c0 = of_values(sizes), index(0)
        while c0 < width:
            if not stays:
                if j0 == 0:
                    clear(acc)
                else:
                    read(acc, y, i0, m, cv, c0, width)
            scale_rows(acc, factor)
            weigh(acc, room, v, j0, index(sizes[KEYS]), c0, width, cv)
            if not stays:
                write(y, acc, i0, m, cv, c0, width)
            c0 = index(c0 + index(SIDE))
        j0 = index(j0 + index(SIDE))
    (g, h), (begin, _), at = mine(), team(), lse_at(tile, sizes)
    for i in range(OWN):
        top, total = from_lane(kept[0], index(begin + index(i))), from_lane(kept[1], index(begin + index(i)))
        row, shift = index(i0 + index(OWN) * g + index(i)), typed(0, top) if top == typed(-math.inf, top) else top
        if h == 0 and row < m:
            lse[at + index(row * index(sizes[HEADS]))] = shift + log(total)
        factor[i] = typed(1, total) / total
    (width, cv), c0 = of_values(sizes), index(0)
    while c0 < width:
        if not stays:
            read(acc, y, i0, m, cv, c0, width)
        scale_rows(acc, factor)
        write(y, acc, i0, m, cv, c0, width)
        c0 = index(c0 + index(SIDE))


@kernel
def attention(y, lse, scratch, q, k, v, bias, mask, scale, tile, sizes):
    """y = softmax(q k' scale + bias) v of each head, lse the logarithm of a row's sum of powers. NaN where all of a row
    is masked. scratch is not used."""
    first, head, sample = place(tile, sizes[QUERIES], sizes)
    at_q, at_k, at_v, at_y, _ = begins(head, sample, sizes)
    own_y, own_q, own_k, own_v = y[at_y:], q[at_q:], k[at_k:], v[at_v:]
    i0, m = index(first), index(min(first + sizes[TILE], sizes[QUERIES]))
    while i0 < m:
        rows_of(own_y, lse, own_q, own_k, own_v, bias, mask, scale, i0, m, tile, sizes)
        i0 = index(i0 + index(SIDE))


# ----------------------------------------------------------------------------------------------------------- gradients


@kernel
def add(y, acc, room, b, i0, m, j0, n, k, step, fresh):
    """64 rows of y are, or grow by, what the weights in memory make of 64 rows of b."""
    c0 = index(0)
    while c0 < k:
        if fresh:
            clear(acc)
        else:
            read(acc, y, i0, m, step, c0, k)
        weigh(acc, room, b, j0, n, c0, k, step)
        write(y, acc, i0, m, step, c0, k)
        c0 = index(c0 + index(SIDE))


@kernel
def wipe(y, acc, i0, m, k, step):
    """64 rows of y become 0."""
    c0 = index(0)
    clear(acc)
    while c0 < k:
        write(y, acc, i0, m, step, c0, k)
        c0 = index(c0 + index(SIDE))


@kernel
def weights(room, lse, i0, j0, sizes, turned):
    """Scores in memory become exp(score - lse); 0 beyond their edges."""
    (g, h), e, start = mine(), index(0), own_place()
    lq, lk, heads = index(sizes[QUERIES]), index(sizes[KEYS]), index(sizes[HEADS])
    while e < some() * index(OWN):
        i, j = index(e % index(OWN)), index(e // index(OWN))
        row, column = index(i0 + index(OWN) * g + i), index(j0 + index(OWN) * h + j)
        query, key = column if turned else row, row if turned else column
        at = index(start + j * index(SIDE) + i)
        power = exp(room[at] - lse[index(min(query, index(lq - index(1))) * heads)])
        room[at] = power if query < lq and key < lk else typed(0, power)
        e = index(e + index(1))


@kernel
def shares(room, ds, delta, i0, j0, sizes, scale, turned):
    """Weights p in memory become the gradient of scores, p (ds - delta) scale."""
    (g, h), less, at = mine(), tops(ds), own_place()
    lq, heads = index(sizes[QUERIES]), index(sizes[HEADS])
    first = index((j0 + index(OWN) * h) if turned else (i0 + index(OWN) * g))
    for i in range(OWN):
        less[i] = delta[index(min(index(first + index(i)), index(lq - index(1))) * heads)]
    for j in range(OWN):
        p, q, r, s = load4(room, index(at + index(j * SIDE)))
        p *= (ds[j] - (less[j] if turned else less[0])) * scale
        q *= (ds[OWN + j] - (less[j] if turned else less[1])) * scale
        r *= (ds[2 * OWN + j] - (less[j] if turned else less[2])) * scale
        s *= (ds[3 * OWN + j] - (less[j] if turned else less[3])) * scale
        store4(room, index(at + index(j * SIDE)), p, q, r, s)


@kernel
def gradients_of(dx, dv, own, others, own_b, others_b, lse, delta, marks, scale, rows, turned):
    """Of 64 positions the gradients: of queries, past all keys; turned: of keys and values, past all queries. own and
    others are these, own_b and others_b dy and values, or values and dy."""
    (i0, m, j0, n), sizes, room, acc, fresh = rows, marks[4], memory(own), sums(own), True
    if j0 >= n:
        depth, c = of_queries(sizes)
        wipe(dx, acc, i0, m, depth, c)
        if turned:
            width, cv = of_values(sizes)
            wipe(dv, acc, i0, m, width, cv)
    while j0 < n:
        depth, c = of_queries(sizes)
        product(acc, room, own, i0, m, others, j0, n, depth, c, scale)
        spread(room, acc)
        mark(room, i0, j0, marks, turned)
        weights(room, lse, i0, j0, sizes, turned)
        width, cv = of_values(sizes)
        if turned:
            add(dv, acc, room, others_b, i0, m, j0, n, width, cv, fresh)
        product(acc, room, own_b, i0, m, others_b, j0, n, width, cv, typed(1, scale))
        shares(room, acc, delta, i0, j0, sizes, scale, turned)
        depth, c = of_queries(sizes)
        add(dx, acc, room, others, i0, m, j0, n, depth, c, fresh)
        fresh, j0 = False, index(j0 + index(SIDE))


@kernel
def one_side(dq, dk, dv, q, k, v, bias, mask, lse, delta, dy, scale, tile, sizes, turned):
    """The gradients of a tile of queries; turned: of keys and values, or of all of them."""
    which, count, n = sizes[WHICH], sizes[KEYS if turned else QUERIES], sizes[QUERIES if turned else KEYS]
    first, head, sample = place(tile, sizes[KEYS if which == 2 else QUERIES], sizes)
    at_q, at_k, at_v, at_y, at_lse = begins(head, sample, sizes)
    dx, own, others = (dk[at_k:], k[at_k:], q[at_q:]) if turned else (dq[at_q:], q[at_q:], k[at_k:])
    own_b, others_b = (v[at_v:], dy[at_y:]) if turned else (dy[at_y:], v[at_v:])
    own_dv, own_lse, own_delta = dv[at_v if turned else 0 :], lse[at_lse:], delta[at_lse:]
    marks, every = hidden(bias, mask, sizes, sample, head), turned and which == 3
    i0, m = index(0 if every else first), index(count if every else min(first + sizes[TILE], count))
    while i0 < m:
        seen = min(n, signed(i0) + SIDE) if sizes[CAUSAL] and not turned else n
        rows = i0, m, i0 if sizes[CAUSAL] and turned else index(0), index(seen)
        gradients_of(dx, own_dv, own, others, own_b, others_b, own_lse, own_delta, marks, scale, rows, turned)
        i0 = index(i0 + index(SIDE))


@kernel
def attention_grad(dq, dk, dv, scratch, q, k, v, bias, mask, lse, delta, dy, scale, tile, sizes):
    """From what comes to y, and delta, a row's sum of dy * y less what comes to lse: p = exp(scores - lse),
    ds = p (dy v' - delta), dq = ds k scale, dk = ds' q scale, dv = p' dy. scratch is not used."""
    turned = sizes[WHICH] == 2
    while True:
        one_side(dq, dk, dv, q, k, v, bias, mask, lse, delta, dy, scale, tile, sizes, turned)
        if turned or sizes[WHICH] != 3:
            break
        turned = True
