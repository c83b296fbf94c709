"""The maximum and the mean over windows of images, and gradients: windows outside, channels inside, as many at once
as a vector register holds.

Arrays are lines (n * d * h, w, c) of images (n, d, h, w, c). dims has a row for d, h and w each: the numbers below.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..jit import address, kernel
from ..scalar import inlined
from .reduce import part
from .tile import WIDTH, Vectors

SIZE, WINDOW, STRIDE, LOW, OUT = range(5)  # of the input, of a window, to the next one, zeros in front, how many
GROUP = 4  # neighbouring windows at once, where no edge cuts them
EVERYWHERE = (0, 2**63 - 1)
i64 = ir.IntType(64)


class Channels(Vectors):
    """A register's channels: those that a mask lets through, or all; and the number that scales them."""

    def __init__(self, builder, dtype, mask, number):
        super().__init__(builder, WIDTH, dtype)
        self.mask, self.number = mask, number

    def get(self, at):
        return self.load(at, i64(0), self.mask)

    def put(self, value, at):
        self.store(value, at, i64(0), self.mask)

    def all(self, number):
        return ir.Constant(self.vector, [number] * self.lanes)

    def scaled(self, value):
        """The value times the number."""
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), self.number, ir.IntType(32)(0))
        firsts = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.fmul(value, self.builder.shuffle_vector(one, one, firsts))


def moved_by(builder, pointers, step):
    return [builder.add(p, step) for p in pointers]


@intrinsic
def moved(typing, addresses, step):
    """A tuple of addresses, each moved by step bytes."""

    def generate(context, builder, signature, args):
        new = moved_by(builder, cgutils.unpack_tuple(builder, args[0]), args[1])
        return context.make_tuple(builder, signature.return_type, new)

    return types.UniTuple(types.intp, len(addresses))(addresses, types.intp), generate


def make_walk(windows, begin, tap, end, outside=None):
    """The intrinsic walk(x, number, c, box, steps, over, taps, here, bounds) through neighbouring windows at once.

    box: elements along d, h, w; steps: bytes from one to the next; taps: addresses of arrays of which a window covers
    elements, here: of arrays that have one a window; over: bytes to the next window in either.
    begin(simd, here), tap(simd, state, taps), end(simd, state, here) do the work of a register and hand the state on;
    outside stands in for tap where the last of taps is not within bounds. x says float32 or float64, nothing else.
    """

    def each(what, simd, step):
        """The work on a register for every window; states lie one after another."""

        def body(state, at):
            size = len(state) // windows
            new = []
            for i in range(windows):
                there = moved_by(simd.builder, at, simd.builder.mul(i64(i), step))
                new += what(simd, state[size * i : size * i + size], there)
            return new

        return body

    def register(simd, box, steps, over, taps, here, bounds):
        def along(axis, body):
            return lambda state, at: simd.loop(box[axis], at, [steps[axis]] * len(at), state, body)

        def row(state, at):
            within = along(2, each(tap, simd, over[0]))
            if outside is None:
                return within(state, at)
            bd, beyond, found = simd.builder, along(2, each(outside, simd, over[0])), []
            inside = bd.and_(bd.icmp_signed(">=", at[-1], bounds[0]), bd.icmp_signed("<", at[-1], bounds[1]))
            with bd.if_else(inside) as branches:
                for branch, body in zip(branches, (within, beyond), strict=True):
                    with branch:
                        found.append([(value, bd.block) for value in body(state, at)])
            return [simd.merge(*pair) for pair in zip(*found, strict=True)]

        state = each(lambda simd, _, at: begin(simd, at), simd, over[1])([], here)
        state = along(0, along(1, row))(state, taps)
        each(lambda *given: end(*given) or [], simd, over[1])(state, here)

    @intrinsic
    def walk(typing, x, number, c, box, steps, over, taps, here, bounds):
        def generate(context, bd, sig, args):
            _, scale, count, *tuples = args
            box, steps, over, taps, here, bounds = (cgutils.unpack_tuple(bd, t) for t in tuples)

            def channels(count, start, mask):
                simd = Channels(bd, x.dtype, mask, scale)

                def body(_, at):
                    register(simd, box, steps, over, at[: len(taps)], at[len(taps) :], bounds)
                    return []

                simd.loop(count, start, [i64(WIDTH)] * len(start), [], body)

            simd, start = Channels(bd, x.dtype, None, scale), [*taps, *here]
            whole, rest = bd.udiv(count, i64(simd.lanes)), bd.urem(count, i64(simd.lanes))
            channels(whole, start, None)
            one_more = bd.zext(bd.icmp_signed(">", rest, i64(0)), i64)
            channels(one_more, moved_by(bd, start, bd.mul(whole, i64(WIDTH))), simd.first(rest))
            return context.get_dummy_value()

        return types.void(x, number, c, box, steps, over, taps, here, bounds), generate

    return walk


@inlined
def axis_of(dims, i):
    return dims[i, SIZE], dims[i, WINDOW], dims[i, STRIDE], dims[i, LOW], dims[i, OUT]


@inlined
def span(o, axis):
    """The elements that window o covers: the first, and one past the last."""
    first = o * axis[STRIDE] - axis[LOW]
    return max(first, 0), min(first + axis[WINDOW], axis[SIZE])


def make_go(*work):
    """The function go(x, number, dims, lines, taps, here, bounds) through the windows of lines[0] .. lines[1].

    Lines of windows are counted through all images; those that hold nothing of bounds are left out.
    """
    one, some = make_walk(1, *work), make_walk(GROUP, *work)

    @inlined
    def along(x, number, width, rows, steps, taps, here, bounds):
        """The windows of one line; rows: how many they cover along d and h."""
        c, element = x.shape[2], steps[2]
        over = width[STRIDE] * element, element
        uncut = (width[LOW] + width[STRIDE] - 1) // width[STRIDE]
        cut = (width[SIZE] + width[LOW] - width[WINDOW]) // width[STRIDE] + 1
        o = 0
        while o < width[OUT]:
            w0, w1 = span(o, width)
            box, first, own = (rows[0], rows[1], w1 - w0), moved(taps, w0 * element), moved(here, o * element)
            if o >= uncut and o + GROUP <= cut:
                some(x, number, c, box, steps, over, first, own, bounds)
                o += GROUP
            else:
                one(x, number, c, box, steps, over, first, own, bounds)
                o += 1

    @inlined
    def go(x, number, dims, lines, taps, here, bounds):
        depth, height, width = axis_of(dims, 0), axis_of(dims, 1), axis_of(dims, 2)
        element = x.shape[2] * x.itemsize
        row = width[SIZE] * element
        plane = height[SIZE] * row
        h = lines[0] % height[OUT]
        d = lines[0] // height[OUT] % depth[OUT]
        image = lines[0] // (height[OUT] * depth[OUT]) * depth[SIZE] * plane
        for line in range(lines[0], lines[1]):
            d0, d1 = span(d, depth)
            h0, h1 = span(h, height)
            first, last = image + d0 * plane + h0 * row, image + (d1 - 1) * plane + h1 * row
            if taps[-1] + first < bounds[1] and taps[-1] + last > bounds[0]:
                own = moved(here, line * width[OUT] * element)
                rows = d1 - d0, h1 - h0
                along(x, number, width, rows, (plane, row, element), moved(taps, first), own, bounds)
            h += 1
            if h == height[OUT]:
                h, d = 0, d + 1
            if d == depth[OUT]:
                d, image = 0, image + depth[SIZE] * plane

    return go


# ------------------------------------------------------------ what happens to a register: begin, tap and end of a walk


def larger(simd, state, taps):
    """NaN where either is."""
    bd, x = simd.builder, simd.get(taps[0])
    top = bd.select(bd.fcmp_ordered(">", x, state[0]), x, state[0])
    return [bd.select(bd.fcmp_unordered("uno", x, x), x, top)]


def plus(simd, state, taps):
    return [simd.builder.fadd(state[0], simd.get(taps[0]))]


def search(simd, here):
    """The state: a window's maximum, a number of it, and the channels in which the maximum was not met yet."""
    return [*map(simd.get, here), ir.Constant(ir.VectorType(ir.IntType(1), simd.lanes), [1] * simd.lanes)]


def met(simd, state, taps):
    """Where the maximum (or a first NaN) is met now, and the state after it."""
    bd, x, (top, number, still) = simd.builder, simd.get(taps[0]), state
    equal, nan = bd.fcmp_ordered("==", x, top), bd.fcmp_unordered("uno", x, x)
    here = bd.or_(bd.and_(still, equal), bd.and_(still, nan))
    return here, [top, number, bd.xor(still, here)]


def pass_by(simd, state, taps):
    return met(simd, state, taps)[1]


def pick(simd, state, taps):
    here, (top, number, still) = met(simd, state, taps)
    return [top, simd.builder.select(here, simd.get(taps[1]), number), still]


def add(simd, value, at):
    simd.put(simd.builder.fadd(simd.get(at), value), at)


def give_one(how):
    """dy to the first of the largest; how: add, or put where no other window gives."""

    def give(simd, state, taps):
        here, state = met(simd, state, taps)
        how(simd, simd.builder.select(here, state[1], simd.zero), taps[1])
        return state

    return make_go(search, give, lambda simd, state, here: [], pass_by)


def give_all(how):
    """scale dy to every element."""

    def give(simd, state, taps):
        how(simd, state[0], taps[0])
        return state

    def begin(simd, here):
        return [simd.scaled(simd.get(here[0]))]

    return make_go(begin, give, lambda simd, state, here: [], lambda simd, state, taps: state)


maximum = make_go(
    lambda simd, here: [simd.all(float("-inf"))], larger, lambda simd, state, here: simd.put(state[0], here[0])
)
mean = make_go(lambda simd, here: [simd.zero], plus, lambda simd, state, here: simd.put(simd.scaled(state[0]), here[0]))
picked = make_go(
    lambda simd, here: search(simd, [here[0], here[0]]), pick, lambda simd, state, here: simd.put(state[1], here[1])
)
# ------------------------------------------------------------ through all windows

max_grad, mean_grad = give_one(add), give_all(add)
max_grad_apart, mean_grad_apart = give_one(Channels.put), give_all(Channels.put)


@inlined
def line_0(x, first):
    """The address of line 0 of an array that starts with line `first`."""
    return address(x) - first * x.shape[1] * x.shape[2] * x.itemsize


@inlined
def side_by_side(dims):
    """(whether no two windows meet, so that nothing is added up; whether, besides, every element lies in one)"""
    apart = covered = True
    for i in range(3):
        size, window, stride, low, out = axis_of(dims, i)
        apart &= stride >= window
        covered &= stride == window and low == 0 and out * window == size
    return apart, covered


@inlined
def prepare(dx, dims, first):
    """dx = 0, unless all of it is written anyway. Returns the lines of windows that may cover something of it, where it
    lies, and whether no two windows meet."""
    apart, covered = side_by_side(dims)
    if not covered:
        zeros = part(dx, 0, dx.size)
        for i in range(zeros.size):
            zeros[i] = 0
    lines, windows = dims[0, SIZE] * dims[1, SIZE], dims[0, OUT] * dims[1, OUT]
    images = first // lines, (first + dx.shape[0] + lines - 1) // lines
    bounds = address(dx), address(dx) + dx.size * dx.itemsize
    return (images[0] * windows, images[1] * windows), bounds, apart


@kernel
def maxpool(y, x, dims, first):
    """y = the largest of each window of x, NaN where one is. Line 0 of y is line `first` of all."""
    maximum(x, 1, dims, (first, first + y.shape[0]), (address(x),), (line_0(y, first),), EVERYWHERE)


@kernel
def maxpool_pick(z, y, x, g, dims, first):
    """z = what g holds where x has the first of the largest of each window; y = maxpool(x). Lines as in maxpool."""
    lines, here = (first, first + z.shape[0]), (line_0(y, first), line_0(z, first))
    picked(x, 1, dims, lines, (address(x), address(g)), here, EVERYWHERE)


@kernel
def maxpool_grad(dx, x, y, dy, dims, first):
    """dx = the sum of dy of the windows whose first largest x this is. Line 0 of dx is line `first` of all."""
    lines, bounds, apart = prepare(dx, dims, first)
    taps, here = (address(x), line_0(dx, first)), (address(y), address(dy))
    if apart:
        max_grad_apart(x, 1, dims, lines, taps, here, bounds)
    else:
        max_grad(x, 1, dims, lines, taps, here, bounds)


@kernel
def meanpool(y, x, dims, first, scale):
    """y = scale times the sum of each window of x. Lines as in maxpool."""
    mean(x, scale, dims, (first, first + y.shape[0]), (address(x),), (line_0(y, first),), EVERYWHERE)


@kernel
def meanpool_grad(dx, dy, dims, first, scale):
    """dx = the sum of scale dy of the windows that cover it. Lines as in maxpool_grad."""
    lines, bounds, apart = prepare(dx, dims, first)
    taps, here = (line_0(dx, first),), (address(dy),)
    if apart:
        mean_grad_apart(dx, scale, dims, lines, taps, here, bounds)
    else:
        mean_grad(dx, scale, dims, lines, taps, here, bounds)
