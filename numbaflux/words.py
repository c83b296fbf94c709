"""From the words of a row (kernels/table.py) to a kernel's arguments, where entries are compiled, for CPUs and GPUs.

What is another with Numba's CUDA target is given: its module `types`, and how a pointer is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Pointer = Callable[[Any, Any], Any]  # of an address and the type of an element: how memory is reached


def argument_type(code: str, types: Any) -> Any:
    """The type of an argument: "f4:2" an array of two axes, "i" an integer, "f8" a number."""
    if code == "i":
        return types.int64
    scalar = {"f4": types.float32, "f8": types.float64, "i1": types.int8, "i2": types.int16, "i4": types.int32}
    scalar |= {"i8": types.int64, "u1": types.uint8, "u2": types.uint16, "u4": types.uint32, "u8": types.uint64}
    scalar |= {"b1": types.boolean}
    kind, _, rank = code.partition(":")
    return types.Array(scalar[kind], int(rank), "C") if rank else scalar[kind]


def count(code: str) -> int:
    """How many words an argument takes.

    >>> count("f4:2"), count("i"), count("f8")
    (5, 2, 1)
    """
    kind, _, rank = code.partition(":")
    return 3 + int(rank) if rank else 2 if kind == "i" else 1


def argument(context: Any, builder: Any, code: str, typ: Any, words: list[Any], tile: Any, pointer: Pointer) -> Any:
    """An argument from its words, cut to the tile."""
    from llvmlite import ir

    if ":" in code:
        return _array(context, builder, typ, words, tile, pointer)
    if code == "i":
        return builder.add(words[0], builder.mul(tile, words[1]))
    bits = words[0] if typ.bitwidth == 64 else builder.trunc(words[0], ir.IntType(32))
    return builder.bitcast(bits, context.get_value_type(typ))


def _array(context: Any, builder: Any, typ: Any, words: list[Any], tile: Any, pointer: Pointer) -> Any:
    """From start, bytes a tile, size, size a tile (0: not cut), other sizes."""
    from llvmlite import ir
    from numba.core import cgutils

    word = ir.IntType(64)
    start, move, total, block, *others = words
    left = builder.sub(total, builder.mul(tile, block))
    part = builder.select(builder.icmp_signed("<", left, block), left, block)
    part = builder.select(builder.icmp_signed("<", part, word(0)), word(0), part)
    shape = [builder.select(builder.icmp_signed("==", block, word(0)), total, part), *others]
    item = context.get_data_type(typ.dtype)
    size = context.get_abi_sizeof(item)
    strides: list[Any] = []
    step = word(size)
    for extent in reversed(shape):
        strides.insert(0, step)
        step = builder.mul(step, extent)
    array = context.make_array(typ)(context, builder)
    context.populate_array(
        array, data=pointer(builder.add(start, builder.mul(tile, move)), item), itemsize=word(size), meminfo=None,
        shape=cgutils.pack_array(builder, shape), strides=cgutils.pack_array(builder, strides),
    )  # fmt: skip
    return array._getvalue()
