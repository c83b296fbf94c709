"""A single large step, made of operations, gives what the kernel of all steps gives."""

import math

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.ops import recurrent
from numbaflux.tree import arrays

N, SIZE = 128, 256
CELLS = {
    "rnn": lambda: nf.RNNCell(SIZE, SIZE, rng=0),
    "rnn_relu": lambda: nf.RNNCell(SIZE, SIZE, nf.relu, rng=0),
    "lstm": lambda: nf.LSTMCell(SIZE, SIZE, rng=0),
    "gru": lambda: nf.GRUCell(SIZE, SIZE, state_bias=True, rng=0),
    "gru_v3": lambda: nf.GRUv3Cell(SIZE, SIZE, rng=0),
}


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def step(cell, x, *states):
    """Value, and gradients of the cell and of all inputs."""
    w = drawn(9, N, SIZE)

    def loss(cell, x, *states):
        _, new = cell(x, None if not states else states if len(states) > 1 else states[0])
        return sum(F.sum(F.mul(s, w)) for s in (new if isinstance(new, tuple) else (new,)))

    value, (of_cell, *of_inputs) = nf.withgradient(loss, cell, x, *states)
    return [value, *arrays(of_cell).values(), *of_inputs]


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("kind", CELLS)
def test_large_step(kind, given, monkeypatch):
    cell, x = nf.f64(CELLS[kind]()), drawn(1, N, SIZE)
    for field in cell.biases:
        getattr(cell, field)[:] = drawn(2, getattr(cell, field).size)
    states = [drawn(3 + i, N, SIZE) for i in range(len(cell.states))] if given else []
    assert recurrent.step_by_step(kind, x[:, None], cell.Wh)
    found = step(cell, x, *states)
    monkeypatch.setattr(recurrent, "LONG", math.inf)
    assert not recurrent.step_by_step(kind, x[:, None], cell.Wh)
    right = step(cell, x, *states)
    assert len(found) == len(right)
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n, steps, size", [(256, 2, 256), (32, 1, 32), (512, 1, 64)])
def test_several_tiles_or_little_work_stay_with_the_kernel(n, steps, size):
    assert not recurrent.step_by_step("lstm", np.ones((n, steps, size)), np.ones((size, 4 * size)))
