"""Compiled models that stay as they are: what is made once, norms inside of layers, against PyTorch's arithmetic and
the model itself."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.constants import without_constants
from numbaflux.fixed import fixed
from numbaflux.lowering import Build, as_buf, cut
from numbaflux.op import DTypeError, RangeError
from numbaflux.plan import Plan

rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(5, 9, 9, 3)).astype(np.float32)
VECTORS = rng.normal(size=(40, 6)).astype(np.float32)


def normed(ch, activation=nf.identity, **options):
    """A BatchNorm as after some training."""
    norm = nf.BatchNorm(ch, activation, **options)
    norm.mean[...], norm.var[...] = rng.normal(size=ch), rng.uniform(0.2, 3, ch)
    if norm.weight is not None:
        norm.weight[...], norm.bias[...] = rng.normal(size=(2, ch))
    return norm


MODELS = {
    "dense": (nf.Chain(nf.Dense(6, 8), normed(8, nf.relu), nf.Dense(8, 3)), VECTORS, 1),
    "without bias": (nf.Chain(nf.Dense(6, 8, bias=False), normed(8, affine=False)), VECTORS, 1),
    "conv": (nf.Chain(nf.Conv((3, 3), 3, 4, pad="same"), normed(4, nf.tanh), nf.MaxPool((3, 3))), IMAGES, 1),
    "groups": (nf.Chain(nf.Conv((3, 3), 3, 6, groups=3, stride=2), normed(6)), IMAGES, 1),
    "inside": (nf.Chain(nf.SkipConnection(nf.Chain(nf.Dense(6, 6), normed(6, nf.gelu)), nf.add)), VECTORS, 1),
    "twice": (nf.Chain(nf.Dense(6, 6), normed(6), normed(6, nf.relu)), VECTORS, 2),
    "activation between": (nf.Chain(nf.Dense(6, 6, nf.relu), normed(6)), VECTORS, 0),
    "always by batch": (nf.Chain(nf.Dense(6, 6), normed(6, active=True)), VECTORS, 0),
    "none": (nf.Chain(nf.Dense(6, 6), nf.LayerNorm(6)), VECTORS, 0),
}


def norms(model):
    return sum(isinstance(one, nf.BatchNorm) for _, one in nf.tree.layers(model))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_function(name, dtype):
    model, x, gone = MODELS[name]
    model, x = (nf.f64(model), x.astype(dtype)) if dtype == "float64" else (model, x)
    y = nf.compile(model)(x)
    got = nf.compile(model, fixed=True)(x)
    assert got.dtype == dtype and norms(model) - norms(fixed(model)) == gone
    np.testing.assert_allclose(
        got, y, rtol=2e-5 if dtype == "float32" else 1e-13, atol=1e-5 if dtype == "float32" else 1e-13
    )


def test_models_without_norms_keep_their_bits_and_pack_once():
    model = nf.Chain(nf.Dense(300, 200, nf.relu), nf.Dense(200, 64))
    x = rng.normal(size=(64, 300)).astype(np.float32)
    plain, once = nf.compile(model), nf.compile(model, fixed=True)
    assert plain(x).tobytes() == once(x).tobytes()
    kernels = [[e.kernel for e in f.last.plan.entries] for f in (plain, once)]
    assert "dense.pack" in kernels[0] and "dense.pack" not in kernels[1]


def test_later_changes_are_not_seen():
    model = nf.Chain(nf.Dense(6, 4), normed(4), nf.Dense(4, 2))
    once = nf.compile(model, fixed=True)
    y = once(VECTORS)
    for array in nf.tree.arrays(model).values():
        array[...] = 0
    assert once(VECTORS).tobytes() == y.tobytes() == once(VECTORS.copy()).tobytes()
    assert once(VECTORS[:3]).tobytes() == nf.compile(once.f)(VECTORS[:3]).tobytes()  # another plan of the same arrays


def test_the_model_is_left_as_it_was():
    model = nf.Chain(nf.Dense(6, 4), normed(4))
    before = {path: a.tobytes() for path, a in nf.tree.arrays(model).items()}
    nf.compile(model, fixed=True)(VECTORS)
    assert {path: a.tobytes() for path, a in nf.tree.arrays(model).items()} == before
    assert isinstance(model.layers[1], nf.BatchNorm)


def test_what_cannot_be_fixed_is_refused():
    with pytest.raises(DTypeError, match="compile: f must be a model where fixed=True, got function"):
        nf.compile(lambda x: x, fixed=True)
    model = nf.Dense(2, 1)
    with pytest.raises(RangeError, match="fixed must be False for a training step"):
        nf.compile(lambda m, x: m(x).sum(), model, nf.setup(nf.Adam(), model), fixed=True)


def test_only_what_depends_on_constants_alone_is_made_once():
    x, k = np.ones(8, np.float32), np.full(8, 2, np.float32)
    y, z = np.zeros(8, np.float32), np.zeros(8, np.float32)
    build = Build()
    a, b, c = (build.temp((8,), x.dtype) for _ in range(3))
    written = as_buf(x)

    def add(out, *ins):
        build.add("elementwise.add", cut(out, write=True), *map(cut, ins), rows=8, block=8)

    add(a, as_buf(k), as_buf(k))  # constant
    add(b, a, as_buf(k))  # by what is constant
    add(written, written, as_buf(k))  # changes at each call
    add(c, written, b)  # and so does this
    add(as_buf(y), c, a)
    add(b, written, a)  # what is written again by another is not constant
    add(as_buf(z), b, as_buf(k))
    build = without_constants(build)
    assert len(build.entries) == 6
    plan = Plan(build)
    for turn in (1, 2):
        k[...] = 99 if turn == 2 else 2  # an array that the plan reads itself is still read where it is
        plan.run()
    assert (a.storage.kind, b.storage.kind) == ("array", "temp")
    assert (y == x + (4 + 99) + 4).all() and (z == x + 4 + 99).all()
