"""WeightNorm: the same function as the plain layer, trained by length and direction."""

import re

import numpy as np
import pytest

import numbaflux as nf

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


@pytest.mark.parametrize("dims", [None, 0, 1, (0, 1), -1], ids=str)
def test_it_starts_as_the_layer_and_leaves_it_alone(dims):
    plain = nf.Dense(3, 2, nf.tanh, rng=0)
    before = plain.weight.copy()
    model = nf.WeightNorm(plain, dims=dims)
    axes = (0,) if dims is None else dims
    np.testing.assert_allclose(model.scale, np.sqrt((before**2).sum(axes, keepdims=True)), rtol=1e-6)
    np.testing.assert_allclose(model(X), plain(X), rtol=1e-5, atol=1e-7)
    model.layer.weight[...] *= 3  # the direction's length does not matter
    np.testing.assert_allclose(model(X), plain(X), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(plain.weight, before)


def test_formula_and_gradients():
    model = nf.f64(nf.WeightNorm(nf.Dense(3, 2, rng=0)))
    model.scale[...] = [[2, 3]]
    v, x = model.layer.weight, X.astype(np.float64)
    right = x @ (v / np.sqrt((v**2).sum(0)) * [2, 3]) + model.layer.bias
    np.testing.assert_allclose(model(x), right, rtol=1e-12)
    nf.check_gradients(lambda m, x: (m(x) ** 3).sum(), model, x)


def off(m, x):
    return ((m(x) - 1) ** 2).mean()


def test_it_trains_compiled_as_eager():
    found = []
    for compile in (True, False):
        model = nf.Chain(nf.WeightNorm(nf.Dense(3, 4, nf.relu, rng=0)), nf.WeightNorm(nf.Dense(4, 1, rng=1)))
        state = nf.setup(nf.Adam(0.05), model)
        history = nf.train(off, model, [X], state, 20, compile=compile, progress=False)
        found.append([history.column("loss"), *nf.state(model).values()])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    assert found[0][0][-1] < found[0][0][0] / 2


def test_of_an_image_each_output_has_its_length():
    model = nf.WeightNorm(nf.Conv((3, 3), 2, 4, rng=0))
    assert model.scale.shape == (1, 1, 1, 4)
    x = np.ones((2, 5, 5, 2), np.float32)
    np.testing.assert_allclose(model(x), model.plain()(x), rtol=1e-6)


def test_removing():
    model = nf.Chain(nf.WeightNorm(nf.Dense(3, 4, rng=0)), nf.relu, nf.WeightNorm(nf.Dense(4, 2, rng=0)))
    model[0].scale[...] *= 2
    plain = nf.remove_weight_norms(model)
    assert [type(one).__name__ for one in (plain[0], plain[2])] == ["Dense", "Dense"]
    np.testing.assert_array_equal(plain(X), model(X))
    untouched = nf.Chain(nf.Dense(3, 4))
    assert nf.remove_weight_norms(untouched) is untouched


def test_save_load_show(tmp_path):
    model = nf.Chain(nf.WeightNorm(nf.Dense(3, 2, rng=0)))
    model[0].scale[...] = 7
    nf.save(tmp_path / "m.h5", model)
    again = nf.load(tmp_path / "m.h5")
    np.testing.assert_array_equal(again(X), model(X))
    assert nf.state(model).keys() == {"0.layer.weight", "0.layer.bias", "0.scale"}
    assert "layer: Dense(3, 2)" in repr(again)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: nf.WeightNorm(nf.relu), nf.DTypeError,
         "WeightNorm: layer must be one with an array weight, got function"),
        (lambda: nf.WeightNorm(nf.Dense(2, 1, bias=False), "bias"), nf.DTypeError,
         "WeightNorm: layer must be one with an array bias, got Dense"),
        (lambda: nf.WeightNorm(nf.Dense(2, 1), dims=2), nf.ShapeError, "WeightNorm: axis must be in -2..1, got 2"),
    ],
)  # fmt: skip
def test_messages(make, kind, text):
    with raises(kind, text):
        make()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("scale", np.ones(2, np.float32), "WeightNorm: scale must be float32 of shape (1, 2), got (2,)"),
        ("dims", (2,), "WeightNorm: dims must be a tuple of integers in 0..1, got (2,)"),
        ("which", "nothing", "WeightNorm: layer must be one with an array nothing, got Dense"),
    ],
)
def test_a_file_cannot_bring_fields_that_do_not_fit(field, value, text):
    model = nf.WeightNorm(nf.Dense(3, 2))
    setattr(model, field, value)
    with pytest.raises(nf.Error, match="^" + re.escape(text) + "$"):
        model.check_fields()
