"""What blocks do that go through a chain of steps, as recurrent layers are: rows of their memory times a matrix."""

from .jit import aligned, fma, index, kernel, load4, shared, store4, thread, threads
from .launch import four

up = kernel(four)


@kernel
def onward(row, column, jump, rows, columns):
    """The place so much further on; row is `rows` behind the end."""
    at = index(row * columns + column + jump)
    if at < rows * columns:
        return index(at // columns), index(at % columns)
    return rows, column


def make_multiply(team, held):
    """Functions of a matrix of weights: share out the work, hold what a thread has in registers, multiply by it.

    kept, fresh and acc are the thread's own.
    """
    jump, samples = index(team.threads), team.samples

    @kernel
    def share(depth, columns):
        """Into how many runs the depth is cut, how long one is, how many fours of columns there are; this thread's run
        and four."""
        fours = index(up(columns) // 4)
        runs = index(max(index(1), min(jump // fours, index(up(depth) // 4))))
        run = index(up((depth + runs - index(1)) // runs))
        return runs, run, fours, index(thread() // fours), index(thread() % fours)

    @kernel
    def take(to, at, w, row, column, w_row, depth, columns):
        """to[at : at + 16] = w in four rows from `row` on, four columns each; 0 where there is none."""
        if depth % index(4) == 0 and w_row % index(4) == 0 and aligned(w):
            for i in range(4):
                a, b, c, d = load4(w, index(index(row + index(i)) * w_row + column))
                to[at + 4 * i], to[at + 4 * i + 1], to[at + 4 * i + 2], to[at + 4 * i + 3] = a, b, c, d
        else:
            for i in range(4):
                for j in range(4):
                    k, s = index(row + index(i)), index(column + index(j))
                    to[at + 4 * i + j] = w[index(k * w_row + s)] if k < depth and s < columns else w.dtype.type(0)

    @kernel
    def hold(kept, shares, w, w_row, depth, columns):
        """kept = the first weights of this thread."""
        runs, run, fours, r, column = shares
        for q in range(held):
            row = index(r * run + index(4 * q))
            if r < runs and row < min(depth, index((r + index(1)) * run)):
                take(kept, 16 * q, w, row, index(column * index(4)), w_row, depth, columns)

    @kernel
    def add(acc, weights, at, memory, source, stride, n):
        """Four numbers of each sample times sixteen weights."""
        for s in range(samples):
            if index(s) < n:
                p, q, r, t = load4(memory, index(source + index(s) * stride))
                for j in range(4):
                    x = fma(p, weights[at + j], acc[4 * s + j])
                    x = fma(q, weights[at + 4 + j], x)
                    x = fma(r, weights[at + 8 + j], x)
                    acc[4 * s + j] = fma(t, weights[at + 12 + j], x)

    @kernel
    def multiply(acc, fresh, kept, shares, memory, to, source, stride, w, w_row, depth, columns, n):
        """memory[to + (r * n + s) * up(columns):] = what run r adds to row s, which lies at source + s * stride."""
        runs, run, fours, r, q = shares
        while r < runs:
            column, first = index(q * index(4)), index(r * run)
            end = min(depth, index(first + run))
            for i in range(4 * samples):
                acc[i] = acc.dtype.type(0)
            for i in range(held):
                row = index(first + index(4 * i))
                if row < end:
                    add(acc, kept, 16 * i, memory, index(source + row), stride, n)
            row = index(first + index(4 * held))
            while row < end:
                take(fresh, 0, w, row, column, w_row, depth, columns)
                add(acc, fresh, 0, memory, index(source + row), stride, n)
                row = index(row + index(4))
            for s in range(samples):
                if index(s) < n:
                    at = index(to + index(r * n + index(s)) * fours * index(4) + column)
                    store4(memory, at, acc[4 * s], acc[4 * s + 1], acc[4 * s + 2], acc[4 * s + 3])
            r, q = onward(r, q, jump, runs, fours)

    return share, hold, multiply


def make_memory(team):
    """A function that gives the memory of the block, or, where it is too small for that, what it is given."""
    return shared(team.room) if team.room else kernel(lambda given: given)


@kernel
def clear(memory, count):
    i = thread()
    while i < count:
        memory[i] = memory.dtype.type(0)
        i = index(i + threads())


@kernel
def or_zero(x, at, like):
    """x[at], of an array that may be empty."""
    return x[at] if x.size else like.dtype.type(0)


@kernel
def sum_up(sums, memory, at, size, gates, step, runs):
    """sums[g] += what all runs have for gate g, in their order."""
    r = index(0)
    while r < runs:
        for g in range(4):
            if index(g) < gates:
                sums[g] += memory[at + index(g) * size]
        at = index(at + step)
        r = index(r + index(1))
