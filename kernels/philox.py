"""Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011): random numbers by counter, the same on the CPU and the GPU."""

from numba import types

from .scalar import inlined


@inlined
def low(x):
    """The low 32 bits of an integer, as a uint64."""
    return types.uint64(x) & types.uint64(0xFFFFFFFF)


@inlined
def high(x):
    return x >> types.uint64(32)


@inlined
def philox(c0, c1, c2, c3, k0, k1):
    """The four words of a block, from its counter and the key: 32 bits each, held in a uint64."""
    for _ in range(10):
        p, q = c0 * types.uint64(0xD2511F53), c2 * types.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = high(q) ^ c1 ^ k0, low(q), high(p) ^ c3 ^ k1, low(p)
        k0, k1 = low(k0 + types.uint64(0x9E3779B9)), low(k1 + types.uint64(0xBB67AE85))
    return c0, c1, c2, c3
