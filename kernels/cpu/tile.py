"""The register tile of a product of matrices, and copies and transposes of one register's width, in LLVM IR.

Made for a width of vector registers in bytes: 64, 32 or 16. An array as first argument says float32 or float64, nothing
else. Pointers are addresses in bytes (0: none), strides count elements and may be negative.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..jit import HAS_FMA, LANES, kernel

WIDTH = 4 * LANES  # bytes of a vector register
i32, i64 = ir.IntType(32), ir.IntType(64)


class Vectors:
    """The vector instructions of one width and dtype, written where a builder stands."""

    def __init__(self, builder, width, dtype):
        self.builder, self.size = builder, dtype.bitwidth // 8
        self.lanes = lanes = width // self.size
        self.item = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.item, lanes)
        self.zero = ir.Constant(self.vector, [0.0] * lanes)
        self.suffix = f"v{lanes}f{dtype.bitwidth}"

    def call(self, name, result, *values):
        module, kind = self.builder.module, ir.FunctionType(result, [v.type for v in values])
        return self.builder.call(module.globals.get(name) or ir.Function(module, kind, name), values)

    def pointer(self, address, typ):
        return self.builder.inttoptr(address, typ.as_pointer())

    def in_bytes(self, *strides):
        """Strides of elements in bytes."""
        return [self.builder.mul(stride, i64(self.size)) for stride in strides]

    def offsets(self, count, limit, stride):
        """From the first of count rows (or vectors) to each; one beyond the limit repeats the last."""
        bd = self.builder
        last = bd.mul(bd.sub(limit, i64(1)), stride)
        return [bd.select(bd.icmp_signed("<", i64(i), limit), bd.mul(stride, i64(i)), last) for i in range(count)]

    def first(self, count):
        """The mask of the first count lanes, made of an integer: LLVM repeats a comparison in every round of a loop."""
        bd, lanes = self.builder, i64(self.lanes)
        count = bd.select(bd.icmp_signed("<", count, lanes), count, lanes)
        count = bd.select(bd.icmp_signed(">", count, i64(0)), count, i64(0))
        bits = bd.trunc(bd.sub(bd.shl(i64(1), count), i64(1)), ir.IntType(self.lanes))
        return bd.bitcast(bits, ir.VectorType(ir.IntType(1), self.lanes))

    def broadcast(self, address):
        """The number at address in all lanes."""
        number = self.builder.load(self.pointer(address, self.item), align=self.size)
        nothing = ir.Constant(self.vector, ir.Undefined)
        firsts = ir.Constant(ir.VectorType(i32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(self.builder.insert_element(nothing, number, i32(0)), nothing, firsts)

    def load(self, base, offset, mask):
        """A lane that is off reads nothing and is zero; no mask: all lanes are on."""
        at = self.pointer(self.builder.add(base, offset), self.vector)
        if mask is None:
            return self.builder.load(at, align=self.size)
        return self.call(f"llvm.masked.load.{self.suffix}.p0", self.vector, at, i32(self.size), mask, self.zero)

    def store(self, value, base, offset, mask):
        """A lane that is off writes nothing."""
        at = self.pointer(self.builder.add(base, offset), self.vector)
        if mask is None:
            return self.builder.store(value, at, align=self.size)
        return self.call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), value, at, i32(self.size), mask)

    def prefetch(self, address):
        """Ask for a cache line; any address will do."""
        self.call("llvm.prefetch.p0", ir.VoidType(), self.pointer(address, self.item), i32(0), i32(3), i32(1))

    def fma(self, x, y, z):
        if HAS_FMA:
            return self.call(f"llvm.fma.{self.suffix}", self.vector, x, y, z)
        return self.builder.fadd(self.builder.fmul(x, y), z)

    def opaque(self, value):
        """The same value, but LLVM does not know how it came about: else it moves a pointer for every row."""
        return self.builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)

    def merge(self, *incoming):
        """A phi node; more incoming values may be added later."""
        node = self.builder.phi(incoming[0][0].type)
        for value, block in incoming:
            node.add_incoming(value, block)
        return node

    def loop(self, count, at, steps, values, body):
        """For count rounds: values = body(values, at), then at moves by steps. Returns the last values."""
        bd, before = self.builder, self.builder.block
        inside, after = bd.append_basic_block("round"), bd.append_basic_block("after")
        bd.cbranch(bd.icmp_signed(">", count, i64(0)), inside, after)
        bd.position_at_end(inside)
        left, *nodes = (self.merge((v, before)) for v in (count, *at, *values))
        moving, held = nodes[: len(at)], nodes[len(at) :]
        new = body(held, moving)
        end, fewer = bd.block, bd.sub(left, i64(1))
        moved = [self.opaque(bd.add(pointer, step)) for pointer, step in zip(moving, steps, strict=True)]
        for node, value in zip((left, *nodes), (fewer, *moved, *new), strict=True):
            node.add_incoming(value, end)
        bd.cbranch(bd.icmp_signed(">", fewer, i64(0)), inside, after)
        bd.position_at_end(after)
        return [self.merge((v, before), (w, end)) for v, w in zip(values, new, strict=True)]


def apart(bd, name, values, body):
    """A call of a function of its own with body(builder, values): inlined, all tiles would share one set of
    registers."""
    module = bd.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [v.type for v in values]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        inside = ir.IRBuilder(function.append_basic_block())
        body(inside, function.args)
        inside.ret_void()
    bd.call(function, values)


# long: one function of LLVM IR, whose loops nest around the same registers
def make_tiles(rows, vectors, width, prefetch=False):
    """The intrinsic tiles(like, count, m, n, k, c, c_row, c_up, a, a_row, a_up, a_k, b, b_row, start, start_row,
    start_up, ahead, step): count tiles one below another, each C = start + A B in registers.

    m <= rows, n <= vectors of lanes, k >= 0. From one tile to the next c, a and start move by *_up. start 0: from zero.
    With prefetch, every round of the depth asks for the line at ahead and moves that by step bytes, through all tiles.
    Columns are masked; a row beyond m repeats row m - 1 and stores the same numbers again: no edge has code of its own.
    """
    column = [i64(width * v) for v in range(vectors)]

    def start_values(simd, start, in_start, masks):
        """What start holds, or zero where there is none."""
        bd = simd.builder
        with bd.if_else(bd.icmp_signed("!=", start, i64(0))) as (some, none):
            with some:
                rows = [bd.add(start, offset) for offset in in_start]
                loaded = [simd.load(row, x, m) for row in rows for x, m in zip(column, masks, strict=True)]
                from_some = bd.block
            with none:
                from_none = bd.block
        return [simd.merge((x, from_some), (simd.zero, from_none)) for x in loaded]

    def one_tile(simd, masks, k, at, steps, in_a, in_c, in_start):
        """at: where A, B, ahead, C, start are, steps: of the first three; in_*: from row 0 to each row."""
        bd = simd.builder

        def body(held, at):
            row = [simd.load(at[1], x, m) for x, m in zip(column, masks, strict=True)]
            if prefetch:
                simd.prefetch(at[2])
            new = []
            for offset in in_a:
                scalar = simd.broadcast(bd.add(at[0], offset))
                new += [simd.fma(scalar, x, held[len(new) + v]) for v, x in enumerate(row)]
            return new

        used = 3 if prefetch else 2
        done = simd.loop(k, at[:used], steps[:used], start_values(simd, at[4], in_start, masks), body)
        places = [(bd.add(at[3], o), x, m) for o in in_c for x, m in zip(column, masks, strict=True)]
        for value, place in zip(done, places, strict=True):
            simd.store(value, *place)
        return []

    @intrinsic
    def tiles(
        typing,
        like,
        count,
        m,
        n,
        k,
        c,
        c_row,
        c_up,
        a,
        a_row,
        a_up,
        a_k,
        b,
        b_row,
        start,
        start_row,
        start_up,
        ahead,
        step,
    ):
        def write(bd, args):
            count, m, n, k, c, c_row, c_up, a, a_row, a_up, a_k, b, b_row, *rest = args
            start, start_row, start_up, ahead, step = rest
            simd = Vectors(bd, width, like.dtype)
            inside = [simd.offsets(rows, m, stride) for stride in simd.in_bytes(a_row, c_row, start_row)]
            a_up, c_up, start_up, a_k, b_row = simd.in_bytes(a_up, c_up, start_up, a_k, b_row)
            start_up = bd.select(bd.icmp_signed("!=", start, i64(0)), start_up, i64(0))

            def all_tiles(masks):
                def body(_, at):
                    return one_tile(simd, masks, k, [at[0], b, *at[1:]], [a_k, b_row, step], *inside)

                simd.loop(count, [a, ahead, c, start], [a_up, bd.mul(step, k), c_up, start_up], [], body)

            masks = [simd.first(bd.sub(n, i64(simd.lanes * v))) for v in range(vectors)]
            with bd.if_else(bd.icmp_signed("==", n, i64(simd.lanes * vectors))) as (whole, ragged):
                with whole:
                    all_tiles([None] * vectors)
                with ragged:
                    all_tiles(masks)

        def generate(context, bd, sig, args):
            apart(bd, f"tiles.{rows}.{vectors}.{width}.{prefetch}.{like.dtype}", args[1:], write)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 18), generate

    return tiles


def make_row(vectors, width, chains=4):
    """The intrinsic row(like, n, k, c, a, b): c[:n] += a[:k] B of one row of numbers, n <= vectors of lanes.

    The depth is cut into chains: one alone would take the time of its instructions one after another.
    """

    @intrinsic
    def row(typing, like, n, k, c, a, b):
        def generate(context, bd, sig, args):
            _, n, k, c, a, b = args
            simd = Vectors(bd, width, like.dtype)
            count = bd.sdiv(k, i64(chains))
            starts = [bd.mul(i64(q), count) for q in range(chains)] + [bd.mul(i64(chains), count)]
            item, line = i64(simd.size), bd.mul(n, i64(simd.size))
            places = [(bd.add(a, bd.mul(s, item)), bd.add(b, bd.mul(s, line))) for s in starts]

            at, rest = [pointer for pair in places[:-1] for pointer in pair], bd.sub(k, starts[-1])

            def tile(masks):
                columns = [(i64(width * v), mask) for v, mask in enumerate(masks)]

                def body(held, at):
                    new = []
                    for one, other in zip(at[::2], at[1::2], strict=True):
                        scalar = simd.broadcast(one)
                        new += [simd.fma(scalar, simd.load(other, x, m), held[len(new) + v])
                                for v, (x, m) in enumerate(columns)]  # fmt: skip
                    return new

                sums = simd.loop(count, at, [item, line] * chains, [simd.zero] * (chains * vectors), body)
                sums[:vectors] = simd.loop(rest, places[-1], [item, line], sums[:vectors], body)
                for v, (x, m) in enumerate(columns):
                    total = simd.load(c, x, m)
                    for q in range(chains):
                        total = bd.fadd(total, sums[q * vectors + v])
                    simd.store(total, c, x, m)

            with bd.if_else(bd.icmp_signed("==", n, i64(simd.lanes * vectors))) as (full, ragged):
                with full:  # masked loads take longer
                    tile([None] * vectors)
                with ragged:
                    tile([simd.first(bd.sub(n, i64(simd.lanes * v))) for v in range(vectors)])
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 5), generate

    return row


def shape_of(width):
    """Rows and vectors of the largest tile, rows of narrower ones: 24 of 32 registers with AVX-512, else 12 of 16."""
    return (8, 3, 8) if width == 64 else (4, 3, 6)


@kernel
def strip(left, lanes, vectors):
    """How many of the columns left the next tiles take, before masking.

    Two vectors twice rather than three and one: a tile one vector wide is bound by its loads, at 70 % of the speed.
    """
    if left > 4 * lanes or 2 * lanes < left <= vectors * lanes:
        return vectors * lanes
    return 2 * lanes if left > lanes else lanes


def make_copy(width):
    """The intrinsic copy(like, n, to, source) of one vector, or of its first n < lanes numbers."""

    @intrinsic
    def copy(typing, like, n, to, source):
        def generate(context, bd, sig, args):
            _, n, to, source = args
            simd, here = Vectors(bd, width, like.dtype), i64(0)
            with bd.if_else(bd.icmp_signed("<", n, i64(simd.lanes))) as (ragged, whole):
                with ragged:
                    mask = simd.first(n)
                    simd.store(simd.load(source, here, mask), to, here, mask)
                with whole:
                    simd.store(simd.load(source, here, None), to, here, None)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 3), generate

    return copy


def make_transpose(width):
    """The intrinsic transpose(like, m, n, to, to_row, source, source_row): to[i, j] = source[j, i], i < m, j < n."""

    def transposed(simd, rows):
        """Exchanges the corners of the whole block, then of its quarters, and so on."""
        lanes = simd.lanes
        half = lanes // 2
        while half:
            low = [j if not j & half else lanes + j - half for j in range(lanes)]
            high = [j + half if not j & half else lanes + j for j in range(lanes)]
            low, high = (ir.Constant(ir.VectorType(i32, lanes), picks) for picks in (low, high))
            for i in range(lanes):
                if not i & half:
                    pair = rows[i], rows[i + half]
                    rows[i], rows[i + half] = (simd.builder.shuffle_vector(*pair, picks) for picks in (low, high))
            half //= 2
        return rows

    @intrinsic
    def transpose(typing, like, m, n, to, to_row, source, source_row):
        def generate(context, bd, sig, args):
            _, m, n, to, to_row, source, source_row = args
            simd = Vectors(bd, width, like.dtype)
            lanes = simd.lanes
            to_row, source_row = simd.in_bytes(to_row, source_row)
            numbers = [i64(i) for i in range(lanes)]
            to_rows, source_rows = [bd.mul(to_row, i) for i in numbers], simd.offsets(lanes, n, source_row)

            def write(source_mask, to_masks):
                rows = transposed(simd, [simd.load(source, offset, source_mask) for offset in source_rows])
                for row, offset, mask in zip(rows, to_rows, to_masks, strict=True):
                    simd.store(row, to, offset, mask)

            masks = simd.first(m), [simd.first(bd.select(bd.icmp_signed("<", i, m), n, i64(0))) for i in numbers]
            if width == 64:
                write(*masks)
            else:
                all_on = bd.and_(bd.icmp_signed("==", m, i64(lanes)), bd.icmp_signed("==", n, i64(lanes)))
                with bd.if_else(all_on) as (whole, ragged):
                    with whole:
                        write(None, [None] * lanes)
                    with ragged:
                        write(*masks)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 6), generate

    return transpose
