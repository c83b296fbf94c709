"""Models of float16: what is rounded and what is not, in files, and every way in which they must not compute."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.tree import leaves

X = nf.Generator(0).normal((4, 6, 6, 3))


def net():
    """Layers whose fields are checked, and a tie."""
    return nf.Chain(
        nf.Conv((3, 3), 3, 4, nf.relu, rng=0),
        nf.BatchNorm(4),
        nf.flatten,
        nf.WeightNorm(nf.Dense(64, 5, rng=1)),
        nf.Parallel(nf.add, nf.Dense(5, 5, rng=2), nf.Maxout(lambda: nf.Dense(5, 5), 2)),
        nf.Scale(5),
    )


def tied():
    one = nf.Dense(3, 3, rng=0)
    model = nf.Chain(one, nf.Dense(3, 3, rng=1))
    model[1].weight = one.weight
    return model


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def test_what_is_trained_is_rounded_and_nothing_else():
    model = net()
    model[1].mean[:] = 1e6  # statistics may be larger than float16 holds
    half = nf.f16(model)
    for old, new in zip(leaves(model), leaves(half), strict=True):
        assert old.path == new.path and not np.shares_memory(old.array, new.array)
        if old.kind == "param":
            assert new.array.dtype == np.float16
            np.testing.assert_allclose(new.array, old.array, rtol=2.0**-11, atol=3e-8)
        else:
            assert new.array.dtype == old.array.dtype and np.array_equal(new.array, old.array)


def test_there_and_back():
    model = net()
    again = nf.f32(nf.f16(model))
    assert {leaf.array.dtype for leaf in leaves(again)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(again(X), model(X), rtol=0.02, atol=0.02)
    twice = nf.f32(nf.f16(again))
    assert all(np.array_equal(a, b) for a, b in zip(nf.trainables(again), nf.trainables(twice), strict=True))
    assert nf.f64(nf.f16(model))[0].weight.dtype == np.float64
    assert nf.f16([np.array([np.nan, np.inf]), np.array([1])])[1].dtype == int


def test_ties_are_kept():
    half = nf.f16(tied())
    assert half[0].weight is half[1].weight and half[0].bias is not half[1].bias


def test_a_number_too_large():
    model = nf.Dense(2, 1)
    model.weight[:] = [[1], [-65519]]
    assert nf.f16(model).weight[1] == -65504
    model.weight[1] = 65520
    with raises(nf.RangeError, "f16: weight must be of numbers between -65504 and 65504, got 65520"):
        nf.f16(model)


def test_a_file_of_half_the_size(tmp_path):
    model = nf.Chain(nf.Dense(300, 200, nf.relu, rng=0), nf.BatchNorm(200), nf.Dense(200, 100, rng=1))
    half = nf.f16(model)
    nf.save(tmp_path / "half.h5", half)
    nf.save(tmp_path / "whole.h5", model)
    assert (tmp_path / "half.h5").stat().st_size < 0.55 * (tmp_path / "whole.h5").stat().st_size
    again = nf.load(tmp_path / "half.h5")
    for a, b in zip(leaves(again), leaves(half), strict=True):
        assert a.array.dtype == b.array.dtype and np.array_equal(a.array, b.array)
    x = np.ones((2, 300), np.float32)
    assert np.array_equal(nf.f32(again)(x), nf.f32(half)(x))


@pytest.mark.parametrize("make", [net, tied])
def test_every_checked_layer_is_loaded(make, tmp_path):
    nf.save(tmp_path / "m.h5", nf.f16(make()))
    assert repr(nf.load(tmp_path / "m.h5")) == repr(nf.f16(make()))


def test_fields_that_do_not_fit_are_still_refused(tmp_path):
    model = nf.f16(nf.Dense(2, 3))
    object.__setattr__(model, "bias", np.zeros(4, np.float16))
    nf.save(tmp_path / "m.h5", model)
    with pytest.raises(nf.FileFormatError, match=r"the model: Dense: bias must be None or float32 of shape \(3,\)"):
        nf.load(tmp_path / "m.h5")


KERNELS = (
    "array must be of a float or integer type of this machine, got float16; x.astype(np.float32), or nf.f32(model)"
)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda m, x: m(x), f"0.dense: {KERNELS}"),
        (lambda m, x: m(x.astype(np.float16)), f"0.dense: {KERNELS}"),
        (lambda m, x: nf.compile(m)(x), f"0.weight: {KERNELS}"),
        (lambda m, x: nf.gradient(lambda m: m(x).sum(), m), f"0.dense: {KERNELS}"),
        (lambda m, x: nf.setup(nf.Adam(), m), "setup: 0.weight must be float32 or float64, got float16; nf.f32(model)"),
    ],
)
def test_it_does_not_compute(use, text):
    half = nf.f16(nf.Chain(nf.Dense(2, 1)))
    with raises(nf.DTypeError, text):
        use(half, np.ones((1, 2), np.float32))


def test_it_is_not_poured_into_a_model_of_another_dtype(tmp_path):
    model = nf.Dense(2, 1, rng=0)
    nf.save(tmp_path / "m.h5", nf.f16(model))
    before = model.weight.copy()
    text = "m.h5: load_into: weight must be float32, got float16; nf.f32(model) or nf.f64(model)"
    with pytest.raises(nf.FileFormatError, match=re.escape(text)):
        nf.load_into(model, tmp_path / "m.h5")
    assert np.array_equal(model.weight, before)
    nf.load_state(model, nf.state(nf.f32(nf.load(tmp_path / "m.h5"))))
    np.testing.assert_allclose(model.weight, before, rtol=1e-3)
