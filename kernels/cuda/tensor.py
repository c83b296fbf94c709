"""Products on tensor cores: inputs rounded to fewer bits, sums in float32; the same bits each run.

A block has 128 x 128 of C, each of its eight warps 64 x 32 of that, as 4 x 4 results of the hardware. Some depth of A
and of B at once lies in the memory of the block, rounded, as words x rows, and that twice: threads lay down the next
while others still multiply. A word is a number of tf32, or two of bf16 that are neighbours along the depth.

Which row, column or word the hardware calls its first is free, as long as all agree; here lanes that read or write at
once meet different banks. Word 4 q + j of a step (2 q + j of bf16) is line 4 j + q. Lines of A have neighbouring rows
side by side, of which a lane has two; column 4 l + x of B is at 32 x + l: a lane then has four columns of C that are
neighbours.
"""

from .jit import (
    aligned,
    barrier,
    bf16,
    index,
    int32,
    kernel,
    load2,
    load4,
    local,
    multiply_bf16,
    multiply_tf32,
    part,
    shared,
    signed,
    store4,
    tf32,
    thread,
)
from .launch import TENSOR, WARP
from .tile import put

DEPTH, ROWS = TENSOR.depth, TENSOR.rows
PITCH = ROWS + 8  # words of a line: lanes that read four rows of four lines, each its own, meet different banks
HIGH, WIDE = 64, 32  # of a warp's part of C
BANDS = TENSOR.columns // WIDE  # warps side by side
sums, own_b, more_b = local(64), local(4), local(4)
some_a, some_b, at_a, at_b = local(8), local(8), local(2), local(2)  # numbers on their way, and where the next are


# ------------------------------------------------------------------------------------ from the GPU's memory, by fours


@kernel
def along_side(v):
    """Row, and depth, of a thread's v-th four numbers where they are neighbours along the depth."""
    return index(thread() // index(4) + index(64 * v)), index(index(4) * (thread() % index(4)))


@kernel
def across_side(v):
    """The same where they are neighbouring rows."""
    return index(index(4) * (thread() % index(32))), index(index(2) * (thread() // index(32)) + index(v))


@kernel
def fours(x, m, step_row, step_k, along):
    """Whether all that a block needs of x[i * step_row + s * step_k], i < m, are vectors of 16 bytes."""
    step, other = (step_k, step_row) if along else (step_row, step_k)
    return step == 1 and other % index(4) == 0 and (along or m % index(4) == 0) and aligned(x)


def make_fetch(along):
    """find(at, ...) notes where a thread's fours are; fetch(values, x, at, ...) has them, and moves on."""
    side = along_side if along else across_side

    @kernel
    def find(at, i0, m, step_row, step_k):
        for v in range(2):
            i, s = side(v)
            at[v] = index(min(index(i0 + i), index(m - index(1 if along else 4))) * step_row + s * step_k)

    @kernel
    def fetch(values, x, at, step_k):
        for v in range(2):
            a, b, c, d = load4(x, at[v])
            values[4 * v], values[4 * v + 1], values[4 * v + 2], values[4 * v + 3] = a, b, c, d
            at[v] = index(at[v] + index(DEPTH) * step_k)

    return find, fetch


@kernel
def fetch_any(values, x, k0, k, i0, m, step_row, step_k, along):
    """The same numbers wherever they are, 0 from depth k on."""
    for v in range(2):
        i, s = along_side(v) if along else across_side(v)
        for j in range(4):
            row = min(index(i0 + i + index(0 if along else j)), index(m - 1))
            deep = index(k0 + s + index(j if along else 0))
            values[4 * v + j] = x[index(row * step_row + deep * step_k)] if deep < k else x.dtype.type(0)


# ----------------------------------------------------------------------------------------- into the block's, as words


@kernel
def tf32_along(values, v, j):
    """Word j of a thread's v-th four numbers."""
    return tf32(values[4 * v + j])


@kernel
def bf16_along(values, v, j):
    return bf16(values[4 * v + 2 * j], values[4 * v + 2 * j + 1])


@kernel
def bf16_across(values, v, j):
    """The word of row, or column, j: of both fours."""
    return bf16(values[j], values[j + 4])


def make_lay(words, along, across):
    """Functions that lay down fours: of A along the depth, of A as neighbouring rows, and of B; `words` of each four
    along the depth."""
    lines = words // 2  # of a thread, where its fours are rows

    @kernel
    def lay_along(memory, first, values):
        at = signed(first + thread() % index(4) * index(PITCH) + thread() // index(4))
        for v in range(2):
            for j in range(words):
                memory[at + 4 * j * PITCH + 64 * v] = along(values, v, j)

    @kernel
    def line(v):
        """That of a thread's v-th word, where its fours are rows."""
        w = index(thread() // index(32) * index(lines) + index(v))
        return index(index(4) * (w % index(words)) + w // index(words))

    @kernel
    def lay_across(memory, first, values):
        for v in range(lines):
            at = signed(first + line(v) * index(PITCH) + index(4) * (thread() % index(32)))
            a, b, c, d = across(values, v, 0), across(values, v, 1), across(values, v, 2), across(values, v, 3)
            store4(memory, at, a, b, c, d)

    @kernel
    def lay_columns(memory, first, values):
        for v in range(lines):
            at = signed(first + line(v) * index(PITCH) + thread() % index(32))
            for x in range(4):
                memory[at + 32 * x] = across(values, v, x)

    return lay_along, lay_across, lay_columns


# --------------------------------------------------------------------------------------------------- a warp's part of C


@kernel
def mine():
    """The first row and the first column of this thread in the block's tile."""
    warp, g, t = thread() // index(WARP), thread() % index(WARP) // index(4), thread() % index(4)
    return index(warp // index(BANDS) * index(HIGH) + index(2) * g), index(
        warp % index(BANDS) * index(WIDE) + index(8) * t
    )


def make_multiply(steps, multiply):
    """acc += what lies in memory from `first` on: a step of the hardware for each 8 lines."""

    @kernel
    def work(acc, memory, first):
        lane, band = thread() % index(WARP), thread() // index(WARP) % index(BANDS)
        i, _ = mine()
        at_a = signed(first + lane % index(4) * index(PITCH) + i)
        at_b = signed(first + (lane % index(4) + index(8 * steps)) * index(PITCH) + band * index(8) + lane // index(4))
        low, high = own_b(int32(0)), more_b(int32(0))
        for s in range(steps):
            for x in range(4):
                low[x], high[x] = memory[at_b + 8 * s * PITCH + 32 * x], memory[at_b + (8 * s + 4) * PITCH + 32 * x]
            for y in range(4):
                a, b = load2(memory, at_a + 8 * s * PITCH + 16 * y)
                c, d = load2(memory, at_a + (8 * s + 4) * PITCH + 16 * y)
                for x in range(4):
                    q = 16 * y + 4 * x
                    e, f, g, h = multiply(a, b, c, d, low[x], high[x], acc[q], acc[q + 1], acc[q + 2], acc[q + 3])
                    acc[q], acc[q + 1], acc[q + 2], acc[q + 3] = e, f, g, h

    return work


@kernel
def begin(acc, start, row_start, i0, j0, m, n):
    """acc = start[row * row_start + column], where C has this row and column; else 0."""
    i, j = mine()
    for r in range(8):
        row = index(i0 + i + index(16 * (r // 2) + r % 2))
        for column in range(8):
            at = index(j0 + j + index(column))
            inside = row < m and at < n and start.size > 0
            q = 16 * (r // 2) + 4 * (column % 4) + 2 * (r % 2) + column // 4
            acc[q] = start[index(row * row_start + at)] if inside else acc.dtype.type(0)


def make_end(count):
    """A function that writes the first rows of this thread, one by one in the source: acc then stays in registers."""
    if count == 0:
        return kernel(lambda c, acc, row_c, i0, j0, m, n: None)
    others, r = make_end(count - 1), count - 1
    q = 16 * (r // 2) + 2 * (r % 2)

    @kernel
    def end(c, acc, row_c, i0, j0, m, n):
        others(c, acc, row_c, i0, j0, m, n)
        i, j = mine()
        row, column = index(i0 + i + index(16 * (r // 2) + r % 2)), index(j0 + j)
        if row < m and column < n:
            at, left = index(row * row_c + column), index(n - column)
            put(c, at, left, acc[q], acc[q + 4], acc[q + 8], acc[q + 12])
            if left > 4:
                put(c, index(at + index(4)), index(left - index(4)), acc[q + 1], acc[q + 5], acc[q + 9], acc[q + 13])

    return end


end = make_end(8)


# -------------------------------------------------------------------------------------------------------- the product


def make_product(name, words, multiply, along, across):
    """The kernel dense.product on tensor cores; four numbers are so many words. `multiply` is what the hardware does;
    the others make words of fours."""
    steps = words // 2  # of the hardware, for DEPTH numbers of depth
    work, side = make_multiply(steps, multiply), 8 * steps * PITCH
    lay_along, lay_across, lay_columns = make_lay(words, along, across)
    memory = shared(4 * side)

    def make_loop(along):
        """acc += A B over depth k, a multiple of DEPTH, where all are vectors of 16 bytes."""
        (find_a, fetch_a), (find_b, fetch_b) = make_fetch(along), make_fetch(False)
        lay = lay_along if along else lay_across

        @kernel
        def loop(acc, room, k, a, i0, m, row_a, step_a, b, j0, n, row_b):
            va, vb, here_a, here_b, one = some_a(acc), some_b(acc), at_a(i0), at_b(i0), index(1)
            find_a(here_a, i0, m, row_a, step_a)
            find_b(here_b, j0, n, one, row_b)
            first, k0 = index(0), index(DEPTH)
            fetch_a(va, a, here_a, step_a)
            fetch_b(vb, b, here_b, row_b)
            lay(room, first, va)
            lay_columns(room, index(first + index(side)), vb)
            barrier()
            while k0 < k:
                fetch_a(va, a, here_a, step_a)  # on their way while those that are laid down are worked on
                fetch_b(vb, b, here_b, row_b)
                work(acc, room, first)
                first = index(index(2 * side) - first)
                lay(room, first, va)
                lay_columns(room, index(first + index(side)), vb)
                barrier()
                k0 = index(k0 + index(DEPTH))
            work(acc, room, first)

        return loop

    loop_along, loop_across = make_loop(True), make_loop(False)

    @kernel
    def rest(acc, room, k0, k, a, i0, m, row_a, step_a, along, b, j0, n, row_b):
        """The same from depth k0 on, wherever they are."""
        values = some_a(acc)
        while k0 < k:
            fetch_any(values, a, k0, k, i0, m, row_a, step_a, along)
            barrier()  # what lies there has been used
            if along:
                lay_along(room, index(0), values)
            else:
                lay_across(room, index(0), values)
            fetch_any(values, b, k0, k, j0, n, index(1), row_b, False)
            lay_columns(room, index(side), values)
            barrier()
            work(acc, room, index(0))
            k0 = index(k0 + index(DEPTH))

    def product(
        c, a, b, start, rows, rows_left, cols, cols_left, depth, depth_left, c_row, a_row, a_k, b_row, start_row, packed
    ):
        m, n, k = index(min(rows, rows_left)), index(min(cols, cols_left)), index(min(depth, depth_left))
        row_b = n if packed & 1 else index(b_row)
        row_a, step_a = (k, index(1)) if packed & 2 else (index(a_row), index(a_k))
        along = step_a == 1
        wide = index((n + index(TENSOR.columns - 1)) // index(TENSOR.columns))
        i0, j0 = index(part() // wide * index(ROWS)), index(part() % wide * index(TENSOR.columns))
        if i0 >= m:
            return
        acc, room = sums(c), memory(int32(0))
        begin(acc, start, index(start_row), i0, j0, m, n)
        quick = fours(a, m, row_a, step_a, along) and fours(b, n, index(1), row_b, False)
        done = index(k // index(DEPTH) * index(DEPTH)) if quick else index(0)
        if done > 0 and along:
            loop_along(acc, room, done, a, i0, m, row_a, step_a, b, j0, n, row_b)
        elif done > 0:
            loop_across(acc, room, done, a, i0, m, row_a, step_a, b, j0, n, row_b)
        rest(acc, room, done, k, a, i0, m, row_a, step_a, along, b, j0, n, row_b)
        end(c, acc, index(c_row), i0, j0, m, n)

    product.__name__ = product.__qualname__ = name
    return kernel(product)


product_tf32 = make_product("product_tf32", 4, multiply_tf32, tf32_along, tf32_along)
product_bf16 = make_product("product_bf16", 2, multiply_bf16, bf16_along, bf16_across)
