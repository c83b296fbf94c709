"""Convolution of each channel by itself: as many groups as channels of x and of y. Arguments are those of conv.py."""

from .. import dims as K
from ..jit import address, kernel
from .conv import place, planes, reached, source, target, windows
from .conv_tile import make_channels
from .tile import WIDTH

PIXELS, TAPS = 8, 4  # outputs, and taps of a line, that one tile holds in registers
outputs, weights = make_channels(PIXELS, WIDTH), make_channels(TAPS, WIDTH)


@kernel
def conv(y, x, w, b, dims, first, rows, left):
    """y = x * w + b (b may be empty), w(taps, channels)."""
    size, lanes = y.itemsize, WIDTH // y.itemsize
    c, wide, taps = dims[K.INS], dims[K.W + K.OUT], dims[K.W + K.TAPS]
    from_y, from_x, from_w, bias = address(y), address(x), address(w), address(b) if b.size else 0
    a_row, a_k, c_row = dims[K.W + K.UP] * c, dims[K.W + K.TAP] * c, dims[K.W + K.STEP] * c
    a_seg, b_seg = dims[K.H + K.TAP] * dims[K.W + K.IN] * c, taps * c
    for line in range(first, first + min(rows, left) * dims[K.LINES]):
        sample, di, hi = place(dims, line)
        d0, d1, h0, h1, _ = windows(dims, di, hi, True)
        to = from_y + size * target(dims, sample, di, hi)
        for strip in range((c + lanes - 1) // lanes):
            j = strip * lanes
            n = min(lanes, c - j)
            for kd in range(d0, d1):
                at_x = from_x + size * (source(dims, sample, di, hi, kd, h0) + j)
                at_w = from_w + size * ((kd * dims[K.H + K.TAPS] + h0) * b_seg + j)
                for i in range(0, wide, PIXELS):
                    at = to + size * (i * c_row + j)
                    start, start_row = at, c_row
                    if kd == d0:
                        start, start_row = bias + size * j if bias else 0, 0
                    a = at_x + size * i * a_row
                    m = min(PIXELS, wide - i)
                    outputs(y, m, n, h1 - h0, taps, at, c_row, a, a_row, a_seg, a_k, at_w, c, b_seg, start, start_row)


@kernel
def conv_grad_w(dw, x, dy, dims, first, rows, left):
    """dw(taps, channels) = the sum of x dy over some output lines."""
    size, lanes = dw.itemsize, WIDTH // dw.itemsize
    c, wide, taps, lines = dims[K.INS], dims[K.W + K.OUT], dims[K.W + K.TAPS], dims[K.H + K.OUT]
    a_row, a_k, a_seg = dims[K.W + K.TAP] * c, dims[K.W + K.UP] * c, dims[K.H + K.UP] * dims[K.W + K.IN] * c
    last = first + min(rows, left) * dims[K.LINES]
    for i in range(dw.size):
        dw[i] = 0
    line = first
    while line < last:
        sample, di, h_first = place(dims, line)
        h_last = min(lines, h_first + last - line)
        line += h_last - h_first
        d0, d1 = planes(dims, di)
        for kd in range(d0, d1):
            for kh in range(dims[K.H + K.TAPS]):
                h0, h1 = reached(dims[K.H + K.FROM] + kh * dims[K.H + K.TAP], dims[K.H + K.UP], lines, dims[K.H + K.IN])
                h0, h1 = max(h0, h_first), min(h1, h_last)
                if h0 >= h1:
                    continue
                at_x = address(x) + size * source(dims, sample, di, h0, kd, kh)
                at_dy = address(dy) + size * target(dims, sample, di, h0)
                row = (kd * dims[K.H + K.TAPS] + kh) * taps
                for strip in range((c + lanes - 1) // lanes):
                    j = strip * lanes
                    n = min(lanes, c - j)
                    for i in range(0, taps, TAPS):
                        at, m = address(dw) + size * ((row + i) * c + j), min(TAPS, taps - i)
                        a, b = at_x + size * (i * a_row + j), at_dy + size * j
                        weights(dw, m, n, h1 - h0, wide, at, c, a, a_row, a_seg, a_k, b, c, wide * c, at, c)
