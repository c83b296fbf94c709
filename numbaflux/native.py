"""kernel -> entry -> object file -> address, the runner, and the number of threads.

The only file that touches private parts of numba and llvmlite. numba is imported when something must be compiled, else never.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from .objects import Objects, Store
from .op import PlanError, expect

KERNELS = Path(__file__).parent / "kernels"
SYMBOLS = {"memcpy", "memmove", "memset", "_GLOBAL_OFFSET_TABLE_"}  # all that an object file may ask for
Kernel = str | Any  # "dense.product", or a user's own njit function
Signature = tuple[str, ...]  # "f4:2" an array, "i" an integer, "f8" a number
WORD = ctypes.c_int64


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
    todo = [KERNELS / (module.replace(".", "/") + ".py"), Path(__file__)]
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


def _argument_type(code: str) -> Any:
    from numba import types

    if code == "i":
        return types.int64
    scalar = {"f4": types.float32, "f8": types.float64, "i1": types.int8, "i2": types.int16, "i4": types.int32}
    scalar |= {"i8": types.int64, "u1": types.uint8, "u2": types.uint16, "u4": types.uint32, "u8": types.uint64}
    scalar |= {"b1": types.boolean}
    kind, _, rank = code.partition(":")
    return types.Array(scalar[kind], int(rank), "C") if rank else scalar[kind]


def _unpack(context: Any, builder: Any, typ: Any, row: Any, at: int, tile: Any) -> tuple[Any, int]:
    """The kernel's argument of type typ from the words row[at:], cut to the tile, and where the next one starts (kernels/table.py)."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    word = ir.IntType(64)

    def get(i: int) -> Any:
        return builder.load(builder.gep(row, [word(i)]))

    if isinstance(typ, types.Array):
        array = context.make_array(typ)(context, builder)
        item = context.get_data_type(typ.dtype)
        size = context.get_abi_sizeof(item)
        data = builder.add(get(at), builder.mul(tile, get(at + 1)))
        total, block = get(at + 2), get(at + 3)
        left = builder.sub(total, builder.mul(tile, block))
        part = builder.select(builder.icmp_signed("<", left, block), left, block)
        part = builder.select(builder.icmp_signed("<", part, word(0)), word(0), part)
        shape = [builder.select(builder.icmp_signed("==", block, word(0)), total, part)]
        shape += [get(at + 4 + i) for i in range(typ.ndim - 1)]
        strides, step = [], word(size)
        for extent in reversed(shape):
            strides.insert(0, step)
            step = builder.mul(step, extent)
        context.populate_array(
            array, data=builder.inttoptr(data, item.as_pointer()), shape=cgutils.pack_array(builder, shape),
            strides=cgutils.pack_array(builder, strides), itemsize=word(size), meminfo=None,
        )  # fmt: skip
        return array._getvalue(), at + 3 + typ.ndim
    if isinstance(typ, types.Float):
        bits = get(at) if typ.bitwidth == 64 else builder.trunc(get(at), ir.IntType(32))
        return builder.bitcast(bits, context.get_value_type(typ)), at + 1
    return builder.add(get(at), builder.mul(tile, get(at + 1))), at + 2


def _entry(kernel: Any, signature: Signature) -> Any:
    """The C function void(int64 row, int64 tile) that cuts the arguments out of a row and calls the kernel."""
    from llvmlite import ir
    from numba import cfunc, types
    from numba.extending import intrinsic

    argument_types = tuple(map(_argument_type, signature))
    kernel.compile(argument_types)
    done = kernel.overloads[argument_types]

    @intrinsic
    def invoke(typing: Any, row: Any, tile: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            row = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
            values, at = [], 0
            for typ in argument_types:
                value, at = _unpack(context, builder, typ, row, at, args[1])
                values.append(value)
            context.active_code_library.add_linking_library(done.library)
            # no_propagate: no status is looked at, so the object needs no Python and no reference counts
            context.call_internal_no_propagate(builder, done.fndesc, done.signature, values)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    @cfunc(types.void(types.int64, types.int64), cache=False, error_model="numpy")
    def entry(row, tile):  # type: ignore[no-untyped-def]
        invoke(row, tile)

    return entry


def _plain(function: Any, arity: int) -> Any:
    """The C function of a njit function of integers (the runner's)."""
    from numba import cfunc, types

    names = ", ".join(f"a{i}" for i in range(arity))
    call = {2: lambda a0, a1: function(a0, a1), 3: lambda a0, a1, a2: function(a0, a1, a2)}
    call[4] = lambda a0, a1, a2, a3: function(a0, a1, a2, a3)
    expect(arity in call, "native", "arity", "2 to 4", names)
    return cfunc(types.void(*[types.int64] * arity), cache=False, error_model="numpy")(call[arity])


def _machine() -> Any:
    target = llvm.Target.from_default_triple()
    name, flags = llvm.get_host_cpu_name(), features()
    return target.create_target_machine(cpu=name, features=flags, opt=3, codemodel="jitdefault", jit=True)


def _emit(compiled: Any, name: str) -> bytes:
    """The object file of a cfunc: one exported symbol, everything else internal and optimised away where it can be."""
    module = llvm.parse_assembly(compiled._library.get_llvm_str())
    for thing in [*module.functions, *module.global_variables]:
        if not thing.is_declaration and thing.name != compiled._wrapper_name:
            thing.linkage = llvm.Linkage.internal
    module.get_function(compiled._wrapper_name).name = name
    machine = _machine()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    asked = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")} - SYMBOLS
    asked |= {v.name for v in module.global_variables if v.is_declaration}
    expect(not asked, name, "kernel", "free of calls (it can raise, print or allocate)", sorted(asked), error=PlanError)
    return bytes(machine.emit_object(module))


def build(module: str, function: str, signature: Signature) -> bytes:
    """Compile one entry of kernels/ to an object file. Signatures ("c", arity) are the runner's plain functions."""
    compiled = getattr(importlib.import_module(f"numbaflux.kernels.{module}"), function)
    made = _plain(compiled, int(signature[1])) if signature[0] == "c" else _entry(compiled, signature)
    return _emit(made, key(module, function, signature))


class Native:
    """What this process has loaded: addresses of entries, by key."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store()
        self.addresses: dict[str, int] = {}
        self.kept: list[Any] = []  # engines and users' cfuncs: freed code must not be called
        self.own: dict[tuple[int, Signature], int] = {}
        self.lock = threading.RLock()

    def find(self, wanted: Sequence[tuple[Kernel, Signature]]) -> list[int]:
        """Addresses of entries, loaded from the cache as one bundle, compiled where missing."""
        with self.lock:
            keys = {
                key(f"cpu.{k.rpartition('.')[0]}", k.rpartition(".")[2], s): (k, s)
                for k, s in wanted if isinstance(k, str)
            }  # fmt: skip
            self._need({name: (f"cpu.{k.rpartition('.')[0]}", k.rpartition(".")[2], s) for name, (k, s) in keys.items()})
            named = {pair: name for name, pair in keys.items()}
            return [self.addresses[named[k, s]] if isinstance(k, str) else self._own(k, s) for k, s in wanted]

    def _own(self, kernel: Any, signature: Signature) -> int:
        """A user's kernel: compiled in this process, never written."""
        address = self.own.get((id(kernel), signature))
        if address is None:
            compiled = _entry(kernel, signature)
            self.kept += [compiled, kernel]
            address = self.own[id(kernel), signature] = compiled.address
        return address

    def _need(self, wanted: dict[str, tuple[str, str, Signature]]) -> None:
        missing = {name: what for name, what in wanted.items() if name not in self.addresses}
        if not missing:
            return
        bundle = "bundle-" + hashlib.sha256("\n".join(sorted(missing)).encode()).hexdigest()[:32]
        objects = self.store.read(bundle) if len(missing) > 1 else None
        if objects is None or objects.keys() != missing.keys():
            objects = {name: self.compiled(name, what) for name, what in sorted(missing.items())}
            if len(missing) > 1:
                self.store.write(bundle, objects)
        self._load(objects)

    def compiled(self, name: str, what: tuple[str, str, Signature]) -> bytes:
        found = self.store.read(name)
        if found is not None and found.keys() == {name}:
            self.store.tell("hit", name)
            return found[name]
        self.store.tell("built", name)
        code = build(*what)
        self.store.write(name, {name: code})
        return code

    def _load(self, objects: Objects) -> None:
        features()  # starts LLVM
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
        for code in objects.values():
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self.kept.append(engine)
        for name in objects:
            self.addresses[name] = engine.get_function_address(name)

    @functools.cached_property
    def works(self) -> bool:
        """Whether entries can be made and called natively here; if not, plans are interpreted, with the same results."""
        if os.environ.get("NUMBAFLUX_NATIVE") == "0":
            return False
        try:
            numbers = (ctypes.c_double * 9)(1, 0.5, 0.25, 0.5, 0.25)
            row = (WORD * 4)(ctypes.addressof(numbers), 0, 9, 0)
            [tick] = self.find([("optim.tick", ("f8:1",))])
            ctypes.CFUNCTYPE(None, WORD, WORD)(tick)(ctypes.addressof(row), 0)
            good = numbers[:3] == [2.0, 0.25, 0.0625] and self.runner[1] != 0
        except (AttributeError, ImportError, TypeError, RuntimeError, PlanError) as error:  # private parts have changed
            good, reason = False, f"{type(error).__name__}: {error}"
        else:
            reason = "the self-test gave a wrong result"
        if not good:
            warnings.warn(f"numbaflux runs slowly: native kernels do not work here ({reason[:200]})", stacklevel=2)
        return good

    @functools.cached_property
    def runner(self) -> tuple[Callable[[int, int, int], None], int]:
        """run(head, first wave, last wave) as one native call without the GIL, and the address of its region."""
        names = {f: key("runner", f, ("c", n)) for f, n in (("run", "3"), ("region", "4"))}
        with self.lock:
            self._need({names[f]: ("runner", f, ("c", n)) for f, n in (("run", "3"), ("region", "4"))})
        call = ctypes.CFUNCTYPE(None, WORD, WORD, WORD)(self.addresses[names["run"]])
        return call, self.addresses[names["region"]]


class Threads:
    """Numba's threading layer, loaded without numba; how many threads a plan may use."""

    def __init__(self) -> None:
        self.allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        named = os.environ.get("NUMBA_NUM_THREADS") or os.environ.get("SLURM_CPUS_PER_TASK")
        self.count = self.limit = max(1, min(int(named), self.allowed)) if named else self.allowed
        self.layer = ""
        self.forked = self.warned = False
        self.exclusive = threading.Lock()  # the workqueue layer takes one region at a time
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.forked = "parallel_for" in self.__dict__

    def now(self) -> int:
        """Threads for the next call: one in a child of fork, where the layer's threads do not exist."""
        if self.forked and not self.warned:
            self.warned = True
            warnings.warn("numbaflux runs on one thread in a forked child: start workers by spawn", stacklevel=4)
        return 1 if self.forked else self.count

    @functools.cached_property
    def parallel_for(self) -> int:
        """Address of the threading layer's parallel_for, its threads started."""
        spec = importlib.util.find_spec("numba")
        folder = Path(spec.origin).parent / "np" / "ufunc"  # type: ignore[union-attr, arg-type]
        for self.layer in ("omppool", "workqueue"):
            for path in sorted(folder.glob(self.layer + "*.so")):
                try:
                    name = f"numba.np.ufunc.{self.layer}"
                    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
                    pool: Any = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))  # type: ignore[arg-type]
                    loader.exec_module(pool)
                except ImportError:
                    continue
                ctypes.CFUNCTYPE(None, ctypes.c_int)(pool.launch_threads)(self.limit)
                return int(pool.parallel_for)
        raise PlanError("native: numba's threading layer cannot be loaded; run with NUMBA_NUM_THREADS=1")


@functools.cache
def native() -> Native:
    return Native()


@functools.cache
def threads() -> Threads:
    return Threads()


def set_num_threads(n: int) -> None:
    """Let every plan from now on use n threads (1 up to the CPUs of this process). Results do not depend on it.

    >>> set_num_threads(1)
    """
    expect(isinstance(n, int) and 1 <= n <= threads().limit, "set_num_threads", "n", f"in 1..{threads().limit}", n)
    threads().count = n
