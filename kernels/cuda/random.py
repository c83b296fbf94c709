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


def each_word(one):
    """A function of y and more: one(y, i, made, more) by some thread for each element i and the word made for it."""

    @kernel
    def go(y, words, start, draw, more):
        n = rank()
        while n < blocks(start, y.size):
            made = block_of(words, start, draw, n)
            for j in range(4):
                i = place(n, j, start)
                if 0 <= i < y.size:
                    one(y, i, made[j], more)
            n = index(n + ranks())

    return go


@each_word
@kernel
def drop(y, i, made, more):
    x, threshold, scale = more
    y[i] = x[i] * (scale if signed(made) >= threshold else typed(0, scale))


@each_word
@kernel
def draw_one(y, i, made, more):
    step, centre, lowest, highest = more
    value = fma(typed(int32(made), step), step, centre)
    y[i] = typed(scalar.maximum(scalar.minimum(value, highest), lowest), y[0])


@kernel
def dropout(y, x, words, start, draw, threshold, scale):
    """y = x * scale where an element's word is threshold or more, else x * 0; start: the number of the first."""
    drop(y, words, start, draw, (x, threshold, scale))


@kernel
def uniform(y, words, start, draw, step, centre, lowest, highest):
    """y = centre + step * an element's word, taken with its sign, from lowest to highest; all float64."""
    draw_one(y, words, start, draw, (step, centre, lowest, highest))
