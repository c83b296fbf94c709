"""Random numbers by counter: an element's bits depend on (seed, draw, its number in the array) alone.

Source: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011). The seed is the key; a block's counter is its own number and
that of the draw, each a low and a high word. Word j of block 16 q + l is the one numbered 64 q + 16 j + l, so that they
come in order.
"""

from numba import types

from ..jit import fma, kernel
from ..philox import high, low, philox
from ..scalar import inlined, maximum, minimum, typed
from .reduce import BLOCK, part, stack

GROUP = 64  # words that sixteen blocks of the generator give
SPAN = BLOCK - GROUP  # words made at once: they and what stands before the first of them fit in a buffer


@kernel
def advance(words, count):
    """words(seed, draws) after count more draws."""
    words[1] += words.dtype.type(count)


@inlined
def random_words(bits, words, start, count, draw):
    """bits[start % GROUP:] = the words numbered start and on, count of them, up to SPAN. words: seed and draws made
    before, as low word and high word each; draw: how many since."""
    draws = (low(words[2]) | low(words[3]) << types.uint64(32)) + types.uint64(draw)
    for group in range((start % GROUP + count + GROUP - 1) // GROUP):
        some = part(bits, group * GROUP, GROUP)
        first = types.uint64((start // GROUP + group) * (GROUP // 4))
        for lane in range(GROUP // 4):  # first is a multiple of 16: nothing is carried
            some[lane], some[16 + lane], some[32 + lane], some[48 + lane] = philox(
                low(first) + types.uint64(lane), high(first), low(draws), high(draws), low(words[0]), low(words[1])
            )


@kernel
def dropout(y, x, words, start, draw, threshold, scale):
    """y = x * scale where an element's word is threshold or more, else x * 0; start: the number of the first."""
    buffer = stack(words)
    for block in range((y.size + SPAN - 1) // SPAN):
        at = block * SPAN
        count = min(SPAN, y.size - at)
        random_words(buffer, words, start + at, count, draw)
        target, source, bits = part(y, at, count), part(x, at, count), part(buffer, (start + at) % GROUP, count)
        for i in range(count):
            target[i] = source[i] * (scale if bits[i] >= threshold else typed(0, scale))


@kernel
def uniform(y, words, start, draw, step, centre, lowest, highest):
    """y = centre + step * an element's word, taken with its sign, from lowest to highest; all float64."""
    buffer = stack(words)
    for block in range((y.size + SPAN - 1) // SPAN):
        at = block * SPAN
        count = min(SPAN, y.size - at)
        random_words(buffer, words, start + at, count, draw)
        target, bits = part(y, at, count), part(buffer, (start + at) % GROUP, count)
        for i in range(count):
            value = fma(typed(types.int32(bits[i]), step), step, centre)
            target[i] = typed(maximum(minimum(value, highest), lowest), y[0])
