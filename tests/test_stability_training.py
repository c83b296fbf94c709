"""Norms, optimisers, metrics and whole trainings at 0, subnormal numbers, 1e-30, 1e30, NaN, Inf, one sample."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import functions as F
from numbaflux.optim import RULES, TRANSFORMS
from tests.reference.optim import Oracle
from tests.stability import exact, mp, numbers, total, wrong

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LARGE = {np.float32: 1e18, np.float64: 1e30}  # of which squares do not overflow; beyond, see below
LAYERS = {
    "BatchNorm": lambda: nf.trainmode(nf.BatchNorm(1)), "LayerNorm": lambda: nf.LayerNorm(4),
    "GroupNorm": lambda: nf.GroupNorm(4, 1), "InstanceNorm": lambda: nf.InstanceNorm(1),
    "RMSNorm": lambda: nf.RMSNorm(4), "normalise": lambda: lambda x: nf.normalise(x, axis=1),
}  # fmt: skip


def rows(dtype):
    large = LARGE[dtype]
    return numbers([(0, 0, 0, 0), ("subnormal", 0, 0, 0), (1e-30, -1e-30, 0, 0), (1, 1, 1, 1), (0.3,) * 4,
                    (1, -2, 3, 0.5), (large, large, large, large), (large, -large, 0, 1), (large, 0, 0, 1e-30),
                    (1e6, 1e6 + 1, 1e6 + 2, 1e6 - 1)], dtype)  # fmt: skip


def normed(name, row):
    """One row in 250 digits: (x - mean) / sqrt(var + 1e-5)."""
    x = [exact(v) for v in row]
    centre = 0 if name == "RMSNorm" else total(x) / 4
    scale = mp.sqrt(total((v - centre) ** 2 for v in x) / 4 + mp.mpf(1e-5))
    return [(v - centre) / scale for v in x]


def run(name, row):
    """A row as the four numbers that a layer normalises, with the gradient of the first of the results."""
    layer, dtype = LAYERS[name](), row.dtype
    layer = nf.f64(layer) if dtype == np.float64 and name != "normalise" else layer
    x = row.reshape({"BatchNorm": (4, 1), "InstanceNorm": (1, 4, 1), "GroupNorm": (1, 1, 4)}.get(name, (1, 4)))
    (_, y), slope = nf.withgradient(lambda x: (F.sum(F.reshape(y := layer(x), (4,))[:1]), y), x)
    return y.ravel(), slope.ravel()


@pytest.mark.parametrize("name", LAYERS)
@DTYPES
def test_norms(name, dtype):
    """Values beside the formula; gradients are finite."""
    for row in rows(dtype):
        y, slope = run(name, row)
        right = normed(name, row)
        # Of a mean of large numbers the rounding is what is left of equal ones; the root of eps makes it larger.
        scale = 1 + 4 * float(abs(row.astype(float) - row.mean(dtype=float)).max() == 0) * float(abs(row).max()) * 320
        texts = [wrong(got, truth, truth, dtype, 32, scale) for got, truth in zip(y, right, strict=True)]
        assert texts == [""] * 4, (row, texts)
        assert np.isfinite(slope).all(), row


@pytest.mark.parametrize("name", LAYERS)
def test_norms_whose_variance_overflows_give_no_wrong_numbers(name):
    """From 1.8e19 on in float32, 1.3e154 in float64: NaN, or 0 where a fused kernel divides by infinity."""
    for row in (np.array([1e30, -1e30, 0, 1], np.float32), np.array([1e300, -1e300, 0, 1])):
        y, _ = run(name, row)
        assert all(np.isnan(v) or v == 0 for v in y)
        if name in ("RMSNorm", "normalise"):
            assert np.isnan(y).all()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@DTYPES
def test_nan_and_inf_in_norms_are_seen(name, bad, dtype):
    for place in range(4):
        row = np.arange(4).astype(dtype)
        row[place] = bad
        y, _ = run(name, row)
        assert np.isnan(y[place]) and not (np.isfinite(y) & (y != 0)).any()


@pytest.mark.parametrize("name", ["BatchNorm", "InstanceNorm"])
def test_one_sample_of_a_norm(name):
    """Has no variance: refused in training, normalised by running statistics else."""
    layer, x = getattr(nf, name)(3, track_stats=True), np.full((1, 1, 3), 7, np.float32)
    with pytest.raises(nf.ShapeError, match=f"^{name}: x must be of more than one value a channel in training"):
        nf.trainmode(layer)(x)
    np.testing.assert_allclose(layer(x), 7 / np.sqrt(1 + 1e-5), rtol=1e-6)


@DTYPES
def test_weights_of_zeros_and_large_ones_in_weight_norm(dtype):
    layer = nf.WeightNorm(nf.Dense(2, 2, rng=0))
    layer = nf.f64(layer) if dtype == np.float64 else layer
    x = np.ones((1, 2), dtype)
    for value in (0, 1e-30, LARGE[dtype]):
        layer.layer.weight[...] = value
        y, slope = nf.withgradient(lambda m: F.sum(m(x)), layer)
        assert np.isfinite(y) and np.isfinite(slope.layer.weight).all()
    layer.layer.weight[...] = np.finfo(dtype).max
    assert np.isnan(layer(x)).all()


# ------------------------------------------------------------------------------------------- optimisers, metrics


# Rules that keep squares of gradients: where those overflow a parameter stays as it is.
SQUARES = (nf.RMSProp, nf.Adam, nf.AdamW, nf.NAdam, nf.AdaBelief, nf.AMSGrad, nf.OAdam, nf.AdaGrad, nf.AdaDelta,
           nf.LAMB, nf.Muon)  # fmt: skip
GRADS = (0, "subnormal", 1e-30, -1e-30, 1e-8, 1, -1e15, 1e30)


@pytest.mark.parametrize("rule", [rule() for rule in RULES], ids=lambda rule: type(rule).__name__)
@DTYPES
def test_rules_at_extreme_gradients(rule, dtype):
    """Beside their formulas."""
    grads = {str(i): g[None] for i, g in enumerate(numbers(GRADS, dtype))}
    params = {name: np.ones(1, dtype) for name in grads}
    state = nf.setup(rule, params)
    oracle = Oracle(state.rule, params)
    flushed = {name: np.array([float(exact(g[0]))]) for name, g in grads.items()}
    for _ in range(3):
        nf.update(state, params, grads)
        oracle.update(flushed)
    for name, p in params.items():
        right = oracle.params[name]
        close = np.isclose(p, right, rtol=1e-5 if dtype == np.float32 else 1e-9)
        overflown = type(rule) in SQUARES and dtype == np.float32 and abs(flushed[name][0]) > 1.8e19
        assert (p == 1 if overflown else close).all(), (GRADS[int(name)], p, right)


@pytest.mark.parametrize("member", [t() for t in TRANSFORMS if t is not nf.AccumGrad], ids=lambda m: type(m).__name__)
@DTYPES
def test_what_changes_gradients_at_extreme_ones(member, dtype):
    for size in GRADS:
        params, grad = {"w": np.ones(2, dtype)}, numbers((size, size), dtype)
        state = nf.setup(nf.OptimiserChain(member, nf.Descent(0.5)), params)
        oracle = Oracle(state.rule, params)
        nf.update(state, params, {"w": grad})
        oracle.update({"w": np.array([float(exact(g)) for g in grad])})
        close = np.allclose(params["w"], oracle.params["w"], rtol=1e-6, atol=1e-7)
        assert close, (size, params, oracle.params)


INIT_GAINS = (0, 1e-30, 1, 1e30)


@pytest.mark.parametrize("name", ["glorot_normal", "glorot_uniform", "kaiming_normal", "kaiming_uniform", "orthogonal",
                                  "identity_init"])  # fmt: skip
def test_gains_of_initial_weights(name):
    one = getattr(nf.init, name)((3, 4), gain=1, rng=0)
    for gain in INIT_GAINS:
        found = getattr(nf.init, name)((3, 4), gain=gain, rng=0)
        np.testing.assert_allclose(found, one * np.float32(gain), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@DTYPES
def test_gradients_that_are_not_finite_change_nothing(bad, dtype):
    params = {"w": np.ones(3, dtype)}
    state = nf.setup(nf.Adam(), params)
    with pytest.raises(nf.NonFiniteError, match="^update: gradient of w must be finite"):
        nf.update(state, params, {"w": np.array([0, bad, 0], dtype)})
    assert (params["w"] == 1).all() and state.step == 0


def test_metrics():
    scores = np.array([[np.nan, 0], [1, 0]])
    for metric in (nf.metrics.accuracy, nf.metrics.f1, nf.metrics.balanced_accuracy):
        with pytest.raises(nf.NonFiniteError):
            metric(scores, np.array([0, 1]))
    large = np.array([[1e30, -1e30], [np.inf, 0], [1e-30, 0]])
    assert nf.metrics.accuracy(large, np.zeros(3, int)) == 1
    assert nf.metrics.f1(large[:1], np.zeros(1, int)) == nf.metrics.balanced_accuracy(large[:1], np.zeros(1, int)) == 1
    with pytest.raises(nf.ShapeError, match="a score for each of 2 classes or more"):
        nf.metrics.accuracy(np.zeros((1, 1)), np.zeros(1, int))
    assert nf.metrics.mae(np.array([1e30]), np.array([-1e30])) == 2e30
    assert nf.metrics.rmse(np.array([1e30, 1e30]), np.zeros(2)) == pytest.approx(1e30)
    with pytest.raises(nf.NonFiniteError):
        nf.metrics.rmse(np.array([np.inf]), np.zeros(1))


# ------------------------------------------------------------------------------------------- trainings


def classify(m, x, y):
    return nf.losses.logitcrossentropy(m(x), y)


@pytest.mark.parametrize("compile", [True, False])
@DTYPES
def test_a_training_on_one_class_of_one_sample(compile, dtype):
    model = nf.Chain(nf.Dense(2, 4, nf.relu, rng=0), nf.LayerNorm(4), nf.Dense(4, 1, rng=1))
    model = nf.f64(model) if dtype == np.float64 else model
    data = [(np.full((1, 2), value, dtype), np.zeros(1, np.int64)) for value in (0, 1e-30, 1, 1e6)]
    history = nf.train(classify, model, data, nf.setup(nf.Adam(), model), epochs=2, progress=False, compile=compile)
    assert [row["loss"] for row in history] == [0, 0]
    assert all(np.isfinite(p).all() for p in nf.trainables(model))


@pytest.mark.parametrize("compile", [True, False])
def test_a_training_stops_at_what_is_not_finite_and_says_where(compile):
    model = nf.Chain(body=nf.Dense(2, 3, rng=0), scale=lambda x: x * 1e38, head=nf.Dense(3, 1, rng=1))
    before = nf.state(model)
    data = [(np.full((4, 2), 100, np.float32), np.zeros((4, 1), np.float32))]
    with pytest.raises(nf.NonFiniteError, match=r"output of affine\(scale=1e\+38, .*\) in layer scale \(<lambda>\)"):
        nf.train(lambda m, x, y: nf.losses.mse(m(x), y), model, data, nf.setup(nf.Adam(), model), epochs=1,
                 progress=False, compile=compile)  # fmt: skip
    for path, array in nf.state(model).items():
        np.testing.assert_array_equal(array, before[path])
