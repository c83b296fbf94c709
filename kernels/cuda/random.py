"""Random numbers by counter: kernels/cpu/random.py on a GPU, with the same bits. A thread makes whole blocks of the
generator, each of four words, which stand 16 apart."""

from ..philox import high, low, philox
from .jit import fma, index, int32, kernel, rank, ranks, scalar, signed, typed, word

GROUP, LANES = 64, 16  # words that sixteen blocks of the generator give


@kernel
def block_of(words, first, draw, n):
    """Four words: those of block n of the groups from that of word number `first` on."""
    draws = (word(words[2]) | word(words[3]) << word(32)) + word(draw)
    number = word(first // GROUP * LANES) + word(n)
    key = word(words[0]), word(words[1])
    return philox(word(low(number)), word(high(number)), word(low(draws)), word(high(draws)), *key)


@kernel
def blocks(first, count):
    """Blocks of the generator that give `count` words from number `first` on."""
    return index((first % GROUP + count + GROUP - 1) // GROUP * LANES)


@kernel
def place(n, j, first):
    """Which of the words from number `first` on word j of block n is; below 0: none."""
    return n // LANES * GROUP + j * LANES + n % LANES - first % GROUP


@kernel
def advance(words, count):
    """words(seed, draws) after count more draws."""
    if rank() == 0:
        words[1] += words.dtype.type(count)


@kernel
def dropout(y, x, words, start, draw, threshold, scale):
    """y = x * scale where an element's word is threshold or more, else x * 0; start: the number of the first."""
    n = rank()
    while n < blocks(start, y.size):
        made = block_of(words, start, draw, n)
        for j in range(4):
            i = place(n, j, start)
            if 0 <= i < y.size:
                y[i] = x[i] * (scale if signed(made[j]) >= threshold else typed(0, scale))
        n = index(n + ranks())


@kernel
def uniform(y, words, start, draw, step, centre, lowest, highest):
    """y = centre + step * an element's word, taken with its sign, from lowest to highest; all float64."""
    n = rank()
    while n < blocks(start, y.size):
        made = block_of(words, start, draw, n)
        for j in range(4):
            i = place(n, j, start)
            if 0 <= i < y.size:
                value = fma(typed(int32(made[j]), step), step, centre)
                y[i] = typed(scalar.maximum(scalar.minimum(value, highest), lowest), y[0])
        n = index(n + ranks())
