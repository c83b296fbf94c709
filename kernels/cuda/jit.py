"""The one door to numba.cuda: how kernels are compiled for GPUs, and what threads of a block need of each other.

A kernel has the name and the arguments of its twin in kernels/cpu: arrays already cut to one tile. All threads of the
blocks that share the tile call it. launch.py says how many they are. tests/cuda/simulator.py stands in for this module
where kernels run without a GPU: what is named here is all that they may use.
"""

from llvmlite import ir
from numba import cuda
from numba.cuda import cgutils, cudaimpl, types
from numba.cuda.cudadrv import nvvm
from numba.cuda.extending import intrinsic
from numba.cuda.np.arrayobj import populate_array

from .. import activation as activation
from .. import scalar as scalar
from ..jit import bits64 as bits64
from ..jit import fma as fma
from ..jit import from_bits64 as from_bits64
from ..jit import sqrt as sqrt
from ..scalar import typed as typed

EVERY = 0xFFFFFFFF  # all lanes of a warp
kernel = inlined = cuda.jit(device=True, forceinline=True)
index = types.uint32  # of an element of a tile: half the registers of 64 bits, and no test for a negative number
signed = types.int64
int32 = types.int32  # of an integer's low bits
word = types.uint64
i32 = ir.IntType(32)


@kernel
def thread():
    """Which thread of its block this is."""
    return index(cuda.threadIdx.x)


@kernel
def threads():
    """How many threads a block has."""
    return index(cuda.blockDim.x)


@kernel
def part():
    """Which block of those that share the tile this is."""
    return index(cuda.blockIdx.y)


@kernel
def parts():
    """How many blocks share the tile."""
    return index(cuda.gridDim.y)


@kernel
def rank():
    """Which thread of the tile this is, over all blocks that share it."""
    return index(cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x)


@kernel
def ranks():
    """How many threads share the tile."""
    return index(cuda.gridDim.y * cuda.blockDim.x)


@kernel
def barrier():
    """Wait for all threads of the block, and see what they have written."""
    cuda.syncthreads()


@kernel
def from_lane(x, lane):
    """The x of another lane of the warp; all lanes call this together."""
    return cuda.shfl_sync(EVERY, x, lane)


@kernel
def from_partner(x, mask):
    """The x of the lane whose number differs in the bits of mask; all lanes call this together."""
    return cuda.shfl_xor_sync(EVERY, x, mask)


def _memory(count, space, name):
    @intrinsic
    def make(typing, x):
        kind = getattr(x, "dtype", x)

        def generate(context, builder, signature, args):
            align = max(16, context.get_abi_sizeof(context.get_data_type(kind)))
            made = cudaimpl._generic_array(context, builder, (count,), kind, name, space, alignment=align)
            for variable in builder.module.global_values:  # several modules of a kernel may hold what makes it
                if variable.name.startswith(name):
                    variable.linkage = "internal"
            return made

        return types.Array(kind, 1, "C")(x), generate

    return make


def shared(count):
    """A function of an array or a number: `count` elements of its type in the memory of the block. Each call site has
    its own."""
    shared.made += 1
    return _memory(count, nvvm.ADDRSPACE_SHARED, f"shared{shared.made}")


shared.made = 0


def local(count):
    """A function of an array or a number: `count` elements of its type that a thread has for itself, in registers if
    all indices are known to the compiler."""
    return _memory(count, nvvm.ADDRSPACE_LOCAL, "local")


@intrinsic
def flat(typing, x):
    """The elements of a C-contiguous array, as 1-D."""

    def generate(context, builder, signature, args):
        array = context.make_array(x)(context, builder, args[0])
        made = context.make_array(signature.return_type)(context, builder)
        populate_array(
            made, data=array.data, shape=cgutils.pack_array(builder, [array.nitems]),
            strides=cgutils.pack_array(builder, [array.itemsize]), itemsize=array.itemsize, meminfo=None,
        )  # fmt: skip
        return made._getvalue()

    return types.Array(x.dtype, 1, "C")(x), generate


def _place(context, builder, array, values, i, most=4):
    """A pointer to the vector at element i of an array, of so many elements or of 16 bytes; its type, and its bytes."""
    data = context.make_array(array)(context, builder, values).data
    element = context.get_data_type(array.dtype)
    size = context.get_abi_sizeof(element)
    vector = ir.VectorType(element, min(most, 16 // size))
    at = builder.gep(data, [builder.zext(i, ir.IntType(64)) if i.type == i32 else i])
    return builder.bitcast(at, vector.as_pointer()), vector, vector.count * size


def _loaded(most):
    def generate(context, builder, signature, args):
        x = signature.args[0]
        place, vector, size = _place(context, builder, x, args[0], args[1], most)
        found, value = [], context.data_model_manager[x.dtype].from_data
        for k in range(most // vector.count):
            loaded = builder.load(builder.gep(place, [i32(k)]), align=size)
            found += [value(builder, builder.extract_element(loaded, i32(j))) for j in range(vector.count)]
        return context.make_tuple(builder, signature.return_type, found)

    return generate


@intrinsic
def load4(typing, x, i):
    """x[i : i + 4] as a tuple, by loads of 16 bytes; x[i] must lie on a multiple of 16 bytes, or of four elements."""
    return types.UniTuple(x.dtype, 4)(x, i), _loaded(4)


@intrinsic
def load2(typing, x, i):
    """x[i : i + 2] as a tuple, by one load; x[i] must lie on a multiple of two elements."""
    return types.UniTuple(x.dtype, 2)(x, i), _loaded(2)


@intrinsic
def store4(typing, x, i, a, b, c, d):
    """x[i : i + 4] = a, b, c, d, by stores of 16 bytes; x[i] must lie as for load4."""

    def generate(context, builder, signature, args):
        place, vector, size = _place(context, builder, x, args[0], args[1])
        data = context.data_model_manager[x.dtype].as_data
        for k in range(4 // vector.count):
            value = ir.Constant(vector, ir.Undefined)
            for j in range(vector.count):
                value = builder.insert_element(value, data(builder, args[2 + k * vector.count + j]), i32(j))
            builder.store(value, builder.gep(place, [i32(k)]), align=size)
        return context.get_dummy_value()

    return types.void(x, i, *[x.dtype] * 4), generate


@intrinsic
def aligned(typing, x):
    """Whether an array begins on a multiple of 16 bytes."""

    def generate(context, builder, signature, args):
        data = context.make_array(x)(context, builder, args[0]).data
        low = builder.and_(builder.ptrtoint(data, ir.IntType(64)), ir.IntType(64)(15))
        return builder.icmp_unsigned("==", low, ir.IntType(64)(0))

    return types.boolean(x), generate


def _assembly(text, result, given):
    """An intrinsic's type and code, where it is one instruction: f is a float32, r 32 bits of anything, ffff a tuple.
    Lanes of a warp may do it together, so it must not be moved to where only some of them come."""
    of = {"f": (types.float32, ir.FloatType()), "r": (types.int32, i32)}
    typ, made = of[result[0]]
    alone = len(result) == 1
    made = made if alone else ir.LiteralStructType([made] * len(result))
    assembly = ir.InlineAsm(
        ir.FunctionType(made, [of[kind][1] for kind in given]),
        text,
        ",".join([*(f"={kind}" for kind in result), *given]),
    )

    def generate(context, builder, signature, args):
        found = builder.call(assembly, args, attrs=("convergent", "nounwind", "readnone"))
        parts = [] if alone else [builder.extract_value(found, i) for i in range(len(result))]
        return found if alone else context.make_tuple(builder, signature.return_type, parts)

    return (typ if alone else types.UniTuple(typ, len(result)))(*(of[kind][0] for kind in given)), generate


def _multiply(shape, kind):
    """On tensor cores: C (16, 8) + A (16, 8 words) B (8 words, 8), of which each lane has some. With g, t = lane // 4,
    lane % 4: a0 is word t of row g of A, a1 of row g + 8, a2 and a3 word t + 4 of these; b0 word t of column g of B, b1
    word t + 4; c0 and c1 are columns 2 t and 2 t + 1 of row g of C, c2 and c3 of row g + 8."""
    text = f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 "
    text += "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"

    @intrinsic
    def multiply(typing, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        return _assembly(text, "ffff", "rrrrrrffff")

    return multiply


multiply_tf32 = _multiply("m16n8k8", "tf32")  # a word is a number
multiply_bf16 = _multiply("m16n8k16", "bf16")  # a word is two numbers, side by side along the depth


@intrinsic
def tf32(typing, x):
    """A float32 as tensor cores take it: the nearest with 10 bits of fraction; a tie goes away from zero."""
    return _assembly("cvt.rna.tf32.f32 $0, $1;", "r", "f")


@intrinsic
def bf16(typing, x, y):
    """Two numbers of float32 as bfloat16 in one word, x in its low half: the nearest; a tie to the even one."""
    return _assembly("cvt.rn.bf16x2.f32 $0, $2, $1;", "r", "ff")
