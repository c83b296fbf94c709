"""Object files -> addresses, the runner, and the number of threads. numba is imported for users' own kernels only."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.machinery
import importlib.util
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding as llvm

from .build import Signature, What, build_all, entry, features, key, machine
from .objects import Objects, Store
from .op import PlanError, expect

T = TypeVar("T")
Kernel = str | Any  # "dense.product", or a user's own njit function
WORD = ctypes.c_int64
MANY = 5  # kernels whose compilation takes long enough to be spoken of


def named(kernel: str, signature: Signature) -> tuple[str, What]:
    """The name in the cache of a kernel "dense.product" of kernels/cpu, and what to compile for it."""
    module, _, function = kernel.rpartition(".")
    return key(f"cpu.{module}", function, signature), (f"cpu.{module}", function, signature)


def runner_entries() -> dict[str, What]:
    """The runner's two functions, by their names in the cache."""
    return {key("runner", f, ("c", n)): ("runner", f, ("c", n)) for f, n in (("run", "3"), ("region", "4"))}


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
        names = {pair: named(*pair) for pair in wanted if isinstance(pair[0], str)}
        with self.lock:
            self.need(dict(names.values()))
            return [self.addresses[names[k, s][0]] if isinstance(k, str) else self._own(k, s) for k, s in wanted]

    def _own(self, kernel: Any, signature: Signature) -> int:
        """A user's kernel: compiled in this process, never written."""
        address = self.own.get((id(kernel), signature))
        if address is None:
            compiled = entry(kernel, signature)
            self.kept += [compiled, kernel]
            address = self.own[id(kernel), signature] = compiled.address
        return address

    def need(self, wanted: dict[str, What]) -> None:
        """Load what is not loaded yet: as one bundle where these were needed together before."""
        missing = {name: what for name, what in wanted.items() if name not in self.addresses}
        if not missing:
            return
        bundle = "bundle-" + hashlib.sha256("\n".join(sorted(missing)).encode()).hexdigest()[:32]
        objects = self.store.read(bundle) if len(missing) > 1 else None
        if objects is None or objects.keys() != missing.keys():
            objects = dict(sorted(self.objects(missing, MANY)))
            if len(missing) > 1:
                self.store.write(bundle, objects)
        self._load(objects)

    def objects(self, wanted: dict[str, What], many: float = inf) -> Iterator[tuple[str, bytes]]:
        """Object files by name, read where the cache has them; the others are compiled and kept, which is said where
        they are many. Of several processes that start together (ranks) one compiles, and the others read."""
        absent = dict(wanted)
        yield from self._kept(absent)
        if not absent:
            return
        with self.store.alone():
            yield from self._kept(absent)
            if len(absent) >= many:
                words = f"numbaflux: compiling {len(absent)} kernels, once for this machine (numbaflux cache warm: all)"
                print(words, file=sys.stderr, flush=True)
            for name, code in build_all(absent, pool().allowed):
                self.store.tell("built", name)
                self.store.write(name, {name: code})
                yield name, code

    def _kept(self, absent: dict[str, What]) -> Iterator[tuple[str, bytes]]:
        """Those that the cache has, which are then no longer absent."""
        for name in list(absent):
            found = self.store.read(name)
            if found is not None and found.keys() == {name}:
                self.store.tell("hit", name)
                del absent[name]
                yield name, found[name]

    def _load(self, objects: Objects) -> None:
        features()  # starts LLVM
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
        for code in objects.values():
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self.kept.append(engine)
        for name in objects:
            self.addresses[name] = engine.get_function_address(name)

    @functools.cached_property
    def works(self) -> bool:
        """Whether entries can be made and called natively here; if not, plans are interpreted, with the same
        results."""
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
    def runner(self) -> tuple[Callable[..., None], int]:
        """run(head, first wave, last wave) as one native call without the GIL, and the address of its region."""
        with self.lock:
            self.need(runner_entries())
        names = list(runner_entries())
        call = ctypes.CFUNCTYPE(None, WORD, WORD, WORD)(self.addresses[names[0]])
        return call, self.addresses[names[1]]


def _named_threads() -> int:
    """How many threads the environment asks for; 0: it does not."""
    for name in ("NUMBA_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        text = os.environ.get(name)
        if text:
            good = text.isdecimal() and int(text) > 0
            expect(good, "native", f"the environment variable {name}", "a number of threads from 1 on", text)
            return int(text)
    return 0


class Threads:
    """Numba's threading layer, loaded without numba; how many threads a plan may use."""

    def __init__(self) -> None:
        self.allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.count = self.limit = min(_named_threads() or self.allowed, self.allowed)
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


def once(make: Callable[[], T]) -> Callable[[], T]:
    """make, called once in this process, also where several threads ask first together (functools.cache would call it
    for each of them)."""
    lock, made = threading.Lock(), list[T]()

    @functools.wraps(make)
    def one() -> T:
        if not made:
            with lock:
                if not made:
                    made.append(make())
        return made[0]

    return one


@once
def native() -> Native:
    """What this process has loaded."""
    return Native()


@once
def pool() -> Threads:
    """The threads of this process."""
    return Threads()


def set_num_threads(n: int) -> None:
    """Let every plan from now on use n threads (1 up to the CPUs of this process). Results do not depend on it.

    >>> set_num_threads(1)
    """
    _use(n, "set_num_threads")


def _use(n: int, where: str) -> None:
    expect(isinstance(n, int) and 1 <= n <= pool().limit, where, "n", f"in 1..{pool().limit}", n)
    pool().count = n


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Plans use n threads inside a with statement, and as many as before behind it. Results do not depend on it.

    >>> with threads(1):
    ...     pass
    """
    before = pool().count
    _use(n, "threads")
    try:
        yield
    finally:
        pool().count = before
