"""A block's tile of C, a sum over depth of products of A and B: what products of matrices and convolutions share.

Every element is one chain of fused multiply-adds in order of depth, from its start on: the bits are those of the CPU.
Some depth of A and of B at once lies in the memory of the block, as depth x rows, and that twice: threads lay down the
next while others still multiply.
"""

from .jit import aligned, barrier, fma, index, kernel, load4, local, shared, signed, store4, thread
from .launch import WARP

GAP = 4  # numbers between two rows of the block's memory: threads that write one column then meet different banks


@kernel
def put(c, at, left, p, q, r, s):
    """c[at : at + left] = p, q, r, s, as far as they go."""
    if left >= 4 and at % index(4) == 0 and aligned(c):
        store4(c, at, p, q, r, s)
        return
    if left > 0:
        c[at] = p
    if left > 1:
        c[at + index(1)] = q
    if left > 2:
        c[at + index(2)] = r
    if left > 3:
        c[at + index(3)] = s


def make_four(rows, depth, threads):
    """Which numbers of a block's rows x depth are a thread's v-th four: functions (v) -> (row, depth) of the first, for
    four along the depth, and for four rows side by side; then functions that lay them down; how many v there are."""
    along, across, count = depth // 4, rows // 4, rows * depth // 4 // threads

    @kernel
    def place_along(v):
        t = thread() + index(v * threads)
        return index(t // index(along)), index(index(4) * (t % index(along)))

    @kernel
    def place_across(v):
        t = thread() + index(v * threads)
        return index(index(4) * (t % index(across))), index(t // index(across))

    @kernel
    def lay_along(memory, first, values):
        for v in range(count):
            i, s = place_along(v)
            at = index(first + s * index(rows + GAP) + i)
            for j in range(4):
                memory[at + index(j * (rows + GAP))] = values[4 * v + j]

    @kernel
    def lay_across(memory, first, values):
        for v in range(count):
            i, s = place_across(v)
            at = index(first + s * index(rows + GAP) + i)
            store4(memory, at, values[4 * v], values[4 * v + 1], values[4 * v + 2], values[4 * v + 3])

    return place_along, place_across, lay_along, lay_across, count


def make_matrix(rows, depth, threads):
    """A matrix x[first + i * step_row + s * step_k], i < m, s < k, as a side of a product, four numbers a thread.

    find(at, ...) notes where they are; fetch(values, some, at, ...) has those of the next depth, 0 for the last but
    `some` of the tile's, and moves on. along: four along the depth, where step_k is 1; else four rows.
    """
    place_along, place_across = make_four(rows, depth, threads)[:2]

    @kernel
    def find(at, x, first, i0, m, step_row, step_k, along):
        i, s = place_along(0) if along else place_across(0)
        row = min(index(i0 + i), index(m - 1))
        last = index(3) if along else min(index(m - 1 - row), index(3))  # of the four rows
        at[0] = first + row * step_row + s * step_k
        beside = (step_k if along else step_row) == 1 and last == 3
        beside = beside and at[0] % index(4) == 0 and depth * step_k % 4 == 0 and aligned(x)
        at[1] = index(4) if beside else last  # 4: one load for all

    @kernel
    def fetch(values, some, at, x, step_row, step_k, along):
        here, hop, last = at[0], index(step_k if along else step_row), at[1]
        if some < depth:  # where depth ends
            s = place_along(0)[1] if along else place_across(0)[1]
            for j in range(4):
                inside = s + index(j if along else 0) < some and index(j) <= last
                values[j] = x[here] if inside else x.dtype.type(0)
                here = index(here + hop)
        elif last == 4:
            values[0], values[1], values[2], values[3] = load4(x, here)
        else:
            for j in range(4):
                if index(j) <= last:  # else it is for what is beyond C, and may be anything
                    values[j] = x[here]
                here = index(here + hop)
        at[0] = at[0] + index(depth) * step_k

    return find, fetch


def make_tile(tile, turn):  # long: a factory, whose functions share sizes
    """What all threads of a block do with a tile of C: (clear, begin, multiply, end).

    turn: rows of the block's memory at once: the compiler loads all of their numbers before it multiplies.
    """
    own, depth = tile.own, tile.depth
    down, across = tile.rows // own, tile.columns // own  # threads along a column and a row of the tile
    run = min(own, 4)  # neighbouring rows, or columns, of a thread
    runs, far_rows, far_columns = own // run, down * run, across * run
    wide = min(8, across)  # threads of a warp along a row: what it reads of A and of B is about as much
    high, bands = WARP // wide, across // wide
    some_a, some_b = local(own), local(own)

    @kernel
    def mine():
        """The first row and the first column of this thread."""
        lane, warp = thread() % index(WARP), thread() // index(WARP)
        i = warp // index(bands) * index(high) + lane // index(wide)
        j = warp % index(bands) * index(wide) + lane % index(wide)
        return index(i * index(run)), index(j * index(run))

    @kernel
    def clear(acc):
        for i in range(own * own):
            acc[i] = acc.dtype.type(0)

    @kernel
    def begin(acc, start, row_start, first, left_rows, left):
        """acc = start[first + row * row_start + column], where C has this row and column."""
        mine_i, mine_j = mine()
        for i in range(own):
            row = index(mine_i + index(i // run * far_rows + i % run))
            if row < left_rows:
                at = index(first + row * row_start + mine_j)
                for j in range(own):
                    if mine_j + index(j // run * far_columns + j % run) < left:
                        acc[i * own + j] = start[at + index(j // run * far_columns + j % run)]

    @kernel
    def take(values, memory, at, far):
        """values = the numbers of this thread in the row of memory that begins at `at`."""
        for r in range(runs):
            if run == 4:
                a, b, c, d = load4(memory, at + index(r * far))
                values[4 * r], values[4 * r + 1], values[4 * r + 2], values[4 * r + 3] = a, b, c, d
            else:
                for j in range(run):
                    values[run * r + j] = memory[at + index(r * far + j)]

    def make_steps(count):
        """A function that multiplies the first rows of memory; one by one in the source, which the compiler unrolls."""
        if count == 0:
            return kernel(lambda acc, memory, a, b, ra, rb: None)
        others, s = make_steps(count - 1), count - 1

        @kernel
        def steps(acc, memory, a, b, ra, rb):
            others(acc, memory, a, b, ra, rb)
            take(ra, memory, a + index(s * (tile.rows + GAP)), far_rows)
            take(rb, memory, b + index(s * (tile.columns + GAP)), far_columns)
            for i in range(own):
                for j in range(own):
                    acc[i * own + j] = fma(ra[i], rb[j], acc[i * own + j])

        return steps

    steps = make_steps(turn)

    @kernel
    def multiply(acc, memory, first, some):
        """acc += what lies in `some` rows of memory and, as zeros, up to the next multiple of `turn`."""
        mine_i, mine_j = mine()
        a, b = index(first + mine_i), index(first + index(depth * (tile.rows + GAP)) + mine_j)
        ra, rb, s = some_a(acc), some_b(acc), index(0)
        while s < some:
            steps(acc, memory, a, b, ra, rb)
            a, b = index(a + index(turn * (tile.rows + GAP))), index(b + index(turn * (tile.columns + GAP)))
            s = index(s + index(turn))

    def make_end(count, where):
        """A function that writes the first rows of this thread; row by row in the source, so that acc has no index
        that the compiler does not know: else it would not stay in registers."""
        if count == 0:
            return kernel(lambda c, acc, left_rows, left, given: None)
        others, i = make_end(count - 1, where), count - 1

        @kernel
        def end(c, acc, left_rows, left, given):
            others(c, acc, left_rows, left, given)
            mine_i, mine_j = mine()
            row = index(mine_i + index(i // run * far_rows + i % run))
            if row < left_rows:
                to = index(where(row, given) + mine_j)
                for r in range(runs):
                    q, some = i * own + r * run, min(signed(left) - signed(mine_j) - r * far_columns, run)
                    put(
                        c,
                        to + index(r * far_columns),
                        some,
                        acc[q],
                        acc[q + 1 % run],
                        acc[q + 2 % run],
                        acc[q + 3 % run],
                    )

        return end

    return clear, begin, multiply, lambda where: make_end(own, where)


def make_sum(tile, multiply, side_a, side_b):
    """The function sum_up(acc, left, a, b): acc += A B over a depth of `left`.

    A side is fetch(values, some, *a), this thread's part of the next `some` of the depth, and
    lay(memory, first, values, *a), which lays it down.
    """
    (fetch_a, lay_a), (fetch_b, lay_b), depth = side_a, side_b, tile.depth
    size_a, size_b = (tile.rows + GAP) * depth, (tile.columns + GAP) * depth
    memory = shared(2 * (size_a + size_b))
    next_a, next_b = local(tile.rows * depth // tile.threads), local(tile.columns * depth // tile.threads)

    @kernel
    def sum_up(acc, left, a, b):
        room, va, vb = memory(acc), next_a(acc), next_b(acc)
        first, laid = index(0), index(0)
        while left > 0 or laid > 0:
            some = min(index(depth), left)
            if some > 0:  # on their way while those that are laid down are worked on
                fetch_a(va, some, *a)
                fetch_b(vb, some, *b)
            multiply(acc, room, first, laid)
            if some > 0:
                first = index(index(size_a + size_b) - first)
                lay_a(room, first, va, *a)
                lay_b(room, index(first + index(size_a)), vb, *b)
                barrier()
            left, laid = index(left - some), some

    return sum_up
