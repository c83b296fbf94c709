"""Products of a block of threads with SIDE x SIDE results, of which a thread has four by four in registers; what is
multiplied lies in the block's memory in rows of SIDE numbers. Attention is made of them."""

from .jit import (
    aligned,
    barrier,
    fma,
    from_partner,
    index,
    int32,
    kernel,
    load4,
    local,
    scalar,
    shared,
    store4,
    thread,
    threads,
)

SIDE, OWN, AT_ONCE = 64, 4, 16  # positions of a block, of a thread; channels, or positions, of a step of a product
ACROSS = SIDE // OWN  # threads that share rows
STEP, WEIGHTS = SIDE * AT_ONCE, SIDE * SIDE  # numbers of a step, of all scores, which lie before steps
exp, log, maximum = scalar.exp, scalar.log, scalar.maximum

memory = shared(WEIGHTS + 2 * STEP)
some_a, some_b, next_a, next_b = local(OWN), local(OWN), local(OWN), local(OWN)
scores, sums = local(OWN * OWN), local(OWN * OWN)
tops, totals, factors, shifts = local(OWN), local(OWN), local(OWN), local(OWN)


# ------------------------------------------------------------------------------------------ four channels of a position


@kernel
def take(x, i, m, step, c, k, side):
    """x[i * step + c] and three more, of row m - 1 beyond it; 0 from k on. side: whether they are 16 bytes."""
    at, last, none = index(min(i, index(m - 1)) * step), index(k - 1), x.dtype.type(0)
    if c + index(4) <= k and side:
        return load4(x, index(at + c))
    p, q = x[index(at + min(c, last))], x[index(at + min(index(c + index(1)), last))]
    r, s = x[index(at + min(index(c + index(2)), last))], x[index(at + min(index(c + index(3)), last))]
    return (
        p if c < k else none,
        q if c + index(1) < k else none,
        r if c + index(2) < k else none,
        s if c + index(3) < k else none,
    )


@kernel
def put(x, i, m, step, c, k, side, p, q, r, s):
    """x[i * step + c] and three more, before m and before k."""
    at = index(i * step + c)
    if i < m and c + index(4) <= k and side:
        store4(x, at, p, q, r, s)
    elif i < m:
        if c < k:
            x[at] = p
        if c + index(1) < k:
            x[index(at + index(1))] = q
        if c + index(2) < k:
            x[index(at + index(2))] = r
        if c + index(3) < k:
            x[index(at + index(3))] = s


@kernel
def on_side(x, step):
    return step % 4 == 0 and aligned(x)


# ------------------------------------------------------------------------------------------------ products of a block


@kernel
def anew():
    """The number of this thread, asked for again: else the compiler would work out all places ahead of all loops, and
    have no registers left."""
    return index(from_partner(int32(thread()), 0))


@kernel
def mine():
    """Which four rows and which four columns this thread has."""
    t = anew()
    return index(t // index(ACROSS)), index(t % index(ACROSS))


@kernel
def turn(four):
    """By this the fours of a row of memory change places, so that threads that write below each other meet different
    banks: the bits of the row's number over 4, shifted in a ring."""
    return index((four << 1 & 15) | four >> 3)


@kernel
def lay_along(room, first, i, c, p, q, r, s):
    """Four channels of position i, one below the other, as the c-th fours of rows."""
    at = index(first + c * index(4 * SIDE) + index(4) * ((i // index(4)) ^ turn(c)) + i % index(4))
    room[at], room[at + index(SIDE)], room[at + index(2 * SIDE)], room[at + index(3 * SIDE)] = p, q, r, s


@kernel
def lay_across(room, first, i, c, p, q, r, s):
    """Four channels of position i, side by side, as the c-th four of a row."""
    store4(room, index(first + i * index(SIDE) + index(4) * (c ^ turn(i // index(4)))), p, q, r, s)


@kernel
def own_place():
    """Where this thread's first row and column lie in memory; the next column is SIDE on, the next row 1."""
    g, h = mine()
    return index(h * index(OWN * SIDE) + index(4) * (g ^ turn(h)))


@kernel
def spread(room, x):
    """The numbers of all threads, a row below the other for each column."""
    at = own_place()
    for j in range(OWN):
        store4(room, index(at + index(j * SIDE)), x[j], x[OWN + j], x[2 * OWN + j], x[3 * OWN + j])


def make_multiply(count):
    """A function that does acc += A B with the first rows of A and B in memory; g and h are turned as row 0 of each.
    One by one in the source, so that all indices of acc are known."""
    if count == 0:
        return kernel(lambda acc, room, a, g, b, h, xs, ys: None)
    others, s = make_multiply(count - 1), count - 1

    @kernel
    def multiply(acc, room, a, g, b, h, xs, ys):
        others(acc, room, a, g, b, h, xs, ys)
        turned = index(s // 4 << 1)
        xs[0], xs[1], xs[2], xs[3] = load4(room, index(a + index(s * SIDE) + index(4) * (g ^ turned)))
        ys[0], ys[1], ys[2], ys[3] = load4(room, index(b + index(s * SIDE) + index(4) * (h ^ turned)))
        for i in range(OWN):
            for j in range(OWN):
                acc[i * OWN + j] = fma(xs[i], ys[j], acc[i * OWN + j])

    return multiply


multiply_at_once, multiply_four = make_multiply(AT_ONCE), make_multiply(4)


@kernel
def some():
    """OWN, but the compiler does not know: it would unroll loops to there, and run out of registers."""
    return index(threads() // index(SIDE))


@kernel
def ahead(acc):
    """Whether numbers are on their way while those before them are worked on: of float64 there are no registers for
    both."""
    return acc.itemsize == 4


@kernel
def multiply(acc, room, a, g, b, h, xs, ys):
    """AT_ONCE rows; of float64 four by four, or the compiler would load too many ahead."""
    if ahead(acc):
        multiply_at_once(acc, room, a, g, b, h, xs, ys)
    else:
        s, fours = index(0), some() * index(AT_ONCE // 4 // OWN)
        while s < fours:
            down, turned = index(s * index(4 * SIDE)), index(s << 1)
            multiply_four(acc, room, index(a + down), index(g ^ turned), index(b + down), index(h ^ turned), xs, ys)
            s = index(s + index(1))


@kernel
def clear(acc):
    for i in range(OWN * OWN):
        acc[i] = acc.dtype.type(0)


@kernel
def product(acc, room, a, i0, m, b, j0, n, k, step, scale):
    """acc = the products of rows of a from i0 on, scaled, and rows of b from j0 on, over k channels."""
    (g, h), side_a, side_b = mine(), on_side(a, step), on_side(b, step)
    row, four = index(g * index(4) + h // index(4)), index(h % index(4))
    i, j, c, done = index(i0 + row), index(j0 + row), index(four * index(4)), index(0)
    first, second, va, vb = index(WEIGHTS), index(WEIGHTS + STEP), next_a(acc), next_b(acc)
    clear(acc)
    if ahead(acc):
        va[0], va[1], va[2], va[3] = take(a, i, m, step, c, k, side_a)
        vb[0], vb[1], vb[2], vb[3] = take(b, j, n, step, c, k, side_b)
    while done < k:
        if not ahead(acc):
            g, h = mine()  # where threads are is worked out again, rather than kept
            row, four = index(g * index(4) + h // index(4)), index(h % index(4))
            i, j, c = index(i0 + row), index(j0 + row), index(done + four * index(4))
            va[0], va[1], va[2], va[3] = take(a, i, m, step, c, k, side_a)
        lay_along(room, first, row, four, va[0] * scale, va[1] * scale, va[2] * scale, va[3] * scale)
        if not ahead(acc):
            vb[0], vb[1], vb[2], vb[3] = take(b, j, n, step, c, k, side_b)
        lay_along(room, second, row, four, vb[0], vb[1], vb[2], vb[3])
        barrier()
        done, c = index(done + index(AT_ONCE)), index(c + index(AT_ONCE))
        if ahead(acc) and done < k:
            va[0], va[1], va[2], va[3] = take(a, i, m, step, c, k, side_a)
            vb[0], vb[1], vb[2], vb[3] = take(b, j, n, step, c, k, side_b)
        multiply(acc, room, first, g, second, h, some_a(acc), some_b(acc))
        barrier()


@kernel
def weigh(acc, room, b, j0, n, c0, k, step):
    """acc += the weights that spread has left, by 64 rows of b from j0 on, 64 of its k channels from c0 on."""
    (g, h), side, v = mine(), on_side(b, step), next_b(acc)
    i, c = index(j0 + g), index(c0 + index(4) * h)
    first, done, count = index(WEIGHTS), index(0), min(index(SIDE), index(n - j0))
    if ahead(acc):
        v[0], v[1], v[2], v[3] = take(b, i, n, step, c, k, side)
    while done < count:
        if not ahead(acc):
            v[0], v[1], v[2], v[3] = take(b, i, n, step, c, k, side)
        lay_across(room, first, g, h, v[0], v[1], v[2], v[3])
        barrier()
        here = done
        done, i = index(done + index(AT_ONCE)), index(i + index(AT_ONCE))
        if ahead(acc) and done < count:
            v[0], v[1], v[2], v[3] = take(b, i, n, step, c, k, side)
        turned = index(g ^ turn(here // index(4)))
        multiply(acc, room, index(here * index(SIDE)), turned, first, h, some_a(acc), some_b(acc))
        first = index(index(2 * WEIGHTS + STEP) - first)
    barrier()


@kernel
def read(acc, y, i0, m, step, c0, k):
    """acc = what this thread has of 64 channels of y."""
    (g, h), side = mine(), on_side(y, step)
    i, c = index(i0 + index(OWN) * g), index(c0 + index(OWN) * h)
    acc[0], acc[1], acc[2], acc[3] = take(y, i, m, step, c, k, side)
    acc[4], acc[5], acc[6], acc[7] = take(y, index(i + index(1)), m, step, c, k, side)
    acc[8], acc[9], acc[10], acc[11] = take(y, index(i + index(2)), m, step, c, k, side)
    acc[12], acc[13], acc[14], acc[15] = take(y, index(i + index(3)), m, step, c, k, side)


@kernel
def write(y, acc, i0, m, step, c0, k):
    (g, h), side = mine(), on_side(y, step)
    i, c = index(i0 + index(OWN) * g), index(c0 + index(OWN) * h)
    put(y, i, m, step, c, k, side, acc[0], acc[1], acc[2], acc[3])
    put(y, index(i + index(1)), m, step, c, k, side, acc[4], acc[5], acc[6], acc[7])
    put(y, index(i + index(2)), m, step, c, k, side, acc[8], acc[9], acc[10], acc[11])
    put(y, index(i + index(3)), m, step, c, k, side, acc[12], acc[13], acc[14], acc[15])


@kernel
def scale_rows(acc, by):
    for i in range(OWN):
        for j in range(OWN):
            acc[i * OWN + j] *= by[i]


# ------------------------------------------------------------------------------------------------------------- scores
