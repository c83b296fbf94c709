"""SHA-256 (FIPS 180-4) of leaves of 64 KiB, as many side by side as a vector register has lanes: one leaf alone is a
chain of sums, each of which waits for the one before."""

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..jit import LANES, address, kernel

LEAF = 1 << 16  # bytes
BLOCK = 64  # bytes of a round of the hash
ROUNDS = 64
_word, _size = ir.IntType(32), ir.IntType(64)
_vector = ir.VectorType(_word, LANES)


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


def _same(number):
    """A number in every lane."""
    return ir.Constant(_vector, [number] * LANES)


def _call(builder, name, *args):
    """An instruction of LLVM on vectors."""
    name = f"llvm.{name}.v{LANES}i32"
    kind = ir.FunctionType(_vector, [_vector] * len(args))
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), args)


def _mixed(builder, x, *turns, shift=None):
    """x turned to the right so far, and so far, or shifted at last, joined by exclusive or."""
    parts = [_call(builder, "fshr", x, x, _same(n)) for n in turns]
    parts += [builder.lshr(x, _same(shift))] if shift else []
    found = parts[0]
    for part in parts[1:]:
        found = builder.xor(found, part)
    return found


def _block(builder, state, w):
    """The state after one block of 16 words, a vector each."""
    a, b, c, d, e, f, g, h = state
    w = list(w)
    for i in range(ROUNDS):
        if i >= 16:
            near, far = _mixed(builder, w[-2], 17, 19, shift=10), _mixed(builder, w[-15], 7, 18, shift=3)
            w.append(builder.add(builder.add(near, w[-7]), builder.add(far, w[-16])))
        choice = builder.xor(g, builder.and_(e, builder.xor(f, g)))
        one = builder.add(builder.add(h, builder.add(w[i], _same(ADDED[i]))), choice)
        one = builder.add(one, _mixed(builder, e, 6, 11, 25))
        most = builder.xor(builder.and_(a, b), builder.and_(c, builder.xor(a, b)))
        two = builder.add(_mixed(builder, a, 2, 13, 22), most)
        a, b, c, d, e, f, g, h = builder.add(one, two), a, b, c, builder.add(d, one), e, f, g
    return [builder.add(x, y) for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def _transposed(builder, rows):
    """Lane j of row i as lane i of row j: blocks of half the size change places, then in each of them."""
    rows, side = list(rows), LANES // 2
    while side:
        for i in range(LANES):
            if not i & side:
                a, b = rows[i], rows[i + side]
                upper = [j if not j & side else LANES + j - side for j in range(LANES)]
                lower = [j + side if not j & side else LANES + j for j in range(LANES)]
                masks = [ir.Constant(ir.VectorType(_word, LANES), picks) for picks in (upper, lower)]
                rows[i], rows[i + side] = (builder.shuffle_vector(a, b, mask) for mask in masks)
        side //= 2
    return rows


def _words(builder, at):
    """The 16 words of a block of each lane's leaf, a vector each; a leaf's bytes are fetched together."""
    found = []
    for part in range(0, BLOCK, 4 * LANES):
        rows = []
        for lane in range(LANES):
            place = builder.inttoptr(builder.add(at, _size(lane * LEAF + part)), _vector.as_pointer())
            rows.append(_call(builder, "bswap", builder.load(place, align=1)))
        found += _transposed(builder, rows)
    return found


@intrinsic
def hash_lanes(typing, out, data):
    """8 words of each of LANES leaves at out, of the leaves that follow one another at data; both are addresses."""

    def generate(context, builder, signature, args):
        slots = [cgutils.alloca_once_value(builder, _same(number)) for number in START]
        with cgutils.for_range(builder, _size(LEAF // BLOCK)) as loop:
            at = builder.add(args[1], builder.mul(loop.index, _size(BLOCK)))
            state = _block(builder, [builder.load(slot) for slot in slots], _words(builder, at))
            for slot, value in zip(slots, state, strict=True):
                builder.store(value, slot)
        state = _block(builder, [builder.load(slot) for slot in slots], map(_same, PADDING))
        for i, value in enumerate(state):
            value = _call(builder, "bswap", value)
            for lane in range(LANES):
                place = builder.inttoptr(builder.add(args[0], _size(32 * lane + 4 * i)), _word.as_pointer())
                builder.store(builder.extract_element(value, _word(lane)), place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@kernel
def leaves(out, data):
    """out(n, 8) = the SHA-256 of each 64 KiB of data(n * 65536); n is a multiple of 16."""
    for first in range(0, out.shape[0], LANES):
        hash_lanes(address(out) + 32 * first, address(data) + LEAF * first)
