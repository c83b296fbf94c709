"""Philox against the published vectors of Random123."""

import numba
import numpy as np
import pytest

from numbaflux.kernels.philox import philox

U8 = np.uint64

# Random123, tests/kat_vectors: philox4x32, 10 rounds.
VECTORS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
     [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]  # fmt: skip


@numba.njit
def block(counter, key):
    return philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1])


@pytest.mark.parametrize(("counter", "key", "words"), VECTORS)
def test_published_vectors(counter, key, words):
    assert list(block(np.array(counter, U8), np.array(key, U8))) == words
