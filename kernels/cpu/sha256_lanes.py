"""SHA-256 of as many leaves side by side as a vector register has lanes: for CPUs without instructions for it."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..jit import LANES
from .sha256_words import ADDED, BLOCK, LEAF, PADDING, ROUNDS, START, call

AHEAD = 8 * BLOCK  # bytes of a leaf that are asked for before their turn: no core sees the pattern of 16 leaves itself
_word, _size = ir.IntType(32), ir.IntType(64)
_vector = ir.VectorType(_word, LANES)


def _same(number):
    """A number in every lane."""
    return ir.Constant(_vector, [number] * LANES)


def _spread(builder, number):
    """A number known when it runs, in every lane."""
    one = builder.insert_element(ir.Constant(_vector, ir.Undefined), number, _word(0))
    return builder.shuffle_vector(one, ir.Constant(_vector, ir.Undefined), _same(0))


def _store(builder, slots, values):
    for slot, value in zip(slots, values, strict=True):
        builder.store(value, slot)


def _mixed(builder, x, *turns, shift=None):
    """x turned to the right so far, and so far, or shifted at last, joined by exclusive or."""
    parts = [call(builder, f"llvm.fshr.v{LANES}i32", x, x, _same(n)) for n in turns]
    parts += [builder.lshr(x, _same(shift))] if shift else []
    found = parts[0]
    for part in parts[1:]:
        found = builder.xor(found, part)
    return found


def _most(builder, a, b, c):
    """Bits that two or more have; LLVM does not see that AVX-512 has one instruction for it."""
    if LANES < 16:
        return builder.xor(builder.and_(a, b), builder.and_(c, builder.xor(a, b)))
    return call(builder, "llvm.x86.avx512.pternlog.d.512", a, b, c, _word(0xE8))


def _rounds(builder, state, w, added):
    """The state after a round for each of the words, a vector each; added: what each round adds, a vector each."""
    a, b, c, d, e, f, g, h = state
    for word, number in zip(w, added, strict=True):
        choice = builder.xor(g, builder.and_(e, builder.xor(f, g)))
        one = builder.add(builder.add(h, builder.add(word, number)), choice)
        one = builder.add(one, _mixed(builder, e, 6, 11, 25))
        most = _most(builder, a, b, c)
        two = builder.add(_mixed(builder, a, 2, 13, 22), most)
        a, b, c, d, e, f, g, h = builder.add(one, two), a, b, c, builder.add(d, one), e, f, g
    return [a, b, c, d, e, f, g, h]


def _next(builder, w):
    """The 16 words that follow on 16."""
    w = list(w)
    for _ in range(16):
        near, far = _mixed(builder, w[-2], 17, 19, shift=10), _mixed(builder, w[-15], 7, 18, shift=3)
        w.append(builder.add(builder.add(near, w[-7]), builder.add(far, w[-16])))
    return w[16:]


def _block(builder, slots, w, meanwhile):
    """Takes the state in slots through one block of 16 words, a vector each, in four groups of rounds: all 64 are more
    instructions than a core keeps decoded. meanwhile(group): what to do beside, such as to fetch the next block."""
    numbers = ir.Constant(ir.ArrayType(_word, ROUNDS), ADDED)
    table = cgutils.global_constant(builder, "sha256.added", numbers)

    def added(first):
        places = (builder.gep(table, [_word(0), builder.add(first, _size(i))]) for i in range(16))
        return [_spread(builder, builder.load(place)) for place in places]

    before = [builder.load(slot) for slot in slots]
    meanwhile(_size(0))
    _store(builder, slots, _rounds(builder, before, w, added(_size(0))))
    words = [cgutils.alloca_once_value(builder, word) for word in w]
    with cgutils.for_range_slice(builder, _size(16), _size(ROUNDS), _size(16), inc=True) as (first, _):
        meanwhile(builder.udiv(first, _size(16)))
        _store(builder, words, _next(builder, [builder.load(word) for word in words]))
        state, w = ([builder.load(slot) for slot in kept] for kept in (slots, words))
        _store(builder, slots, _rounds(builder, state, w, added(first)))
    _store(builder, slots, [builder.add(builder.load(slot), x) for slot, x in zip(slots, before, strict=True)])


def _transposed(builder, rows, size, span):
    """Part j of row i as part i of row j, in each span of words: a part has size words, a span as many parts as there
    are rows. Even parts of pairs of rows become one half of them, odd parts the other; then so in each half."""
    if len(rows) == 1:
        return rows
    halves = []
    for first in (0, size):
        picks = [at + i for at in range(first, span, 2 * size) for i in range(size)]
        mask = [base + i for base in range(0, LANES, span) for i in (*picks, *(LANES + i for i in picks))]
        pairs = zip(rows[::2], rows[1::2], strict=True)
        half = [builder.shuffle_vector(x, y, ir.Constant(_vector, mask)) for x, y in pairs]
        halves.append(_transposed(builder, half, size, span))
    return [row for pair in zip(*halves, strict=True) for row in pair]


def _fetch(builder, held, at, group):
    """A quarter of a block of each lane's leaf: four of the 16 rows held, turned within parts of four words."""
    first = builder.mul(group, _size(4))
    lane, part = builder.urem(first, _size(LANES)), builder.udiv(first, _size(LANES))
    place = builder.add(at, builder.add(builder.mul(lane, _size(LEAF)), builder.mul(part, _size(4 * LANES))))
    rows = []
    for i in range(4):
        _prefetch(builder, builder.add(place, _size(i * LEAF + AHEAD)))
        row = builder.inttoptr(builder.add(place, _size(i * LEAF)), _vector.as_pointer())
        rows.append(call(builder, f"llvm.bswap.v{LANES}i32", builder.load(row, align=1)))
    for i, row in enumerate(_transposed(builder, rows, 1, 4)):
        builder.store(row, builder.gep(held, [_size(0), builder.add(first, _size(i))]))


def _prefetch(builder, place):
    """Asks for a line of memory; one that is not there is no error."""
    byte = ir.IntType(8).as_pointer()
    name, kind = "llvm.prefetch.p0i8", ir.FunctionType(ir.VoidType(), [byte, _word, _word, _word])
    ask = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(ask, [builder.inttoptr(place, byte), _word(0), _word(2), _word(1)])  # to read, into the second cache


def _words(builder, held):
    """The 16 words of a block, a vector each, of what is held."""
    rows = [builder.load(builder.gep(held, [_size(0), _size(i)])) for i in range(16)]
    found = []
    for part in range(0, 16, LANES):
        columns = [_transposed(builder, rows[part + i : part + LANES : 4], 4, LANES) for i in range(4)]
        found += [column[i] for i in range(LANES // 4) for column in columns]
    return found


@intrinsic
def hash_lanes(typing, out, data):
    """8 words of each of LANES leaves at out, of the leaves that follow one another at data; both are addresses."""

    def generate(context, builder, signature, args):
        slots = [cgutils.alloca_once_value(builder, _same(number)) for number in START]
        held = cgutils.alloca_once(builder, ir.ArrayType(_vector, 16))
        for group in range(4):
            _fetch(builder, held, args[1], _size(group))
        with cgutils.for_range(builder, _size(LEAF // BLOCK)) as loop:
            last = builder.icmp_unsigned("==", loop.index, _size(LEAF // BLOCK - 1))
            coming = builder.select(last, loop.index, builder.add(loop.index, _size(1)))
            at = builder.add(args[1], builder.mul(coming, _size(BLOCK)))
            _block(builder, slots, _words(builder, held), lambda group: _fetch(builder, held, at, group))
        _block(builder, slots, [_same(number) for number in PADDING], lambda group: None)
        for i, slot in enumerate(slots):
            value = call(builder, f"llvm.bswap.v{LANES}i32", builder.load(slot))
            for lane in range(LANES):
                place = builder.inttoptr(builder.add(args[0], _size(32 * lane + 4 * i)), _word.as_pointer())
                builder.store(builder.extract_element(value, _word(lane)), place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate
