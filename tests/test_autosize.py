"""Sizes that follow from inputs: in every kind of layer and container, as if they had been written; messages."""

import copy
import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.tree import leaves


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def bits(model):
    return {leaf.path: (leaf.array.dtype, leaf.array.shape, leaf.array.tobytes()) for leaf in leaves(model)}


@nf.layer
class Power:
    """A layer of a user, made by the dataclass's own __init__."""

    size: int
    factor: float = 1.0

    def __call__(self, x):
        return x * self.factor / self.size


# name -> (the model of some sizes, its sizes, shapes of inputs)
MODELS = {
    "images": (
        lambda a, b, c, d: nf.Chain(
            nf.Conv((3, 3), a, 8, nf.relu, stride=2, rng=0), nf.GroupNorm(b, groups=2), nf.DepthwiseConv((2, 2), b, 8),
            nf.flatten, nf.Dense(c, 10, nf.tanh, rng=1), nf.LayerNorm(d),
        ),
        (3, 8, 200, 10), [(2, 13, 13, 3)],
    ),
    "blocks": (
        lambda a, b, c, d: nf.Chain(
            body=nf.SkipConnection(nf.Dense(a, 5, rng=0), nf.cat),
            wide=nf.Parallel(nf.cat, x=nf.Dense(b, 4, rng=1), y=nf.Chain(nf.Dense(b, 2, rng=2), nf.Scale(c))),
            most=nf.Maxout(lambda: nf.Dense(d, 2, rng=3), 2),
        ),
        (3, 8, 2, 6), [(4, 3)],
    ),
    "names": (lambda a: nf.Dense(n_in=a, n_out=2, rng=0), (7,), [(5, 7)]),
    "own": (lambda a, b: nf.Chain(Power(a, 2.0), nf.relu, Power(size=b)), (6, 6), [(2, 6)]),
    "several inputs": (lambda a, b: nf.Bilinear(a, b, 4, rng=0), (2, 3), [(5, 2), (5, 3)]),
    "functions": (lambda a: nf.Chain(nf.relu, lambda x: x[:, :2], nf.BatchNorm(a)), (2,), [(3, 4)]),
    "nothing to find": (lambda: nf.Dense(2, 1, rng=0), (), [(1, 2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_as_if_the_sizes_had_been_written(name):
    make, sizes, shapes = MODELS[name]
    nf.seed(0)
    expected = make(*sizes)
    nf.seed(0)
    waiting = make(*[nf.AUTO] * len(sizes))
    text = repr(waiting)
    model = nf.autosize(waiting, *shapes)
    assert bits(model) == bits(expected)
    assert nf.outputsize(model, *shapes) == nf.outputsize(expected, *shapes)
    assert repr(waiting) == text, "the model that waits stays as it is"
    inputs = [nf.Generator(1).normal(shape) for shape in shapes]
    np.testing.assert_array_equal(model(*inputs), expected(*inputs))


def test_it_is_an_ordinary_model_then(tmp_path):
    model = nf.autosize(
        nf.Chain(nf.Dense(nf.AUTO, 3, nf.tanh), nf.BatchNorm(nf.AUTO), nf.Dense(nf.AUTO, 1)), (4,), padbatch=True
    )
    nf.save(tmp_path / "m.h5", model)
    assert bits(nf.load(tmp_path / "m.h5")) == bits(model) == bits(copy.deepcopy(model))
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), model, nf.setup(nf.Adam(), model))
    assert np.isfinite(step(np.ones((5, 4), np.float32)))


def test_a_layer_that_stands_twice_is_one_layer():
    one = nf.Dense(nf.AUTO, 3)
    model = nf.autosize(nf.Chain(one, nf.relu, one), (2, 3))
    assert model[0] is model[2] and len(nf.trainables(model)) == 2
    again = nf.autosize(nf.Chain(one), (2, 5))
    assert again[0].weight.shape == (5, 3), "what waits may be used again"


def test_indices():
    model = nf.autosize(nf.Chain(nf.Embedding(5, 4), nf.Dense(nf.AUTO, 2)), (2, 3), dtype=np.int64)
    assert model[1].weight.shape == (4, 2)


def test_how_it_shows_itself():
    assert repr(nf.Dense(nf.AUTO, 3, nf.relu, bias=False)) == f"Dense(AUTO, 3, {nf.relu!r}, bias=False)"
    assert repr(nf.Chain(nf.BatchNorm(nf.AUTO))).splitlines()[1] == "  0: BatchNorm(AUTO),"


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: nf.Dense(nf.AUTO, 3)(np.ones((1, 2), np.float32)), nf.PlanError,
         "Dense(AUTO, 3): AUTO must be a known size when a layer is called; nf.autosize(model, shape)"),
        (lambda: nf.outputsize(nf.Chain(nf.Dense(nf.AUTO, 3)), (1, 2)), nf.PlanError,
         "0.Dense(AUTO, 3): AUTO must be a known size when a layer is called; nf.autosize(model, shape)"),
        (lambda: nf.autosize(nf.Chain(nf.Chain(nf.Dense(nf.AUTO, 3)), nf.Dense(4, 1)), (1, 2)), nf.ShapeError,
         "1.dense: x must be of shape (..., 4), got (1, 3)"),
        (lambda: nf.autosize(nf.Dense(nf.AUTO, 3)), nf.ShapeError,
         "autosize: shapes must be at least one shape, got none"),
        (lambda: nf.autosize(nf.Bilinear(nf.AUTO, 2, 3), (1, 2), (1, 2)), nf.ShapeError,
         "Bilinear(AUTO, 2, 3): the layer must be called with one array, got shapes [(1, 2), (1, 2)]"),
        (lambda: nf.autosize(nf.Bilinear(nf.AUTO, nf.AUTO, 3), (1, 2), (1, 2), (1, 2)), nf.ShapeError,
         "Bilinear(AUTO, AUTO, 3): the layer must be called with one array, or 2 of them, "
         "got shapes [(1, 2), (1, 2), (1, 2)]"),
        (lambda: nf.autosize(Lazy(nf.relu, nf.Dense(nf.AUTO, 1)), (1, 2)), nf.PlanError,
         "autosize: other must be called, for its size to be known, got Dense(AUTO, 1) that is not"),
        (lambda: nf.Dense(2, nf.AUTO)(np.ones((1, 2), np.float32)), nf.PlanError,
         "Dense(2, AUTO): AUTO must be a known size when a layer is called; nf.autosize(model, shape)"),
    ],
)  # fmt: skip
def test_messages(call, kind, text):
    with raises(kind, text):
        call()


@nf.layer
class Lazy:
    """Calls one of its layers only."""

    used: object
    other: object

    def __call__(self, x):
        return self.used(x)


def test_an_error_leaves_nothing_switched_on():
    waiting = nf.Chain(nf.Dense(nf.AUTO, 3), nf.Dense(5, 1))
    with pytest.raises(nf.ShapeError):
        nf.autosize(waiting, (1, 2))
    with pytest.raises(nf.PlanError, match="AUTO must be a known size"):
        waiting[0](np.ones((1, 2), np.float32))


def test_a_class_with_a_new_of_its_own_keeps_it():
    @nf.layer
    class Single:
        made = 0

        def __new__(cls):
            cls.made += 1
            return object.__new__(cls)

    Single()
    assert Single.made == 1
