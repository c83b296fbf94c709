"""kernel -> entry -> cubin: what build.py does, for GPUs. Needs no GPU and no driver; compiles in processes of its own,
and keeps cubins beside the CPU's object files.

An entry is launched with a row's words as its arguments, the status word's address first, and a grid of (tiles, blocks
that share a tile). From the words each block makes the arrays of its tile, as entries on the CPU do. Where the status
word is set, it does nothing; address 0: it does not look.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from .build import KERNELS, Signature, in_child
from .build import entry as on_cpu
from .kernels.cuda.launch import THREADS
from .native import MANY, pool
from .objects import Objects, Store, pack
from .op import PlanError, expect
from .own import Own
from .words import argument, argument_type, count

Capability = tuple[int, int]  # (9, 0): what a GPU can do, as NVIDIA counts it
Named = tuple[str, Signature, int]  # "dense.product_large", signature, threads of a block
What = Named | tuple[Own, Signature, int]  # or a user's kernel
ALWAYS = ("cuda/jit.py", "cuda/launch.py")  # what each entry depends on
TOOLS = ("numba", "llvmlite", "nvidia-nvjitlink-cu12", "nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink", "nvidia-nvvm")
BATCH = 24  # entries that one process compiles
FAILED = "could not compile "
FEWEST = 3  # that are worth a process: importing numba takes as long
REGISTERS = 65_536  # of a multiprocessor
MOST_REGISTERS = 128  # of a thread
_alone = threading.Lock()  # of whom numba compiles for


class Cubin(NamedTuple):
    """Machine code of one entry, and the name it has in there."""

    name: str
    code: bytes


def _arguments(signature: Signature) -> Any:
    """The intrinsic that makes a kernel's arguments for a tile from the words of its row."""
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    argument_types = [argument_type(code, types) for code in signature]

    @intrinsic
    def arguments(typing: Any, words: Any, tile: Any) -> Any:
        result = types.Tuple(argument_types)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            def pointer(address: Any, item: Any) -> Any:
                """By way of the global memory's address space, so that loads need not find out where they are."""
                return builder.addrspacecast(builder.inttoptr(address, ir.PointerType(item, 1)), item.as_pointer())

            values, at = [], 1
            for code, typ in zip(signature, argument_types, strict=True):
                found = [builder.extract_value(args[0], at + i) for i in range(count(code))]
                values.append(argument(context, builder, code, typ, found, args[1], pointer))
                at += len(found)
            return context.make_tuple(builder, result, values)

        return result(words, tile), generate

    return arguments


def _stopped() -> Any:
    """The intrinsic that says whether the status word is set, where an entry is to look."""
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import intrinsic

    @intrinsic
    def stopped(typing: Any, words: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word = ir.IntType(64)
            address = builder.extract_value(args[0], 0)
            found = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(1), 0))
            with builder.if_then(builder.icmp_signed("!=", address, word(0))):
                status = builder.load(builder.inttoptr(address, ir.PointerType(word, 1)))
                builder.store(builder.icmp_signed("!=", status, word(0)), found)
            return builder.load(found)

        return types.boolean(words), generate

    return stopped


def entry(kernel: Any, signature: Signature, threads: int) -> tuple[Any, Any]:
    """What a GPU is given to launch, and the type of its words."""
    from numba import cuda
    from numba.cuda import types

    arguments, stopped = _arguments(signature), _stopped()

    @cuda.jit(launch_bounds=_bounds(threads))
    def entry(words):  # type: ignore[no-untyped-def]
        if stopped(words):
            return
        kernel(*arguments(words, types.int64(cuda.blockIdx.x)))

    return entry, types.UniTuple(types.int64, 1 + sum(map(count, signature)))


def _entry_each(kernel: Any, signature: Signature, threads: int) -> tuple[Any, Any]:
    """The same where each thread has a tile; the last word says how many tiles there are."""
    from numba import cuda
    from numba.cuda import types

    arguments, stopped = _arguments(signature), _stopped()
    last = 1 + sum(map(count, signature))

    @cuda.jit(launch_bounds=_bounds(threads))
    def entry(words):  # type: ignore[no-untyped-def]
        tile = types.int64(cuda.blockIdx.x) * types.int64(cuda.blockDim.x) + types.int64(cuda.threadIdx.x)
        if stopped(words) or tile >= words[last]:
            return
        kernel(*arguments(words, tile))

    return entry, types.UniTuple(types.int64, last + 1)


def _bounds(threads: int) -> tuple[int, int]:
    """Threads of a block, and how many blocks a multiprocessor has room for."""
    return threads, max(1, REGISTERS // MOST_REGISTERS // threads)


@contextlib.contextmanager
def _compiling_for(capability: Capability) -> Iterator[None]:
    """Numba compiles for a GPU that need not be there, nor be the one that a user's program has taken."""
    import numba.cuda.codegen as codegen
    import numba.cuda.dispatcher as dispatcher

    library, features = codegen.CUDACodeLibrary, "a" if capability >= (9, 0) else ""
    with _alone:
        before = dispatcher.get_current_device, library._ensure_cc
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability, id=0)
        library._ensure_cc = lambda self, cc=None: cc or (*capability, features)
        try:
            yield
        finally:
            dispatcher.get_current_device, library._ensure_cc = before


def _linked(made: Any, typ: Any) -> Cubin:
    """The machine code of an entry."""
    import numba.cuda.dispatcher as dispatcher

    options = {k: v for k, v in made.targetoptions.items() if k != "device"}
    library = dispatcher._Kernel(made.py_func, (typ,), **options)._codelibrary
    return Cubin(library._entry_name, bytes(library.get_cubin().code))


def build(function: str, signature: Signature, threads: int = THREADS, capability: Capability = (9, 0)) -> Cubin:
    """Compile one entry of kernels/cuda, by its name: "dense.product_large"."""
    with _compiling_for(capability):
        module, _, name = function.rpartition(".")
        kernel = getattr(importlib.import_module(f"numbaflux.kernels.cuda.{module}"), name)
        return _linked(*entry(kernel, signature, threads))


def build_own(own: Own, signature: Signature, threads: int, capability: Capability) -> Cubin:
    """Compile an entry of a user's kernel, in this process: nobody knows all that such a kernel is made of, so it is
    kept nowhere. What could raise on a CPU, where it would be seen, is refused here too."""
    versions()  # says what is not installed
    try:
        from numba import cuda

        if own.alone:
            on_cpu(own.kernel, signature)
            with _compiling_for(capability):
                return _linked(*_entry_each(own.kernel, signature, threads))
        kernel = own.kernel if hasattr(own.kernel, "py_func") else cuda.jit(device=True)(own.kernel)
        with _compiling_for(capability):
            return _linked(*entry(kernel, signature, threads))
    except PlanError:
        raise
    except Exception as error:  # whatever a compiler makes of what it was given
        raise PlanError(f"gpu: {FAILED}{_why(own.__name__, signature, error)}") from error


def _why(name: str, signature: Signature, error: Exception) -> str:
    """The kernel that does not compile, and the reason."""
    reason = " ".join(str(error).split()) or "no reason given"
    return f"{name}({', '.join(signature)}): {type(error).__name__}: {reason[:300]}"


@functools.cache
def _imported(path: Path) -> tuple[Path, ...]:
    """The files of kernels/ that one of them imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            names = [node.module.replace(".", "/")] if node.module else [alias.name for alias in node.names]
            found += [folder / (name + ".py") for name in names]
    return tuple(found)


@functools.cache
def sources(module: str) -> str:
    """Digest of a module of kernels/cuda, of all that it imports from kernels/, and of how entries are made."""
    seen: set[Path] = set()
    todo = [KERNELS / name for name in (*ALWAYS, f"cuda/{module}.py")]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += _imported(path)
    digest = hashlib.sha256()
    for path in (*sorted(seen), Path(__file__), Path(__file__).with_name("words.py")):
        digest.update(f"{path.parent.name}/{path.name}".encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@functools.cache
def versions() -> str:
    """Versions of the compilers, read without importing them."""
    found = {}
    for name in ("numba-cuda", *TOOLS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    cure = "pip install numbaflux[cuda]"
    expect("numba-cuda" in found, "gpu", "numba-cuda", "installed", "nothing", cure, PlanError)
    return " ".join(f"{name} {number}" for name, number in found.items())


@functools.cache
def key(what: Named, capability: Capability) -> str:
    """The name under which a cubin is kept: readable, and different when anything that made it is."""
    function, signature, threads = what
    text = [function, *signature, str(threads), str(capability), sources(function.partition(".")[0]), versions()]
    generation = f"sm{capability[0]}{capability[1]}"
    return f"{generation}.{function}-{hashlib.sha256(chr(10).join(text).encode()).hexdigest()[:32]}"


def cubins(wanted: Iterable[What], capability: Capability, store: Store | None = None) -> dict[What, Cubin]:
    """The cubins of some entries for one kind of GPU: as the cache has them, compiled and kept where it has not. Those
    that are needed together are kept together too: one file to read. Users' own are compiled here, and not kept."""
    made: dict[What, Cubin] = {}
    names: dict[str, Named] = {}
    for kernel, signature, threads in wanted:
        if isinstance(kernel, Own):
            made[kernel, signature, threads] = build_own(kernel, signature, threads, capability)
        else:
            names[key((kernel, signature, threads), capability)] = kernel, signature, threads
    return made | _from_cache(names, capability, store or Store()) if names else made


def _from_cache(names: dict[str, Named], capability: Capability, store: Store) -> dict[What, Cubin]:
    bundle = "cubins-" + hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]
    codes = store.read(bundle) if len(names) > 1 else None
    if codes is None or codes.keys() != names.keys():
        codes = dict(sorted(_found(names, capability, store)))
        if len(names) > 1:
            store.write(bundle, codes)
    parted = {what: codes[name].partition(b"\0") for name, what in names.items()}
    return {what: Cubin(name.decode(), code) for what, (name, _, code) in parted.items()}


def _found(names: dict[str, Named], capability: Capability, store: Store) -> Iterator[tuple[str, bytes]]:
    """Cubins by name, read or compiled. Of several processes that start together one compiles, the others read."""
    absent = dict(names)
    yield from _kept(absent, store)
    if not absent:
        return
    with store.alone():
        yield from _kept(absent, store)
        if len(absent) >= MANY:
            words = f"numbaflux: compiling {len(absent)} GPU kernels, once for this machine"
            print(words, file=sys.stderr, flush=True)
        for name, code in compiled(absent, capability, pool().allowed):
            store.tell("built", name)
            store.write(name, {name: code})
            yield name, code


def _kept(absent: dict[str, Named], store: Store) -> Iterator[tuple[str, bytes]]:
    """Those that the cache has, which are then no longer absent."""
    for name in list(absent):
        found = store.read(name)
        if found is not None and found.keys() == {name}:
            store.tell("hit", name)
            del absent[name]
            yield name, found[name]


def compiled(wanted: dict[str, Named], capability: Capability, jobs: int) -> Iterator[tuple[str, bytes]]:
    """Cubins by name, as they come, from up to that many processes at once."""
    count = max(-(-len(wanted) // BATCH), min(jobs, -(-len(wanted) // FEWEST)))
    shares = [dict(sorted(wanted.items())[i::count]) for i in range(count)]
    with ThreadPoolExecutor(jobs) as workers:
        for done in as_completed([workers.submit(_in_child, share, capability) for share in shares]):
            yield from done.result().items()


def _in_child(wanted: dict[str, Named], capability: Capability) -> Objects:
    """Compile in a process of its own."""
    codes, said = in_child("numbaflux.cubin", [[*what, capability] for what in wanted.values()], {})
    if codes is None or len(codes) != len(wanted):
        whom = "" if said.startswith(FAILED) else f"{FAILED}{', '.join(what[0] for what in wanted.values())[:200]}: "
        raise PlanError(f"gpu: {whom}{said[:400]}")
    return {name: codes[str(i)] for i, name in enumerate(wanted)}


def main() -> None:
    """The child: a list of [function, signature, threads, capability] as JSON on standard input, a container of cubins
    on standard output, by their places in the list; each begins with the entry's name and a zero byte. A kernel that
    does not compile ends it with one line that names the kernel and the reason."""
    made = {}
    for i, (function, signature, threads, capability) in enumerate(json.load(sys.stdin)):
        try:
            cubin = build(function, tuple(signature), threads, tuple(capability))
        except Exception as error:
            sys.exit(FAILED + _why(function, signature, error))
        made[str(i)] = cubin.name.encode() + b"\0" + cubin.code
    sys.stdout.buffer.write(pack(made))


if __name__ == "__main__":
    main()
