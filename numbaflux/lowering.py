"""From an operation to table entries: buffers, arguments cut by tile, and how rows are cut.

An entry runs over `rows` of something (samples, rows of a weight, elements), `block` of them a tile. Blocks come
from shapes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .kernels.cuda.launch import FLOAT32
from .kernels.table import IMAGES
from .op import DeviceError, PlanError, Spec, expect
from .own import Own, name_of

Shape = tuple[int, ...]
BOUNDED = ("norm.apply",)  # kernels whose last argument is the least that they make
LINE = 64  # bytes: every buffer starts on a cache line
BYTES = np.dtype(np.uint8)
SMALL = 4096  # elements a tile should have at least
CACHE = 256 * 1024  # bytes that one array's tile may take where samples are large: a part of a second-level cache


class Storage:
    """Memory that a plan knows of: its own ("temp"), a caller's ("argument", by number), or an array that stays
    ("array")."""

    __slots__ = ("array", "keep", "kind", "nbytes", "number", "once", "spec")

    def __init__(self, nbytes: int, kind: str = "temp", array: Any = None, keep: bool = False) -> None:
        self.nbytes, self.kind, self.array = nbytes, kind, array
        self.keep = keep  # lives as long as the plan
        self.once = array is not None and not array.flags.writeable  # an array that nobody changes
        self.number = -1
        self.spec = Spec((nbytes,), BYTES)


@dataclass(frozen=True, eq=False)
class Buf:
    """A C-contiguous array-to-be over a storage, from a byte on."""

    storage: Storage
    shape: Shape
    dtype: np.dtype[Any]
    offset: int = 0

    @cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def part(self, start: int, *shape: int) -> Buf:
        """The memory from an element on, under another shape."""
        return Buf(self.storage, shape, self.dtype, self.offset + start * self.dtype.itemsize)

    def meets(self, other: Buf) -> bool:
        """Whether two buffers share memory."""
        if self.storage is not other.storage:
            return False
        return self.offset < other.offset + other.nbytes and other.offset < self.offset + self.nbytes


def argument(spec: Spec, number: int) -> Buf:
    """An array that comes with each call."""
    storage = Storage(math.prod(spec.shape) * spec.dtype.itemsize, "argument")
    storage.number, storage.spec = number, spec
    return Buf(storage, spec.shape, spec.dtype)


def as_buf(array: np.ndarray) -> Buf:
    """An array that the plan reads and writes where it is."""
    if not array.flags.c_contiguous:
        raise PlanError(f"plan: array must be C-contiguous, got strides {array.strides}")
    return Buf(Storage(array.nbytes, "array", array=array), array.shape, array.dtype)


def constant(numbers: Any) -> Buf:
    """Integers that a kernel reads as one array: sizes, strides, pads."""
    array = np.array(numbers, np.int64)
    array.flags.writeable = False
    return as_buf(array)


@dataclass(frozen=True)
class Array:
    """An array argument: whole, or its leading size cut to the tile's rows, or whole from a pointer that advances by
    per_row elements a row of the tiling and per_tile elements a tile."""

    buf: Buf
    shape: Shape
    per_row: int = 0
    per_tile: int = 0
    cut: bool = False
    write: bool = False
    lanes: int = 1  # samples that lie side by side: the leading size counts blocks of them

    @property
    def code(self) -> str:
        return f"{self.buf.dtype.kind}{self.buf.dtype.itemsize}:{len(self.shape)}"

    def stride(self, rows: int) -> int:
        """Elements from one row of the tiling to the next."""
        return math.prod(self.shape) // up(rows, self.lanes) if self.cut else self.per_row

    def lead(self, rows: int, block: int) -> int:
        """The leading size of a tile of block rows; 0: all of it."""
        return self.shape[0] // -(-rows // self.lanes) * -(-block // self.lanes) if self.cut else 0


@dataclass(frozen=True)
class Int:
    """An integer argument: start + step * row of the tile's first row."""

    start: int
    per_row: int = 0
    code = "i"


@dataclass(frozen=True)
class Block:
    """An integer argument: the rows a tile has at most."""

    code = "i"


@dataclass(frozen=True)
class Num:
    """A number argument, fixed in the plan: of a float dtype; beside other arrays of float64."""

    value: float
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        if self.dtype.kind != "f":
            object.__setattr__(self, "dtype", np.dtype(np.float64))

    @property
    def code(self) -> str:
        return f"f{self.dtype.itemsize}"


class Origin(NamedTuple):
    """The operation that entries were made for, as it was applied: what a profile says of them."""

    op: str
    inputs: tuple[Buf | None, ...]
    outs: tuple[Buf, ...]
    attrs: dict[str, Any]


@dataclass(eq=False)
class Entry:
    """A kernel and its arguments, run tile by tile; or what Python does between two native calls."""

    kernel: Any
    args: tuple[Array | Int | Block | Num, ...]
    rows: int
    block: int
    fixed: bool  # whether the result depends on the block (slots): then no group may change it
    work: float  # nanoseconds on one core, roughly
    check: Callable[[int], Exception] | None = None  # makes the error from the status word's detail
    commits: bool = False  # changes what outlives the step: runs only when every check has passed
    number: int = 0  # of the entries that were made before
    after: int = 0  # how many of them must be done: in a later group and wave, if any
    origin: Origin | None = None
    host: Callable[[Any], None] | None = None  # called with the instance, in place of a kernel

    @property
    def signature(self) -> tuple[str, ...]:
        return tuple(a.code for a in self.args)

    @property
    def arrays(self) -> list[Array]:
        return [a for a in self.args if isinstance(a, Array)]


class Target(NamedTuple):
    """What a plan's kernels run on, as far as lowering cares."""

    lanes: bool  # whether 16 samples side by side pay where channels are few: vectors are full then
    panels: bool  # whether matrices are packed for caches
    rows: int  # of a product a tile; 0: by its sizes
    pads: bool  # whether columns of zeros stand around images in memory
    positions: int  # queries or keys of an attention a tile; 0: by its sizes, with memory for its scores
    products: str = FLOAT32  # what inputs of products of matrices are rounded to, or who makes them

    @property
    def gpu(self) -> bool:
        return not self.panels

    def rounding(self, products: str) -> Target:
        """The same with products made in another way, which CPUs do not have."""
        good = products == FLOAT32 or self.gpu
        expect(good, "compile", "products", f"{FLOAT32!r} on a CPU", repr(products), error=PlanError)
        return self._replace(products=products)


CPU, GPU = Target(True, True, 0, True, 0), Target(False, False, 128, False, 64)


@dataclass
class Build:
    """Collects the entries of a plan; `status` is the plan's status word and its detail."""

    target: Target = CPU
    entries: list[Entry] = field(default_factory=list)
    aliases: dict[int, Buf] = field(default_factory=dict)
    lanes: dict[tuple[int, int], Buf] = field(default_factory=dict)  # (storage, offset) -> the same in lanes
    panels: dict[tuple[int, ...], Buf] = field(default_factory=dict)  # matrices that are packed already
    after: int = 0  # of the entries made now
    origin: Origin | None = None  # theirs too
    status: Buf = field(default_factory=lambda: Buf(Storage(16, keep=True), (2,), np.dtype(np.int64)))

    def temp(self, shape: Shape, dtype: np.dtype[Any]) -> Buf:
        """Memory of the plan's own."""
        return Buf(Storage(math.prod(shape) * dtype.itemsize), shape, dtype)

    def alias(self, out: Buf, source: Buf) -> None:
        """Let out be the memory of source."""
        self.aliases[id(out.storage)] = source

    def add(
        self, kernel: Any, *args: Array | Int | Block | Num, rows: int, block: int, fixed: bool = False,
        work: float = 0.0, commits: bool = False, cuda: Any = None,
    ) -> None:  # fmt: skip
        """One entry; work defaults to the memory its arrays cover. On a GPU a user's kernel is run by one thread a
        tile, or `cuda` in its place by a block of them."""
        if rows == 0:
            return
        if callable(kernel) and self.target.gpu:
            kernel = Own(cuda or kernel, alone=cuda is None)
        touched = sum(math.prod(a.shape) for a in args if isinstance(a, Array))
        work = work or 0.3 * touched + 10
        number = len(self.entries)
        self.entries.append(
            Entry(kernel, args, rows, block, fixed, work, None, commits, number, self.after, self.origin)
        )

    def host(self, call: Callable[[Any], None], *arrays: Array, commits: bool = False) -> None:
        """Let Python have its turn, with the instance: when what it reads of these arrays is ready, before others read
        what it writes. It is called whatever the status says."""
        self.add(None, *arrays, rows=1, block=1, work=1.0, commits=commits)
        self.entries[-1].host = call

    def bounded(self, x: Buf, out: Buf) -> bool:
        """Let the entry that makes x make out = relu(x) in its place, where its last argument is the least result."""
        e = next((e for e in reversed(self.entries) if e.arrays[0].buf.storage is x.storage), None)
        if e is None or e.kernel not in BOUNDED or out.storage.kind == "array":
            return False
        made = replace(e.arrays[0], buf=out.part(0, *e.arrays[0].buf.shape))
        e.args = made, *e.args[1:-1], Num(0.0, x.dtype)
        return True

    def needed(self) -> list[Entry]:
        """The entries without those that only fill memory of the plan's own which nobody reads."""
        kept: list[Entry] = []
        read: set[int] = set()
        for e in reversed(self.entries):
            written = [a.buf.storage for a in e.arrays if a.write]
            idle = written and all(s.kind == "temp" and not s.keep and id(s) not in read for s in written)
            if e.check is not None or e.host is not None or e.commits or not idle:
                kept.append(e)
                read.update(id(a.buf.storage) for a in e.arrays)
        return kept[::-1]

    def check(self, kernel: Any, *args: Array | Int | Block | Num, error: Callable[[int], Exception]) -> None:
        """An entry that sets the status word, to the number it is given as its last argument, where its input is
        wrong."""
        number = 1 + sum(e.check is not None for e in self.entries)
        status = Array(self.status, (2,), write=True)
        self.add(kernel, status, *args, Int(number), rows=1, block=1)
        self.entries[-1].check = error


def up(n: int, step: int) -> int:
    return -(-n // step) * step


def samples(n: int) -> int:
    """How many of n samples make a tile: one tile up to 32, then 32 and more, about 64 tiles, at most 1024 each.

    >>> [samples(n) for n in (1, 32, 33, 256, 10_000, 10**6)]
    [1, 32, 32, 32, 160, 1024]
    """
    if n <= 32:
        return max(n, 1)
    tiles = min(-(-n // 32), 64)
    return min(1024, up(-(-n // tiles), IMAGES))


def image_block(n: int, nbytes: int) -> int:
    """How many of n samples make a tile where one takes many bytes (images, volumes): fewer, so that a tile of an array
    stays in the core's own cache.

    >>> image_block(64, 4096), image_block(64, 64 * 1024), image_block(64, 2**20)
    (32, 4, 1)
    """
    block = samples(n)
    while block > 1 and block * nbytes > CACHE:
        block = -(-block // 2)
    return block


def leading(shape: Shape) -> int:
    """Rows over which an elementwise entry is cut: the first axis, or the first few where it is short and the array
    large."""
    rows, size = 1, math.prod(shape)
    for extent in shape:
        rows *= extent
        if rows >= 16 or size <= SMALL:
            break
    return rows


def elements_block(rows: int, per_row: int) -> int:
    """Rows a tile for an entry whose cost is in the elements: at least SMALL of them."""
    return min(rows, max(samples(rows), up(-(-SMALL // max(per_row, 1)), 8)))


def cut(buf: Buf, *shape: int, write: bool = False) -> Array:
    """A buffer, as a vector unless a shape is given, its leading size cut by the tiling's rows."""
    return Array(buf, shape or (buf.size,), cut=True, write=write)


def whole(buf: Buf, *shape: int, write: bool = False) -> Array:
    """A buffer that every tile sees whole."""
    return Array(buf, shape or buf.shape or (1,), write=write)


def elementwise(
    b: Build, kernel: Any, out: Buf, *ins: Buf, numbers: Sequence[Int | Num] = (), cost: float = 0.5
) -> None:
    """A kernel over arrays of equal size, as flat vectors: kernel(out, *ins, *numbers)."""
    rows = leading(out.shape)
    arrays = [cut(out, write=True), *map(cut, ins)]
    block = elements_block(rows, out.size // max(rows, 1))
    if callable(kernel) and b.target.gpu:
        rows, block = out.size, 1  # a thread an element: side by side in memory
    b.add(kernel, *arrays, *numbers, rows=rows, block=block, work=cost * out.size + 10)


def _numbers(out: Buf, attrs: dict[str, Any]) -> list[Int | Num]:
    """Attrs as a kernel's last arguments: integers as int64, numbers in the output's dtype."""
    return [Int(int(v)) if isinstance(v, int | np.integer) else Num(float(v), out.dtype) for v in attrs.values()]


def elements(kernel: Any) -> Callable[..., None]:
    """For one's own Op: kernel(y, *inputs, *attrs) over vectors of equal size, cut anywhere; on a GPU a thread has one
    element.

    >>> import numba
    >>> from numbaflux import Op, apply
    >>> @numba.njit
    ... def cube(y, x):
    ...     for i in range(y.size):
    ...         y[i] = x[i] * x[i] * x[i]
    >>> CUBE = Op("cube", shape=lambda x: x, lower=elements(cube), grad=None, reason="only an example")
    >>> apply(CUBE, np.array([2.0, 3.0], np.float32)).tolist()
    [8.0, 27.0]
    """

    def lower(b: Build, out: Buf, *ins: Buf, **attrs: Any) -> None:
        elementwise(b, kernel, out, *ins, numbers=_numbers(out, attrs))

    return lower


def rows(kernel: Any, cuda: Any = None) -> Callable[..., None]:
    """For one's own Op: kernel(y, *inputs, *attrs) over matrices (n, everything else) of equal n, cut by rows. On a
    GPU a thread has one row; or, where rows are long, a block of 256 threads, which all call `cuda` with it."""

    def lower(b: Build, out: Buf, *ins: Buf, **attrs: Any) -> None:
        n = out.shape[0]
        arrays = [cut(x, n, x.size // max(n, 1), write=x is out) for x in (out, *ins)]
        block = 1 if b.target.gpu else elements_block(n, out.size // max(n, 1))
        b.add(kernel, *arrays, *_numbers(out, attrs), rows=n, block=block, cuda=cuda)

    return lower


def one_tile(kernel: Any, cuda: Any = None) -> Callable[..., None]:
    """For one's own Op: kernel(y, *inputs, *attrs) over whole arrays of their own shapes, on one thread. On a GPU all
    256 threads of a block call `cuda` with them, without which there DeviceError is raised."""

    def lower(b: Build, out: Buf, *ins: Buf, **attrs: Any) -> None:
        expect(cuda is not None or not b.target.gpu, name_of(kernel), "cuda", "given for a GPU", "nothing",
               "one_tile(kernel, cuda=a function that a block of threads calls)", DeviceError)  # fmt: skip
        arrays = [whole(x, write=x is out) for x in (out, *ins)]
        b.add(kernel, *arrays, *_numbers(out, attrs), rows=1, block=1, cuda=cuda)

    return lower
