"""CUDA kernels without a GPU: threads of a block one after another, in a fixed order, from barrier to barrier.

`install()` puts this module in the place of numbaflux.kernels.cuda.jit, the one door of those kernels, so that they are
plain Python here. Found are: a barrier that not all threads reach, one reached at different lines, memory of the block
read before it is written (NaN), a negative index, a vector that does not lie on 16 bytes, and, by running in several
orders, results that depend on the order (a barrier that is missing).
"""

import importlib
import random
import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from numba import from_dtype, njit

from numbaflux.kernels.cuda.launch import WARP as WARP
from numbaflux.kernels.cuda.launch import launch
from numbaflux.kernels.jit import fma as fused

DOOR = "numbaflux.kernels.cuda.jit"
ORDERS = ("forward", "backward", "shuffled")
FLOATS = (np.float32, np.float64)
STAND_INS = "index kernel inlined signed word".split()  # what is Python's own here; all else is a function of this file


class SimulatorError(Exception):
    """Something that a GPU would not forgive, or would not tell."""


# ------------------------------------------------------------------------------------------------------- one block


_get, _set = np.ndarray.__getitem__, np.ndarray.__setitem__


class Checked(np.ndarray):
    """An array whose indices must not be negative. Kernels spend most of their time here: hence no super()."""

    def __getitem__(self, at: Any) -> Any:
        return _get(self, at if type(at) is int and at >= 0 else _right(at))

    def __setitem__(self, at: Any, value: Any) -> None:
        _set(self, at if type(at) is int and at >= 0 else _right(at), value)

    @cached_property
    def memory(self) -> tuple[int, int, int, np.ndarray]:
        """Its address, bytes of an element, how many there are, and they one after the other, unchecked."""
        return self.ctypes.data, self.itemsize, self.size, self.view(np.ndarray).reshape(-1)


def _right(at: Any) -> Any:
    for i in at if isinstance(at, tuple) else (at,):
        if not isinstance(i, slice) and i < 0:
            raise SimulatorError(f"index {i} is negative")
    return at


Place = tuple[CodeType, int]  # a function, and an instruction of it


def _line(place: Place) -> str:
    code, at = place
    return f"{code.co_name}:{list(code.co_positions())[at // 2][0]}"


class Thread(greenlet):
    """A thread of a block, which stops at what it waits for."""

    number: int
    block: "Block"
    waits: tuple[str, Place, Any] | None = None  # for whom, at which place, what it brings
    found: dict[int, Any]  # what each thread brought


@dataclass
class Block:
    """A block of threads, in one order."""

    part: int
    parts: int
    threads: int
    order: str
    memory: dict[tuple[int, np.dtype[Any]], np.ndarray] = field(default_factory=dict)

    def run(self, kernel: Callable[..., None], args: Sequence[Any]) -> None:
        """The kernel in every thread, until all have ended."""
        all_threads = []
        for number in range(self.threads):
            one = Thread(lambda: kernel(*args))
            one.number, one.block, one.found = number, self, {}
            one.gr_context = copy_context()  # NumPy's errstate is part of it
            all_threads.append(one)
        alive = all_threads
        while alive:
            for one in self._ordered([t for t in alive if t.waits is None]):
                one.switch()
            alive = [t for t in alive if not t.dead]
            if alive:
                self._let_go(alive)

    def _ordered(self, threads: list[Thread]) -> list[Thread]:
        if self.order == "shuffled":
            random.Random(0).shuffle(threads)
        return threads[::-1] if self.order == "backward" else threads

    def _let_go(self, alive: list[Thread]) -> None:
        """Let those go on whose barrier all have reached."""
        warps: dict[int, list[Thread]] = {}
        for t in alive:
            warps.setdefault(t.number // WARP, []).append(t)
        ready = [w for w in warps.values() if all(t.waits and t.waits[0] == "warp" for t in w)]
        if not ready and all(t.waits and t.waits[0] == "block" for t in alive):
            ready = [alive]
        if not ready:
            raise SimulatorError("threads wait for each other at different places")
        for together in ready:
            whole = self.threads if together is alive else min(WARP, self.threads - together[0].number // WARP * WARP)
            places = {t.waits[1] for t in together if t.waits}
            if len(together) < whole or len(places) > 1:
                raise SimulatorError(f"{len(together)} of {whole} threads wait at {sorted(map(_line, places))}")
            brought = {t.number % WARP if together is not alive else t.number: t.waits[2] for t in together if t.waits}
            for t in together:
                t.found, t.waits = brought, None


RAN: set[tuple[str, str, str]] = set()  # kernel, dtype, order: for tests/cuda/covered.py
_names: dict[Callable[..., None], str] = {}


def simulate(
    kernel: Callable[..., None], args: Sequence[Any], threads: int, parts: int, order: str = "forward"
) -> None:
    """kernel(*args) for one tile, by so many blocks of so many threads."""
    if kernel in _names:
        kinds = [a.dtype.name for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        RAN.add((_names[kernel], kinds[0] if kinds else "", order))
    given = [a.view(Checked) if isinstance(a, np.ndarray) else int(a) if isinstance(a, np.int64) else a for a in args]
    numbers = range(parts)[::-1] if order == "backward" else range(parts)
    with np.errstate(all="ignore"):
        for part in numbers:
            Block(part, parts, threads, order).run(kernel, given)


def run_entry(kernel: str, codes: Sequence[str], args: Sequence[Any], order: str = "forward") -> None:
    """One tile of a plan's entry, by the threads and blocks that launch.py gives it."""
    shapes = [a.shape if isinstance(a, np.ndarray) else a for a in args]
    chosen = launch(kernel, codes, shapes)
    simulate(find(chosen.name), args, chosen.threads, chosen.parts, order)


def find(kernel: str) -> Callable[..., None]:
    """The function of kernels/cuda by the name that entries have, as plain Python."""
    module, _, name = kernel.rpartition(".")
    function = getattr(importlib.import_module(f"numbaflux.kernels.cuda.{module}"), name)
    _names[function] = kernel
    return function


def install() -> None:
    """Let kernels find this module instead of numba's CUDA. Before any of them is imported."""
    sys.modules[DOOR] = sys.modules[__name__]


# --------------------------------------------------------------------------------- what kernels import from the door


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


inlined = kernel
signed = int
word = np.uint64


def int32(i: Any) -> Any:
    return np.int32((int(i) + 2**31) % 2**32 - 2**31)


def index(i: Any) -> int:
    """A number of 32 bits without a sign. Kernels call this all the time: hence one comparison, by a shift."""
    number = i if type(i) is int else int(i)
    if number >> 32:
        raise SimulatorError(f"index {number} does not fit in 32 bits without a sign")
    return number


_me: Callable[[], Any] = getcurrent  # the Thread


def thread() -> int:
    return _me().number


def threads() -> int:
    return _me().block.threads


def part() -> int:
    return _me().block.part


def parts() -> int:
    return _me().block.parts


def rank() -> int:
    me = _me()
    return me.block.part * me.block.threads + me.number


def ranks() -> int:
    block = _me().block
    return block.parts * block.threads


def _wait(whom: str, value: Any = None) -> dict[int, Any]:
    """Stop until all of the block or of the warp have come here."""
    me, frame = _me(), sys._getframe(2)
    me.waits = whom, (frame.f_code, frame.f_lasti), value
    me.parent.switch()
    return me.found


def barrier() -> None:
    _wait("block")


def from_lane(x: Any, lane: Any) -> Any:
    return _wait("warp", x)[int(lane) % WARP]


def from_partner(x: Any, mask: Any) -> Any:
    return _wait("warp", x)[_me().number % WARP ^ int(mask)]


def _nothing(count: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Memory that nobody has written, on a multiple of 16 bytes."""
    room = np.full(count * dtype.itemsize + 16, 0xFF, np.uint8)  # NaN; the largest, or -1, as an integer
    skip = -room.ctypes.data % 16
    return room[skip : skip + count * dtype.itemsize].view(dtype).view(Checked)


def _kind(x: Any) -> np.dtype[Any]:
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


def shared(count: int) -> Callable[[Any], np.ndarray]:
    def make(x: Any) -> np.ndarray:
        memory, kind = _me().block.memory, _kind(x)
        if (id(make), kind) not in memory:
            memory[id(make), kind] = _nothing(count, kind)
        return memory[id(make), kind]

    return make


def local(count: int) -> Callable[[Any], np.ndarray]:
    nothing = cache(lambda kind: np.array(_nothing(count, kind)))  # indices are known: faster unchecked
    return lambda x: nothing(_kind(x)).copy()


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1)


def aligned(x: Checked) -> bool:
    return x.memory[0] % 16 == 0


def _vector(x: Checked, i: int, count: int = 4) -> np.ndarray:
    """x without checks, where so many numbers from i on are inside of it and on a multiple of their bytes, or of 16."""
    address, itemsize, numbers, plain = x.memory
    size = min(16, count * itemsize)
    if (address + i * itemsize) % size or not 0 <= i <= numbers - count:
        raise SimulatorError(f"the vector at {i} of {numbers} is not on {size} bytes, or not inside")
    return plain


def load4(x: Checked, i: int) -> tuple[Any, ...]:
    plain = _vector(x, i)
    return plain[i], plain[i + 1], plain[i + 2], plain[i + 3]  # several times as fast as a slice


def load2(x: Checked, i: int) -> tuple[Any, ...]:
    return tuple(_vector(x, i, 2)[i : i + 2])


def store4(x: Checked, i: int, a: Any, b: Any, c: Any, d: Any) -> None:
    plain = _vector(x, i)
    plain[i], plain[i + 1], plain[i + 2], plain[i + 3] = a, b, c, d


def fma(x: Any, y: Any, z: Any) -> Any:
    """Rounded once, as the CPU does it."""
    kind = type(x)
    if type(y) is not kind or type(z) is not kind:
        raise SimulatorError(f"fma of {kind.__name__}, {type(y).__name__}, {type(z).__name__}")
    return kind(_fused[kind](x, y, z))


# What a compiled function's dispatcher calls when it knows the types of arguments; to find these out takes longer.
_signatures = {kind: (from_dtype(np.dtype(kind)),) * 3 for kind in FLOATS}
_fma = njit(list(_signatures.values()))(lambda x, y, z: fused(x, y, z))
_fused = {kind: _fma.overloads[signature].entry_point for kind, signature in _signatures.items()}


# Stand-ins for tensor cores: inputs are rounded as the hardware does it, products are exact, and a sum is rounded once:
# how it does that is its own business. That kernels ask for these instructions is what test_cubins.py sees.


def tf32(x: Any) -> Any:
    """Away from zero at a tie."""
    bits = int(np.float32(x).view(np.uint32))
    return int32(bits + 0x1000 & ~0x1FFF if np.isfinite(x) else 0x7FFFFFFF if np.isnan(x) else bits)


def bf16(x: Any, y: Any) -> Any:
    """To the even one at a tie."""
    words = [int(np.float32(v).view(np.uint32)) for v in (x, y)]
    low, high = ((w + 0x7FFF + (w >> 16 & 1) >> 16) if w << 1 & 0xFFFFFFFF <= 0xFF000000 else 0x7FFF for w in words)
    return int32(high << 16 | low & 0xFFFF)


def _as_tf32(words: np.ndarray) -> np.ndarray:
    """(rows, 8) of what tensor cores read in words: they look at 19 bits."""
    return (words & ~np.int32(0x1FFF)).view(np.float32)


def _as_bf16(words: np.ndarray) -> np.ndarray:
    """(rows, 16), the low half of a word first."""
    return (words.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _multiplied(brought: dict[int, Any], numbers: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """C + A B of a warp, as (lane, number of c)."""
    lanes = [brought[lane] for lane in range(WARP)]
    words = np.array([given[:6] for given in lanes], np.int32).reshape(8, 4, 6)  # g, t
    a = np.block([[words[..., 0], words[..., 2]], [words[..., 1], words[..., 3]]])
    b = np.hstack([words[..., 4], words[..., 5]])  # a column of B is a row here
    sums = np.array([given[6:] for given in lanes], np.float32).reshape(8, 4, 2, 2)
    c = numbers(np.ascontiguousarray(a)).astype(np.float64) @ numbers(np.ascontiguousarray(b)).astype(np.float64).T
    made = c.reshape(2, 8, 4, 2).transpose(1, 2, 0, 3) + sums
    return made.reshape(WARP, 4).astype(np.float32)


def _multiply(numbers: Callable[[np.ndarray], np.ndarray]) -> Callable[..., tuple[Any, ...]]:
    def multiply(*given: Any) -> tuple[Any, ...]:
        brought: dict[Any, Any] = _wait("warp", given)
        if "made" not in brought:
            brought["made"] = _multiplied(brought, numbers)
        return tuple(brought["made"][_me().number % WARP])

    return multiply


multiply_tf32, multiply_bf16 = _multiply(_as_tf32), _multiply(_as_bf16)


def bits64(x: Any) -> Any:
    return np.float64(x).view(np.int64)


def from_bits64(x: Any) -> Any:
    return np.int64(x).view(np.float64)


def typed(value: Any, x: Any) -> Any:
    return np.asarray(x).dtype.type(value)


def sqrt(x: Any) -> Any:
    return np.sqrt(x)


def _compiled(module: str) -> SimpleNamespace:
    """The scalar functions of a module as they are on the CPU, with numbers of one type in and out."""
    found = vars(importlib.import_module(f"numbaflux.kernels.{module}"))
    return SimpleNamespace(**{name: _one_type(f) for name, f in found.items() if hasattr(f, "py_func")})


def _one_type(f: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        kind = type(args[0])
        if kind not in FLOATS:
            kind = next(type(a) for a in args if type(a) in FLOATS)
        y = f(*[a if type(a) is kind else kind(a) for a in args])
        return tuple(map(kind, y)) if type(y) is tuple else kind(y)

    return call


scalar, activation = _compiled("scalar"), _compiled("activation")
