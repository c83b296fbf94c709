"""Random numbers: each element has its word of the generator, wherever a tile begins."""

import numpy as np
import pytest

from numbaflux.kernels.cpu import random
from tests.kernels.test_philox import U8, block


def halves(seed, draws):
    return np.array([seed % 2**32, seed >> 32, draws % 2**32, draws >> 32], np.uint32)


def made(kernel, start, stop, words, *numbers, dtype=np.float32):
    """Elements start..stop of a draw."""
    y = np.full(stop - start, np.nan, dtype)
    inputs = (np.ones_like(y),) if kernel == "dropout" else ()
    getattr(random, kernel)(y, *inputs, words, start, 0, *numbers)
    return y


DROPOUT, UNIFORM = (1 << 31, np.float32(2)), (2.0**-32, 0.5, 0.0, 1 - 2.0**-24)


@pytest.mark.parametrize(("kernel", "numbers"), [("dropout", DROPOUT), ("uniform", UNIFORM)])
@pytest.mark.parametrize("start", [0, 1, 63, 64, 100, 960, 1023, 5000, 2**33 - 70, 2**34 + 11])
def test_any_cut_gives_the_same(kernel, numbers, start):
    words = halves(2**63 + 12345, 7)
    whole = made(kernel, start - start % 64, start + 2500, words, *numbers)[start % 64 :]
    np.testing.assert_array_equal(made(kernel, start, start + 2500, words, *numbers), whole)
    for size in (1, 63, 64, 65, 1000):
        np.testing.assert_array_equal(made(kernel, start, start + size, words, *numbers), whole[:size])


def test_each_element_has_its_word():
    """By blocks of the generator one at a time: word j of block 16 q + l is that of element 64 q + 16 j + l."""
    seed, draws = 2**40 + 9, 2**35 + 3
    y = made("uniform", 0, 200, halves(seed, draws), 1.0, 0.0, -(2.0**31), 2.0**31, dtype=np.float64)
    low, high = seed % 2**32, seed >> 32
    for e in (0, 1, 15, 16, 17, 63, 64, 130, 199):
        q, j, lane = e // 64, e % 64 // 16, e % 16
        word = block(np.array([16 * q + lane, 0, draws % 2**32, draws >> 32], U8), np.array([low, high], U8))[j]
        assert y[e] == np.int32(np.uint32(word))


def test_draws_are_counted_over_the_words():
    words = np.array([5, 2**64 - 2], U8)
    random.advance(words, 3)
    assert words.tolist() == [5, 1]
    late, wrapped = halves(5, 2**64 - 1), halves(5, 1)
    y, z = np.empty(100, np.float32), np.empty(100, np.float32)
    random.uniform(y, late, 0, 2, *UNIFORM)
    random.uniform(z, wrapped, 0, 0, *UNIFORM)
    np.testing.assert_array_equal(y, z)
