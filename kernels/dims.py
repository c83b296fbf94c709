"""The words of a window's sizes, as kernels read them: one int64 vector. Pure numbers: read by processes that never
import numba."""

# For each of the axes d, h, w. Input element of output i and tap t: FROM + i UP + t TAP.
(
    OUT,  # outputs that are computed
    FIRST,  # where the first of them lies in y
    STEP,  # from one of them to the next
    FULL,  # size of y
    IN,  # size of x as it lies in memory; along w with its padding
    FROM,  # element under the first tap of the first output; below 0: padding
    UP,  # from one output to the next
    TAP,  # from one tap to the next
    TAPS,  # taps of the window
    AXIS,  # words of an axis
) = range(10)
D, H, W = 0, AXIS, 2 * AXIS

INS, OUTS, GROUPS, LINES, WORDS = range(3 * AXIS, 3 * AXIS + 5)  # channels of x, of y; groups; output lines a row
