"""@nf.layer: what its fields mean, how it shows itself, what an optimiser state may hold."""

import copy
import functools

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.layers.layer import one_line
from numbaflux.tree import leaves


@nf.layer
class Scale:
    """A layer of a user: children, buffers, lists, settings."""

    factor: np.ndarray = nf.param()
    seen: np.ndarray = nf.buffer()
    inner: nf.Dense
    blocks: list
    power: int = 1

    def __call__(self, x):
        x = self.inner(x) * self.factor
        for block in self.blocks:
            x = block(x)
        return x


def scale(n=3):
    blocks = [nf.Dense(n, n, nf.tanh, rng=1), nf.relu]
    return Scale(np.full(n, 2, np.float32), np.zeros(2, np.float32), nf.Dense(2, n, rng=0), blocks)


def numpy_scale(model, x):
    w, b, first = model.inner.weight, model.inner.bias, model.blocks[0]
    return np.maximum(np.tanh(((x @ w + b) * model.factor) @ first.weight + first.bias), 0)


X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)


def test_children_buffers_and_lists_are_found():
    kinds = {leaf.path: leaf.kind for leaf in leaves(scale())}
    assert kinds == {
        "factor": "param", "seen": "buffer", "inner.weight": "param", "inner.bias": "param",
        "blocks.0.weight": "param", "blocks.0.bias": "param",
    }  # fmt: skip


def test_it_computes_what_its_call_says():
    model = scale()
    np.testing.assert_allclose(model(X), numpy_scale(model, X.astype(np.float64)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(nf.compile(model)(X), model(X))


def test_it_trains_and_leaves_buffers_alone():
    model, y = scale(), np.ones((4, 3), np.float32)
    state = nf.setup(nf.Adam(0.05), model)
    step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, state)
    losses = [float(step(X, y)) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0] and not model.seen.any()
    assert {s.path for s in state.segments} == {
        "factor", "inner.weight", "inner.bias", "blocks.0.weight", "blocks.0.bias",
    }  # fmt: skip


def test_gradients_mirror_the_model():
    model = scale()
    _, grads = nf.withgradient(lambda m: m(X).sum(), model)
    assert isinstance(grads, Scale) and grads.factor.shape == (3,) and grads.seen is None and grads.power == 1
    assert grads.blocks[0].weight.shape == (3, 3) and grads.blocks[1] is nf.relu


def test_repr_golden():
    assert repr(scale()) == (
        "Scale(                                           # 3 parameters\n"
        "  inner: Dense(2, 3),                            # 9 parameters\n"
        "  blocks.0: Dense(3, 3, tanh),                   # 12 parameters\n"
        "  blocks.1: relu,\n"
        ")\n"
        "# 5 arrays, 24 parameters, plus 2 not trained in 1 arrays, 104 bytes"
    )


@nf.layer
class Shift:
    by: np.ndarray = nf.param()
    mode: str = "up"
    f: object = nf.relu

    def __call__(self, x):
        return self.f(x + self.by)


def test_repr_of_a_layer_without_children_shows_its_fields():
    assert repr(Shift(np.ones(3, np.float32))) == (
        "Shift(by=3, mode='up', f=relu),                  # 3 parameters\n# 1 arrays, 3 parameters, 12 bytes"
    )


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        (nf.Chain(), "Chain()"),
        (nf.Parallel(nf.cat, nf.Dense(2, 3), nf.relu), "Parallel(connection=cat, Dense(2, 3), relu)"),
        (nf.PairwiseFusion(nf.add, deep=nf.Dense(2, 3), wide=nf.Chain(nf.tanh)),
         "PairwiseFusion(connection=add, deep=Dense(2, 3), wide=Chain(tanh))"),
        (nf.Maxout(nf.Scale(3), nf.SkipConnection(nf.tanh, nf.add)),
         "Maxout(Scale(3), SkipConnection(layer=tanh, connection=add))"),
        (scale(), "Scale(factor=3, seen=2, inner=Dense(2, 3), blocks=[Dense(3, 3, tanh), relu], power=1)"),
        (functools.partial(nf.leakyrelu, a=0.1), "leakyrelu(a=0.1)"),
    ],
)  # fmt: skip
def test_a_layer_in_one_line(layer, line):
    assert one_line(layer) == line


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("weight", [[np.nan, 1], [1, 1]], "NaN in weight"),
        ("weight", [[np.inf, 1], [1, 1]], "Inf in weight"),
        ("weight", [[0, 0], [0, 0]], "all zero: weight"),
        ("bias", [np.nan, 0], "NaN in bias"),
    ],
)
def test_repr_flags_bad_numbers(name, value, flag):
    model = nf.Dense(2, 2, rng=0)
    assert "(!)" not in repr(model)  # a bias of zeros is no sign of trouble
    setattr(model, name, np.array(value, np.float32))
    assert f"# 6 parameters (!) {flag}\n" in repr(model)


def test_layers_compare_and_hash_by_identity():
    assert scale() != scale() and len({scale(), scale()}) == 2


def test_a_held_field_is_assigned_in_place():
    model = nf.Dense(2, 3, rng=0)
    nf.setup(nf.Descent(), model)
    before = model.weight
    model.weight = np.full((2, 3), 7)
    assert model.weight is before and (before == 7).all()
    with pytest.raises(nf.ShapeError, match=r"^Dense: weight must be of shape \(2, 3\), got \(3, 2\); build a new"):
        model.weight = np.zeros((3, 2), np.float32)
    with pytest.raises(nf.ShapeError, match=r"^Dense: bias must be of shape \(3,\), got \(\)"):
        model.bias = None
    assert model.weight is before and (before == 7).all()


def test_a_held_list_of_arrays_can_be_assigned():
    @nf.layer
    class Many:
        arrays: list = nf.param()

    model = Many([np.ones(2, np.float32), np.zeros(3, np.float32)])
    state = nf.setup(nf.Descent(), model)
    assert [s.path for s in state.segments] == ["arrays.0", "arrays.1"]
    model.arrays = [np.ones(1, np.float32)]
    assert len(model.arrays) == 1


def test_a_free_field_takes_another_array():
    model = nf.Dense(2, 3)
    new = np.zeros((4, 4), np.float32)
    model.weight = new
    assert model.weight is new


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_a_copy_belongs_to_no_optimiser_state(how):
    model = scale()
    state = nf.setup(nf.Adam(), model)
    twin = how(model)
    assert twin.inner is (model.inner if how is copy.copy else twin.inner)
    nf.setup(nf.Adam(), copy.deepcopy(twin))
    assert not state.moved, "setting up a copy must not end the original's state"
    twin.factor = np.zeros(9, np.float32)
    assert model.factor.shape == (3,)
