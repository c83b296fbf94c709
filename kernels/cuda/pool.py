"""The maximum and the mean over windows of images, and gradients: kernels/cpu/pool.py on a GPU. A thread has some
elements of the result, neighbours in a warp are channels side by side; nobody adds to what another one writes."""

from .jit import flat, index, kernel, rank, ranks, signed

SIZE, WINDOW, STRIDE, LOW, OUT = range(5)  # words of an axis
DEPTH, HEIGHT, WIDTH = range(3)


@kernel
def covered(dims, axis, o):
    """The elements along an axis that window o covers: the first, and one past the last."""
    first = o * dims[axis, STRIDE] - dims[axis, LOW]
    return max(first, 0), min(first + dims[axis, WINDOW], dims[axis, SIZE])


@kernel
def covering(dims, axis, i):
    """The windows along an axis that cover element i: the first, and one past the last."""
    at, stride = i + dims[axis, LOW], dims[axis, STRIDE]
    beyond = at - dims[axis, WINDOW]  # the last element that a window must not begin with
    first = index(beyond) // index(stride) + index(1) if beyond >= 0 else index(0)
    return signed(first), min(signed(index(at) // index(stride)) + 1, dims[axis, OUT])


@kernel
def place(dims, size, made, at, first):
    """Image, d, h, w, channel of an element of the result, whose sizes are those words of the axes."""
    wide, c = index(made.shape[1]), index(made.shape[2])
    line = index(at // (c * wide) + first)
    plane = index(line // index(dims[HEIGHT, size]))
    image = index(plane // index(dims[DEPTH, size]))
    d, h = plane - image * index(dims[DEPTH, size]), line - plane * index(dims[HEIGHT, size])
    return signed(image), signed(d), signed(h), signed(index(at // c % wide)), signed(index(at % c))


@kernel
def line_at(dims, size, image, d, h):
    """How many pixels lie before line h of plane d."""
    return ((image * dims[DEPTH, size] + d) * dims[HEIGHT, size] + h) * dims[WIDTH, size]


@kernel
def met(x, top):
    """Whether x is the maximum of a window, or a NaN, which is then the maximum."""
    return x == top or x != x


def make_windows(tap):
    """A function that goes through the elements of the window at `at` of made: state = tap(state, x[i], top, g[i])."""

    @kernel
    def walk(state, x, top, g, made, at, dims, first):
        image, d, h, w, channel = place(dims, OUT, made, at, first)
        d0, d1 = covered(dims, DEPTH, d)
        h0, h1 = covered(dims, HEIGHT, h)
        w0, w1 = covered(dims, WIDTH, w)
        c = made.shape[2]
        while d0 < d1:
            row = h0
            while row < h1:
                start = line_at(dims, SIZE, image, d0, row)
                i, end = index((start + w0) * c + channel), index((start + w1) * c + channel)
                while i < end:
                    state = tap(state, x[i], top, g[i])
                    i = index(i + c)
                row += 1
            d0 += 1
        return state

    return walk


largest = make_windows(kernel(lambda state, x, top, g: x if x > state or x != x else state))
total = make_windows(kernel(lambda state, x, top, g: state + x))
# (what was found, 1 where it was)
found = make_windows(kernel(lambda state, x, top, g: (g, True) if met(x, top) and not state[1] else state))


@kernel
def maxpool(y, x, dims, first):
    """y = the largest of each window of x, NaN where one is. Line 0 of y is line `first` of all."""
    out, seen, at = flat(y), flat(x), rank()
    while at < out.size:
        low = x.dtype.type(-float("inf"))
        out[at] = largest(low, seen, low, seen, y, at, dims, first)
        at = index(at + ranks())


@kernel
def maxpool_pick(z, y, x, g, dims, first):
    """z = what g holds where x has the first of the largest of each window; y = maxpool(x). Lines as in maxpool."""
    out, tops, seen, given, at = flat(z), flat(y), flat(x), flat(g), rank()
    while at < out.size:
        out[at] = found((tops[at], False), seen, tops[at], given, z, at, dims, first)[0]
        at = index(at + ranks())


@kernel
def meanpool(y, x, dims, first, scale):
    """y = scale times the sum of each window of x. Lines as in maxpool."""
    out, seen, at = flat(y), flat(x), rank()
    while at < out.size:
        none = x.dtype.type(0)
        out[at] = scale * total(none, seen, none, seen, y, at, dims, first)
        at = index(at + ranks())


def make_grad(give):
    """A function that is the sum of give(x, at, o, y, dy, ..., window) over the windows o that cover element `at`."""

    @kernel
    def walk(dx, x, y, dy, at, dims, first):
        image, d, h, w, channel = place(dims, SIZE, dx, at, first)
        o0, o1 = covering(dims, DEPTH, d)
        h0, h1 = covering(dims, HEIGHT, h)
        w0, w1 = covering(dims, WIDTH, w)
        c, sum_of = dx.shape[2], dx.dtype.type(0)
        here = (line_at(dims, SIZE, image, d, h) + w) * c + channel
        while o0 < o1:
            row = h0
            while row < h1:
                column = w0
                while column < w1:
                    o = index((line_at(dims, OUT, image, o0, row) + column) * c + channel)
                    sum_of += give(x, y, dy, here, o, dims, (image, o0, row, column), c, channel)
                    column += 1
                row += 1
            o0 += 1
        return sum_of

    return walk


@kernel
def to_first(x, y, dy, here, o, dims, window, c, channel):
    """dy where x is the maximum and none of the window before it is."""
    none = dy.dtype.type(0)
    if not met(x[index(here)], y[o]):
        return none
    image, d, h, w = window
    d0, d1 = covered(dims, DEPTH, d)
    h0, h1 = covered(dims, HEIGHT, h)
    w0, w1 = covered(dims, WIDTH, w)
    while d0 < d1:
        row = h0
        while row < h1:
            start = line_at(dims, SIZE, image, d0, row)
            i, end = (start + w0) * c + channel, min((start + w1) * c + channel, here)
            while i < end:
                if met(x[index(i)], y[o]):
                    return none
                i += c
            row += 1
        d0 += 1
    return dy[o]


grad_of_first = make_grad(to_first)
grad_of_all = make_grad(kernel(lambda x, y, dy, here, o, dims, window, c, channel: dy[o]))


@kernel
def maxpool_grad(dx, x, y, dy, dims, first):
    """dx = the sum of dy of the windows whose first largest x this is. Line 0 of dx is line `first` of all."""
    out, seen, tops, given, at = flat(dx), flat(x), flat(y), flat(dy), rank()
    while at < out.size:
        out[at] = grad_of_first(dx, seen, tops, given, at, dims, first)
        at = index(at + ranks())


@kernel
def meanpool_grad(dx, dy, dims, first, scale):
    """dx = scale times the sum of dy of the windows that cover it. Lines as in maxpool_grad."""
    out, given, at = flat(dx), flat(dy), rank()
    while at < out.size:
        out[at] = scale * grad_of_all(dx, given, given, given, at, dims, first)
        at = index(at + ranks())
