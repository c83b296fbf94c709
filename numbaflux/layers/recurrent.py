"""Recurrent layers: all steps of sequences (n, steps, features); several on top of each other, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .. import functions as F
from ..init import glorot_uniform
from ..op import DTypeError, ShapeError, expect
from ..ranges import check
from ..shapes import astype, concatenate, reshape, stack
from ..trace import Value
from .dropout import Dropout
from .layer import layer
from .recurrent_cell import GRUCell, GRUv3Cell, LSTMCell, RNNCell, _Cell

Init = Callable[..., np.ndarray]


@layer
class Recurrence:
    """A cell over all steps of x (n, steps, in), or (steps, in): y (n, steps, out); return_state: (y, last state).

    Any cell will do that is called as cell(x, state) -> (y, new state), or cell(x) at the first step unless it has
    `initialstates()`; built-in ones run all steps as one kernel.

    >>> Recurrence(LSTMCell(3, 5))(np.ones((2, 7, 3), np.float32)).shape
    (2, 7, 5)
    """

    cell: Any
    return_state: bool = False

    def __init__(self, cell: Any, return_state: bool = False) -> None:
        self.cell, self.return_state = cell, return_state
        self.check_fields()

    def __call__(self, x: Any, state: Any = None) -> Any:
        x, one = _batch("Recurrence", x)
        y, state = self.cell.over(x, state) if hasattr(self.cell, "over") else self._steps(x, state)
        y = reshape(y, y.shape[1:]) if one else y
        return (y, state) if self.return_state else y

    def _steps(self, x: Any, state: Any) -> tuple[Any, Any]:
        if state is None and hasattr(self.cell, "initialstates"):
            state = self.cell.initialstates()
        outputs = []
        for t in range(x.shape[1]):
            y, state = self.cell(x[:, t]) if state is None else self.cell(x[:, t], state)
            outputs.append(y)
        return stack(outputs, 1), state

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ takes; nf.load asks this of every layer."""
        expect(callable(self.cell), "Recurrence", "cell", "a cell", type(self.cell).__name__, error=DTypeError)
        _check_flag("Recurrence", "return_state", self.return_state)


def _check_flag(name: str, field: str, value: object) -> None:
    expect(isinstance(value, bool), name, field, "True or False", repr(value), error=DTypeError)


def _batch(name: str, x: Any, features: int | None = None) -> tuple[Any, bool]:
    """x as (n, steps, features), and whether it is one sequence."""
    x = x if isinstance(x, Value) else np.asarray(x)
    good = x.ndim in (2, 3) and x.shape[-2] > 0 and features in (None, x.shape[-1])
    shown = "features" if features is None else features
    expect(good, name, "x", f"of shape (n, steps, {shown}) or (steps, {shown})", str(x.shape), error=ShapeError)
    return (reshape(x, (1, *x.shape)), True) if x.ndim == 2 else (x, False)


@layer
class _Recurrent:
    """What layers share: cells (of each layer: forward, then backward), and dropout between layers."""

    cells: tuple[Any, ...]
    drop: Dropout | None
    bidirectional: bool
    return_state: bool

    cell: ClassVar[Callable[..., _Cell]]
    own: ClassVar[str] = ""  # the option that cells of one kind take besides
    shown: ClassVar[tuple[str, ...]] = ("bidirectional", "return_state")

    def __init__(
        self, n_in: int, n_out: int, *, layers: int = 1, bidirectional: bool = False, dropout: float = 0.0,
        bias: bool = True, init_kernel: Init = glorot_uniform, init_recurrent_kernel: Init = glorot_uniform,
        return_state: bool = False, trainable_state: bool = False, rng: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        """options: what cells of one kind take besides."""
        name, unknown = type(self).__name__, sorted(options.keys() - {self.own})
        expect(not unknown, name, "arguments", "those of its docstring", ", ".join(unknown), error=DTypeError)
        layers, ways = int(check(f"{name}.layers", layers)), 1 + bool(bidirectional)
        options |= {"bias": bias, "init_kernel": init_kernel, "init_recurrent_kernel": init_recurrent_kernel}
        options |= {"trainable_state": trainable_state, "rng": rng}
        sizes = [n_in] + [ways * n_out] * (layers - 1)
        self.cells = tuple(self.cell(size, n_out, **options) for size in sizes for _ in range(ways))
        self.drop = Dropout(dropout) if dropout else None
        self.bidirectional, self.return_state = bidirectional, return_state
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        name, cells = type(self).__name__, self.cells
        for field in ("bidirectional", "return_state"):
            _check_flag(name, field, getattr(self, field))
        ways = 1 + self.bidirectional
        good = isinstance(cells, tuple) and len(cells) > 0 and len(cells) % ways == 0
        good = good and all(type(c) is self.cell for c in cells)
        kind = f"a tuple of {self.cell.__name__}s, {'two' if ways == 2 else 'one'} a layer"
        expect(good, name, "cells", kind, repr(cells)[:80], error=DTypeError)
        for i, c in enumerate(cells):
            sizes = cells[0].n_in if i < ways else ways * cells[0].n_out, cells[0].n_out
            expect((c.n_in, c.n_out) == sizes, name, f"cells[{i}]", f"of sizes {sizes}", f"{(c.n_in, c.n_out)}",
                   error=ShapeError)  # fmt: skip
        good = self.drop is None or isinstance(self.drop, Dropout)
        expect(good, name, "drop", "None or a Dropout", type(self.drop).__name__, error=DTypeError)

    def initialstates(self) -> Any:
        """The first state: of the cell, or of all with an axis of cells in front."""
        return self._joined([cell.initialstates() for cell in self.cells])

    def __call__(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        x, one = _batch(type(self).__name__, x, self.cells[0].n_in)
        lengths = None if lengths is None else _lengths(type(self).__name__, lengths, x.shape[0])
        states, new, ways = self._parts(state), [], 1 + self.bidirectional
        for first in range(0, len(self.cells), ways):
            x = self.drop(x) if first and self.drop is not None else x
            outputs = []
            for i in range(first, first + ways):
                y, last = self.cells[i].over(x, states[i], lengths, reverse=i > first)
                outputs.append(y)
                new.append(last)
            x = outputs[0] if ways == 1 else concatenate(outputs, 2)
        y = reshape(x, x.shape[1:]) if one else x
        return (y, self._joined(new)) if self.return_state else y

    def _parts(self, state: Any) -> list[Any]:
        """A state of the layer as one of each cell."""
        count = len(self.cells)
        if state is None or count == 1:
            return [state] * count
        arrays = state if isinstance(state, tuple | list) else (state,)
        for s in arrays:
            good = len(np.shape(s) if not isinstance(s, Value) else s.shape) in (2, 3) and len(s) == count
            expect(good, type(self).__name__, "state", f"of shape ({count}, n, {self.cells[0].n_out})",
                   str(getattr(s, "shape", s)), error=ShapeError)  # fmt: skip
        parts = [tuple(s[i] for s in arrays) for i in range(count)]
        return parts if isinstance(state, tuple | list) else [p[0] for p in parts]

    def _joined(self, states: list[Any]) -> Any:
        if len(states) == 1:
            return states[0]
        if isinstance(states[0], tuple):
            return tuple(stack(list(of), 0) for of in zip(*states, strict=True))
        return stack(states, 0)


def _lengths(name: str, lengths: Any, n: int) -> Any:
    """Steps of each sequence, as int64."""
    lengths = lengths if isinstance(lengths, Value) else np.asarray(lengths)
    expect(lengths.dtype.kind in "iu", name, "lengths", "integers", str(lengths.dtype), error=DTypeError)
    expect(lengths.shape == (n,), name, "lengths", f"of shape ({n},)", str(lengths.shape), error=ShapeError)
    return lengths.astype(np.int64, copy=False) if isinstance(lengths, np.ndarray) else astype(lengths, np.int64)


@layer
class RNN(_Recurrent):
    """h' = activation(x Wi + h Wh + bias) over all steps: x (n, steps, in) -> y (n, steps, out), all states.

    RNN(n_in, n_out, activation=tanh). layers: how many on top of each other, with dropout between them; bidirectional:
    a second one from the end, y is (n, steps, 2 * out); return_state: (y, last state), of several cells with an axis of
    cells in front; trainable_state: the first state is trained. One sequence (steps, in) will do.
    Call with a state to begin with, and with lengths (n,): outputs behind a sequence's end are 0, its state stays.

    >>> y, h = RNN(3, 5, return_state=True)(np.ones((2, 7, 3), np.float32), lengths=[7, 4])
    >>> y.shape, h.shape, bool(y[1, 4:].any())
    ((2, 7, 5), (2, 5), False)
    """

    cell, own = RNNCell, "activation"

    def __init__(self, n_in: int, n_out: int, activation: Callable[[Any], Any] = F.tanh, **options: Any) -> None:
        super().__init__(n_in, n_out, activation=activation, **options)


@layer
class LSTM(_Recurrent):
    """A layer of LSTMCell over all steps: x (n, steps, in) -> y (n, steps, out). States are (h, c).

    Options and calls are those of RNN.

    >>> y, (h, c) = LSTM(3, 5, layers=2, return_state=True)(np.ones((2, 7, 3), np.float32))
    >>> y.shape, h.shape, c.shape
    ((2, 7, 5), (2, 2, 5), (2, 2, 5))
    """

    cell = LSTMCell
    __init__ = _Recurrent.__init__


@layer
class GRU(_Recurrent):
    """A layer of GRUCell over all steps: x (n, steps, in) -> y (n, steps, out).

    Options and calls are those of RNN; state_bias=True as of GRUCell.

    >>> GRU(3, 5, bidirectional=True)(np.ones((2, 7, 3), np.float32)).shape
    (2, 7, 10)
    """

    cell, own = GRUCell, "state_bias"
    __init__ = _Recurrent.__init__


@layer
class GRUv3(_Recurrent):
    """A layer of GRUv3Cell over all steps: x (n, steps, in) -> y (n, steps, out).

    Options and calls are those of RNN.

    >>> GRUv3(3, 5)(np.ones((2, 7, 3), np.float32)).shape
    (2, 7, 5)
    """

    cell = GRUv3Cell
    __init__ = _Recurrent.__init__
