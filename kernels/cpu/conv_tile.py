"""Register tiles of a convolution, in LLVM IR: sums over segments (rows of a window) of products along each segment.

As in tile.py: an array as first argument says float32 or float64, pointers are bytes, strides count elements.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..table import IMAGES
from .tile import Vectors

i64 = ir.IntType(64)


def segments_of(simd, segments, depth, outer, inner, start, body):
    """The values after: for each segment, for each round of its depth, values = body(values, pointers).

    outer: (pointer, bytes from one segment to the next) each; inner: bytes from one round to the next.
    """

    def segment(values, at):
        return simd.loop(depth, at, inner, values, body)

    return simd.loop(segments, [p for p, _ in outer], [s for _, s in outer], start, segment)


def choice(simd, *cases):
    """The values of the first case whose address is not 0; (address, values or a function that makes them) each,
    the last without an address."""
    bd = simd.builder
    (address, make), *rest = cases
    if address is None:
        return make()
    with bd.if_else(bd.icmp_signed("!=", address, i64(0))) as (some, none):
        with some:
            one, from_one = make(), bd.block
        with none:
            two, from_two = choice(simd, *rest), bd.block
    return [simd.merge((x, from_one), (y, from_two)) for x, y in zip(one, two, strict=True)]


def make_pixels(rows, vectors, width):
    """The intrinsic pixels(like, m, n, segments, depth, c, c_row, a, a_row, a_seg, a_k, b, b_row, b_seg, start,
    start_row).

    C[i, j] = start + sum over s, k of A[s*a_seg + i*a_row + k*a_k] B[s*b_seg + k*b_row + j]; i < m <= rows are pixels,
    j < n channels in lanes. start 0: from zero. Columns are masked; a row beyond m repeats row m - 1.
    """
    column = [i64(width * v) for v in range(vectors)]

    @intrinsic
    def pixels(
        typing, like, m, n, segments, depth, c, c_row, a, a_row, a_seg, a_k, b, b_row, b_seg, start, start_row
    ):  # fmt: skip
        def generate(context, bd, sig, args):
            _, m, n, segments, depth, c, c_row, a, a_row, a_seg, a_k, b, b_row, b_seg, start, start_row = args
            simd = Vectors(bd, width, like.dtype)
            c_row, a_row, a_seg, a_k, b_row, b_seg, start_row = simd.in_bytes(
                c_row, a_row, a_seg, a_k, b_row, b_seg, start_row
            )
            in_a, in_c, in_start = (simd.offsets(rows, m, stride) for stride in (a_row, c_row, start_row))

            def tile(masks):
                def held():
                    places = [(bd.add(start, o), x, k) for o in in_start for x, k in zip(column, masks, strict=True)]
                    return [simd.load(*place) for place in places]

                def body(values, at):
                    row = [simd.load(at[1], x, k) for x, k in zip(column, masks, strict=True)]
                    new = []
                    for offset in in_a:
                        scalar = simd.broadcast(bd.add(at[0], offset))
                        new += [simd.fma(scalar, x, values[len(new) + v]) for v, x in enumerate(row)]
                    return new

                first = choice(simd, (start, held), (None, lambda: [simd.zero] * (rows * vectors)))
                outer = [(a, a_seg), (b, b_seg)]
                done = segments_of(simd, segments, depth, outer, [a_k, b_row], first, body)
                places = [(bd.add(c, o), x, k) for o in in_c for x, k in zip(column, masks, strict=True)]
                for value, place in zip(done, places, strict=True):
                    simd.store(value, *place)

            masks = [simd.first(bd.sub(n, i64(simd.lanes * v))) for v in range(vectors)]
            with bd.if_else(bd.icmp_signed("==", n, i64(simd.lanes * vectors))) as (whole, ragged):
                with whole:  # a masked load takes the place of a multiplication, with AVX-512 too
                    tile([None] * vectors)
                with ragged:
                    tile(masks)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 15), generate

    return pixels


def make_images(rows, vectors, width):
    """The intrinsic images(like, m, n, segments, taps, depth, c, c_row, c_vec, w, w_row, w_seg, w_k, x, x_vec, x_seg,
    first, size, start, bias, bias_row).

    C[i, v] = start + sum over s, k of w[s*w_seg + i*w_row + k*w_k] X[s*x_seg + k*IMAGES + v*x_vec]: i < m <= rows are
    channels, v < n pixels, the lanes images; k goes through taps of depth numbers. start: C as it is, 0: the number
    bias[i * bias_row] in all lanes, and that 0 too: zero. Pixel v, tap t stand for column first + v + t of x: one that
    is not in 0 .. size - 1 is left out. n is a multiple of `vectors`, or less; where some are left out at most
    `vectors`, and that or 1 where first < 0.
    """
    every = range(vectors)

    @intrinsic
    def images(
        typing, like, m, n, segments, taps, depth, c, c_row, c_vec, w, w_row, w_seg, w_k, x, x_vec, x_seg, first, size,
        start, bias, bias_row,
    ):  # fmt: skip
        def generate(context, bd, sig, args):
            _, m, n, segments, taps, depth, c, c_row, c_vec, w, w_row, w_seg, w_k, x, x_vec, *rest = args
            x_seg, first, size, start, bias, b_row = rest
            simd = Vectors(bd, width, like.dtype)
            c_row, c_vec, w_row, w_seg, w_k, x_vec, x_seg, b_row, x_k = simd.in_bytes(
                c_row, c_vec, w_row, w_seg, w_k, x_vec, x_seg, b_row, i64(IMAGES)
            )
            in_w, in_b, rows_c = (simd.offsets(rows, m, stride) for stride in (w_row, b_row, c_row))
            in_x, vectors_c = [bd.mul(x_vec, i64(v)) for v in every], simd.offsets(vectors, n, c_vec)

            def tile(c, x, start, count, segment):
                """segment(values, where its numbers are) through all of them, for the first `count` columns."""
                in_c = [[bd.add(i, v) for v in vectors_c[:count]] for i in rows_c]

                def held():
                    return [simd.load(start, o, None) for row in in_c for o in row]

                def biases():
                    return [value for o in in_b for value in [simd.broadcast(bd.add(bias, o))] * count]

                zeros = (None, lambda: [simd.zero] * (rows * count))
                before = choice(simd, (start, held), (bias, biases), zeros)
                done = simd.loop(segments, [w, x], [w_seg, x_seg], before, segment)
                for v in reversed(range(count)):  # what lies beyond n first: column n - 1 then takes its place
                    for i in range(rows):
                        simd.store(done[i * count + v], c, in_c[i][v], None)

            def rounds(taps, at, values, columns):
                """Pointers and values after some taps."""
                k = bd.mul(taps, depth)
                values = simd.loop(k, at, [w_k, x_k], values, products(simd, in_w, in_x, columns))
                return [bd.add(p, bd.mul(k, step)) for p, step in zip(at, (w_k, x_k), strict=True)], values

            def cut(values, at):
                """First the taps that only the last columns have, then those of all, then those of the first only."""
                low, high = within(bd, n, taps, first, size, vectors)
                at = [bd.add(p, bd.mul(bd.mul(low[-1], depth), step)) for p, step in zip(at, (w_k, x_k), strict=True)]
                stages = [(low[v + 1], low[v], every[v + 1 :]) for v in reversed(every[:-1])]
                stages += [(low[0], high[-1], every)]
                stages += [(high[v], high[v - 1], every[:v]) for v in reversed(every[1:])]
                for begin, end, columns in stages:
                    at, values = rounds(bd.sub(end, begin), at, values, columns)
                return values

            last = bd.add(bd.add(first, bd.sub(n, i64(1))), bd.sub(taps, i64(1)))
            inside = bd.and_(bd.icmp_signed(">=", first, i64(0)), bd.icmp_signed("<", last, size))

            def full(values, at):
                return rounds(taps, at, values, range(len(values) // rows))[1]

            def next_to(_, at):
                tile(*at, vectors, full)
                return []

            with bd.if_else(inside) as (whole, ragged):
                with whole:
                    steps = [bd.mul(i64(vectors), step) for step in (c_vec, x_vec)]
                    steps.append(bd.select(bd.icmp_signed("!=", start, i64(0)), steps[0], i64(0)))
                    simd.loop(bd.sdiv(n, i64(vectors)), [c, x, start], steps, [], next_to)
                    for count in range(1, vectors):
                        with bd.if_then(bd.icmp_signed("==", n, i64(count))):
                            tile(c, x, start, count, full)
                with ragged:
                    tile(c, x, start, vectors, cut)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 20), generate

    return images


def products(simd, in_w, in_x, columns):
    """The work of a round: rows of numbers times some columns of pixels; in_*: from the first to each."""

    def body(values, at):
        count = len(values) // len(in_w)
        pixels, new = {v: simd.load(at[1], in_x[v], None) for v in columns}, list(values)
        for i, offset in enumerate(in_w):
            scalar = simd.broadcast(simd.builder.add(at[0], offset))
            for v, pixel in pixels.items():
                new[i * count + v] = simd.fma(scalar, pixel, new[i * count + v])
        return new

    return body


def within(bd, n, taps, first, size, vectors):
    """Of each column, the taps that see one of x: the first, and one past the last; both fall from column to column.

    Columns from n on have none of their own.
    """

    def least(x, y):
        return bd.select(bd.icmp_signed("<", x, y), x, y)

    def most(x, y):
        return bd.select(bd.icmp_signed(">", x, y), x, y)

    columns = [bd.add(first, i64(v)) for v in range(vectors)]
    low = [least(taps, most(i64(0), bd.sub(i64(0), column))) for column in columns]
    high = [most(low[0], least(taps, bd.sub(size, column))) for column in columns]
    there = [bd.icmp_signed("<", i64(v), n) for v in range(vectors)]
    low = [bd.select(good, x, low[0]) for good, x in zip(there, low, strict=True)]
    high = [bd.select(good, x, low[0]) for good, x in zip(there, high, strict=True)]
    return low, high


def make_channels(rows, width):
    """The intrinsic channels(like, m, n, segments, depth, c, c_row, a, a_row, a_seg, a_k, b, b_row, b_seg, start,
    start_row).

    C[i, j] = start + sum over s, k of A[s*a_seg + i*a_row + k*a_k + j] B[s*b_seg + k*b_row + j], channel by channel:
    i < m <= rows pixels (or taps), j < n channels, one vector of them. start 0: from zero.
    """

    @intrinsic
    def channels(
        typing, like, m, n, segments, depth, c, c_row, a, a_row, a_seg, a_k, b, b_row, b_seg, start, start_row
    ):  # fmt: skip
        def generate(context, bd, sig, args):
            _, m, n, segments, depth, c, c_row, a, a_row, a_seg, a_k, b, b_row, b_seg, start, start_row = args
            simd, nothing = Vectors(bd, width, like.dtype), i64(0)
            c_row, a_row, a_seg, a_k, b_row, b_seg, start_row = simd.in_bytes(
                c_row, a_row, a_seg, a_k, b_row, b_seg, start_row
            )
            in_a, in_c, in_start = (simd.offsets(rows, m, stride) for stride in (a_row, c_row, start_row))

            def tile(mask):
                def body(values, at):
                    right = simd.load(at[1], nothing, mask)
                    return [simd.fma(simd.load(at[0], o, mask), right, v) for o, v in zip(in_a, values, strict=True)]

                held = (start, lambda: [simd.load(start, o, mask) for o in in_start])
                first = choice(simd, held, (None, lambda: [simd.zero] * rows))
                done = segments_of(simd, segments, depth, [(a, a_seg), (b, b_seg)], [a_k, b_row], first, body)
                for value, offset in zip(done, in_c, strict=True):
                    simd.store(value, c, offset, mask)

            with bd.if_else(bd.icmp_signed("==", n, i64(simd.lanes))) as (whole, ragged):
                with whole:
                    tile(None)
                with ragged:
                    tile(simd.first(n))
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 15), generate

    return channels


def make_sums(rows, vectors, width):
    """The intrinsic sums(like, images, count, m, n, segments, depth, c, c_tap, c_row, a, a_tap, a_seg, a_k, b, b_seg,
    b_k, tap, taps).

    C[i, v] += sum over images, s, k of A[s*a_seg + k*a_k + i] B[s*b_seg + k*b_k + v*IMAGES]: `images` vectors of
    images, of each the first count. C is a matrix of numbers, i < m <= rows, v < n <= vectors. Rows go through the
    taps of a channel, *_tap apart, from number `tap` on, then through those of the next, which is c_row, or IMAGES,
    further.
    """

    @intrinsic
    def sums(
        typing, like, images, count, m, n, segments, depth, c, c_tap, c_row, a, a_tap, a_seg, a_k, b, b_seg, b_k, tap,
        taps,
    ):  # fmt: skip
        def generate(context, bd, sig, args):
            _, images, count, m, n, segments, depth, c, c_tap, c_row, a, a_tap, a_seg, a_k, b, b_seg, b_k, *row = args
            tap, taps = row
            simd = Vectors(bd, width, like.dtype)
            c_tap, c_row, a_tap, a_seg, a_k, b_seg, b_k, step = simd.in_bytes(
                c_tap, c_row, a_tap, a_seg, a_k, b_seg, b_k, i64(IMAGES)
            )
            in_a, rows_c = through_taps(bd, rows, m, tap, taps, [(a_tap, step), (c_tap, c_row)])
            in_b = simd.offsets(vectors, n, step)
            # One of the longer side after another, so that the shorter side alone stays in registers.
            by_rows = [(i, v) for i in range(rows) for v in range(vectors)]
            order = by_rows if rows >= vectors else sorted(by_rows, key=lambda place: place[1])

            def body(values, at):
                left, right, new = {}, {}, list(values)
                for i, v in order:
                    left[i] = left.get(i) or simd.load(at[0], in_a[i], None)
                    right[v] = right.get(v) or simd.load(at[1], in_b[v], None)
                    new[i * vectors + v] = simd.fma(left[i], right[v], values[i * vectors + v])
                return new

            def vector(values, at):
                outer = [(at[0], a_seg), (at[1], b_seg)]
                return segments_of(simd, segments, depth, outer, [a_k, b_k], values, body)

            zeros, to_next = [simd.zero] * (rows * vectors), [i64(width)] * 2
            add_there(simd, like, count, simd.loop(images, [a, b], to_next, zeros, vector), n, c, rows_c)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 18), generate

    return sums


def make_column_sums(vectors, width):
    """The intrinsic column_sums(like, images, count, n, segments, depth, c, b, b_seg, b_k).

    C[v] += sum over images, s, k of B[s*b_seg + k*b_k + v*IMAGES], v < n <= vectors; images as in sums.
    """

    @intrinsic
    def column_sums(typing, like, images, count, n, segments, depth, c, b, b_seg, b_k):
        def generate(context, bd, sig, args):
            _, images, count, n, segments, depth, c, b, b_seg, b_k = args
            simd = Vectors(bd, width, like.dtype)
            b_seg, b_k, step = simd.in_bytes(b_seg, b_k, i64(IMAGES))
            in_b = simd.offsets(vectors, n, step)

            def body(values, at):
                return [bd.fadd(value, simd.load(at[0], o, None)) for value, o in zip(values, in_b, strict=True)]

            def vector(values, at):
                return segments_of(simd, segments, depth, [(at[0], b_seg)], [b_k], values, body)

            sums = simd.loop(images, [b], [i64(width)], [simd.zero] * vectors, vector)
            add_there(simd, like, count, sums, n, c, [i64(0)])
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 9), generate

    return column_sums


def through_taps(bd, rows, m, tap, taps, strides):
    """Of each (stride of a tap, stride of a channel): from the first row to each; one beyond m repeats the last."""
    found = [[i64(0)] for _ in strides]
    for i in range(1, rows):
        tap = bd.add(tap, i64(1))
        over, beyond = bd.icmp_signed(">=", tap, taps), bd.icmp_signed(">=", i64(i), m)
        for offsets, (by_tap, by_channel) in zip(found, strides, strict=True):
            wrapped = bd.sub(by_channel, bd.mul(bd.sub(taps, i64(1)), by_tap))
            moved = bd.add(offsets[-1], bd.select(over, wrapped, by_tap))
            offsets.append(bd.select(beyond, offsets[-1], moved))
        tap = bd.select(over, i64(0), tap)
    return found


def add_there(simd, like, count, values, n, c, rows_c):
    """C[i, v] += the sum of the first count lanes of vector v of row i, v < n."""
    bd, vectors = simd.builder, len(values) // len(rows_c)
    there = simd.first(count)  # once, at the end: masked loads would take the place of multiplications
    values = [bd.select(there, value, simd.zero) for value in values]
    matrix = [values[i : i + vectors] for i in range(0, len(values), vectors)]
    side = min(simd.lanes, 1 << (vectors - 1).bit_length())  # numbers that lie side by side in C, taken at once
    few = Vectors(bd, side * simd.size, like.dtype)
    places = []
    for offset in rows_c:
        for v in range(0, vectors, side):
            places.append((bd.add(c, offset), i64(v * simd.size), few.first(bd.sub(n, i64(v)))))
    before = [few.load(*place) for place in places]
    found = [totals(simd, row[v : v + side], side) for row in matrix for v in range(0, vectors, side)]
    for value, old, place in zip(found, before, places, strict=True):
        few.store(bd.fadd(old, value), *place)


def totals(simd, vectors, side):
    """The sums of the lanes of up to `side` vectors as one vector of `side` lanes."""
    bd, group = simd.builder, 1
    vectors = vectors + [simd.zero] * (side - len(vectors))

    def both(u, v, low, high):
        """The sum of two picks of lanes of u and v."""
        picks = [ir.Constant(ir.VectorType(ir.IntType(32), len(pick)), pick) for pick in (low, high)]
        return bd.fadd(*(bd.shuffle_vector(u, v, pick) for pick in picks))

    while group < side:  # in each block of `side` lanes: halves of two vectors side by side, then of two such
        low = [
            lane
            for block in range(0, simd.lanes, side)
            for at in range(block, block + side // 2, group)
            for first in (at, simd.lanes + at)
            for lane in range(first, first + group)
        ]
        vectors = [
            both(u, v, low, [i + side // 2 for i in low]) for u, v in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        group *= 2
    (value,), count = vectors, simd.lanes
    while count > side:
        count //= 2
        value = both(value, value, list(range(count)), list(range(count, 2 * count)))
    return value
