"""The runner: goes through a plan's table, wave by wave; the one place with threads.

Workers draw tiles from atomic counters, each from its own share first, then from the others'. A wave ends when its
tiles are done, not when threads arrive: so a plan ends with any number of threads, and who computes a tile cannot
change what it computes.
"""

import time

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import table as T
from .jit import kernel

_word, _i32, _byte = ir.IntType(64), ir.IntType(32), ir.IntType(8)
X86 = llvm.get_process_triple().startswith("x86_64")
PATIENCE = 2000  # turns of a waiting loop, some 50 us, before it makes way: the core may be another worker's
FLUSH = 0x8040  # x86 mxcsr: denormal results and inputs count as zero


def _at(builder, address):
    return builder.inttoptr(address, _word.as_pointer())


@intrinsic
def peek(typing, address):
    """The word at an address."""
    return types.int64(types.int64), lambda c, b, s, v: b.load(_at(b, v[0]))


@intrinsic
def poke(typing, address, value):
    def generate(context, builder, signature, args):
        builder.store(args[1], _at(builder, args[0]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def fetch_add(typing, address, n):
    return types.int64(types.int64, types.int64), lambda c, b, s, v: b.atomic_rmw("add", _at(b, v[0]), v[1], "acq_rel")


@intrinsic
def peek_acquire(typing, address):
    return types.int64(types.int64), lambda c, b, s, v: b.load_atomic(_at(b, v[0]), "acquire", 8)


@intrinsic
def jump(typing, address, row, tile):
    """Call the entry at an address."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [_word, _word])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def jump_parallel_for(typing, address, region, args, dims, steps, data, count):
    """Numba's parallel_for: calls region(args, dims, steps, data) with args[0] = 0 .. dims[0] - 1, from count
    threads."""

    def generate(context, builder, signature, values):
        pointer = _byte.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 5 + [_word] * 3)
        pointers = [builder.inttoptr(v, pointer) for v in values[1:6]]
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [*pointers, _word(0), _word(1), values[6]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate


@intrinsic
def pause(typing):
    """Tell the core that this is a spinning loop."""

    def generate(context, builder, signature, args):
        if X86:
            builder.call(_declare(builder, "llvm.x86.sse2.pause", []), [])
        return context.get_dummy_value()

    return types.void(), generate


def _declare(builder, name, arguments, result=None):
    return builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(result or ir.VoidType(), arguments), name
    )


@intrinsic
def yield_cpu(typing):
    """Let another thread have this core."""

    def generate(context, builder, signature, args):
        builder.call(_declare(builder, "sched_yield", [], _i32), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def float_mode(typing):
    """The control word of floating point arithmetic (0 where there is none to set)."""

    def generate(context, builder, signature, args):
        if not X86:
            return _i32(0)
        slot = builder.alloca(_i32)
        where = builder.bitcast(slot, _byte.as_pointer())
        builder.call(_declare(builder, "llvm.x86.sse.stmxcsr", [_byte.as_pointer()]), [where])
        return builder.load(slot)

    return types.int32(), generate


@intrinsic
def set_float_mode(typing, mode):
    def generate(context, builder, signature, args):
        if X86:
            slot = builder.alloca(_i32)
            builder.store(args[0], slot)
            where = builder.bitcast(slot, _byte.as_pointer())
            builder.call(_declare(builder, "llvm.x86.sse.ldmxcsr", [_byte.as_pointer()]), [where])
        return context.get_dummy_value()

    return types.void(types.int32), generate


@intrinsic
def now(typing):
    """Nanoseconds of the clock that time.monotonic_ns reads."""

    def generate(context, builder, signature, args):
        slot = builder.alloca(ir.ArrayType(_word, 2))
        at = builder.bitcast(slot, _byte.as_pointer())
        clock = _declare(builder, "clock_gettime", [_i32, _byte.as_pointer()], _i32)
        builder.call(clock, [_i32(time.CLOCK_MONOTONIC), at])
        seconds, rest = (builder.extract_value(builder.load(slot), i) for i in range(2))
        return builder.add(builder.mul(seconds, _word(10**9)), rest)

    return types.int64(), generate


@kernel
def word(head, index):
    return peek(head + 8 * index)


@kernel
def run_tile(head, group, worker, tile):
    """One tile through the entries of a group."""
    calls, entries = word(head, T.CALLS), word(head, T.ENTRIES)
    rows = word(head, T.ROWS) + 8 * worker * entries
    records = word(head, T.RECORDS)
    if records != 0:
        records += 8 * T.RECORD_WORDS * (peek(group + 40) + (tile - peek(group + 32)) * (peek(group + 8) - peek(group)))
    for entry in range(peek(group), peek(group + 8)):
        if records != 0:
            poke(records, now())
        jump(peek(calls + 8 * entry), peek(rows + 8 * entry), tile)
        if records != 0:
            poke(records + 8, now())
            poke(records + 16, worker)
            records += 8 * T.RECORD_WORDS


@kernel
def run_serial(head, first, last):
    waves, groups = word(head, T.WAVES), word(head, T.GROUPS)
    for wave in range(first, last):
        if peek(word(head, T.STATUS)) != 0:
            return
        for g in range(peek(waves + 8 * wave), peek(waves + 8 * wave + 8)):
            group = groups + 8 * T.GROUP_WORDS * g
            for tile in range(peek(group + 16)):
                run_tile(head, group, 0, peek(group + 32) + tile)


@kernel
def draw(head, wave, worker, share):
    """Run the tiles of one worker's share of a wave until none is left; how many this call ran."""
    waves, groups, workers = word(head, T.WAVES), word(head, T.GROUPS), word(head, T.WORKERS)
    group = groups + 8 * T.GROUP_WORDS * peek(waves + 8 * wave)
    last = groups + 8 * T.GROUP_WORDS * (peek(waves + 8 * wave + 8) - 1)
    total = peek(last + 24) + peek(last + 16)
    end = total * (share + 1) // workers
    counter = word(head, T.COUNTERS) + 8 * T.LINE * (wave * (workers + 1) + share)
    first, ran = total * share // workers, 0
    while first + peek(counter) < end:  # asked before it is counted up: a core would take the line from all others
        tile = first + fetch_add(counter, 1)
        if tile >= end:
            return ran
        while tile >= peek(group + 24) + peek(group + 16):
            group += 8 * T.GROUP_WORDS
        run_tile(head, group, worker, peek(group + 32) + tile - peek(group + 24))
        ran += 1
    return ran


@kernel
def run_worker(head, worker):
    workers, groups = word(head, T.WORKERS), word(head, T.GROUPS)
    for wave in range(word(head, T.FIRST), word(head, T.LAST)):
        if peek(word(head, T.STATUS)) != 0:
            return
        ran = 0
        for other in range(workers):
            ran += draw(head, wave, worker, (worker + other) % workers)
        last = groups + 8 * T.GROUP_WORDS * (peek(word(head, T.WAVES) + 8 * wave + 8) - 1)
        done = word(head, T.COUNTERS) + 8 * T.LINE * (wave * (workers + 1) + workers)
        fetch_add(done, ran)
        turns = 0
        while peek_acquire(done) < peek(last + 24) + peek(last + 16):
            pause()
            turns += 1
            if turns > PATIENCE:
                yield_cpu()


@kernel
def region(args, dims, steps, data):
    """What numba's parallel_for calls in each thread."""
    mode = float_mode()
    set_float_mode(mode | FLUSH)
    for item in range(peek(dims)):
        run_worker(data, peek(args) + item)
    set_float_mode(mode)


@kernel
def run(head, first, last):
    """Waves first..last of a plan; the call that begins at 0 clears the status of checks and follows the arguments."""
    if first == 0:
        if peek(word(head, T.STATUS)) > 0:
            poke(word(head, T.STATUS), 0)
        for i in range(word(head, T.PATCHES)):
            patch = word(head, T.PATCH) + 8 * T.PATCH_WORDS * i
            poke(peek(patch), peek(word(head, T.ARGUMENTS) + 8 * peek(patch + 8)) + peek(patch + 16))
    workers = word(head, T.WORKERS)
    if workers == 1:
        mode = float_mode()
        set_float_mode(mode | FLUSH)
        run_serial(head, first, last)
        set_float_mode(mode)
        return
    poke(head + 8 * T.FIRST, first)
    poke(head + 8 * T.LAST, last)
    counters = word(head, T.COUNTERS)
    for line in range(first * (workers + 1), last * (workers + 1)):
        poke(counters + 8 * T.LINE * line, 0)
    jump_parallel_for(
        word(head, T.PARALLEL_FOR), word(head, T.REGION), head + 8 * T.NOUGHT,
        head + 8 * T.WORKERS, head + 8 * T.ONE, head, workers,
    )  # fmt: skip


@kernel
def flush_on():
    """Set flush-to-zero for this thread; returns the mode to restore (the interpreter of plans uses it)."""
    mode = float_mode()
    set_float_mode(mode | FLUSH)
    return mode


@kernel
def flush_off(mode):
    set_float_mode(mode)
