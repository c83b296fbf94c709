"""BatchNorm, InstanceNorm, GroupNorm, LayerNorm: against plain float64 NumPy and PyTorch; modes, files, messages."""

import re

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.models import trainmode

rng = np.random.default_rng(0)
IMAGES = rng.normal(1, 2, (9, 5, 6, 4)).astype(np.float32)
ROWS = rng.normal(-1, 3, (12, 4)).astype(np.float32)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def normed(x, axes, eps=1e-5):
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def close(y, right, dtype=np.float32):
    assert y.dtype == dtype
    np.testing.assert_allclose(y, right, rtol=0, atol=30 * np.finfo(dtype).eps)


def trained(layer):
    """Weights that are not the first ones."""
    for i, p in enumerate(nf.trainables(layer)):
        p[...] = np.linspace(0.5, 1.5, p.size).reshape(p.shape) * (-1) ** i
    return layer


# ---------------------------------------------------------------- against NumPy


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("x", [IMAGES, ROWS, IMAGES[:, 0]], ids=["images", "rows", "series"])
def test_batchnorm_in_training_and_inference(x, dtype):
    layer = trained(nf.BatchNorm(4, nf.tanh))
    layer = nf.f64(layer) if dtype == np.float64 else layer
    x, axes, count = x.astype(dtype), tuple(range(x.ndim - 1)), x.size // 4
    w, b, mean, var = layer.weight.copy(), layer.bias.copy(), 0.0, 1.0
    for _ in range(3):
        close(trainmode(layer)(x), np.tanh(normed(x, axes) * w + b), dtype)
        mean = 0.9 * mean + 0.1 * x.astype(np.float64).mean(axes)
        var = 0.9 * var + 0.1 * x.astype(np.float64).var(axes) * count / (count - 1)
    close(layer.mean, mean, dtype)
    close(layer.var, var, dtype)
    close(layer(x), np.tanh((x - mean) / np.sqrt(var + 1e-5) * w + b), dtype)
    close(nf.compile(layer)(x), layer(x), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_instancenorm_groupnorm_layernorm(dtype):
    x = IMAGES.astype(dtype)
    kinds = [
        (nf.InstanceNorm(4, affine=True), (1, 2), x),
        (nf.GroupNorm(4, 2), (1, 2, 4), x.reshape(9, 5, 6, 2, 2)),
        (nf.GroupNorm(4, 4), (1, 2), x),
        (nf.GroupNorm(4, 1), (1, 2, 3), x),
        (nf.LayerNorm(4), (3,), x),
        (nf.LayerNorm((6, 4)), (2, 3), x),
        (nf.LayerNorm([5, 6, 4]), (1, 2, 3), x),
    ]
    for layer, axes, view in kinds:
        layer = trained(nf.f64(layer) if dtype == np.float64 else layer)
        right = normed(view, axes).reshape(x.shape) * layer.weight + layer.bias
        for one in (layer, trainmode(layer), nf.testmode(layer), nf.compile(layer)):  # in every mode the same
            close(one(x), right, dtype)


def test_without_weights():
    for layer in (nf.BatchNorm(4, affine=False, track_stats=False), nf.LayerNorm(4, affine=False), nf.InstanceNorm(4)):
        assert layer.weight is None is layer.bias and not nf.hasaffine(layer) and nf.trainables(layer) == []
    close(nf.BatchNorm(4, affine=False, track_stats=False)(ROWS), normed(ROWS, 0))
    close(nf.GroupNorm(4, 2, affine=False)(ROWS), normed(ROWS.reshape(12, 2, 2), 2).reshape(12, 4))
    assert nf.hasaffine(nf.GroupNorm(4, 2)) and nf.hasaffine(nf.BatchNorm(4))


def test_instancenorm_keeps_the_mean_of_its_samples():
    layer = nf.InstanceNorm(4, track_stats=True, momentum=0.25)
    close(trainmode(layer)(IMAGES), normed(IMAGES, (1, 2)))
    mean, var = (getattr(IMAGES.astype(np.float64), f)((1, 2)).mean(0) for f in ("mean", "var"))
    close(layer.mean, 0.25 * mean)
    close(layer.var, 0.75 + 0.25 * var * 30 / 29)
    close(layer(IMAGES), (IMAGES - layer.mean) / np.sqrt(layer.var + 1e-5))


@pytest.mark.parametrize("shape", [(4000, 3), (1, 300, 200, 3), (2, 100, 40)], ids=str)
def test_a_mean_far_larger_than_the_deviation_costs_nothing(shape):
    """1000 to 1: of what float32 can say of x - mean nothing is lost."""
    x = rng.normal(1000, 1, shape).astype(np.float32)
    c = shape[-1]
    for layer, axes in ((nf.BatchNorm(c), tuple(range(len(shape) - 1))), (nf.LayerNorm(c), len(shape) - 1)):
        scale = 1 / np.sqrt(x.astype(np.float64).var(axes).min())
        off = abs(trainmode(layer)(x) - normed(x, axes)).max()
        assert off < scale * np.spacing(np.float32(1000))  # of the mean, which is rounded to float32


# ---------------------------------------------------------------- against PyTorch


def nchw(torch, x):
    """(n, ..., c) as PyTorch's (n, c, ...)."""
    return torch.tensor(np.moveaxis(x, -1, 1).copy())


@pytest.mark.parametrize("kind", ["batch", "instance"])
def test_running_statistics_and_gradients_as_pytorchs(kind):
    torch = pytest.importorskip("torch")
    make, theirs = nf.BatchNorm, torch.nn.BatchNorm2d
    if kind == "instance":
        make, theirs = nf.InstanceNorm, torch.nn.InstanceNorm2d
    layer = trained(nf.f64(make(4, affine=True, track_stats=True)))
    other = theirs(4, affine=True, track_running_stats=True).double()
    with torch.no_grad():
        other.weight[:], other.bias[:] = torch.tensor(layer.weight), torch.tensor(layer.bias)
    for step in range(4):
        x = rng.normal(step, 1 + step, (7, 5, 3, 4))
        dy = rng.normal(size=x.shape)
        (grads, dx) = nf.gradient(lambda m, x: (m(x) * dy).sum(), layer, x)  # noqa: B023
        t = nchw(torch, x).requires_grad_()
        other.zero_grad()
        (other(t) * nchw(torch, dy)).sum().backward()
        pairs = [
            (dx, np.moveaxis(t.grad.numpy(), 1, -1)), (grads.weight, other.weight.grad),
            (grads.bias, other.bias.grad), (layer.mean, other.running_mean), (layer.var, other.running_var),
        ]  # fmt: skip
        for one, two in pairs:
            np.testing.assert_allclose(one, np.asarray(two), rtol=1e-10, atol=1e-10)
    other.eval()
    np.testing.assert_allclose(layer(x), np.moveaxis(other(nchw(torch, x)).detach().numpy(), 1, -1), rtol=1e-10)


def test_group_and_layer_norm_as_pytorchs():
    torch = pytest.importorskip("torch")
    x, dy = IMAGES.astype(np.float64), rng.normal(size=IMAGES.shape)
    group, layer = trained(nf.f64(nf.GroupNorm(4, 2))), trained(nf.f64(nf.LayerNorm((6, 4))))
    t = torch.tensor(x, requires_grad=True)
    wide = torch.nn.functional.group_norm(t.movedim(-1, 1), 2, *map(torch.tensor, (group.weight, group.bias)))
    rows = torch.nn.functional.layer_norm(t, (6, 4), *map(torch.tensor, (layer.weight, layer.bias)))
    for ours, theirs in ((group, wide.movedim(1, -1)), (layer, rows)):
        np.testing.assert_allclose(ours(x), theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
        [right] = torch.autograd.grad((theirs * torch.tensor(dy)).sum(), t)
        found = nf.gradient(lambda x: (ours(x) * dy).sum(), x)  # noqa: B023
        np.testing.assert_allclose(found, right.numpy(), rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------- gradients, threads


@pytest.mark.parametrize("active", [True, False])
def test_gradients_of_every_layer(active):
    instance = nf.InstanceNorm(4, affine=True, track_stats=True)
    layers = [nf.BatchNorm(4, nf.tanh), instance, nf.GroupNorm(4, 2), nf.LayerNorm(4)]
    mode = trainmode if active else nf.testmode
    model = mode(nf.Chain(*map(trained, layers)))
    nf.check_gradients(lambda m, x: (m(x) ** 3).mean(), model, IMAGES[:3, :2])


def test_the_same_bits_on_any_number_of_threads():
    x = rng.normal(size=(64, 16, 16, 6)).astype(np.float32)
    layers = nf.Chain(nf.BatchNorm(6, nf.relu), nf.GroupNorm(6, 3), nf.LayerNorm(6), nf.InstanceNorm(6))
    found = []
    for threads in (1, nf.native.pool().count):
        with nf.threads(threads):
            grads, dx = nf.compile(lambda x: nf.gradient(lambda m, x: (m(x) ** 2).sum(), layers, x))(x)
        found.append([dx, *nf.trainables(grads)])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_one_nan_shows_in_all_of_its_group_and_nowhere_else():
    x = IMAGES.copy()
    x[2, 1, 1, 3] = np.nan
    bad = np.isnan(trainmode(nf.BatchNorm(4))(x))
    assert bad[..., 3].all() and not bad[..., :3].any()
    bad = np.isnan(nf.GroupNorm(4, 2)(x))
    assert bad[2, ..., 2:].all() and bad.sum() == 60
    bad = np.isnan(nf.gradient(lambda x: (nf.LayerNorm(4)(x) ** 2).sum(), x))
    assert bad[2, 1, 1].all() and bad.sum() == 4


# ---------------------------------------------------------------- modes


def test_modes():
    layer = nf.BatchNorm(4)
    y = layer(ROWS)
    np.testing.assert_array_equal(nf.testmode(layer)(ROWS), y)
    assert not layer.mean.any()
    for active, changed in ((None, True), (True, True), (False, False)):
        one = nf.BatchNorm(4, active=active)
        nf.gradient(lambda m: m(ROWS).sum(), one)  # noqa: B023
        assert one.mean.any() == changed
    nf.BatchNorm(4, active=True)(ROWS)
    frozen = nf.testmode(layer)
    grads = nf.gradient(lambda m: (m(ROWS) * ROWS).sum(), frozen)
    np.testing.assert_allclose(grads.weight, (ROWS * ROWS).sum(0) / np.sqrt(1 + 1e-5), rtol=1e-5)
    assert not layer.mean.any() and frozen.mean is layer.mean


def test_momentum_weighs_the_new():
    layer = nf.BatchNorm(4, momentum=1.0)
    trainmode(layer)(ROWS)
    np.testing.assert_allclose(layer.mean, ROWS.mean(0), rtol=1e-6)
    layer = nf.BatchNorm(4, momentum=0.0)
    trainmode(layer)(ROWS)
    assert not layer.mean.any() and (layer.var == 1).all()


# ---------------------------------------------------------------- files, shapes, messages


def test_save_load_show(tmp_path):
    model = nf.Chain(
        nf.BatchNorm(4, nf.relu, momentum=0.2), nf.InstanceNorm(4, track_stats=True, active=True),
        nf.GroupNorm(4, 2, nf.tanh), nf.LayerNorm((6, 4), eps=1e-3), nf.LayerNorm(4, affine=False),
    )  # fmt: skip
    trainmode(model)(IMAGES)
    nf.save(tmp_path / "m.h5", model)
    again = nf.load(tmp_path / "m.h5")
    assert nf.state(again).keys() == nf.state(model).keys() >= {"0.weight", "0.bias", "0.mean", "0.var", "1.mean"}
    np.testing.assert_array_equal(nf.testmode(again)(IMAGES), nf.testmode(model)(IMAGES))
    assert repr(again) == repr(model)
    assert [line.partition("#")[0].strip() for line in repr(model).splitlines()[1:6]] == [
        "0: BatchNorm(4, relu, momentum=0.2),", "1: InstanceNorm(4, track_stats=True),", "2: GroupNorm(4, 2, tanh),",
        "3: LayerNorm((6, 4), eps=0.001),", "4: LayerNorm(4, affine=False),",
    ]  # fmt: skip
    assert nf.outputsize(model, (9, 5, 6, 4)) == (9, 5, 6, 4)
    assert "plus 16 not trained in 4 arrays" in repr(model)
    assert "16 not trained" in repr(nf.summary(model, (2, 5, 6, 4)))


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: nf.BatchNorm(4)(IMAGES[..., :3]), nf.ShapeError,
         "BatchNorm: x must be of shape (n, ..., 4), got (9, 5, 6, 3)"),
        (lambda: nf.BatchNorm(4)(ROWS[0]), nf.ShapeError, "BatchNorm: x must be of shape (n, ..., 4), got (4,)"),
        (lambda: nf.BatchNorm(4)(None), nf.ShapeError, "BatchNorm: x must be of shape (n, ..., 4), got ()"),
        (lambda: nf.InstanceNorm(4)(ROWS), nf.ShapeError,
         "InstanceNorm: x must be of shape (n, spatial axes, 4), got (12, 4)"),
        (lambda: nf.GroupNorm(4, 2)(ROWS[:, :2]), nf.ShapeError,
         "GroupNorm: x must be of shape (n, ..., 4), got (12, 2)"),
        (lambda: nf.LayerNorm((6, 4))(ROWS), nf.ShapeError, "LayerNorm: x must be of shape (..., 6, 4), got (12, 4)"),
        (lambda: nf.LayerNorm(3)(ROWS), nf.ShapeError, "LayerNorm: x must be of shape (..., 3), got (12, 4)"),
        (lambda: nf.BatchNorm(4)(ROWS.astype(np.float64)), nf.DTypeError,
         "norm: x must be of float32 as weights, got float64; x.astype(np.float32) or nf.f64(model)"),
        (lambda: trainmode(nf.BatchNorm(4))(ROWS[:1]), nf.ShapeError,
         "BatchNorm: x must be of more than one value a channel in training, got shape (1, 4); "
         "a larger batch, or partial=False for the last of an epoch"),
        (lambda: trainmode(nf.InstanceNorm(4))(IMAGES[:, :1, :1]), nf.ShapeError,
         "InstanceNorm: x must be of more than one value a channel in training, got shape (9, 1, 1, 4)"),
        (lambda: nf.GroupNorm(4, 3), nf.RangeError, "GroupNorm: groups must be a divisor of 4 channels, got 3"),
        (lambda: nf.LayerNorm(()), nf.DTypeError, "LayerNorm: size must be a tuple of integers, got ()"),
        (lambda: nf.BatchNorm(4, active="yes"), nf.DTypeError,
         "BatchNorm: active must be True, False or None, got 'yes'"),
        (lambda: nf.GroupNorm(4, 2, "relu"), nf.DTypeError,
         "GroupNorm: activation must be a function, got str; nf.relu"),
        (lambda: nf.BatchNorm(4, init_weight=lambda s: np.ones(2)), nf.ShapeError,
         "BatchNorm: weight must be None or float64 of shape (4,), got float64 of shape (2,)"),
        (lambda: nf.BatchNorm(4, init_bias=lambda s: np.zeros(s)), nf.ShapeError,
         "BatchNorm: bias must be None or float32 of shape (4,), got float64 of shape (4,)"),
        (lambda: nf.hasaffine(nf.Dense(2, 1)), nf.DTypeError,
         "hasaffine: layer must be one that normalises, got Dense"),
        (lambda: nf.BatchNorm(4)(np.ones((0, 4), np.float32)), nf.ShapeError,
         "norm: x must be of at least one element, got shape (0, 4)"),
        (lambda: nf.LayerNorm(4)(np.ones((0, 4), np.float32)), nf.ShapeError,
         "moments: x must be of at least one element, got shape (0, 4)"),
        (lambda: nf.BatchNorm(4, track_stats=False)(np.ones((3, 4), int)), nf.DTypeError,
         "moments: x must be an array of float32 or float64, got int64; x.astype(np.float32)"),
    ],
)  # fmt: skip
def test_messages(make, kind, text):
    with raises(kind, text):
        make()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("weight", None, "BatchNorm: bias must be given where weight is, got one of the two"),
        ("var", None, "BatchNorm: var must be given where mean is, got one of the two"),
        ("mean", np.zeros(3, np.float32),
         "BatchNorm: mean must be None or float32 of shape (4,), got float32 of shape (3,)"),
        ("channels", 0, "BatchNorm: ch must be an integer in [1, inf), got 0"),
        ("eps", -1.0, "BatchNorm: eps must be a number in [0, inf), got -1.0"),
    ],
)  # fmt: skip
def test_a_file_cannot_bring_fields_that_do_not_fit(field, value, text):
    layer = nf.BatchNorm(4)
    setattr(layer, field, value)
    with pytest.raises(nf.Error, match="^" + re.escape(text) + "$"):
        layer.check_fields()


@pytest.mark.parametrize("both", [None, "itself", "a view"])
def test_a_relu_behind_a_norm_is_made_with_it_unless_others_read_what_is_before(both):
    rng = np.random.default_rng(0)
    layer = nf.BatchNorm(3)
    layer.mean[...], layer.var[...] = [1, -1, 0], [4, 1, 0.5]
    x = rng.normal(size=(50, 3)).astype(np.float32)
    x[0], x[1, 0] = np.nan, 1.0

    def f(x):
        y = layer(x)
        if both == "a view":
            return nf.relu(nf.functions.reshape(y, -1)), y * 2
        return (nf.relu(y), y) if both else (nf.relu(y),)

    compiled = nf.compile(f)
    for a, b in zip(compiled(x), f(x), strict=True):
        assert a.tobytes() == b.tobytes()
    [program] = compiled.programs.values()
    assert ("elementwise.relu" in [e.kernel for e in program.plan.entries]) == bool(both)
