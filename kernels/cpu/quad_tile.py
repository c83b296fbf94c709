"""The register tile of a product of up to four columns, with those of several rows in one vector, in LLVM IR."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .tile import Vectors, apart, i32, i64

QUAD = 4  # columns, and neighbours in a row of A that are loaded at once


class Quads:
    """Vectors of `rows` quads, and single quads: four numbers each."""

    def __init__(self, builder, rows, dtype):
        size = dtype.bitwidth // 8
        self.builder, self.rows, self.size = builder, rows, size
        self.all, self.one = Vectors(builder, rows * QUAD * size, dtype), Vectors(builder, QUAD * size, dtype)

    def pick(self, x, lanes):
        return self.builder.shuffle_vector(x, x, ir.Constant(ir.VectorType(i32, len(lanes)), lanes))

    def joined(self, quads):
        """As many quads as there are rows, in one vector."""
        while len(quads) > 1:
            both = ir.Constant(ir.VectorType(i32, 2 * quads[0].type.count), [*range(2 * quads[0].type.count)])
            quads = [self.builder.shuffle_vector(*pair, both) for pair in zip(quads[::2], quads[1::2], strict=True)]
        return quads[0]

    def gather(self, base, offsets, mask):
        """A vector for every `rows` of the offsets."""
        loaded = [self.one.load(base, offset, mask) for offset in offsets]
        return [self.joined(loaded[i : i + self.rows]) for i in range(0, len(loaded), self.rows)]

    def repeat(self, quad):
        """One quad for every row."""
        return self.pick(quad, [i for _ in range(self.rows) for i in range(QUAD)])

    def spread(self, x, i):
        """Number i of each quad in all four places."""
        return self.pick(x, [QUAD * row + i for row in range(self.rows) for _ in range(QUAD)])

    def quad(self, x, row):
        return self.pick(x, [*range(QUAD * row, QUAD * row + QUAD)])

    def start(self, base, offsets, mask):
        """What start holds, or zero where there is none."""
        bd = self.builder
        with bd.if_else(bd.icmp_signed("!=", base, i64(0))) as (some, none):
            with some:
                loaded, from_some = self.gather(base, offsets, mask), bd.block
            with none:
                from_none = bd.block
        return [self.all.merge((x, from_some), (self.all.zero, from_none)) for x in loaded]


def make_quads(vectors, width):
    """The intrinsic quads(like, count, m, n, k, c, c_row, c_up, a, a_row, a_up, b, b_row, start, start_row, start_up):
    as tiles, for n <= 4 columns and m <= 4 * vectors rows (with 16 lanes), A's columns being neighbours."""

    def one_tile(simd, mask, k, at, b_row, in_a, in_c, in_start):
        """at: where A, B, C, start are; in_*: from row 0 to each row."""
        bd, a_k = simd.builder, i64(simd.size)

        def deep(depth, on):
            def body(held, at):
                a = simd.gather(at[0], in_a, on)
                for s in range(depth):
                    b = simd.repeat(simd.one.load(at[1], bd.mul(b_row, i64(s)), mask))
                    held = [simd.all.fma(simd.spread(x, s), b, y) for x, y in zip(a, held, strict=True)]
                return held

            return body

        fours, rest = bd.ashr(k, i64(2)), bd.and_(k, i64(3))
        steps = [bd.mul(a_k, i64(QUAD)), bd.mul(b_row, i64(QUAD))]
        held = simd.all.loop(fours, at[:2], steps, simd.start(at[3], in_start, mask), deep(QUAD, None))
        left = [bd.add(x, bd.mul(step, fours)) for x, step in zip(at[:2], steps, strict=True)]
        single = ir.Constant(ir.VectorType(ir.IntType(1), QUAD), [1, 0, 0, 0])
        held = simd.all.loop(rest, left, [a_k, b_row], held, deep(1, single))
        for i, offset in enumerate(in_c):
            simd.one.store(simd.quad(held[i // simd.rows], i % simd.rows), at[2], offset, mask)
        return []

    @intrinsic
    def quads(typing, like, count, m, n, k, c, c_row, c_up, a, a_row, a_up, b, b_row, start, start_row, start_up):
        def write(bd, args):
            count, m, n, k, c, c_row, c_up, a, a_row, a_up, b, b_row, start, start_row, start_up = args
            simd = Quads(bd, max(1, 8 * width // like.dtype.bitwidth // QUAD), like.dtype)
            one = simd.one
            inside = [one.offsets(vectors * simd.rows, m, stride) for stride in one.in_bytes(a_row, c_row, start_row)]
            a_up, c_up, start_up, b_row = one.in_bytes(a_up, c_up, start_up, b_row)
            start_up = bd.select(bd.icmp_signed("!=", start, i64(0)), start_up, i64(0))

            def all_tiles(mask):
                def body(_, at):
                    return one_tile(simd, mask, k, [at[0], b, *at[1:]], b_row, *inside)

                one.loop(count, [a, c, start], [a_up, c_up, start_up], [], body)

            with bd.if_else(bd.icmp_signed("==", n, i64(QUAD))) as (whole, ragged):
                with whole:
                    all_tiles(None)
                with ragged:
                    all_tiles(one.first(n))

        def generate(context, bd, sig, args):
            apart(bd, f"quads.{vectors}.{width}.{like.dtype}", args[1:], write)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 15), generate

    return quads
