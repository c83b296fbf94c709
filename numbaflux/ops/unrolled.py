"""Recurrent layers step by step, made of operations: what gradients of their gradient go through, and a single step
that is large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .dense import DENSE, MATMUL
from .elementwise import ADD, FILL, LESS, MUL, RELU, SIGMOID, SUB, TANH, WHERE
from .move import CAST, CONCAT, RESHAPE, SLICE
from .reduce import BROADCAST

Apply = Callable[..., Any]


class Steps:
    """One pass over the steps of a layer; apply makes operations."""

    def __init__(self, apply: Apply, w: Any, bias: Any, kind: str) -> None:
        self.apply, self.w, self.bias, self.kind = apply, w, bias, kind
        self.hidden = w.shape[0]

    def columns(self, x: Any, first: int, count: int = 1) -> Any:
        """Some gates of x, whose last axis holds them one after another."""
        axis = len(x.shape) - 1
        if x.shape[axis] == count * self.hidden:
            return x
        return self.apply(SLICE, x, axis=axis, start=first * self.hidden, step=1, size=count * self.hidden)

    def product(self, h: Any, first: int, count: int) -> Any:
        """The state's part of some gates."""
        p = self.apply(MATMUL, h, self.columns(self.w, first, count), ta=False, tb=False)
        if self.bias is None:
            return p
        bias = self.columns(self.bias, first, count)
        return self.apply(ADD, p, self.apply(BROADCAST, bias, start=0, sizes=(h.shape[0],)))

    def sums(self, x: Any, h: Any, first: int, count: int = 1) -> Any:
        return self.apply(ADD, self.columns(x, first, count), self.product(h, first, count))

    def step(self, x: Any, h: Any, c: Any) -> tuple[Any, Any, Any, list[Any]]:
        """New h and c, what is kept as cells, and the gates."""
        return getattr(self, "rnn" if self.kind == "rnn_relu" else self.kind)(x, h, c)

    def rnn(self, x: Any, h: Any, c: Any) -> tuple[Any, Any, Any, list[Any]]:
        return self.apply(RELU if self.kind == "rnn_relu" else TANH, self.sums(x, h, 0)), c, None, []

    def lstm(self, x: Any, h: Any, c: Any) -> tuple[Any, Any, Any, list[Any]]:
        a, sums = self.apply, self.sums(x, h, 0, 4)
        i, f, g, o = (a(TANH if k == 2 else SIGMOID, self.columns(sums, k)) for k in range(4))
        c = a(ADD, a(MUL, f, c), a(MUL, i, g))
        return a(MUL, o, a(TANH, c)), c, c, [i, f, g, o]

    def mixed(self, z: Any, h: Any, new: Any) -> Any:
        return self.apply(ADD, new, self.apply(MUL, z, self.apply(SUB, h, new)))

    def gru(self, x: Any, h: Any, c: Any) -> tuple[Any, Any, Any, list[Any]]:
        a, products = self.apply, self.product(h, 0, 3)
        r, z = (a(SIGMOID, a(ADD, self.columns(x, k), self.columns(products, k))) for k in range(2))
        q = self.columns(products, 2)
        new = a(TANH, a(ADD, self.columns(x, 2), a(MUL, r, q)))
        return self.mixed(z, h, new), c, None, [r, z, q, new]

    def gru_v3(self, x: Any, h: Any, c: Any) -> tuple[Any, Any, Any, list[Any]]:
        a = self.apply
        r, z = (a(SIGMOID, self.sums(x, h, k)) for k in range(2))
        kept = a(MUL, r, h)
        new = a(TANH, self.sums(x, kept, 2))
        return self.mixed(z, h, new), c, kept, [r, z, new]

    def goes_on(self, like: Any, lengths: Any, t: int) -> Any:
        """Where a sample's sequence has not ended before step t; None: nowhere has it."""
        if lengths is None:
            return None
        ends = self.apply(BROADCAST, self.apply(CAST, lengths, dtype=str(like.dtype)), start=1, sizes=like.shape[1:])
        return self.apply(LESS, self.apply(FILL, ends, value=float(t)), ends)

    def where(self, mask: Any, new: Any, old: Any = None) -> Any:
        """new, but old (or zero) where a sequence has ended."""
        if mask is None or new is None:
            return new
        return self.apply(WHERE, mask, new, self.apply(FILL, new, value=0.0) if old is None else old)

    def stacked(self, steps: list[Any]) -> Any:
        """Arrays (n, features) of each step as (n, steps, features)."""
        if steps[0] is None:
            return None
        wide = [self.apply(RESHAPE, s, shape=(s.shape[0], 1, s.shape[1])) for s in steps]
        return wide[0] if len(wide) == 1 else self.apply(CONCAT, *wide, axis=1)


def unrolled(apply: Apply, x: Any, wi: Any, w: Any, bias: Any, state_bias: Any, h0: Any, c0: Any, lengths: Any,
             kind: str, reverse: bool, keep: bool) -> tuple[Any, ...]:  # fmt: skip
    """What RECURRENT gives: y, h, c, cells, gates; None for what the kind has not, or is not kept."""
    cell, steps = Steps(apply, w, state_bias, kind), x.shape[1]
    gx = apply(DENSE, x, wi, bias)
    zero = apply(FILL, cell.columns(_step(apply, gx, 0), 0), value=0.0)
    h, c = zero if h0 is None else h0, zero if c0 is None else c0
    rows: list[tuple[Any, ...]] = []
    for t in reversed(range(steps)) if reverse else range(steps):
        on = cell.goes_on(zero, lengths, t)
        new, new_c, cells, gates = cell.step(_step(apply, gx, t), h, c)
        joined = apply(CONCAT, *(cell.where(on, g) for g in gates), axis=1) if gates else None
        kept_cells = cell.where(on, cells, c if kind == "lstm" else None)
        rows.append((cell.where(on, new), kept_cells, joined))
        h, c = cell.where(on, new, h), cell.where(on, new_c, c)
    y, cells, gates = (cell.stacked(list(of)) for of in zip(*(rows[::-1] if reverse else rows), strict=True))
    return y, h, c if kind == "lstm" else None, *((cells, gates) if keep else (None, None))


def _step(apply: Apply, x: Any, t: int) -> Any:
    """x[:, t]."""
    one = x if x.shape[1] == 1 else apply(SLICE, x, axis=1, start=t, step=1, size=1)
    return apply(RESHAPE, one, shape=(x.shape[0], x.shape[2]))
