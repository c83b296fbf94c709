"""Oracles of random operations: Philox 4x32-10 word by word, and what is made of its words."""

import numpy as np

LOW = np.uint64(2**32 - 1)


def _philox(counter, key):
    """(4, n) words from counters (4, n) and a key of two, all as uint64 below 2**32."""
    c0, c1, c2, c3 = counter
    k0, k1 = (int(k) for k in key)
    for step in range(10):
        a, b = ((k0 + step * 0x9E3779B9) % 2**32, (k1 + step * 0xBB67AE85) % 2**32)
        left, right = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0 = (right >> np.uint64(32)) ^ c1 ^ np.uint64(a)
        c2 = (left >> np.uint64(32)) ^ c3 ^ np.uint64(b)
        c1, c3 = right & LOW, left & LOW
    return np.stack([c0, c1, c2, c3])


def _words(words, offset, count):
    """The first count words of a draw. Word j of block 16 q + l is number 64 q + 16 j + l."""
    seed, draw = int(words[0]), (int(words[1]) + offset) % 2**64
    blocks = np.arange(-(-count // 64) * 16, dtype=np.uint64)
    made = [np.full_like(blocks, draw % 2**32), np.full_like(blocks, draw // 2**32)]
    found = _philox([blocks & LOW, blocks >> np.uint64(32), *made], (seed % 2**32, seed // 2**32))
    return found.reshape(4, -1, 16).swapaxes(0, 1).reshape(-1)[:count]


def dropout(x, words, p, offset):
    kept = _words(words, offset, x.size) >= min(round(p * 2**32), 2**32 - 1)
    return np.where(kept.reshape(x.shape), x / (1 - p) if p < 1 else x * 0, x * 0)


def uniform(x, words, low, high, offset):
    """Words from -2**31 on, around the middle."""
    found = _words(words, offset, x.size).astype(np.int64)
    signed = np.where(found < 2**31, found, found - 2**32).astype(x.dtype)
    return ((low + high) / 2 + signed * (high - low) / 2**32).reshape(x.shape)
