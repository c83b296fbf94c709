"""Convolution of x(n, d, h, w, c) with w(kd, kh, kw, c / groups, o): kernels/cpu/conv.py on a GPU, as products of
matrices whose A nobody writes down. A block has some pixels and channels of y, or some rows and columns of dw.

Taps that lie outside of x, along any axis, count as zeros. A table in the memory of the block says where pixels, or
taps, lie; threads walk over the other from one to the next.
"""

from .. import dims as K
from .jit import (
    aligned,
    barrier,
    flat,
    index,
    int32,
    kernel,
    load4,
    local,
    part,
    parts,
    rank,
    ranks,
    shared,
    signed,
    thread,
)
from .launch import IMAGE_TILES
from .tile import make_four, make_matrix, make_sum, make_tile

NOWHERE = 0xFFFFFFFF  # in place of an element
FAR = -(2**30)  # a place along d that is outside of x, whatever is added to it
at_depth = local(2)  # where a thread is in a matrix


@kernel
def seen(dims, first, d, h, w):
    """Elements from the start of x to channel 0 at (d, h, w) of the sample whose planes begin with `first`."""
    deep, high, wide = int32(dims[K.D + K.IN]), int32(dims[K.H + K.IN]), int32(dims[K.W + K.IN])
    if 0 <= d < deep and 0 <= h < high and 0 <= w < wide:
        return index(((first + d) * high + h) * wide + w) * index(dims[K.INS])
    return index(NOWHERE)


@kernel
def write(table, i, a, b, c, d):
    """Entry i of a table: four integers."""
    table[index(4) * i], table[index(4) * i + index(1)] = int32(a), int32(b)
    table[index(4) * i + index(2)], table[index(4) * i + index(3)] = int32(c), int32(d)


@kernel
def place(dims, line):
    """Sample, plane and line of the sample, of an output line."""
    plane = index(line // index(dims[K.H + K.OUT]))
    sample = index(plane // index(dims[K.D + K.OUT]))
    return sample, index(plane - sample * index(dims[K.D + K.OUT])), index(line - plane * index(dims[K.H + K.OUT]))


@kernel
def target(dims, sample, d, h, v):
    """Elements from the start of y to an output pixel."""
    there = sample * dims[K.D + K.FULL] + dims[K.D + K.FIRST] + d * dims[K.D + K.STEP]
    there = there * dims[K.H + K.FULL] + dims[K.H + K.FIRST] + h * dims[K.H + K.STEP]
    there = there * dims[K.W + K.FULL] + dims[K.W + K.FIRST] + v * dims[K.W + K.STEP]
    return index(there * dims[K.OUTS])


def make_pixels(tile):
    """Pixels as rows, taps and their channels as depth: (prepare, find, side).

    prepare(table, places, ...) writes down the block's pixels: where the first tap of each would be, and where in y
    the pixel is. A thread's words: at[0] is the channel that it is at, at[1 + v] where in x its tap is for its v-th
    pixel; the tap itself stands in the memory of the block, since it is seldom needed.
    """
    threads = tile.threads
    place_along, _, lay_along, _, count = make_four(tile.rows, tile.depth, threads)

    @kernel
    def prepare(table, places, dims, first, p0, m):
        i, wide = thread(), index(dims[K.W + K.OUT])
        while i < index(tile.rows):
            p = index(p0 + i)
            line = index(first + p // wide)
            sample, d, h = place(dims, line)
            v = index(p % wide)
            write(table, i, sample * dims[K.D + K.IN], dims[K.D + K.FROM] + d * dims[K.D + K.UP] if p < m else FAR,
                  dims[K.H + K.FROM] + h * dims[K.H + K.UP], dims[K.W + K.FROM] + v * dims[K.W + K.UP])  # fmt: skip
            places[i] = target(dims, sample, d, h, v)
            i = index(i + index(threads))

    @kernel
    def look(table, dims, i, kd, kh, kw):
        """Where tap (kd, kh, kw) of pixel i is."""
        first, d, h, w = load4(table, index(4) * i)
        return seen(dims, first, int32(d + kd * dims[K.D + K.TAP]), int32(h + kh * dims[K.H + K.TAP]),
                    int32(w + kw * dims[K.W + K.TAP]))  # fmt: skip

    @kernel
    def walk(at, by, table, taps, dims, cg):
        """Go on by so many channels, to the taps behind this one if need be."""
        at[0] = at[0] + by
        if by == 0 or at[0] >= cg:
            t = thread()
            kd, kh, kw = taps[t], taps[t + index(threads)], taps[t + index(2 * threads)]
            while at[0] >= cg:
                at[0], kw = at[0] - cg, index(kw + index(1))
                if kw == dims[K.W + K.TAPS]:
                    kw, kh = index(0), index(kh + index(1))
                if kh == dims[K.H + K.TAPS]:
                    kh, kd = index(0), index(kd + index(1))
            taps[t], taps[t + index(threads)], taps[t + index(2 * threads)] = kd, kh, kw
            for v in range(count):
                at[1 + v] = look(table, dims, place_along(v)[0], kd, kh, kw)

    @kernel
    def find(at, table, taps, dims, cg):
        t = thread()
        taps[t], taps[t + index(threads)], taps[t + index(2 * threads)] = index(0), index(0), index(0)
        at[0] = place_along(0)[1]
        walk(at, index(0), table, taps, dims, cg)

    @kernel
    def fetch(values, some, at, table, taps, x, dims, shift, cg, fours):
        s, by = place_along(0)[1], index(tile.depth)
        if fours:
            for v in range(count):
                a, b, c, d = x.dtype.type(0), x.dtype.type(0), x.dtype.type(0), x.dtype.type(0)
                if at[1 + v] != NOWHERE and s < some:
                    a, b, c, d = load4(x, index(at[1 + v] + at[0] + shift))
                values[4 * v], values[4 * v + 1], values[4 * v + 2], values[4 * v + 3] = a, b, c, d
        else:
            by = index(tile.depth - 3)
            for j in range(4):
                if j > 0:
                    walk(at, index(1), table, taps, dims, cg)
                for v in range(count):
                    inside = at[1 + v] != NOWHERE and s + index(j) < some
                    values[4 * v + j] = x[index(at[1 + v] + at[0] + shift)] if inside else x.dtype.type(0)
        walk(at, by, table, taps, dims, cg)

    lay = kernel(
        lambda memory, first, values, at, table, taps, x, dims, shift, cg, fours: lay_along(memory, first, values)
    )
    return prepare, find, (fetch, lay)


def make_taps(tile):
    """Taps and their channels as rows, pixels as depth: (prepare, find, side).

    prepare(table, ...) writes down where the block's rows see x from the first pixel. A thread's words: at[v] is the
    column of its v-th pixel; the line stands in the memory of the block, since it seldom changes.
    """
    threads = tile.threads
    _, place_across, _, lay_across, count = make_four(tile.rows, tile.depth, threads)

    @kernel
    def prepare(table, dims, r0, end, cg, shift):
        i = thread()
        while i < index(tile.rows):
            r = index(r0 + i)
            tap, kw_all, kh_all = index(r // cg), index(dims[K.W + K.TAPS]), index(dims[K.H + K.TAPS])
            kw, kh, kd = index(tap % kw_all), index(tap // kw_all % kh_all), index(tap // (kw_all * kh_all))
            write(table, i, shift + r % cg, dims[K.D + K.FROM] + kd * dims[K.D + K.TAP] if r < end else FAR,
                  dims[K.H + K.FROM] + kh * dims[K.H + K.TAP], dims[K.W + K.FROM] + kw * dims[K.W + K.TAP])  # fmt: skip
            i = index(i + index(threads))

    @kernel
    def wrap(at, v, lines, dims):
        """The pixel that is meant where the column is beyond the line."""
        if at[v] >= dims[K.W + K.OUT]:
            mine = index(thread() * index(count) + index(v))
            sample, d, h, _ = load4(lines, index(4) * mine)
            while at[v] >= dims[K.W + K.OUT]:
                at[v], h = index(at[v] - dims[K.W + K.OUT]), int32(h + 1)
                if h == dims[K.H + K.OUT]:
                    h, d = int32(0), int32(d + 1)
                if d == dims[K.D + K.OUT]:
                    d, sample = int32(0), int32(sample + 1)
            write(lines, mine, sample, d, h, 0)

    @kernel
    def find(at, lines, dims, line):
        sample, d, h = place(dims, line)
        for v in range(count):
            write(lines, index(thread() * index(count) + index(v)), sample, d, h, 0)
            at[v] = place_across(v)[1]
            wrap(at, v, lines, dims)

    @kernel
    def look(at, v, table, lines, dims, i):
        """Where row i sees x from the v-th pixel, and its channel."""
        channel, d, h, w = load4(table, index(4) * i)
        sample, to_d, to_h, _ = load4(lines, index(4) * (thread() * index(count) + index(v)))
        here = seen(dims, sample * dims[K.D + K.IN], int32(d + to_d * dims[K.D + K.UP]),
                    int32(h + to_h * dims[K.H + K.UP]), int32(w + at[v] * dims[K.W + K.UP]))  # fmt: skip
        return here, index(channel)

    @kernel
    def fetch(values, some, at, table, lines, x, dims, fours):
        for v in range(count):
            i, s = place_across(v)
            for j in range(4):
                values[4 * v + j] = x.dtype.type(0)
            if fours and s < some:
                here, channel = look(at, v, table, lines, dims, i)
                if here != NOWHERE:
                    a, b, c, d = load4(x, index(here + channel))
                    values[4 * v], values[4 * v + 1], values[4 * v + 2], values[4 * v + 3] = a, b, c, d
            elif s < some:
                for j in range(4):
                    here, channel = look(at, v, table, lines, dims, index(i + index(j)))
                    if here != NOWHERE:
                        values[4 * v + j] = x[index(here + channel)]
            at[v] = at[v] + index(tile.depth)
            wrap(at, v, lines, dims)

    lay = kernel(lambda memory, first, values, at, table, lines, x, dims, fours: lay_across(memory, first, values))
    return prepare, find, (fetch, lay)


def make_columns(tile):
    """B, a matrix whose columns lie side by side, as a side of a product."""
    find, fetch = make_matrix(tile.columns, tile.depth, tile.threads)
    lay_across = make_four(tile.columns, tile.depth, tile.threads)[3]
    lay = kernel(lambda memory, first, values, at, b, one, row, along: lay_across(memory, first, values))
    return find, (fetch, lay)


def make_corner(tile):
    """A function that says of a block: its first row, its group, its first column there, columns of a group."""

    @kernel
    def corner(dims, block):
        groups = index(dims[K.GROUPS])
        og = index(index(dims[K.OUTS]) // groups)
        wide = index((og + index(tile.columns - 1)) // index(tile.columns))
        line = index(block // wide)
        return line // groups * index(tile.rows), line % groups, (block - line * wide) * index(tile.columns), og

    return corner


def make_conv(name, tile):
    """The kernel conv whose blocks have this tile: pixels and channels of y."""
    table, places, tap_words = shared(4 * tile.rows), shared(tile.rows), shared(3 * tile.threads)
    sums = local(tile.own**2)
    at_pixels = local(1 + tile.rows * tile.depth // 4 // tile.threads)
    clear, begin, multiply, make_end = make_tile(tile, 8 // tile.own)
    prepare, find_a, pixels = make_pixels(tile)
    find_b, columns = make_columns(tile)
    sum_up, corner = make_sum(tile, multiply, pixels, columns), make_corner(tile)
    end = make_end(kernel(lambda row, given: given[0][row] + given[1]))

    @kernel
    def count(dims, rows, left):
        return index(min(rows, left) * dims[K.LINES] * dims[K.W + K.OUT])

    def conv(y, x, w, b, dims, first, rows, left, packed):
        one, block = index(1), part()
        acc, at_a, at_b = sums(y), at_pixels(one), at_depth(one)
        seats, to, taps = table(int32(0)), places(one), tap_words(one)
        p0, g, j0, og = corner(dims, block)
        while p0 < count(dims, rows, left):
            m, o = count(dims, rows, left), index(dims[K.OUTS])
            cg, column = index(index(dims[K.INS]) // index(dims[K.GROUPS])), index(g * og)
            prepare(seats, to, dims, index(first), index(p0), m)
            barrier()
            find_a(at_a, seats, taps, dims, cg)
            find_b(at_b, w, column, index(j0), index(og), one, o, False)
            clear(acc)
            if b.size > 0:
                begin(acc, b, index(0), index(column + j0), index(m - p0), index(og - j0))
            fours = cg % index(4) == 0 and aligned(x)
            k = index(dims[K.D + K.TAPS] * dims[K.H + K.TAPS] * dims[K.W + K.TAPS] * cg)
            sum_up(acc, k, (at_a, seats, taps, x, dims, index(g * cg), cg, fours), (at_b, w, one, o, False))
            p0, g, j0, og = corner(dims, block)  # once more: meanwhile registers are for others
            end(flat(y), acc, index(count(dims, rows, left) - p0), index(og - j0), (to, index(g * og + j0)))
            barrier()
            block = index(block + parts())
            p0, g, j0, og = corner(dims, block)

    conv.__name__ = conv.__qualname__ = name
    return kernel(conv)


def make_conv_grad_w(name, tile):
    """The kernel conv_grad_w whose blocks have this tile: rows and columns of dw."""
    table, sums = shared(4 * tile.rows), local(tile.own**2)
    fours_a = tile.rows * tile.depth // 4 // tile.threads
    at_taps, line_words = local(fours_a), shared(4 * fours_a * tile.threads)
    clear, _, multiply, make_end = make_tile(tile, 8 // tile.own)
    prepare, find_a, taps = make_taps(tile)
    find_b, columns = make_columns(tile)
    sum_up, corner = make_sum(tile, multiply, taps, columns), make_corner(tile)
    end = make_end(kernel(lambda row, given: given[0] + row * given[1]))

    @kernel
    def channels(dims):
        return index(index(dims[K.INS]) // index(dims[K.GROUPS]))

    @kernel
    def count(dims, row, row_count):
        every = dims[K.D + K.TAPS] * dims[K.H + K.TAPS] * dims[K.W + K.TAPS] * channels(dims)
        return index(min(row + row_count, every) - row)

    def conv_grad_w(dw, x, dy, dims, row, row_count, first, rows, left):
        one, block = index(1), part()
        acc, at_a, at_b = sums(dw), at_taps(one), at_depth(one)
        seats, lines = table(int32(0)), line_words(int32(0))
        i0, g, j0, og = corner(dims, block)
        while i0 < count(dims, row, row_count):
            cg, o = channels(dims), index(dims[K.OUTS])
            prepare(seats, dims, index(row + i0), index(row + count(dims, row, row_count)), cg, index(g * cg))
            barrier()
            find_a(at_a, lines, dims, index(first))
            find_b(at_b, dy, index(first * dims[K.W + K.OUT] * o + g * og), index(j0), index(og), one, o, False)
            clear(acc)
            fours = cg % index(4) == 0 and row % 4 == 0 and aligned(x)
            k = index(min(rows, left) * dims[K.LINES] * dims[K.W + K.OUT])
            sum_up(acc, k, (at_a, seats, lines, x, dims, fours), (at_b, dy, one, o, False))
            i0, g, j0, og = corner(dims, block)  # once more: meanwhile registers are for others
            o = index(dims[K.OUTS])
            end(dw, acc, index(count(dims, row, row_count) - i0), index(og - j0), (index(i0 * o + g * og + j0), o))
            barrier()
            block = index(block + parts())
            i0, g, j0, og = corner(dims, block)

    conv_grad_w.__name__ = conv_grad_w.__qualname__ = name
    return kernel(conv_grad_w)


conv_wide = make_conv("conv_wide", IMAGE_TILES["_wide"])
conv_large = make_conv("conv_large", IMAGE_TILES["_large"])
conv_middle = make_conv("conv_middle", IMAGE_TILES["_middle"])
conv_small = make_conv("conv_small", IMAGE_TILES["_small"])

conv_grad_w_wide = make_conv_grad_w("conv_grad_w_wide", IMAGE_TILES["_wide"])
conv_grad_w_large = make_conv_grad_w("conv_grad_w_large", IMAGE_TILES["_large"])
conv_grad_w_middle = make_conv_grad_w("conv_grad_w_middle", IMAGE_TILES["_middle"])
conv_grad_w_small = make_conv_grad_w("conv_grad_w_small", IMAGE_TILES["_small"])


@kernel
def flip(f, w, dims, first):
    """The weights with which a convolution of dy gives dx: f(taps, o / groups, c) from w(all taps, c / groups, o)."""
    groups, c, o = index(dims[K.GROUPS]), index(dims[K.OUTS]), index(dims[K.INS])
    cg, og, at = index(c // groups), index(o // groups), rank()
    kw_all, kh_all = index(dims[K.W + K.TAPS]), index(dims[K.H + K.TAPS])
    while at < f.size:
        row, j = index(at // c), index(at % c)
        tap, i = index(first + row // og), index(row % og)
        kw, kh, kd = index(tap % kw_all), index(tap // kw_all % kh_all), index(tap // (kw_all * kh_all))
        d = dims[K.D + K.FROM] + signed(kd) * dims[K.D + K.UP]
        h = dims[K.H + K.FROM] + signed(kh) * dims[K.H + K.UP]
        v = dims[K.W + K.FROM] + signed(kw) * dims[K.W + K.UP]
        base = index((d * dims[K.H + K.FULL] + h) * dims[K.W + K.FULL] + v)
        f[at] = w[index((base * cg + j % cg) * o + j // cg * og + i)]
        at = index(at + ranks())
