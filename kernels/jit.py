"""How every kernel is compiled, and the three instructions that plain Numba lacks: an address, a bit cast, a fused
multiply-add."""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# error_model: no ZeroDivisionError; _nrt: no reference counts; so no symbol of Python is left in the object file.
kernel = njit(error_model="numpy", nogil=True, _nrt=False)

FEATURES = llvm.get_host_cpu_features()
HAS_FMA = bool(FEATURES.get("fma")) or not FEATURES
LANES = 16 if FEATURES.get("avx512f") else 8 if FEATURES.get("avx2") else 4  # float32 values in one vector register


@intrinsic
def address(typing, array):
    """Where the data of an array starts, as an integer (bytes)."""

    def generate(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.intp(array), generate


def _cast(source, target):
    @intrinsic
    def cast(typing, x):
        if x == source:
            return target(x), lambda context, builder, sig, args: builder.bitcast(
                args[0], context.get_value_type(target)
            )

    return cast


bits32, from_bits32 = _cast(types.float32, types.int32), _cast(types.int32, types.float32)
bits64, from_bits64 = _cast(types.float64, types.int64), _cast(types.int64, types.float64)


@intrinsic
def fma(typing, x, y, z):
    """x * y + z, rounded once where the CPU can; the same in vector and scalar code, so a loop's edge has the bits
    of its body."""
    if not (x == y == z and isinstance(x, types.Float)):
        return None

    def generate(context, builder, signature, args):
        if HAS_FMA:
            return builder.fma(*args)
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return x(x, y, z), generate


@intrinsic
def sqrt(typing, x):
    """The square root as the CPU's instruction: correctly rounded, NaN below 0, no call of libm."""
    if not isinstance(x, types.Float):
        return None

    def generate(context, builder, signature, args):
        name = f"llvm.sqrt.f{x.bitwidth}"
        kind = ir.FunctionType(args[0].type, [args[0].type])
        return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), args)

    return x(x), generate
