"""Sums and maxima of x(outer, k, inner) over k, and gradients. A sum's order depends on k and inner alone."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..jit import kernel
from ..scalar import inlined, maximum, typed

LANES = 16  # partial results along a contiguous span: one number for all CPUs, so that all sum in one order
BLOCK = 1024  # elements of a stack buffer, and of a span summed in lanes before it is added to the total
ROWS = 64  # rows summed into a stack buffer before it is added to the total
SPAN = 128  # columns that rows of fewer fill side by side


def _view(context, builder, typ, data, size):
    """A 1-D array over `size` elements at `data`."""
    array = context.make_array(typ)(context, builder)
    step = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(typ.dtype)))
    shape, strides = cgutils.pack_array(builder, [size]), cgutils.pack_array(builder, [step])
    context.populate_array(array, data=data, shape=shape, strides=strides, itemsize=step, meminfo=None)
    return array._getvalue()


@intrinsic
def stack(typing, x):
    """BLOCK elements of the type of x's, not initialised, on the stack."""

    def generate(context, builder, signature, args):
        size = context.get_constant(types.intp, BLOCK)
        data = cgutils.alloca_once(builder, context.get_data_type(x.dtype), size)
        data.align = 64
        return _view(context, builder, signature.return_type, data, size)

    return types.Array(x.dtype, 1, "C")(x), generate


@intrinsic
def part(typing, x, start, count):
    """x.flat[start:start + count] of a C-contiguous x, as 1-D. (Loops from 0 vectorise: no index can be negative.)"""

    def generate(context, builder, signature, args):
        data = builder.gep(context.make_array(x)(context, builder, args[0]).data, [args[1]])
        return _view(context, builder, signature.return_type, data, args[2])

    return types.Array(x.dtype, 1, "C")(x, types.intp, types.intp), generate


def _lanes(combine, neutral):
    """A function of a 1-D array: its elements combined in LANES lanes, these by halves."""

    @intrinsic
    def reduce(typing, x):
        def generate(context, builder, signature, args):
            element, word = context.get_data_type(x.dtype), ir.IntType(64)
            vector, bits = ir.VectorType(element, LANES), ir.VectorType(ir.IntType(1), LANES)
            none, size = ir.Constant(vector, [neutral] * LANES), context.get_abi_sizeof(element)
            total = cgutils.alloca_once_value(builder, none)
            array = context.make_array(x)(context, builder, args[0])
            whole = builder.ashr(array.nitems, word(LANES.bit_length() - 1))

            def take(block, load):
                place = builder.bitcast(builder.gep(array.data, [builder.mul(block, word(LANES))]), vector.as_pointer())
                builder.store(combine(builder, builder.load(total), load(place)), total)

            with cgutils.for_range(builder, whole) as loop:
                take(loop.index, lambda place: builder.load(place, align=size))
            rest = builder.sub(array.nitems, builder.mul(whole, word(LANES)))
            lane = ir.Constant(ir.VectorType(word, LANES), [*range(LANES)])
            on = builder.icmp_signed("<", lane, _splat(builder, rest))
            kind = ir.FunctionType(vector, [vector.as_pointer(), ir.IntType(32), bits, vector])
            name = f"llvm.masked.load.v{LANES}f{8 * size}.p0"
            masked = cgutils.get_or_insert_function(builder.module, kind, name)
            take(whole, lambda place: builder.call(masked, [place, ir.IntType(32)(size), on, none]))

            result, width = builder.load(total), LANES
            while width > 1:
                width //= 2
                halves = (ir.Constant(ir.VectorType(ir.IntType(32), width), [*range(i, i + width)]) for i in (0, width))
                result = combine(builder, *(builder.shuffle_vector(result, result, half) for half in halves))
            return builder.extract_element(result, ir.IntType(32)(0))

        return x.dtype(x), generate

    return reduce


def _splat(builder, value):
    vector = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _larger(builder, a, b):
    """NaN where either is."""
    return builder.select(builder.or_(builder.fcmp_ordered(">", a, b), builder.fcmp_unordered("uno", a, a)), a, b)


lane_sum = _lanes(lambda builder, a, b: builder.fadd(a, b), 0.0)
max_of = _lanes(_larger, float("-inf"))


@inlined
def sum_of(x):
    """The sum of a 1-D array, BLOCK by BLOCK."""
    total, at = lane_sum(part(x, 0, min(x.size, BLOCK))), BLOCK
    while at < x.size:
        total += lane_sum(part(x, at, min(x.size - at, BLOCK)))
        at += BLOCK
    return total


@inlined
def add_rows(y, x, at, count, step, rows):
    """y += the sum of count rows of x.flat, y.size wide, the first at `at`, one every `step`; `rows` is a buffer."""
    width, fours = y.size, count // 4
    for i in range(width):
        rows[i] = typed(0, y[i])
    for j in range(fours):  # at once: the sums so far are read and written a quarter as often
        first = at + 4 * j * step
        a, b = part(x, first, width), part(x, first + step, width)
        c, d = part(x, first + 2 * step, width), part(x, first + 3 * step, width)
        for i in range(width):
            rows[i] += (a[i] + b[i]) + (c[i] + d[i])
    for j in range(4 * fours, count):
        row = part(x, at + j * step, width)
        for i in range(width):
            rows[i] += row[i]
    for i in range(width):
        y[i] += rows[i]


@inlined
def sum_rows(y, x, first, k, scale, total, rows):
    """y = scale * the sum of k rows of x.flat from `first` on, y.size wide; total and rows are buffers.

    Few columns: 2, 4, 8 .. rows count as one of SPAN columns or more, and its parts are added by halves in the end.
    """
    inner, side = y.size, 1
    while side * inner < SPAN and 2 * side <= k:
        side *= 2
    width, deep = side * inner, k // side
    for strip in range((width + BLOCK - 1) // BLOCK):
        at = strip * BLOCK
        some = part(total, 0, min(width - at, BLOCK))
        for i in range(some.size):
            some[i] = typed(0, y[0])
        for block in range((deep + ROWS - 1) // ROWS):
            add_rows(some, x, first + block * ROWS * width + at, min(deep - block * ROWS, ROWS), width, rows)
        rest = part(x, first + deep * width, (k - deep * side) * inner)
        for i in range(rest.size):
            some[i] += rest[i]
        half = width // 2
        while half >= inner:
            for i in range(half):
                some[i] += some[half + i]
            half //= 2
        for i in range(min(inner - at, BLOCK)):
            y[at + i] = scale * some[i]


@kernel
def sum(y, x, scale):
    """y(outer, inner) = scale * the sum over k of x(outer, k, inner)."""
    outer, k, inner = x.shape
    if inner == 1:
        for o in range(outer):
            y[o, 0] = scale * sum_of(part(x, o * k, k))
        return
    total, rows = stack(x), stack(x)
    for o in range(outer):
        sum_rows(part(y, o * inner, inner), x, o * k * inner, k, scale, total, rows)


@kernel
def broadcast(y, x):
    """y(outer, k, inner) = x(outer, inner) for all k: the gradient of sum, as sum is of broadcast."""
    outer, k, inner = y.shape
    for o in range(outer):
        if inner == 1:
            row, value = part(y, o * k, k), x[o, 0]
            for j in range(k):
                row[j] = value
            continue
        for j in range(k):
            for i in range(inner):
                y[o, j, i] = x[o, i]


@kernel
def max(y, x):
    """y(outer, inner) = the largest of x(outer, k, inner) over k; NaN where one is."""
    outer, k, inner = x.shape
    for o in range(outer):
        if inner == 1:
            y[o, 0] = max_of(part(x, o * k, k))
            continue
        for i in range(inner):
            y[o, i] = x[o, 0, i]
        for j in range(1, k):
            for i in range(inner):
                y[o, i] = maximum(x[o, j, i], y[o, i])


@kernel
def max_grad(dx, x, y, dy):
    """dx(outer, k, inner) = dy(outer, inner) at the first of x's largest (or first NaN), else 0; y = max(x)."""
    outer, k, inner = x.shape
    for o in range(outer):
        zeros = part(dx, o * k * inner, k * inner)
        for i in range(zeros.size):
            zeros[i] = typed(0, y[o, 0])
        for i in range(inner):
            for j in range(k):
                if x[o, j, i] == y[o, i] or x[o, j, i] != x[o, j, i]:
                    dx[o, j, i] = dy[o, i]
                    break


@kernel
def sum_slots(y, slots, at):
    """y(m,) = the sum of the columns at, at + 1, .. of slots(t, columns), four rows at once, then the rest."""
    for i in range(y.size):
        y[i] = typed(0, y[i])
    rows = stack(y)
    for strip in range((y.size + BLOCK - 1) // BLOCK):
        total = part(y, strip * BLOCK, min(y.size - strip * BLOCK, BLOCK))
        add_rows(total, slots, at + strip * BLOCK, slots.shape[0], slots.shape[1], rows)
