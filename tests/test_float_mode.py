"""Subnormal numbers count as zero inside, cost nothing, and the caller's float mode is as it was."""

import numpy as np
import pytest

import numbaflux as nf
from tests.nets import seconds


def subnormal():
    return float((np.full(3, 1e-39, np.float32) * np.float32(0.5))[1])


@pytest.mark.parametrize("rows", [4, 6000])
def test_subnormals_count_as_zero_inside_and_the_callers_mode_comes_back(rows):
    tiny = np.full((rows, 50), 1e-39, np.float32)
    assert subnormal() > 0
    for f in (lambda x: nf.functions.mul(x, 0.5), nf.compile(lambda x: x * 0.5)):
        assert (f(tiny) == 0).all()
        assert subnormal() > 0
    with pytest.raises(nf.RangeError):
        nf.compile(lambda x, i: (x * 0.5)[i])(tiny, np.full(rows, rows))
    assert subnormal() > 0


@pytest.mark.parametrize("how", ["eager", "compiled"])
def test_subnormals_in_adams_state_cost_nothing(how):
    """Where they are computed with, a step takes tens of times as long."""
    model = {"w": np.ones(200_000, np.float32)}
    state = nf.setup(nf.Adam(), model)
    step = nf.compile(lambda m, x: (m["w"] * x).sum(), model, state)
    x = np.zeros(200_000, np.float32)
    grads = {"w": x}
    run = {"eager": lambda: nf.update(state, model, grads), "compiled": lambda: step(x)}[how]
    [vectors] = state.vectors.values()

    def timed(number):
        def once():
            for s in vectors.states.values():
                s[...] = number
            run()

        return seconds(once)

    run()
    assert min(timed(1e-39) / timed(1e-3) for _ in range(3)) < 4
