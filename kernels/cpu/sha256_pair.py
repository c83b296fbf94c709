"""SHA-256 of two leaves at once by a CPU's own instructions for it (SHA extensions of x86): each round of a leaf waits
for the one before for as long as two take to be done, so one leaf alone leaves them idle for half of the time."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .sha256_words import ADDED, BLOCK, LEAF, PADDING, START, call

PAIR = 2
_size = ir.IntType(64)
_quad = ir.VectorType(ir.IntType(32), 4)
_FIRST, _SECOND = [5, 4, 1, 0], [7, 6, 3, 2]  # the state as the instructions want it: f e b a, and h g d c


def _quads(numbers):
    return [ir.Constant(_quad, numbers[i : i + 4]) for i in range(0, len(numbers), 4)]


def _shuffled(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), 4), order))


def _next(builder, w):
    """The four words that follow on 16."""
    near = _shuffled(builder, w[2], w[3], [1, 2, 3, 4])  # seven words back
    found = builder.add(call(builder, "llvm.x86.sha256msg1", w[0], w[1]), near)
    return call(builder, "llvm.x86.sha256msg2", found, w[3])


def _four_rounds(builder, state, w, added):
    """The state after four rounds, which take two instructions."""
    first, second = state
    low = builder.add(w, added)
    high = _shuffled(builder, low, low, [2, 3, 2, 3])
    second = call(builder, "llvm.x86.sha256rnds2", second, first, low)
    return call(builder, "llvm.x86.sha256rnds2", first, second, high), second


def _block(builder, slots, words):
    """Takes each leaf's state, two slots, through a block of its words; the leaves in turn, four rounds at a time."""
    before = [[builder.load(slot) for slot in own] for own in slots]
    states, words = list(before), [list(w) for w in words]
    for added in _quads(ADDED):
        for leaf, w in enumerate(words):
            states[leaf] = _four_rounds(builder, states[leaf], w[0], added)
            w[:] = [*w[1:], _next(builder, w)]  # of the last four nobody asks, and LLVM drops them
    for own, old, new in zip(slots, before, states, strict=True):
        for slot, x, y in zip(own, old, new, strict=True):
            builder.store(builder.add(x, y), slot)


def _loaded(builder, place):
    """The 16 words of a block, four to a vector."""
    found = []
    for i in range(0, BLOCK, 16):
        quad = builder.load(builder.inttoptr(builder.add(place, _size(i)), _quad.as_pointer()), align=1)
        found.append(call(builder, "llvm.bswap.v4i32", quad))
    return found


@intrinsic
def hash_pair(typing, out, data):
    """8 words of each of two leaves at out, of the leaves that follow one another at data; both are addresses."""

    def generate(context, builder, signature, args):
        state = [ir.Constant(_quad, [START[i] for i in order]) for order in (_FIRST, _SECOND)]
        slots = [[cgutils.alloca_once_value(builder, half) for half in state] for _ in range(PAIR)]
        with cgutils.for_range(builder, _size(LEAF // BLOCK)) as loop:
            at = builder.add(args[1], builder.mul(loop.index, _size(BLOCK)))
            _block(builder, slots, [_loaded(builder, builder.add(at, _size(i * LEAF))) for i in range(PAIR)])
        _block(builder, slots, [_quads(PADDING)] * PAIR)
        for leaf, own in enumerate(slots):
            first, second = (call(builder, "llvm.bswap.v4i32", builder.load(slot)) for slot in own)
            for half, order in enumerate(([3, 2, 7, 6], [1, 0, 5, 4])):
                place = builder.add(args[0], _size(32 * leaf + 16 * half))
                value = _shuffled(builder, first, second, order)
                builder.store(value, builder.inttoptr(place, _quad.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate
