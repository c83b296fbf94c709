"""Checks of a step's loss and gradients: which array is named, whether they are looked at together or one by one."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F

SHAPES = {"a": (3, 5), "b": (), "c": (4,), "d": (2, 3), "e": (17,)}


def training(frozen=()):
    """A step on one array for each parameter; where it holds 0, the gradient is NaN and the loss is not."""
    model = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    state = nf.setup(nf.Adam(), model)
    for name in frozen:
        nf.freeze(state, name)
    step = nf.compile(lambda m, *xs: sum(F.sqrt(m[k] * x).sum() for k, x in zip(SHAPES, xs, strict=True)), model, state)
    return step, model, {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}


def checks(step):
    plan = next(iter(step.programs.values())).plan
    return [[e.kernel for g in plan.groups if g.wave == w for e in g.entries if e.kernel.startswith("check.")]
            for w in range(plan.waves)]  # fmt: skip


@pytest.fixture(params=[8192, 40, 0], ids=lambda n: f"up to {n}")
def together(request, monkeypatch):
    monkeypatch.setattr("numbaflux.finite.TOGETHER", request.param)


@pytest.mark.parametrize("at", [0, -1])
@pytest.mark.parametrize("name", SHAPES)
def test_the_array_with_a_bad_gradient_is_named(name, at, together):
    step, model, xs = training()
    step(*xs.values())
    before = {key: x.copy() for key, x in model.items()}
    xs[name].flat[at] = 0
    for _ in range(2):
        with pytest.raises(nf.NonFiniteError, match=f"^step: gradient of {name} must be finite, got NaN or Inf; "):
            step(*xs.values())
        for key, x in model.items():
            np.testing.assert_array_equal(x, before[key])
    xs[name].flat[at] = 1
    step(*xs.values())
    assert not np.array_equal(model[name], before[name])


@pytest.mark.parametrize("frozen", [["a"], ["c"], ["e"], ["b", "c", "d"]], ids=" ".join)
def test_what_is_frozen_is_not_looked_at_and_all_else_is(frozen, together):
    for name in SHAPES:
        step, _, xs = training(frozen)
        xs[name].flat[-1] = 0
        if name in frozen:
            step(*xs.values())
        else:
            with pytest.raises(nf.NonFiniteError, match=f"gradient of {name} must"):
                step(*xs.values())


def test_small_gradients_side_by_side_take_one_look_in_the_wave_that_makes_them(monkeypatch):
    step, _, xs = training()
    step(*xs.values())
    assert checks(step) == [["check.finite_all"] * 2, []]
    monkeypatch.setattr("numbaflux.finite.TOGETHER", 20)
    step, _, xs = training()
    step(*xs.values())
    ones = [kernel for wave in checks(step) for kernel in wave]
    assert ones == ["check.finite_all"] * 5  # the loss; a and b, 16 elements apart; c; d; e
