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
    spread,
    sums,
    tops,
    totals,
    weigh,
    write,
)
from .jit import index, kernel, load4, signed, store4, threads, typed
from .team import team_max, team_sum


@kernel
def hidden(bias, mask, sizes, sample, head):
    """What `marked` needs of a head: its part of bias and mask, and what is there at all."""
    bias_at = sample * sizes[BIAS] + head * sizes[BIAS + 1]
    mask_at = sample * sizes[MASK] + head * sizes[MASK + 1]
    return bias[bias_at if bias.size else 0 :], mask[mask_at if mask.size else 0 :], sizes


@kernel
def marked(x, query, key, marks):
    """The score x of a query and a key, with its bias; minus infinity where that is not to be seen."""
    bias, mask, sizes = marks
    none = typed(-math.inf, x)
    if key >= sizes[KEYS] or query >= sizes[QUERIES]:
        return none
    if bias.size:
        x += bias[index(query * sizes[BIAS + 2] + key * sizes[BIAS + 3])]
    if mask.size and not mask[index(query * sizes[MASK + 2] + key * sizes[MASK + 3])]:
        return none
    return none if sizes[CAUSAL] and key > query else x


@kernel
def some():
    """OWN, but the compiler does not know: it would unroll the loop, and run out of registers."""
    return index(threads() // index(SIDE))


@kernel
def mark(room, i0, j0, marks, turned):
    """The scores that this thread has spread, if need be; turned: rows are keys, columns queries."""
    (g, h), (bias, mask, sizes) = mine(), marks
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
def powers(room, tops, totals, factors, shifts):
    """Scores in memory become exp(score - top), tops the largest of each row so far, and factors what puts sums so far
    under these."""
    start, lowest = own_place(), typed(-math.inf, tops[0])
    at, end = start, index(start + some() * index(SIDE))
    for i in range(OWN):
        shifts[i] = lowest
    while at < end:
        p, q, r, s = load4(room, at)
        shifts[0], shifts[1] = maximum(shifts[0], p), maximum(shifts[1], q)
        shifts[2], shifts[3] = maximum(shifts[2], r), maximum(shifts[3], s)
        at = index(at + index(SIDE))
    for i in range(OWN):
        old, top = tops[i], maximum(team_max(shifts[i], index(ACROSS)), tops[i])
        shifts[i], tops[i] = typed(0, top) if top == lowest else top, top
        factors[i] = exp(old - shifts[i]) if old > lowest else typed(1, old)
        totals[i] *= factors[i]
    at = start
    while at < end:
        p, q, r, s = load4(room, at)
        p, q, r, s = exp(p - shifts[0]), exp(q - shifts[1]), exp(r - shifts[2]), exp(s - shifts[3])
        store4(room, at, p, q, r, s)
        totals[0], totals[1], totals[2], totals[3] = totals[0] + p, totals[1] + q, totals[2] + r, totals[3] + s
        at = index(at + index(SIDE))


@kernel
def rows_of(y, lse, q, k, v, marks, scale, i0, m, numbers):
    """64 rows of y and lse of one head."""
    depth, width, c, cv, heads, lk = numbers
    room, s, acc, top, total = memory(q), scores(q), sums(q), tops(q), totals(q)
    factor, shift = factors(q), shifts(q)
    clear(acc)
    for i in range(OWN):
        top[i], total[i] = q.dtype.type(-math.inf), q.dtype.type(0)
    kept, j0 = width <= index(SIDE) and q.itemsize == 4, index(0)  # whether sums have registers to stay in
    _, _, sizes = marks
    seen = min(lk, index(i0 + index(SIDE))) if sizes[CAUSAL] else lk
    while j0 < seen:
        product(s, room, q, i0, m, k, j0, lk, depth, c, scale)
        spread(room, s)
        mark(room, i0, j0, marks, False)
        powers(room, top, total, factor, shift)
        c0 = index(0)
        while c0 < width:
            if not kept:
                if j0 == 0:
                    clear(acc)
                else:
                    read(acc, y, i0, m, cv, c0, width)
            scale_rows(acc, factor)
            weigh(acc, room, v, j0, lk, c0, width, cv)
            if not kept:
                write(y, acc, i0, m, cv, c0, width)
            c0 = index(c0 + index(SIDE))
        j0 = index(j0 + index(SIDE))
    g, h = mine()
    for i in range(OWN):
        all_of_it, row = team_sum(total[i], index(ACROSS)), index(i0 + index(OWN) * g + index(i))
        if h == 0 and row < m:
            lse[index(row * heads)] = (typed(0, top[i]) if top[i] == q.dtype.type(-math.inf) else top[i]) + log(
                all_of_it
            )
        factor[i] = typed(1, all_of_it) / all_of_it
    c0 = index(0)
    while c0 < width:
        if not kept:
            read(acc, y, i0, m, cv, c0, width)
        scale_rows(acc, factor)
        write(y, acc, i0, m, cv, c0, width)
        c0 = index(c0 + index(SIDE))


@kernel
def attention(y, lse, scratch, q, k, v, bias, mask, scale, tile, sizes):
    """y = softmax(q k' scale + bias) v of each head, lse the logarithm of a row's sum of powers. NaN where all of a row
    is masked. scratch is not used."""
    heads, depth, width, lq, lk = sizes[HEADS], sizes[DEPTH], sizes[WIDTH], sizes[QUERIES], sizes[KEYS]
    tiles = (lq + sizes[TILE] - 1) // sizes[TILE]
    first, head, sample = tile % tiles * sizes[TILE], tile // tiles % heads, tile // (tiles * heads)
    c, cv = heads * depth, heads * width
    own_q, own_k = q[sample * lq * c + head * depth :], k[sample * lk * c + head * depth :]
    own_y, own_v = y[sample * lq * cv + head * width :], v[sample * lk * cv + head * width :]
    own_lse, marks = lse[sample * lq * heads + head :], hidden(bias, mask, sizes, sample, head)
    numbers = index(depth), index(width), index(c), index(cv), index(heads), index(lk)
    i0, m = index(first), index(min(first + sizes[TILE], lq))
    while i0 < m:
        rows_of(own_y, own_lse, own_q, own_k, own_v, marks, scale, i0, m, numbers)
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
def weights(room, lse, heads, i0, j0, marks, turned):
    """Scores in memory become exp(score - lse); 0 beyond their edges."""
    (g, h), (_, _, sizes), e, start = mine(), marks, index(0), own_place()
    lq, lk = index(sizes[QUERIES]), index(sizes[KEYS])
    while e < some() * index(OWN):
        i, j = index(e % index(OWN)), index(e // index(OWN))
        row, column = index(i0 + index(OWN) * g + i), index(j0 + index(OWN) * h + j)
        query, key = column if turned else row, row if turned else column
        at = index(start + j * index(SIDE) + i)
        power = exp(room[at] - lse[index(min(query, index(lq - index(1))) * heads)])
        room[at] = power if query < lq and key < lk else typed(0, power)
        e = index(e + index(1))


@kernel
def shares(room, ds, delta, heads, i0, j0, lq, scale, turned):
    """Weights p in memory become the gradient of scores, p (ds - delta) scale."""
    (g, h), less, at = mine(), tops(ds), own_place()
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
def gradients_of(room, dx, dv, own, others, own_b, others_b, lse, delta, marks, scale, rows, numbers, turned):
    """Of 64 positions the gradients: of queries, past all keys; turned: of keys and values, past all queries. own and
    others are these, own_b and others_b dy and values, or values and dy."""
    (depth, width, c, cv, heads, lq), (i0, m, j0, n) = numbers, rows
    acc, fresh = sums(own), True
    if j0 >= n:
        wipe(dx, acc, i0, m, depth, c)
        if turned:
            wipe(dv, acc, i0, m, width, cv)
    while j0 < n:
        product(acc, room, own, i0, m, others, j0, n, depth, c, scale)
        spread(room, acc)
        mark(room, i0, j0, marks, turned)
        weights(room, lse, heads, i0, j0, marks, turned)
        if turned:
            add(dv, acc, room, others_b, i0, m, j0, n, width, cv, fresh)
        product(acc, room, own_b, i0, m, others_b, j0, n, width, cv, typed(1, scale))
        shares(room, acc, delta, heads, i0, j0, lq, scale, turned)
        add(dx, acc, room, others, i0, m, j0, n, depth, c, fresh)
        fresh, j0 = False, index(j0 + index(SIDE))


@kernel
def attention_grad(dq, dk, dv, scratch, q, k, v, bias, mask, lse, delta, dy, scale, tile, sizes):
    """From what comes to y, and delta, a row's sum of dy * y less what comes to lse: p = exp(scores - lse),
    ds = p (dy v' - delta), dq = ds k scale, dk = ds' q scale, dv = p' dy. scratch is not used."""
    heads, depth, width, lq, lk = sizes[HEADS], sizes[DEPTH], sizes[WIDTH], sizes[QUERIES], sizes[KEYS]
    which, c, cv = sizes[WHICH], heads * depth, heads * width
    tiles = ((lk if which == 2 else lq) + sizes[TILE] - 1) // sizes[TILE]
    first, head, sample = tile % tiles * sizes[TILE], tile // tiles % heads, tile // (tiles * heads)
    at_q, at_k, at_lse = sample * lq * c + head * depth, sample * lk * c + head * depth, sample * lq * heads + head
    at_y, at_v = sample * lq * cv + head * width, sample * lk * cv + head * width
    own_q, own_k, own_v, own_dy = q[at_q:], k[at_k:], v[at_v:], dy[at_y:]
    own_dq, own_dk, own_dv = (
        dq[at_q if which & 1 else 0 :],
        dk[at_k if which & 2 else 0 :],
        dv[at_v if which & 2 else 0 :],
    )
    own_lse, own_delta, marks = lse[at_lse:], delta[at_lse:], hidden(bias, mask, sizes, sample, head)
    room, numbers, turned = (
        memory(q),
        (index(depth), index(width), index(c), index(cv), index(heads), index(lq)),
        which == 2,
    )
    while True:
        dx, own, others = (own_dk, own_k, own_q) if turned else (own_dq, own_q, own_k)
        own_b, others_b = (own_v, own_dy) if turned else (own_dy, own_v)
        i0, count = index(0 if turned and which == 3 else first), lk if turned else lq
        m, n = index(count if turned and which == 3 else min(first + sizes[TILE], count)), lq if turned else lk
        while i0 < m:
            seen = min(n, signed(i0) + SIDE) if sizes[CAUSAL] and not turned else n
            rows = i0, m, i0 if sizes[CAUSAL] and turned else index(0), index(seen)
            gradients_of(
                room, dx, own_dv, own, others, own_b, others_b, own_lse, own_delta, marks, scale, rows, numbers, turned
            )  # fmt: skip
            i0 = index(i0 + index(SIDE))
        if turned or which != 3:
            break
        turned = True
