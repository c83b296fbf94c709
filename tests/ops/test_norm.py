"""Moments of numbers that cancel, plans of normalisation, and what its operations refuse."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import trainmode
from numbaflux.ops import norm as N

rng = np.random.default_rng(0)


def moments(x, lead=0, groups=None):
    return nf.apply(N.MOMENTS, x, lead=lead, groups=groups or x.shape[-1])


@pytest.mark.parametrize("lead", [0, 1])
@pytest.mark.parametrize("mean", [0.0, 1e3, -1e5])
def test_variance_where_the_mean_is_large(mean, lead):
    x = rng.normal(mean, 1, (2, 3000, 5)).astype(np.float32)
    axes = tuple(range(lead, 2))
    exact, step = x.astype(np.float64), np.spacing(np.float32(abs(mean)))
    found = moments(x, lead)
    np.testing.assert_allclose(found[..., 1, :], exact.var(axes), rtol=2e-6)
    np.testing.assert_allclose(found[..., 0, :], exact.mean(axes), rtol=0, atol=step + 1e-6)
    rows = np.moveaxis(x, 1, 2).reshape(10, 3000)
    found = moments(rows, 1, 1)[..., 0]
    np.testing.assert_allclose(found[:, 1], rows.astype(np.float64).var(1), rtol=2e-6)
    np.testing.assert_allclose(found[:, 0], rows.astype(np.float64).mean(1), rtol=0, atol=step + 1e-6)


def test_an_outlier_in_front_spoils_nothing():
    x = rng.normal(size=(4000, 3)).astype(np.float32)
    x[0] = 1e4
    for found, exact in ((moments(x), x), (moments(x.T.copy(), 1, 1)[..., 0].T, x)):
        np.testing.assert_allclose(found[1], exact.astype(np.float64).var(0), rtol=2e-6)
        np.testing.assert_allclose(found[0], exact.astype(np.float64).mean(0), rtol=0, atol=2e-5 * exact.std())


def test_the_variance_of_equal_numbers_is_zero():
    for x in (np.full((5000, 3), 0.1, np.float32), np.full((2, 5000), 0.3)):
        assert not moments(x)[1].any() and not moments(x, 1, 1)[..., 1, :].any()


def entries(plan):
    return [sorted(e.kernel for e in group.entries) for group in plan.groups]


def test_a_training_step_takes_three_passes_and_neighbours_share_them():
    """Sums of a batch stand in the group of what made it, what follows in that of the pass that normalises."""
    model = nf.Chain(nf.Dense(48, 64), nf.BatchNorm(64, nf.relu), nf.Dense(64, 3))
    step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, nf.setup(nf.Adam(), model))
    step(rng.normal(size=(4096, 48)).astype(np.float32), np.ones((4096, 3), np.float32))
    groups = entries(next(iter(step.programs.values())).plan)
    of = {kernel: group for group in groups for kernel in group}
    assert "dense.product" in of["norm.moments"]
    assert {"dense.product", "elementwise.relu_grad", "norm.sums"} <= set(of["norm.apply"])
    assert "elementwise.relu" not in of  # made by norm.apply
    assert "dense.product" in of["norm.grad_apply"]


def test_one_large_image_has_many_tiles():
    x = rng.normal(size=(1, 128, 128, 8)).astype(np.float32)
    for layer in (trainmode(nf.BatchNorm(8)), nf.InstanceNorm(8), nf.GroupNorm(8, 2)):
        predict = nf.compile(layer)
        predict(x)
        plan = next(iter(predict.programs.values())).plan
        tiles = {e.kernel: g.tiles for g in plan.groups for e in g.entries}
        assert tiles["norm.moments"] >= 2 and tiles["norm.apply"] >= 2


X, STATS, C = np.ones((4, 3), np.float32), np.ones((2, 3), np.float32), np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "kind", "text"),
    [
        (N.MOMENTS, (X,), {"lead": 2, "groups": 3}, nf.ShapeError,
         "moments: x must be of more than 2 axes, got shape (4, 3)"),
        (N.MOMENTS, (X,), {"lead": 0, "groups": 2}, nf.RangeError,
         "moments: groups must be a divisor of 3 channels, got 2"),
        (N.NORM, (X, STATS[:1], None, None), {"eps": 0.1}, nf.ShapeError,
         "norm: statistics must be for x of shape (4, 3), got shape (1, 3)"),
        (N.NORM, (X, C, None, None), {"eps": 0.1}, nf.ShapeError,
         "norm: statistics must be for x of shape (4, 3), got shape (3,)"),
        (N.NORM, (X, STATS, C[:2], C), {"eps": 0.1}, nf.ShapeError, "norm: weight must be of shape (3,), got (2,)"),
        (N.NORM_FIXED, (X, C[:2], C, None, None), {"eps": 0.1}, nf.ShapeError,
         "norm: weight must be of shape (3,), got (2,)"),
        (N.NORM_GRAD, (X, STATS, None, X[:2]), {"eps": 0.1}, nf.ShapeError,
         "norm_grad: dy must be of shape (4, 3), got (2, 3)"),
        (N.TRACK, (C, C, STATS[:, :2]), {"momentum": 0.1, "count": 3}, nf.ShapeError,
         "track: statistics must be float32 of shape (..., 2, 3), got float32 of shape (2, 2)"),
    ],
)  # fmt: skip
def test_messages(op, inputs, attrs, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text) + "$"):
        nf.apply(op, *inputs, **attrs)
