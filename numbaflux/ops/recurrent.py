"""Recurrent layers as operations: all steps forward, and backward through time with the gradients of all weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernels import cells as K
from ..kernels.cuda.launch import CHAINS, chain_room, chained
from ..lowering import Array, Block, Buf, Build, Int, cut, up, whole
from ..op import DTypeError, Op, RangeError, ShapeError, Spec, example, expect
from .dense import SPEED, Product, in_panels, lower_product, nothing
from .elementwise import ADD
from .move import PLACE, RESHAPE
from .reduce import reduce_lower
from .slots import join, own, slots
from .unrolled import unrolled

TILE, LARGE = 8, 512 * 1024  # samples a tile; bytes of weights from which tiles are larger, so that these are read less
TILES = 64  # at most about as many
ROWS = 64  # samples and steps that are worked off together
PITCH = 16  # numbers between rows of scratch: powers of two fall on the same few lines of the cache
LONG = 200e3  # nanoseconds of a step that is worth more than one thread
GATE = 2.0  # nanoseconds for the functions of a unit's gate
NONE = (0,)
BLOCKS, TOGETHER = 128, 4  # of a GPU: samples that have a block each; from then on at most so many share one
DEEP, PARTS = 128, 64  # of a GPU's gradients of weights: samples and steps a tile; at most about so many tiles


@dataclass(frozen=True)
class Cell:
    """What kernels know a cell by; its gates, those of the product that a step begins with, and how many numbers a
    unit of state its gradient needs."""

    number: int
    gates: int
    width: int
    saved: int

    @property
    def has_cells(self) -> bool:
        return self.number in (K.LSTM, K.GRU_V3)


CELLS = {
    "rnn": Cell(K.RNN, 1, 1, 0),
    "rnn_relu": Cell(K.RNN_RELU, 1, 1, 0),
    "lstm": Cell(K.LSTM, 4, 4, 4),
    "gru": Cell(K.GRU, 3, 3, 4),
    "gru_v3": Cell(K.GRU_V3, 3, 2, 3),
}


@dataclass(frozen=True)
class Sizes:
    """Of one layer on one batch."""

    kind: str
    n: int
    steps: int
    features: int
    hidden: int
    itemsize: int

    @staticmethod
    def of(kind: str, x: Buf | Spec, w: Buf | Spec) -> Sizes:
        n, steps, features = x.shape
        return Sizes(kind, n, steps, features, w.shape[0], x.dtype.itemsize)

    @property
    def cell(self) -> Cell:
        return CELLS[self.kind]

    @property
    def columns(self) -> int:
        return self.cell.gates * self.hidden

    @property
    def weights(self) -> int:
        """Numbers of both weights."""
        return (self.features + self.hidden) * self.columns

    @property
    def block(self) -> int:
        """Samples a tile. Its part of the gradients of weights shall be smaller than its gates."""
        nbytes = self.hidden * self.columns * self.itemsize
        rows = TILE * (1 + (nbytes > LARGE) + 2 * (nbytes > 8 * LARGE))
        worth = -(-(self.features + self.hidden) // (2 * self.steps))
        return max(1, min(self.n, up(max(rows, worth, -(-self.n // TILES)), TILE)))

    @property
    def tiles(self) -> int:
        return -(-self.n // self.block)

    @property
    def rows(self) -> int:
        return min(max(ROWS, self.block), self.block * self.steps)

    @property
    def pitch(self) -> int:
        return self.columns + PITCH

    @property
    def work(self) -> float:
        return self.n * self.steps * (self.weights / SPEED + self.columns * GATE)

    def numbers(self, reverse: bool, rows: int, pitch: int, features: int) -> list[Int]:
        """The last arguments of both kernels."""
        found = self.cell.number, int(reverse), self.steps, rows, pitch, features, self.hidden
        return [Int(v) for v in (*found, self.columns, self.wide, self.cell.saved * self.hidden)]

    @property
    def wide(self) -> int:
        """Columns of a step's first product."""
        return self.cell.width * self.hidden

    def together(self, depth: int, columns: int) -> int:
        """Samples that a GPU's block goes through the steps with, each a product of depth x columns."""
        some = min(TOGETHER, max(1, -(-self.n // BLOCKS)))
        kind, _ = chained([f"f{self.itemsize}"], some, depth, self.hidden, columns)
        return min(some, CHAINS[kind].samples)

    def memory(self, b: Build, like: Buf, some: int, depth: int, columns: int) -> Array:
        """What a GPU's block may use for its samples."""
        size = chain_room(some, depth, self.hidden, columns)
        return own(b.temp((-(-self.n // some), size), like.dtype), size)

    def scratch(self, b: Build, like: Buf, size: int) -> Array:
        """Memory for each row of a tile."""
        return own(b.temp((self.tiles, self.rows * size), like.dtype), self.rows * size)


def _sizes(kind: str, x: Spec, wi: Spec, w: Spec, bias: Spec | None, state_bias: Spec | None, h0: Spec | None,
           c0: Spec | None, lengths: Spec | None) -> Sizes:  # fmt: skip
    """The sizes of what fits; raises for what does not."""
    gates = CELLS[kind].gates
    good = len(w.shape) == 2 and w.shape[0] > 0 and w.shape[1] == gates * w.shape[0]
    expect(good, kind, "w", f"of shape (hidden, {gates} * hidden)", str(w.shape), error=ShapeError)
    good = len(wi.shape) == 2 and wi.shape[0] > 0 and wi.shape[1] == w.shape[1]
    expect(good, kind, "wi", f"of shape (in, {w.shape[1]})", str(wi.shape), error=ShapeError)
    good = len(x.shape) == 3 and x.shape[1] > 0 and x.shape[2] == wi.shape[0]
    expect(good, kind, "x", f"of shape (n, steps, {wi.shape[0]})", str(x.shape), error=ShapeError)
    expect(state_bias is None or kind == "gru", kind, "state_bias", "None: only GRU has it", "an array")
    expect(c0 is None or kind == "lstm", kind, "c0", "None: only LSTM has a cell state", "an array")
    state = x.shape[0], w.shape[0]
    optional = {"bias": (bias, w.shape[1:]), "state_bias": (state_bias, w.shape[1:])}
    optional |= {"h0": (h0, state), "c0": (c0, state)}
    for name, (given, shape) in optional.items():
        expect(given is None or given.shape == shape, kind, name, f"of shape {shape}", str(given and given.shape),
               error=ShapeError)  # fmt: skip
    expect(x.dtype.kind == "f", kind, "x", "an array of float32 or float64", str(x.dtype), "x.astype(np.float32)",
           DTypeError)  # fmt: skip
    for name, array in {"wi": wi, "w": w, **{name: given for name, (given, _) in optional.items()}}.items():
        expect(array is None or array.dtype == x.dtype, kind, name, f"of {x.dtype} as x",
               str(array and array.dtype), "x.astype(np.float32) or nf.f64(model)", DTypeError)  # fmt: skip
    if lengths is not None:
        expect(lengths.dtype == np.int64, kind, "lengths", "of int64", str(lengths.dtype), error=DTypeError)
        expect(lengths.shape == x.shape[:1], kind, "lengths", f"of shape {x.shape[:1]}", str(lengths.shape),
               error=ShapeError)  # fmt: skip
    return Sizes.of(kind, x, w)


def step_by_step(kind: str, x: Any, w: Any) -> bool:
    """Whether operations are faster than the layer's own kernel: one step so large that its only tile, which one thread
    works off, takes long."""
    z = Sizes.of(kind, x, w)
    return z.steps == z.tiles == 1 and z.work > LONG


def _shape(x: Spec, *others: Any, kind: str, reverse: bool, keep: bool) -> tuple[Spec, ...]:
    z = _sizes(kind, x, *others)
    state, y = (z.n, z.hidden), (z.n, z.steps, z.hidden)
    saved = (z.n, z.steps, z.cell.saved * z.hidden) if keep and z.cell.saved else NONE
    shapes = y, state, state if kind == "lstm" else NONE, y if keep and z.cell.has_cells else NONE, saved
    return tuple(Spec(shape, x.dtype) for shape in shapes)


def _or_nothing(x: Buf | None, like: Buf, write: bool = False) -> Array:
    """An array cut by samples, or an empty one."""
    return nothing(like) if x is None or x.size == 0 else cut(x, x.size, write=write)


def _whole_or_nothing(x: Buf | None, like: Buf) -> Array:
    return nothing(like) if x is None else whole(x, x.size)


def _lengths(b: Build, kind: str, lengths: Buf | None, steps: int) -> Array:
    """Lengths cut by samples; an entry stops the plan where one is not in 0..steps."""
    if lengths is None:
        return Array(b.status.part(0, 0), NONE)
    said = f"{kind}: lengths must be in 0..{steps}, got another at position"
    b.check("check.indices", whole(lengths, lengths.size), Int(steps + 1),
            error=lambda position: RangeError(f"{said} {position}"))  # fmt: skip
    return cut(lengths, lengths.size)


def _state_weights(b: Build, z: Sizes, w: Buf, turned: bool) -> list[Array]:
    """What the products of a step multiply by: of all gates, or of r and z, and of h. One sample takes them as they
    lie."""
    first = z.cell.width * z.hidden
    arrays = []
    for start, wide in ((0, first), (first, z.columns - first)):
        source = w.part(start, w.size - start) if wide else w.part(0, 0)
        if wide and (turned or z.n > 1):
            k, n, strides = (wide, z.hidden, (1, z.columns)) if turned else (z.hidden, wide, (z.columns, 1))
            source = in_panels(b, Product(0, n, k, 0, 0, *strides), source)
        arrays.append(whole(source, source.size))
    return arrays


def _lower(b: Build, outs: list[Buf], x: Buf, wi: Buf, w: Buf, bias: Buf | None, state_bias: Buf | None,
           h0: Buf | None, c0: Buf | None, lengths: Buf | None, kind: str, reverse: bool,
           keep: bool) -> None:  # fmt: skip
    z = Sizes.of(kind, x, w)
    y, h, *more = outs
    ends = _lengths(b, kind, lengths, z.steps)
    arrays = cut(y, y.size, write=True), cut(h, h.size, write=True), *(_or_nothing(a, x, True) for a in more)
    states = _whole_or_nothing(state_bias, x), _or_nothing(h0, x), _or_nothing(c0, x), ends
    if not b.target.panels:
        gx = b.temp((z.n, z.steps, z.columns), x.dtype)
        lower_product(b, Product(z.n * z.steps, z.columns, z.features, z.features, 1, z.columns, 1), gx, x, wi, bias)
        w_new = w.part(z.wide, w.size - z.wide if z.wide < z.columns else 0)
        some = z.together(z.hidden, z.wide)
        b.add(
            "recurrent.forward", *arrays, nothing(x), cut(gx, gx.size), z.memory(b, x, some, z.hidden, z.wide),
            nothing(x), nothing(x), whole(w, w.size), whole(w_new, w_new.size), nothing(x), *states,
            *z.numbers(reverse, some * z.steps, z.columns, 0), Int(z.columns),
            rows=z.n, block=some, fixed=True, work=z.work,
        )  # fmt: skip
        return
    sums = b.temp((z.n, (z.cell.width + z.cell.saved) * z.hidden), x.dtype)
    panels = in_panels(b, Product(0, z.columns, z.features, 0, 0, z.columns, 1), wi)
    b.add(
        "recurrent.forward", *arrays, z.scratch(b, x, z.features), z.scratch(b, x, z.pitch),
        cut(sums, sums.size, write=True), cut(x, x.size), whole(panels), *_state_weights(b, z, w, False),
        _whole_or_nothing(bias, x), *states, *z.numbers(reverse, z.rows, z.pitch, z.features),
        Int(0 if z.n > 1 else z.columns), rows=z.n, block=z.block, fixed=True, work=z.work,
    )  # fmt: skip


def _grad_shape(x: Spec, wi: Spec, w: Spec, bias: Spec | None, state_bias: Spec | None, h0: Spec | None,
                c0: Spec | None, lengths: Spec | None, *others: Spec | None, kind: str, reverse: bool,
                dx: bool) -> tuple[Spec, ...]:  # fmt: skip
    _sizes(kind, x, wi, w, bias, state_bias, h0, c0, lengths)
    optional = (NONE if given is None else given.shape for given in (bias, state_bias, h0, c0))
    return tuple(Spec(shape, x.dtype) for shape in (x.shape if dx else NONE, wi.shape, w.shape, *optional))


def _grad_weights(b: Build, out: Buf, right: Buf, parts: list[tuple[Buf, int, int]]) -> None:
    """out = A' B, both over samples and steps, which tiles share; parts: an A, its first column of B, how many."""
    m, columns = out.shape
    k = right.size // columns
    block = max(DEEP, -(-k // PARTS))
    places = slots(b, out, -(-k // block))
    for left, first, wide in parts:
        to, source = places.part(first, places.size - first), right.part(first, right.size - first)
        b.add(
            "dense.product", Array(to, (out.size - first,), per_tile=out.size, write=True), cut(left, left.size),
            Array(source, (source.size,), per_row=columns), nothing(left), Int(m), Int(m), Int(wide), Int(wide),
            Block(), Int(k, -1), Int(columns), Int(1), Int(m), Int(columns), Int(0), Int(0),
            rows=k, block=block, fixed=True, work=m * wide * k / SPEED,
        )  # fmt: skip
    join(b, out, places)


def _grad_steps(b: Build, z: Sizes, outs: list[Buf], x: Buf, wi: Buf, cells: Buf, dstates: list[Array],
                given: list[Array], reverse: bool) -> None:  # fmt: skip
    """On a GPU: the chain of steps leaves what the gradients of x, of weights and of biases are products of."""
    out_x, dwi, dw, db, dsb, *_ = outs
    rows, none, some = z.n * z.steps, nothing(x), z.together(z.wide, z.hidden)
    d, before = b.temp((rows, z.columns), x.dtype), b.temp((rows, z.hidden), x.dtype)
    ds = b.temp(d.shape, x.dtype) if z.kind == "gru" else d.part(0, 0)
    b.add(
        "recurrent.backward", *(none,) * 5, *dstates, none, cut(d, d.size, write=True), _or_nothing(ds, x, True),
        cut(before, before.size, write=True), none, z.memory(b, x, some, z.wide, z.hidden), none, *given,
        *z.numbers(reverse, some * z.steps, z.columns, 0), rows=z.n, block=some, fixed=True, work=2 * z.work,
    )  # fmt: skip
    parts = [(before, 0, z.wide), (cells, z.wide, z.columns - z.wide)]
    _grad_weights(b, dwi, d, [(x, 0, z.columns)])
    _grad_weights(b, dw, ds if ds.size else d, parts if z.wide < z.columns else parts[:1])
    for out, rows_of in ((db, d), (dsb, ds)):
        if out.size:
            reduce_lower("sum", b, out, rows_of, 0, 1, scale=1.0)
    if out_x.size:
        lower_product(b, Product(rows, z.features, z.columns, z.columns, 1, 1, z.columns), out_x, d, wi)


def _grad_lower(b: Build, outs: list[Buf], x: Buf, wi: Buf, w: Buf, bias: Buf | None, state_bias: Buf | None,
                h0: Buf | None, c0: Buf | None, lengths: Buf | None, y: Buf, cells: Buf, gates: Buf, dy: Buf | None,
                dh: Buf | None, dc: Buf | None, kind: str, reverse: bool, dx: bool) -> None:  # fmt: skip
    z = Sizes.of(kind, x, w)
    out_x, *out_weights, dh0, dc0 = outs
    ends = _lengths(b, kind, lengths, z.steps)
    states = [s if s.size else b.temp((z.n, z.hidden), x.dtype) for s in (dh0, dc0)]
    dstates = [cut(s, s.size, write=True) for s in states]
    given = [_or_nothing(a, x) for a in (dy, dh, dc, y, cells, gates)]
    first = *_state_weights(b, z, w, True), _or_nothing(h0, x), _or_nothing(c0, x), ends
    if not b.target.panels:
        _grad_steps(b, z, outs, x, wi, cells, dstates, [*given, *first], reverse)
        return
    places = [slots(b, out, z.tiles) for out in out_weights]
    dgx = b.temp((z.n, z.steps, z.columns), x.dtype) if dx else None
    free = b.temp((z.n, z.hidden), x.dtype)
    rows = z.features, z.pitch, z.pitch if kind == "gru" else 0, z.hidden, z.hidden if kind == "gru_v3" else 0
    b.add(
        "recurrent.backward", *(own(p, out.size) for p, out in zip(places, out_weights, strict=True)),
        _or_nothing(dgx, x, True), *dstates,
        *(z.scratch(b, x, size) if size else nothing(x) for size in rows), cut(free, free.size, write=True),
        cut(x, x.size), *given, *first, *z.numbers(reverse, z.rows, z.pitch, z.features),
        rows=z.n, block=z.block, fixed=True, work=2 * z.work,
    )  # fmt: skip
    for out, place in zip(out_weights, places, strict=True):
        if out.size:
            join(b, out, place)
    if dgx is not None:
        rows_x = Product(z.n * z.steps, z.features, z.columns, z.columns, 1, 1, z.columns)
        lower_product(b, rows_x, out_x, dgx, wi)


Rule = Callable[..., Any]
INPUTS = 7  # of floats: x, wi, w, bias, state_bias, h0, c0; then lengths


def _of_last(c: Any, dy: Any, dh: Any, *dys: Any) -> tuple[Any, ...]:
    """A gradient of the last step of y alone, y[:, -1], is one of the last h: no zeros for the other steps."""
    made = getattr(dy, "call", None)  # of a traced value
    steps = c.y.shape[1]
    last = {"axis": 1, "start": 0 if c.attrs["reverse"] else steps - 1, "step": 1, "size": steps}
    if made is None or made.op is not PLACE or made.attrs != last or c.inputs[INPUTS] is not None:
        return dy, dh, *dys
    only = c.apply(RESHAPE, made.inputs[0], shape=c.outs[1].shape)
    return None, only if dh is None else c.apply(ADD, dh, only), *dys


def _grads(c: Any, *dys: Any) -> Any:
    """Of all inputs, once. What is kept for them is theirs alone; where it has a gradient itself, or is not there, step
    by step."""

    def make() -> Any:
        dy, dh, dc, *kept = _of_last(c, *dys)
        if not c.attrs["keep"] or any(d is not None for d in kept):
            return c.vjp(lambda *x: unrolled(c.apply, *x, **c.attrs), c.inputs, dys)
        y, _, _, cells, gates = c.outs
        attrs = {"kind": c.attrs["kind"], "reverse": c.attrs["reverse"]}
        return c.apply(RECURRENT_GRAD, *c.inputs, y, cells, gates, dy, dh, dc, dx=0 in c.wanted, **attrs)

    return c.once(make)


def _nth(rule: Rule, i: int) -> Rule:
    return lambda c, *dys: rule(c, *dys)[i]


LAYER = {"kind": "lstm", "reverse": False}
# y (n, steps, hidden), and the last h and c, of all steps of a recurrent layer on x (n, steps, in); where keep, what
# its gradient needs too. wi (in, gates * hidden), w (hidden, gates * hidden)
RECURRENT: Op = Op(
    "recurrent",
    _shape,
    _lower,
    (*(_nth(_grads, i) for i in range(INPUTS)), None),
    examples=(example("fffffffi", (2, 3, 5), (5, 16), (4, 16), (16,), None, (2, 4), (2, 4), (2,), keep=True, **LAYER),),
)


def _second(c: Any, *dys: Any) -> Any:
    """Gradients of the gradient: through each step."""
    attrs = {"kind": c.attrs["kind"], "reverse": c.attrs["reverse"], "keep": False}

    def first(*given: Any) -> Any:
        inputs = (*given[:INPUTS], c.inputs[INPUTS])
        found = c.vjp(lambda *x: unrolled(c.apply, *x, **attrs), inputs, (*given[INPUTS:], None, None))
        return tuple(g if out.size else None for g, out in zip(found, c.outs, strict=False))

    floats = (*c.inputs[:INPUTS], *c.inputs[-3:])
    return c.once(lambda: c.vjp(first, floats, dys))


# gradients of all inputs but lengths from those of y, h and c. Of y and of what was kept there is none: x and weights
# have it all
RECURRENT_GRAD = Op(
    "recurrent_grad",
    _grad_shape,
    _grad_lower,
    (*(_nth(_second, i) for i in range(INPUTS)), *(None,) * 4, *(_nth(_second, INPUTS + i) for i in range(3))),
    examples=(
        example("fffffffi" "ffffff", (2, 3, 5), (5, 16), (4, 16), (16,), None, (2, 4), (2, 4), (2,), (2, 3, 4),
                (2, 3, 4), (2, 3, 16), (2, 3, 4), (2, 4), (2, 4), dx=True, **LAYER),
    ),
)  # fmt: skip

OPS = (RECURRENT, RECURRENT_GRAD)
