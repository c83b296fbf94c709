"""Recurrent cells and layers beside PyTorch. See against_torch.py.

One step is PyTorch's own where it has such a cell, GRUv3 is its formula; steps, lengths, directions and layers are
written out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import numbaflux as nf
from tests.against_torch import Peer, coin, count, counts, drawn, function, one_of

torch = pytest.importorskip("torch")


class Kind(NamedTuple):
    """A cell: gates, PyTorch's of one step, ours, and our layer of it."""

    gates: int
    step: Callable[..., Any]
    cell: Any
    layer: Any


def gru_v3(x, h, wi, w, b):
    """The state is reset before its product."""
    gx, n = x @ wi.T + b, h.shape[1]
    r, z = ((gx[:, : 2 * n] + h @ w[: 2 * n].T).sigmoid()).split(n, 1)
    return z * h + (1 - z) * torch.tanh(gx[:, 2 * n :] + (r * h) @ w[2 * n :].T)


KINDS = {
    "RNN": Kind(1, torch.rnn_tanh_cell, nf.RNNCell, nf.RNN),
    "LSTM": Kind(4, torch.lstm_cell, nf.LSTMCell, nf.LSTM),
    "GRU": Kind(3, torch.gru_cell, nf.GRUCell, nf.GRU),
    "GRUv3": Kind(3, lambda x, h, wi, w, b, _: gru_v3(x, h, wi, w, b), nf.GRUv3Cell, nf.GRUv3),
}


def options_of(rng, name):
    """What a cell may be made with, and for RNN what PyTorch makes of its activation; None: that of the cell."""
    options = {"bias": coin(rng), "trainable_state": coin(rng)}
    options |= {"state_bias": coin(rng)} if name == "GRU" else {}
    ours, theirs = function(rng) if name == "RNN" and coin(rng) else (None, None)
    return (() if ours is None else (ours,)), options, theirs


def parameters_of(p, path, wide):
    """Of a cell as PyTorch's has them: (gates out, in), and both biases."""
    zero = torch.zeros(wide, dtype=torch.float64)
    biases = p.get(f"{path}bias", zero), p.get(f"{path}state_bias", zero)
    return p[f"{path}Wi"].T, p[f"{path}Wh"].T, *biases


def stepper(kind, p, path, n_out, activation):
    """step(x, state) -> new state, and begin(n) -> the first of n samples where none is given; states are tuples."""
    wi, w, b, b_state = parameters_of(p, path, kind.gates * n_out)

    def step(x, state):
        if activation is not None:
            return (activation(x @ wi.T + b + state[0] @ w.T),)
        new = kind.step(x, state if kind.gates == 4 else state[0], wi, w, b, b_state)
        return tuple(new) if kind.gates == 4 else (new,)

    def begin(n):
        names = ("h0", "c0")[: 1 + (kind.gates == 4)]
        zero = torch.zeros(n_out, dtype=torch.float64)
        return tuple(p.get(path + name, zero).expand(n, n_out) for name in names)

    return step, begin


def over(step, state, x, lengths, reverse):
    """All steps: outputs, zeros behind the end of a sequence, and the state there."""
    outputs = [None] * x.shape[1]
    for t in reversed(range(x.shape[1])) if reverse else range(x.shape[1]):
        new = step(x[:, t], state)
        on = torch.ones(len(x), 1, dtype=bool) if lengths is None else (t < lengths)[:, None]
        state = tuple(torch.where(on, a, b) for a, b in zip(new, state, strict=True))
        outputs[t] = torch.where(on, new[0], 0.0)
    return torch.stack(outputs, 1), state


@nf.layer
class Spread:
    """A cell or layer of x, lengths (None: not given) and the arrays of a state; what it gives is one flat tuple."""

    layer: Any

    def __call__(self, x, lengths, *states):
        state = states if len(states) > 1 else states[0] if states else None
        y = self.layer(x, state) if lengths is None else self.layer(x, state, lengths)
        if not isinstance(y, tuple):
            return y
        return (y[0], *(y[1] if isinstance(y[1], tuple) else (y[1],)))


def cell(name):
    """One step, from a given state or the first."""

    def row(rng):
        kind, (n, n_in, n_out), (more, options, activation) = KINDS[name], counts(rng, 3, 6), options_of(rng, name)
        states = tuple(drawn(rng, n, n_out) for _ in range(1 + (kind.gates == 4))) if coin(rng) else ()

        def peer(p, x, lengths, *given):
            step, begin = stepper(kind, p, "layer.", n_out, activation)
            new = step(x, given or begin(n))
            return new[0], *new

        return Peer(Spread(kind.cell(n_in, n_out, *more, **options)), (drawn(rng, n, n_in), None, *states), peer)

    return row


def layer(name):
    """All steps, in one direction or both, of one layer to three; sequences that end early; from a given state."""

    def row(rng):
        kind, (n, steps, n_in, n_out), (more, options, activation) = (
            KINDS[name],
            counts(rng, 4, 5),
            options_of(rng, name),
        )
        layers, both, last = count(rng, 3), coin(rng), coin(rng)
        cells = layers * (1 + both)
        lengths = rng.integers(0, steps + 1, n) if coin(rng) else None
        shape = (n, n_out) if cells == 1 else (cells, n, n_out)
        states = tuple(drawn(rng, *shape) for _ in range(1 + (kind.gates == 4))) if coin(rng) else ()
        made = kind.layer(n_in, n_out, *more, layers=layers, bidirectional=both, return_state=last, **options)

        def peer(p, x, lengths, *given):
            new = []
            for i in range(0, cells, 1 + both):
                outputs = []
                for j in range(i, i + 1 + both):
                    step, begin = stepper(kind, p, f"layer.cells.{j}.", n_out, activation)
                    state = tuple(g if cells == 1 else g[j] for g in given) or begin(n)
                    y, state = over(step, state, x, lengths, j > i)
                    outputs.append(y)
                    new.append(state)
                x = torch.cat(outputs, 2)
            if not last:
                return x
            return x, *(a[0] if cells == 1 else torch.stack(a) for a in map(list, zip(*new, strict=True)))

        return Peer(Spread(made), (drawn(rng, n, steps, n_in), lengths, *states), peer)

    return row


def recurrence(rng):
    """Of any cell."""
    name = one_of(rng, list(KINDS))
    kind, (n, steps, n_in, n_out), (more, options, activation) = KINDS[name], counts(rng, 4, 5), options_of(rng, name)
    states, last = tuple(drawn(rng, n, n_out) for _ in range(1 + (kind.gates == 4))) if coin(rng) else (), coin(rng)

    def peer(p, x, lengths, *given):
        step, begin = stepper(kind, p, "layer.cell.", n_out, activation)
        y, state = over(step, given or begin(n), x, lengths, False)
        return (y, *state) if last else y

    made = nf.Recurrence(kind.cell(n_in, n_out, *more, **options), return_state=last)
    return Peer(Spread(made), (drawn(rng, n, steps, n_in), None, *states), peer)


RECURRENT = {
    **{f"{name}Cell": cell(name) for name in KINDS},
    **{name: layer(name) for name in KINDS},
    "Recurrence": recurrence,
}
