"""Recurrent cells: one step of a recurrent layer, or all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .. import functions as F
from ..init import glorot_uniform
from ..managed import beside
from ..op import DTypeError, ShapeError, expect
from ..ops.recurrent import CELLS, RECURRENT, step_by_step
from ..ops.unrolled import unrolled
from ..ranges import check
from ..shapes import broadcast_to, reshape, stack
from ..trace import Value, apply
from .layer import check_activation, layer, name_of, param
from .weights import check_beside, check_weight, made

Init = Callable[..., np.ndarray]
FUSED = {F.tanh: "rnn", F.relu: "rnn_relu"}  # activations with which all steps of a plain cell are one kernel


def initialstates(cell: Any) -> Any:
    """The state that a recurrent cell or layer begins with: zeros, or what was trained; LSTM: (h, c).

    Raises DTypeError for what has none.

    >>> [s.shape for s in initialstates(LSTMCell(3, 5))]
    [(5,), (5,)]
    """
    expect(hasattr(cell, "initialstates"), "initialstates", "cell", "a recurrent cell or layer", type(cell).__name__,
           error=DTypeError)  # fmt: skip
    return cell.initialstates()


@layer
class _Cell:
    """What cells share: weights of the inputs Wi (in, gates * out) and of the state Wh (out, gates * out), biases, and
    the first state where it is trained."""

    Wi: np.ndarray = param()
    Wh: np.ndarray = param()
    bias: np.ndarray | None = param()
    h0: np.ndarray | None = param()

    kind: ClassVar[str]
    biases: ClassVar[tuple[str, ...]] = ("bias",)
    states: ClassVar[tuple[str, ...]] = ("h0",)

    def __init__(
        self, n_in: int, n_out: int, *, bias: bool = True, init_kernel: Init = glorot_uniform,
        init_recurrent_kernel: Init = glorot_uniform, trainable_state: bool = False, rng: Any = None,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        n_in, n_out = int(check(f"{name}.n_in", n_in)), int(check(f"{name}.n_out", n_out))
        wide = CELLS[self.kind].gates * n_out
        self.Wi = made(name, init_kernel, (n_in, wide), rng, "the array made for Wi")
        self.Wh = made(name, init_recurrent_kernel, (n_out, wide), rng, "the array made for Wh")
        self.bias = np.zeros(wide, self.Wi.dtype) if bias else None
        for field in self.states:
            setattr(self, field, np.zeros(n_out, self.Wi.dtype) if trainable_state else None)
        self.check_fields()

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        name, gates = type(self).__name__, CELLS[self.kind].gates
        for field in ("Wi", "Wh"):
            check_weight(name, field, getattr(self, field))
        w = self.Wh
        good = w.ndim == 2 and w.size > 0 and w.shape[1] == gates * w.shape[0]
        expect(good, name, "Wh", f"of shape (out, {gates} * out)", str(w.shape), error=ShapeError)
        good = self.Wi.ndim == 2 and self.Wi.size > 0 and self.Wi.shape[1] == w.shape[1] and self.Wi.dtype == w.dtype
        expect(good, name, "Wi", f"{w.dtype} of shape (in, {w.shape[1]})", f"{self.Wi.dtype} of shape {self.Wi.shape}",
               error=ShapeError)  # fmt: skip
        for fields, shape in ((self.biases, w.shape[1:]), (self.states, w.shape[:1])):
            for field in fields:
                check_beside(name, field, getattr(self, field), w, shape)

    @property
    def n_in(self) -> int:
        return int(self.Wi.shape[0])

    @property
    def n_out(self) -> int:
        return int(self.Wh.shape[0])

    def initialstates(self) -> Any:
        """Zeros, or what was trained, (out,); LSTM: (h, c)."""
        zero = beside(self.Wh, np.zeros(self.n_out, self.Wh.dtype))
        found = tuple(zero if getattr(self, field) is None else getattr(self, field) for field in self.states)
        return found if len(found) > 1 else found[0]

    def over(self, x: Any, state: Any = None, lengths: Any = None, reverse: bool = False) -> tuple[Any, Any]:
        """All steps of x (n, steps, in): outputs (n, steps, out) and the last state."""
        x = x if isinstance(x, Value) else np.asarray(x)
        good = x.ndim == 3 and x.shape[1] > 0 and x.shape[2] == self.n_in
        expect(good, type(self).__name__, "x", f"of shape (n, steps, {self.n_in})", str(x.shape), error=ShapeError)
        return self._steps(x, self._states(state, x.shape[0]), lengths, reverse)

    def _steps(self, x: Any, states: tuple[Any, ...], lengths: Any, reverse: bool) -> tuple[Any, Any]:
        return self._fused(self.kind, x, states, lengths, reverse)

    def _fused(self, kind: str, x: Any, states: tuple[Any, ...], lengths: Any, reverse: bool) -> tuple[Any, Any]:
        h0, c0 = states if len(states) == 2 else (*states, None)
        arrays = x, self.Wi, self.Wh, self.bias, getattr(self, "state_bias", None), h0, c0
        if lengths is None and step_by_step(kind, x, self.Wh):
            y, h, c, *_ = unrolled(apply, *arrays, None, kind, reverse, False)
            return y, (h, c) if len(states) == 2 else h
        keep = any(isinstance(a, Value) and a.levels for a in arrays)  # a gradient will ask for what steps computed
        y, h, c, *_ = apply(RECURRENT, *arrays, lengths, kind=kind, reverse=reverse, keep=keep)
        return y, (h, c) if len(states) == 2 else h

    def _states(self, state: Any, n: int) -> tuple[Any, ...]:
        """The arrays of a state for each of n samples; None: zeros."""
        name, count = type(self).__name__, len(self.states)
        if state is None:
            state = tuple(getattr(self, field) for field in self.states)
        given = tuple(state) if isinstance(state, tuple | list) else (state,)
        shown = f"{count} arrays" if count > 1 else "an array"
        expect(len(given) == count, name, "state", shown, f"{len(given)}", error=ShapeError)
        found = []
        for s in given:
            s = s if s is None or isinstance(s, Value) else np.asarray(s)
            good = s is None or s.shape in ((self.n_out,), (n, self.n_out))
            expect(good, name, "state", f"of shape ({n}, {self.n_out}) or ({self.n_out},)",
                   f"shape {getattr(s, 'shape', None)}", error=ShapeError)  # fmt: skip
            found.append(s if s is None else broadcast_to(s, (n, self.n_out)))
        return tuple(found)

    def __call__(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        x = x if isinstance(x, Value) else np.asarray(x)
        good = x.ndim in (1, 2) and x.shape[-1] == self.n_in
        expect(good, type(self).__name__, "x", f"of shape (n, {self.n_in}) or ({self.n_in},)", str(x.shape),
               error=ShapeError)  # fmt: skip
        one = x.ndim == 1
        _, new = self.over(reshape(x, (1 if one else x.shape[0], 1, self.n_in)), state)
        if one:
            new = tuple(reshape(s, -1) for s in new) if isinstance(new, tuple) else reshape(new, -1)
        return (new[0] if isinstance(new, tuple) else new), new

    def describe(self) -> str:
        return f"{type(self).__name__}({', '.join(self._described())})"

    def _described(self) -> list[str]:
        parts = [str(self.n_in), str(self.n_out)]
        parts += ["bias=False"] if self.bias is None else []
        return parts + (["trainable_state=True"] if self.h0 is not None else [])


@layer
class RNNCell(_Cell):
    """One step h' = activation(x Wi + h Wh + bias): cell(x, h) -> (h', h'); x (n, in), h (n, out), zeros if left out.

    Weights are made by init_kernel and init_recurrent_kernel(shape, rng=rng). trainable_state: the first state is
    trained.

    >>> y, h = RNNCell(3, 5)(np.ones((2, 3), np.float32))
    >>> y.shape
    (2, 5)
    """

    activation: Callable[[Any], Any] = F.tanh
    kind = "rnn"

    def __init__(self, n_in: int, n_out: int, activation: Callable[[Any], Any] = F.tanh, **options: Any) -> None:
        """options: those of LSTMCell."""
        self.activation = activation
        super().__init__(n_in, n_out, **options)

    def check_fields(self) -> None:
        """Raise unless the fields are such as __init__ makes; nf.load asks this of every layer."""
        super().check_fields()
        check_activation("RNNCell", self.activation)

    def _steps(self, x: Any, states: tuple[Any, ...], lengths: Any, reverse: bool) -> tuple[Any, Any]:
        if self.activation in FUSED:
            return self._fused(FUSED[self.activation], x, states, lengths, reverse)
        gx = F.dense(x, self.Wi, self.bias)
        h, outputs = states[0], []
        steps = range(gx.shape[1])
        for t in reversed(steps) if reverse else steps:
            new = self.activation(gx[:, t] if h is None else gx[:, t] + F.matmul(h, self.Wh))
            on = None if lengths is None else F.expand_dims(F.greater(lengths, t), 1)
            outputs.append(new if on is None else F.where(on, new, 0.0))
            h = new if on is None else F.where(on, new, 0.0 if h is None else h)
        return stack(outputs[::-1] if reverse else outputs, 1), h

    def _described(self) -> list[str]:
        parts = super()._described()
        return parts if self.activation is F.tanh else [*parts[:2], name_of(self.activation), *parts[2:]]


@layer
class LSTMCell(_Cell):
    """One step of an LSTM: cell(x, (h, c)) -> (h', (h', c')); x (n, in), h and c (n, out); zeros if left out.

    Gates i, f, g, o of x Wi + h Wh + bias: c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c'). All biases
    begin with 0, that of f too. Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    >>> y, (h, c) = LSTMCell(3, 5)(np.ones((2, 3), np.float32))
    >>> y.shape, c.shape
    ((2, 5), (2, 5))
    """

    c0: np.ndarray | None = param()
    kind = "lstm"
    states = ("h0", "c0")
    __init__ = _Cell.__init__


@layer
class GRUCell(_Cell):
    """One step of a gated recurrent unit: cell(x, h) -> (h', h'); x (n, in), h (n, out); h: zeros if left out.

    Gates r, z, n: h' = (1 - z) n + z h with n = tanh(x Wi_n + bias_n + r (h Wh_n)), r and z sigmoids. state_bias=True
    adds a bias to h Wh, which PyTorch and Keras have. Source: Cho et al. (2014), in the form of Chung et al. (2014).

    >>> y, h = GRUCell(3, 5)(np.ones((2, 3), np.float32))
    >>> y.shape
    (2, 5)
    """

    state_bias: np.ndarray | None = param()
    kind = "gru"
    biases = ("bias", "state_bias")

    def __init__(self, n_in: int, n_out: int, *, state_bias: bool = False, **options: Any) -> None:
        """options: those of LSTMCell."""
        self.state_bias = None
        super().__init__(n_in, n_out, **options)
        self.state_bias = np.zeros(self.Wh.shape[1], self.Wh.dtype) if state_bias else None


@layer
class GRUv3Cell(_Cell):
    """One step of a gated recurrent unit that resets the state before its product: cell(x, h) -> (h', h').

    As GRUCell, but n = tanh(x Wi_n + bias_n + (r h) Wh_n): version 3 of Cho et al. (2014), arXiv 1406.1078.

    >>> y, h = GRUv3Cell(3, 5)(np.ones((2, 3), np.float32))
    >>> y.shape
    (2, 5)
    """

    kind = "gru_v3"
    __init__ = _Cell.__init__
