"""kernel -> entry -> object file: Numba compiles, LLVM writes. Runs in processes of its own, so that the user's
process need not import numba, its settings stay out, and several kernels are compiled at once.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from .objects import Objects, pack, unpack
from .op import PlanError, expect
from .words import argument, argument_type, count

KERNELS = Path(__file__).parent / "kernels"
SYMBOLS = {"memcpy", "memmove", "memset", "_GLOBAL_OFFSET_TABLE_"}  # all that a kernel's object file may ask for
WAITING = {"sched_yield", "clock_gettime"}  # and those of the runner, which waits and measures
Signature = tuple[str, ...]  # "f4:2" an array, "i" an integer, "f8" a number
What = tuple[str, str, Signature]  # module of kernels/, function, signature
BATCH = 12  # entries that one process compiles
WIDE = ",-prefer-256-bit"  # LLVM shuns 512-bit vectors on some CPUs that are faster with them
# Where loops are long and each vector waits for itself, as through the twenty instructions of exp: LLVM is told to work
# on several at once. Short loops, those of a recurrent step, lose by it.
ABREAST = {"cpu.activation", "cpu.elementwise", "cpu.softmax"}
TOGETHER = "-small-loop-cost=60"  # what LLVM takes for a short body; 20 unless told


@functools.cache
def features() -> str:
    """The CPU's features, as the key of everything compiled: LLVM may not know the CPU's name."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_features().flatten()


@functools.cache
def versions() -> str:
    """Versions of the compilers, read without importing numba."""
    spec = importlib.util.find_spec("numba")
    expect(spec is not None, "native", "numba", "installed", "nothing", "pip install numba", PlanError)
    text = (Path(spec.origin).parent / "_version.py").read_text()  # type: ignore[union-attr, arg-type]
    return f"numba {hashlib.sha256(text.encode()).hexdigest()[:16]} llvmlite {llvmlite.__version__}"


@functools.cache
def sources(module: str) -> str:
    """Digest of a kernel module and of every module of kernels/ that it imports."""
    seen: dict[Path, bytes] = {}
    todo = [KERNELS / (module.replace(".", "/") + ".py"), Path(__file__), Path(__file__).with_name("words.py")]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen[path] = path.read_bytes()
        if path.parent in (KERNELS, KERNELS / "cpu"):
            for dots, name, names in re.findall(rb"^from (\.+)(\w*) import (.+)", seen[path], re.M):
                folder = path.parent if len(dots) == 1 else path.parent.parent
                for part in [name] if name else re.findall(rb"\w+", names.split(b" as ")[0]):
                    todo.append(folder / (part.decode() + ".py"))
    digest = hashlib.sha256()
    for path in sorted(seen):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(seen[path]).digest())
    return digest.hexdigest()


@functools.cache
def key(module: str, function: str, signature: Signature) -> str:
    """The name under which an entry is kept: readable, and different when anything that made it is."""
    text = "\n".join([module, function, *signature, sources(module), versions(), features()])
    return f"{module.rpartition('.')[2]}.{function}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def entry(kernel: Any, signature: Signature) -> Any:
    """The C function void(int64 row, int64 tile) that cuts the arguments out of a row and calls the kernel."""
    from llvmlite import ir
    from numba import cfunc, types
    from numba.extending import intrinsic

    argument_types = tuple(argument_type(code, types) for code in signature)
    kernel.compile(argument_types)
    done = kernel.overloads[argument_types]
    # nobody looks at a kernel's status, so what it raises would be lost: Numba keeps each exception under such a name
    raises = "picklebuf" in done.library.get_llvm_str()
    cure = 'use njit(error_model="numpy"), ranges of known step, no new arrays, Build.check for bad input'
    expect(not raises, kernel.__name__, "kernel", "unable to raise", "a statement that can", cure, PlanError)

    @intrinsic
    def invoke(typing: Any, row: Any, tile: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            def pointer(address: Any, item: Any) -> Any:
                return builder.inttoptr(address, item.as_pointer())

            word = ir.IntType(64)
            row = builder.inttoptr(args[0], word.as_pointer())
            values, at = [], 0
            for code, typ in zip(signature, argument_types, strict=True):
                words = [builder.load(builder.gep(row, [word(at + i)])) for i in range(count(code))]
                values.append(argument(context, builder, code, typ, words, args[1], pointer))
                at += len(words)
            context.active_code_library.add_linking_library(done.library)
            # no_propagate: no status is looked at, so the object needs no Python and no reference counts
            context.call_internal_no_propagate(builder, done.fndesc, done.signature, values)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    @cfunc(types.void(types.int64, types.int64), cache=False, error_model="numpy")
    def entry(row, tile):  # type: ignore[no-untyped-def]
        invoke(row, tile)  # type: ignore[call-arg]

    return entry


def _plain(function: Any, arity: int) -> Any:
    """The C function of a njit function of integers (the runner's)."""
    from numba import cfunc, types

    return cfunc(types.void(*[types.int64] * arity), cache=False, error_model="numpy")(function.py_func)


def machine() -> Any:
    target = llvm.Target.from_default_triple()
    name, flags = llvm.get_host_cpu_name(), features() + WIDE
    return target.create_target_machine(cpu=name, features=flags, opt=3, codemodel="jitdefault", jit=True)


def _emit(compiled: Any, name: str, symbols: set[str]) -> bytes:
    """The object file of a cfunc: one exported symbol, everything else internal and optimised away where it can be."""
    module = llvm.parse_assembly(compiled._library.get_llvm_str())
    for thing in [*module.functions, *module.global_variables]:
        if not thing.is_declaration and thing.name != compiled._wrapper_name:
            thing.linkage = llvm.Linkage.internal
    module.get_function(compiled._wrapper_name).name = name
    target = machine()
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    asked = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")} - symbols
    asked |= {v.name for v in module.global_variables if v.is_declaration}
    expect(not asked, name, "kernel", "free of calls (it can raise, print or allocate)", sorted(asked), error=PlanError)
    return bytes(target.emit_object(module))


def build(module: str, function: str, signature: Signature) -> bytes:
    """Compile one entry of kernels/ to an object file. Signatures ("c", arity) are the runner's plain functions."""
    compiled = getattr(importlib.import_module(f"numbaflux.kernels.{module}"), function)
    if signature[0] == "c":
        return _emit(_plain(compiled, int(signature[1])), key(module, function, signature), SYMBOLS | WAITING)
    return _emit(entry(compiled, signature), key(module, function, signature), SYMBOLS)


def build_all(wanted: dict[str, What], jobs: int) -> Iterator[tuple[str, bytes]]:
    """Object files of several entries by name, as they come, from up to that many processes at once."""
    abreast = {name: what for name, what in wanted.items() if what[0] in ABREAST}
    others = {name: what for name, what in wanted.items() if name not in abreast}
    shares = [*_shares(abreast, jobs), *_shares(others, jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(_in_child, share) for share in shares]):
            yield from done.result().items()


def _shares(wanted: dict[str, What], jobs: int) -> list[dict[str, What]]:
    """Parts that take about as long."""
    count = max(-(-len(wanted) // BATCH), min(jobs, len(wanted)))
    return [dict(sorted(wanted.items())[i::count]) for i in range(count)]


def in_child(module: str, wanted: Any, settings: dict[str, str]) -> tuple[Objects | None, str]:
    """What a module of ours makes of this list, in a fresh process under none of the settings of NUMBA_* but these:
    the objects of the container that it prints, None if it fails; and the last line of what it says."""
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    ours = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    made = subprocess.run(  # noqa: S603  # this Python, with arguments of ours
        [sys.executable, "-P", "-m", module],  # -P: else modules would be looked for where one happens to be
        input=json.dumps(wanted).encode(),
        env=ours | settings | {"PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    said = made.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return (None if made.returncode else unpack(made.stdout)), said


def _in_child(wanted: dict[str, What]) -> Objects:
    """Compile in a process of its own, under LLVM's settings of ours."""
    settings = {"NUMBA_CPU_NAME": llvm.get_host_cpu_name(), "NUMBA_CPU_FEATURES": features() + WIDE}
    objects, said = in_child("numbaflux.build", list(wanted.values()), settings)
    if objects is None or objects.keys() != wanted.keys():
        raise PlanError(f"native: could not compile {', '.join(wanted)[:200]}: {said[:300]}")
    return objects


def main() -> None:
    """The child: a list of entries as JSON on standard input, all or none of them of modules in ABREAST; a container of
    their object files on standard output."""
    wanted = [(module, function, tuple(signature)) for module, function, signature in json.load(sys.stdin)]
    if any(module in ABREAST for module, *_ in wanted):
        llvm.set_option("numbaflux", TOGETHER)
    sys.stdout.buffer.write(pack({key(*what): build(*what) for what in wanted}))


if __name__ == "__main__":
    main()
