"""A function of one element of several arrays, done for all of them, four at once: what optimiser rules are."""

from .jit import aligned, index, kernel, load4, local, rank, ranks, store4


def make_apply(f, count):
    """A function that does f for element j of a room of `count` times four numbers: p, states, g."""

    @kernel
    def two(r, j, numbers):
        r[j] = f(r[j], r[4 + j], numbers)

    @kernel
    def three(r, j, numbers):
        r[j], r[4 + j] = f(r[j], r[4 + j], r[8 + j], numbers)

    @kernel
    def four(r, j, numbers):
        r[j], r[4 + j], r[8 + j] = f(r[j], r[4 + j], r[8 + j], r[12 + j], numbers)

    @kernel
    def five(r, j, numbers):
        r[j], r[4 + j], r[8 + j], r[12 + j] = f(r[j], r[4 + j], r[8 + j], r[12 + j], r[16 + j], numbers)

    return {2: two, 3: three, 4: four, 5: five}[count]


def make_moves(count):
    """Functions for the first `count` of a tuple of arrays: whether they are aligned, fetch four elements of each, put
    them back, and both for one element."""
    if count == 0:
        nothing = kernel(lambda r, xs, at: None)
        return kernel(lambda xs: True), nothing, nothing, nothing, nothing
    others_aligned, fetch_others, put_others, take_others, give_others = make_moves(count - 1)
    k = count - 1

    @kernel
    def all_aligned(xs):
        return others_aligned(xs) and aligned(xs[k])

    @kernel
    def fetch(r, xs, at):
        fetch_others(r, xs, at)
        r[4 * k], r[4 * k + 1], r[4 * k + 2], r[4 * k + 3] = load4(xs[k], at)

    @kernel
    def put(r, xs, at):
        put_others(r, xs, at)
        store4(xs[k], at, r[4 * k], r[4 * k + 1], r[4 * k + 2], r[4 * k + 3])

    @kernel
    def take(r, xs, at):
        take_others(r, xs, at)
        r[4 * k] = xs[k][at]

    @kernel
    def give(r, xs, at):
        give_others(r, xs, at)
        xs[k][at] = r[4 * k]

    return all_aligned, fetch, put, take, give


def each(f, count):
    """A function loop(arrays, n, numbers): f for the first n elements of p, states and g, `count` arrays in all."""
    step, room = make_apply(f, count), local(4 * count)
    all_aligned, fetch, _, take, _ = make_moves(count)
    _, _, put, _, give = make_moves(count - 1)

    @kernel
    def loop(arrays, n, numbers):
        r, i = room(arrays[0]), rank()
        if all_aligned(arrays):
            while i < n // index(4):
                fetch(r, arrays, index(4) * i)
                for j in range(4):
                    step(r, j, numbers)
                put(r, arrays, index(4) * i)
                i = index(i + ranks())
            i = index(n - n % index(4) + rank())
        while i < n:
            take(r, arrays, i)
            step(r, 0, numbers)
            give(r, arrays, i)
            i = index(i + ranks())

    return loop
