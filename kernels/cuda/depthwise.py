"""Convolution of each channel by itself: kernels/cpu/depthwise.py on a GPU. Neighbours in a warp are channels side by
side. Taps that lie outside of x, along any axis, are left out."""

from .. import dims as K
from .conv import place, target
from .jit import (
    aligned,
    barrier,
    flat,
    fma,
    index,
    kernel,
    load4,
    part,
    parts,
    rank,
    ranks,
    shared,
    signed,
    store4,
    thread,
)
from .launch import THREADS, WARP

BANDS = THREADS // WARP  # parts of the lines that a block goes through at once


@kernel
def line_of(dims, sample, d, h, kd, kh):
    """Pixels from the start of x to the line that a tap sees of an output line; -1 outside."""
    up = dims[K.D + K.FROM] + signed(d) * dims[K.D + K.UP] + signed(kd) * dims[K.D + K.TAP]
    over = dims[K.H + K.FROM] + signed(h) * dims[K.H + K.UP] + signed(kh) * dims[K.H + K.TAP]
    if 0 <= up < dims[K.D + K.IN] and 0 <= over < dims[K.H + K.IN]:
        return ((sample * dims[K.D + K.IN] + up) * dims[K.H + K.IN] + over) * dims[K.W + K.IN]
    return signed(-1)


def make_pixel(get, more, put):
    """A function that does some channels of an output pixel; more(sum, x, i, w, j) = sum + x[i] w[j]."""

    @kernel
    def pixel(out, x, w, b, dims, line, v, channel):
        sample, d, h = place(dims, line)
        c, wide = dims[K.INS], dims[K.W + K.IN]
        found, tap = get(b, channel, b.size > 0, out), channel
        begin = dims[K.W + K.FROM] + signed(v) * dims[K.W + K.UP]
        for kd in range(dims[K.D + K.TAPS]):
            for kh in range(dims[K.H + K.TAPS]):
                start = line_of(dims, sample, d, h, kd, kh)
                if start >= 0:
                    column, at = begin, tap
                    for _ in range(dims[K.W + K.TAPS]):
                        if 0 <= column < wide:
                            found = more(found, x, index((start + column) * c + channel), w, at)
                        column, at = column + dims[K.W + K.TAP], index(at + c)
                tap = index(tap + dims[K.W + K.TAPS] * c)
        put(out, index(target(dims, sample, d, h, v) + channel), found)

    return pixel


@kernel
def get_four(b, i, some, out):
    zero = out.dtype.type(0)
    return load4(b, i) if some else (zero, zero, zero, zero)


@kernel
def more_four(found, x, i, w, j):
    p, q, r, s = load4(x, i)
    t, u, v, z = load4(w, j)
    return fma(p, t, found[0]), fma(q, u, found[1]), fma(r, v, found[2]), fma(s, z, found[3])


@kernel
def put_one(out, i, found):
    out[i] = found


four = make_pixel(get_four, more_four, kernel(lambda out, i, found: store4(out, i, *found)))
one = make_pixel(
    kernel(lambda b, i, some, out: b[i] if some else out.dtype.type(0)),
    kernel(lambda found, x, i, w, j: fma(x[i], w[j], found)),
    put_one,
)


@kernel
def conv(y, x, w, b, dims, first, rows, left):
    """y = x * w + b (b may be empty), w(taps, channels)."""
    out, wide, at = flat(y), index(dims[K.W + K.OUT]), rank()
    fours = dims[K.INS] % 4 == 0 and aligned(out) and aligned(x) and aligned(w) and (b.size == 0 or aligned(b))
    each = index(4) if fours else index(1)
    c = index(index(dims[K.INS]) // each)
    n = index(min(rows, left) * dims[K.LINES]) * wide * c
    while at < n:
        pixel, channel = index(at // c), index(at % c * each)
        line, v = index(first + pixel // wide), index(pixel % wide)
        if fours:
            four(out, x, w, b, dims, line, v, channel)
        else:
            one(out, x, w, b, dims, line, v, channel)
        at = index(at + ranks())


memory = shared(THREADS)


@kernel
def conv_grad_w(dw, x, dy, dims, first, rows, left):
    """dw(taps, channels) = the sum of x dy over some output lines. A block has a warp's channels of a tap, a warp some
    of the lines; then one warp joins them in order."""
    c, wide = index(dims[K.INS]), index(dims[K.W + K.OUT])
    strips, room = index((c + index(WARP - 1)) // index(WARP)), memory(dw)
    lane, band, block = index(thread() % index(WARP)), index(thread() // index(WARP)), part()
    while block < strips * index(dw.size // c):
        channel, tap = index(block % strips * index(WARP) + lane), index(block // strips)
        over, line = index(tap // index(dims[K.W + K.TAPS])), index(first + band)
        kw, kh = index(tap % index(dims[K.W + K.TAPS])), index(over % index(dims[K.H + K.TAPS]))
        kd, found = index(over // index(dims[K.H + K.TAPS])), dw.dtype.type(0)
        while channel < c and line < first + min(rows, left) * dims[K.LINES]:
            sample, d, h = place(dims, line)
            start, column = line_of(dims, sample, d, h, kd, kh), dims[K.W + K.FROM] + signed(kw) * dims[K.W + K.TAP]
            at, v = index(line * wide * c + channel), index(0)
            while start >= 0 and v < wide:
                if 0 <= column < dims[K.W + K.IN]:
                    found = fma(x[index((start + column) * c + channel)], dy[at], found)
                column, at, v = column + dims[K.W + K.UP], index(at + c), index(v + index(1))
            line = index(line + index(BANDS))
        room[thread()] = found
        barrier()
        if band == 0 and channel < c:
            for other in range(1, BANDS):
                found += room[index(other * WARP) + lane]
            dw[index(tap * c + channel)] = found
        barrier()
        block = index(block + parts())
