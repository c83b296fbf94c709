"""The numbers of SHA-256 (FIPS 180-4), and its instructions of LLVM on vectors of 32-bit words."""

import math

from llvmlite import ir

LEAF = 1 << 16  # bytes
BLOCK = 64  # bytes of a round of the hash
ROUNDS = 64


def _cube_root(n):
    """The integer part of the cube root."""
    x = 1 << -(-n.bit_length() // 3)
    while x**3 > n:
        x = (2 * x + n // x**2) // 3
    return x


PRIMES = [p for p in range(2, 312) if all(p % q for q in range(2, math.isqrt(p) + 1))]
START = [math.isqrt(p << 64) & 0xFFFFFFFF for p in PRIMES[:8]]  # fractional parts of square roots
ADDED = [_cube_root(p << 96) & 0xFFFFFFFF for p in PRIMES]  # and of cube roots
PADDING = [0x80000000, *[0] * 14, 8 * LEAF]  # the last block of a leaf: its end, and its length in bits


def call(builder, name, *args):
    """An instruction of LLVM that gives what its first argument is."""
    kind = ir.FunctionType(args[0].type, [arg.type for arg in args])
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), args)
