"""Products of matrices: dense layers, matmul with either side transposed, batches of them. One kernel, many strides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..cublas import KERNEL, WORKSPACE
from ..kernels.cuda.launch import CUBLAS, FLOAT32
from ..lowering import BYTES, Array, Block, Buf, Build, Int, cut, elements_block, samples, whole
from ..op import DTypeError, Op, ShapeError, Spec, example, expect
from .reduce import SUM
from .slots import join, own, slots

SPEED = 50.0  # multiply-adds a nanosecond on one core, for estimates
SLOTS = 2.0  # how much more memory than partial sums the samples must take, for partial sums to pay
LARGE = 128 * 1024  # bytes of B from which packed panels pay where each is used for many rows
STRIPS = 256 * 1024  # bytes of A from which packed strips pay where A is walked across its rows
WIDE = 512 * 1024  # bytes of B from which tiles of columns pay, where A has few rows
ALONG, ACROSS = (4, 32), (2, 256)  # how few: of a B that is packed in runs along its rows, of one that lies across
COLUMNS, MOST = 48, 240  # of such a tile: the panels of one stay in L2; along rows some more, for longer runs
NARROW = 16  # columns up to which a gradient of weights is computed turned over


@dataclass(frozen=True)
class Product:
    """C (m, n) = start + A (m, k) B (k, n): sizes, and elements from one row and one column of A and B to the next."""

    m: int
    n: int
    k: int
    a_row: int
    a_k: int
    b_row: int
    b_col: int

    @property
    def work(self) -> float:
        return self.m * self.n * self.k / SPEED + 30


def _wants_panels(b: Build, p: Product, size: int) -> bool:
    """Whether B pays to be packed: always where it lies across, else where it is large for its use."""
    if not b.target.panels:
        return p.b_col != 1
    nbytes = p.k * p.n * size
    uneven = p.b_row * size % 1024 == 0  # rows of a power of two fall on the same few lines of the cache
    return p.b_col != 1 or (p.m >= 64 and nbytes > LARGE) or (p.m >= 16 and nbytes > LARGE // 2 and uneven)


def in_panels(b: Build, p: Product, right: Buf) -> Buf:
    """B in panels, packed by several tiles; once, however many products it stands in."""
    key = id(right.storage), right.offset, p.k, p.n, p.b_row, p.b_col
    if key in b.panels:
        return b.panels[key]
    panels = b.panels[key] = b.temp((p.k * p.n,), right.dtype)
    b.add("dense.pack", whole(panels, write=True), whole(right, right.size), Int(p.n), Int(p.n), Int(p.k), Int(p.k),
          Int(0, 1), Block(), Int(p.b_row), Int(p.b_col),
          rows=p.k, block=elements_block(p.k, p.n), work=0.5 * p.k * p.n)  # fmt: skip
    return panels


def nothing(like: Buf) -> Array:
    """An empty array: start from zero."""
    return Array(like.part(0, 0), (0,))


def _row_block(b: Build, p: Product, size: int) -> int:
    """Rows of C a tile: more where B is large, so that it is read less often; those of a block of tensor cores."""
    if b.target.products != FLOAT32:
        return b.target.rows
    return b.target.rows or 64 if p.m >= 256 and p.k * p.n * size > LARGE else samples(p.m)


def by_rows(b: Build, p: Product, out: Buf, left: Buf, right: Buf, start: Buf | None) -> None:
    """Tiles are blocks of C's rows."""
    size = out.dtype.itemsize
    packed = int(_wants_panels(b, p, size))
    right = in_panels(b, p, right) if packed else right
    b.add(
        "dense.product", cut(out, p.m * p.n, write=True),
        cut(left, left.size) if p.a_row == p.k else Array(left, (left.size,), per_row=p.a_row),
        whole(right, right.size), whole(start, p.n) if start else nothing(right),
        Block(), Int(p.m, -1), Int(p.n), Int(p.n), Int(p.k), Int(p.k),
        Int(p.n), Int(p.a_row), Int(p.a_k), Int(p.b_row), Int(0), Int(packed),
        rows=p.m, block=_row_block(b, p, size), work=p.work,
    )  # fmt: skip


def by_columns(b: Build, p: Product, out: Buf, left: Buf, right: Buf, start: Buf | None) -> None:
    """Tiles are blocks of C's columns, where B is large and A small: each tile packs its own part of B first."""
    block = COLUMNS if p.b_col != 1 else min(MOST, max(COLUMNS, p.n // 8 // COLUMNS * COLUMNS))
    panels = b.temp((p.k * p.n,), right.dtype)
    b.add("dense.pack", cut(panels, p.k * p.n, write=True), Array(right, (right.size,), per_row=p.b_col),
          Block(), Int(p.n, -1), Int(p.k), Int(p.k), Int(0), Int(p.k), Int(p.b_row), Int(p.b_col),
          rows=p.n, block=block, work=0.5 * p.k * p.n)  # fmt: skip
    b.add(
        "dense.product", Array(out, (out.size,), per_row=1, write=True), whole(left, left.size),
        cut(panels, p.k * p.n), Array(start, (p.n,), per_row=1) if start else nothing(left),
        Int(p.m), Int(p.m), Block(), Int(p.n, -1), Int(p.k), Int(p.k),
        Int(p.n), Int(p.a_row), Int(p.a_k), Int(0), Int(0), Int(1), rows=p.n, block=block, work=p.work,
    )  # fmt: skip


def by_strips(b: Build, p: Product, out: Buf, left: Buf, right: Buf) -> None:
    """Tiles are blocks of C's rows, A is walked across its own: each tile packs its part of A first."""
    panels = in_panels(b, p, right)
    strips = b.temp((p.m * p.k,), left.dtype)
    block = 64 if p.m >= 128 else samples(p.m)
    b.add("dense.pack_rows", cut(strips, p.m * p.k, write=True), Array(left, (left.size,), per_row=p.a_row),
          Block(), Int(p.m, -1), Int(p.k), Int(p.k), Int(p.a_row), Int(p.a_k),
          rows=p.m, block=block, work=0.5 * p.m * p.k)  # fmt: skip
    b.add(
        "dense.product", cut(out, p.m * p.n, write=True), cut(strips, p.m * p.k), whole(panels), nothing(left),
        Block(), Int(p.m, -1), Int(p.n), Int(p.n), Int(p.k), Int(p.k),
        Int(p.n), Int(0), Int(0), Int(0), Int(0), Int(3), rows=p.m, block=block, work=p.work,
    )  # fmt: skip


def by_depth(b: Build, p: Product, out: Buf, left: Buf, right: Buf) -> None:
    """Tiles are blocks of depth (samples), each with a C of its own; then their sum, in order."""
    block = samples(p.k)
    places = slots(b, out, -(-p.k // block))
    b.add(
        "dense.product", own(places, p.m * p.n),
        cut(left, left.size), cut(right, right.size), nothing(left),
        Int(p.m), Int(p.m), Int(p.n), Int(p.n), Block(), Int(p.k, -1),
        Int(p.n), Int(p.a_row), Int(p.a_k), Int(p.b_row), Int(0), Int(0),
        rows=p.k, block=block, fixed=True, work=p.work,
    )  # fmt: skip
    join(b, out, places)


def turned(b: Build, p: Product, out: Buf, left: Buf, right: Buf) -> None:
    """C transposed = B' A, where C has few columns: they become rows, and A's neighbours fill the vectors."""
    over = Product(p.n, p.m, p.k, 1, p.b_row, p.a_k, 1)
    if p.n == 1:
        by_depth(b, over, out, right, left)
        return
    c = b.temp((p.n, p.m), out.dtype)
    by_depth(b, over, c, right, left)
    b.add("dense.pack", whole(out, out.size, write=True), whole(c, c.size), Int(p.n), Int(p.n), Int(p.m), Int(p.m),
          Int(0), Int(p.m), Int(1), Int(p.m), rows=1, block=1)  # fmt: skip


def _as_columns(row: int, step: int, width: int) -> tuple[Int, Int]:
    """Of a matrix whose rows are columns to cuBLAS: elements from one to the next; 1 where it lies transposed."""
    return (Int(max(row, width)), Int(0)) if step == 1 else (Int(step), Int(1))


def by_cublas(b: Build, p: Product, out: Buf, left: Buf, right: Buf, start: Buf | None = None, count: int = 1) -> bool:
    """C' = B' A', one or a stack of them, where the plan's products are cuBLAS's; it adds to a bias that is there. It
    runs whatever the status says, so C is never what outlives a step that has failed."""
    if b.target.products != CUBLAS or p.k == 0 or out.size == 0:
        return False
    if start:
        b.add("rows.broadcast", cut(out, p.m, p.n, write=True), whole(start, p.n),
              rows=p.m, block=elements_block(p.m, p.n))  # fmt: skip
    b.add(
        KERNEL, whole(out, out.size, write=True), whole(right, right.size), whole(left, left.size),
        whole(b.temp((WORKSPACE,), BYTES), write=True), Int(p.n), Int(p.m), Int(p.k),
        *_as_columns(p.b_row, p.b_col, p.n), *_as_columns(p.a_row, p.a_k, p.k), Int(count), Int(int(start is not None)),
        rows=1, block=1, work=count * p.work,
    )  # fmt: skip
    return True


def lower_product(b: Build, p: Product, out: Buf, left: Buf, right: Buf, start: Buf | None = None) -> None:
    """Which way, by shapes: small results of long sums go by depth, so that samples stay in cache."""
    if by_cublas(b, p, out, left, right, start):
        return
    across = p.a_row == 1 and p.a_k > 1 and p.b_col == 1  # a gradient of weights: A is walked along its samples
    slots = -(-p.k // samples(p.k)) * p.m * p.n
    few = ALONG if p.b_col == 1 else ACROSS
    if across and p.k > 0 and (p.k <= 32 or slots * SLOTS <= p.k * (p.m + p.n)):
        narrow = p.n <= min(NARROW, p.m - 1) and (p.n == 1 or p.k >= 256)
        (turned if narrow else by_depth)(b, p, out, left, right)
    elif b.target.panels and across and p.k * p.m * out.dtype.itemsize > STRIPS:
        by_strips(b, p, out, left, right)
    elif b.target.panels and p.k * p.n * out.dtype.itemsize > WIDE and few[0] <= p.m <= few[1]:
        by_columns(b, p, out, left, right, start)
    else:
        by_rows(b, p, out, left, right, start)


def _check(name: str, *arrays: tuple[str, Spec]) -> None:
    first = arrays[0][1]
    for argument, x in arrays:
        expect(x.dtype.kind == "f", name, argument, "an array of float32 or float64", str(x.dtype),
               "x.astype(np.float32)", DTypeError)  # fmt: skip
        expect(x.dtype == first.dtype, name, argument, f"of {first.dtype} as {arrays[0][0]}", str(x.dtype),
               "x.astype(np.float32) or nf.f64(model)", DTypeError)  # fmt: skip


def _dense_shape(x: Spec, w: Spec, bias: Spec | None) -> Spec:
    expect(len(w.shape) == 2, "dense", "w", "of shape (in, out)", str(w.shape), error=ShapeError)
    good = len(x.shape) >= 1 and x.shape[-1] == w.shape[0]
    expect(good, "dense", "x", f"of shape (..., {w.shape[0]})", str(x.shape), error=ShapeError)
    fits = bias is None or bias.shape == w.shape[1:]
    expect(fits, "dense", "b", f"of shape ({w.shape[1]},)", str(bias and bias.shape), error=ShapeError)
    _check("dense", ("w", w), ("x", x), *([("b", bias)] if bias else []))
    return Spec((*x.shape[:-1], w.shape[1]), x.dtype)


def _dense_lower(b: Build, out: Buf, x: Buf, w: Buf, bias: Buf | None) -> None:
    k, n = w.shape
    lower_product(b, Product(math.prod(x.shape[:-1]), n, k, k, 1, n, 1), out, x, w, bias)


def _dense_grad_b(c: Any, dy: Any) -> Any:
    return c.apply(SUM, dy, start=0, stop=len(dy.shape) - 1, scale=1.0)


# x (..., in) w (in, out) + b
DENSE = Op(
    "dense",
    _dense_shape,
    _dense_lower,
    (
        lambda c, dy: c.apply(MATMUL, dy, c.inputs[1], ta=False, tb=True),
        lambda c, dy: c.apply(MATMUL, c.x, dy, ta=True, tb=False),
        _dense_grad_b,
    ),
    examples=(example("fff", (2, 3), (3, 4), (4,)),),
)


def _sides(a: tuple[int, ...], b: tuple[int, ...], ta: bool, tb: bool) -> Product:
    """The product of two matrices, given as (rows, columns) in memory."""
    m, k = (a[1], a[0]) if ta else a
    n = b[0] if tb else b[1]
    return Product(m, n, k, *((1, a[1]) if ta else (a[1], 1)), *((1, b[1]) if tb else (b[1], 1)))


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return math.prod(shape[:-1]), shape[-1]


def _matmul_shape(a: Spec, b: Spec, ta: bool, tb: bool) -> Spec:
    _check("matmul", ("a", a), ("b", b))
    if ta:
        good = a.shape[:-1] == b.shape[:-1]
        expect(good, "matmul", "b", f"of shape {a.shape[:-1]} + (columns,)", str(b.shape), error=ShapeError)
        return Spec((a.shape[-1], b.shape[-1]), a.dtype)
    k = b.shape[1] if tb else b.shape[0]
    expect(a.shape[-1] == k, "matmul", "a", f"of shape (..., {k})", str(a.shape), error=ShapeError)
    return Spec((*a.shape[:-1], b.shape[0] if tb else b.shape[1]), a.dtype)


def _matmul_lower(b: Build, out: Buf, left: Buf, right: Buf, ta: bool, tb: bool) -> None:
    lower_product(b, _sides(_matrix(left.shape), _matrix(right.shape), ta, tb), out, left, right)


def _grads(op: str) -> tuple[Any, Any]:
    """d(AB): with either side transposed, each gradient is again such a product."""

    def left(c: Any, dy: Any) -> Any:
        b, ta, tb = c.inputs[1], c.attrs["ta"], c.attrs["tb"]
        this = MATMUL if op == "matmul" else BATCHED
        return c.apply(this, b, dy, ta=tb, tb=True) if ta else c.apply(this, dy, b, ta=False, tb=not tb)

    def right(c: Any, dy: Any) -> Any:
        a, ta, tb = c.x, c.attrs["ta"], c.attrs["tb"]
        this = MATMUL if op == "matmul" else BATCHED
        return c.apply(this, dy, a, ta=True, tb=ta) if tb else c.apply(this, a, dy, ta=not ta, tb=False)

    return left, right


# A (..., k) B (k, n); ta: the leading axes of A and B are summed over; tb: B lies as (n, k). Never both.
MATMUL: Op = Op(
    "matmul",
    _matmul_shape,
    _matmul_lower,
    _grads("matmul"),
    examples=(
        example("ff", (2, 3), (4, 3), ta=False, tb=True),
        example("ff", (500, 2), (500, 3), ta=True, tb=False),
        example("ff", (64, 2000), (64, 2000), ta=True, tb=False),
    ),
)


def _batched_shape(a: Spec, b: Spec, ta: bool, tb: bool) -> Spec:
    _check("matmul", ("a", a), ("b", b))
    expect(
        a.shape[:-2] == b.shape[:-2], "matmul", "b", f"of shape {a.shape[:-2]} + (k, n)", str(b.shape), error=ShapeError
    )
    p = _sides(a.shape[-2:], b.shape[-2:], ta, tb)
    inside = b.shape[-1] if tb else b.shape[-2]
    expect(p.k == inside, "matmul", "b", f"with {p.k} rows", str(b.shape), error=ShapeError)
    return Spec((*a.shape[:-2], p.m, p.n), a.dtype)


def _batched_lower(b: Build, out: Buf, left: Buf, right: Buf, ta: bool, tb: bool) -> None:
    """One matrix a tile; a B that lies transposed is packed by the tile that uses it."""
    p = _sides(left.shape[-2:], right.shape[-2:], ta, tb)
    count = math.prod(out.shape[:-2])
    if by_cublas(b, p, out, left, right, count=count):
        return
    packed = p.b_col != 1
    matrices = Array(right, (count * p.k * p.n,), cut=True)
    if packed:
        panels = b.temp((count, p.k * p.n), right.dtype)
        b.add("dense.pack", Array(panels, (count * p.k * p.n,), cut=True, write=True), matrices, Int(p.n),
              Int(p.n), Int(p.k), Int(p.k), Int(0), Int(p.k), Int(p.b_row), Int(p.b_col), rows=count, block=1,
              fixed=True, work=0.5 * count * p.k * p.n)  # fmt: skip
        matrices = Array(panels, (count * p.k * p.n,), cut=True)
    b.add(
        "dense.product", Array(out, (count * p.m * p.n,), cut=True, write=True),
        Array(left, (count * p.m * p.k,), cut=True), matrices, nothing(left),
        Int(p.m), Int(p.m), Int(p.n), Int(p.n), Int(p.k), Int(p.k),
        Int(p.n), Int(p.a_row), Int(p.a_k), Int(p.b_row), Int(0), Int(int(packed)),
        rows=count, block=1, fixed=True, work=count * p.work,
    )  # fmt: skip


# one product a matrix of a stack: A (..., m, k) B (..., k, n)
BATCHED = Op(
    "batched_matmul",
    _batched_shape,
    _batched_lower,
    _grads("batched"),
    examples=(example("ff", (2, 3, 4), (2, 4, 5), ta=False, tb=False),),
)

OPS = (DENSE, MATMUL, BATCHED)
