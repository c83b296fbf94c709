"""Pooling layers: shapes, values against PyTorch where it has the same windows, every message."""

import re

import numpy as np
import pytest

import numbaflux as nf

X = np.random.default_rng(0).normal(size=(2, 12, 8, 3)).astype(np.float32)
LAYERS = [
    nf.MaxPool((2, 2)), nf.MeanPool((3, 2), stride=2, pad=1), nf.AdaptiveMaxPool((5, 3)), nf.AdaptiveMeanPool((3, 4)),
    nf.GlobalMaxPool(), nf.GlobalMeanPool(), nf.LPPool(2, 2), nf.LPPool(3.5, (3, 2), stride=2, pad=1),
]  # fmt: skip


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def test_layers_are_the_functions():
    np.testing.assert_array_equal(nf.MaxPool((3, 2), stride=2, pad=1)(X), nf.maxpool(X, (3, 2), 2, 1))
    np.testing.assert_array_equal(nf.MeanPool(3)(X), nf.meanpool(X, 3))
    np.testing.assert_array_equal(nf.LPPool(3, (3, 2), 2, 1)(X), nf.lpnormpool(X, 3, (3, 2), 2, 1))
    np.testing.assert_array_equal(nf.MaxPool((2,))(X[:, 0]), nf.maxpool(X[:, 0], 2))


@pytest.mark.parametrize(("k", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_a_relu_before_a_pool_goes_behind_it_in_a_plan_and_no_bit_changes(k, stride, pad):
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (40, 9, 9, 3)).astype(np.float32)  # equal ones, zeros, windows without a positive number
    x[0, :4, :4], x[1, 3, 3], x[2] = -0.0, np.nan, -1
    dy = rng.normal(size=nf.maxpool(x, k, stride, pad).shape).astype(np.float32)
    pooled = nf.compile(lambda x: nf.maxpool(nf.relu(x), k, stride, pad))
    assert pooled(x).tobytes() == nf.maxpool(nf.relu(x), k, stride, pad).tobytes()
    [program] = pooled.programs.values()
    assert [e.kernel for e in program.plan.entries] == ["pool.maxpool", "elementwise.relu"]

    def grad(x):
        return nf.gradient(lambda x: (dy * nf.maxpool(nf.relu(x), k, stride, pad)).sum(), x)

    x[1, 3, 3] = 2
    assert nf.compile(grad)(x).tobytes() == grad(x).tobytes()


def test_stride_is_the_window_unless_told():
    layer = nf.MaxPool((3, 2))
    assert (layer.window, layer.stride, layer.pad) == ((3, 2), (3, 2), ((0, 0), (0, 0)))
    assert nf.MeanPool((2, 2), pad="same").pad == ((0, 1), (0, 1))


@pytest.mark.parametrize("out", [(12, 8), (6, 4), (4, 2), (1, 1), 4])
def test_adaptive_pools_against_pytorch_where_windows_are_equal(out):
    torch = pytest.importorskip("torch")
    given = torch.tensor(X.transpose(0, 3, 1, 2))
    for layer, theirs in ((nf.AdaptiveMaxPool, "adaptive_max_pool2d"), (nf.AdaptiveMeanPool, "adaptive_avg_pool2d")):
        right = getattr(torch.nn.functional, theirs)(given, out).numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(layer(out)(X), right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("p", "k", "stride"), [(1, (2, 2), None), (2, (3, 2), 2), (3.5, (12, 8), 1)])
def test_lp_pool_does_what_torch_does(p, k, stride):
    """Of numbers above 0: PyTorch takes powers of them as they are."""
    torch = pytest.importorskip("torch")
    x = abs(X.astype(np.float64))
    right = torch.nn.functional.lp_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), p, k, stride)
    np.testing.assert_allclose(nf.LPPool(p, k, stride)(x), right.numpy().transpose(0, 2, 3, 1), rtol=1e-12)


def test_adaptive_pools_have_windows_of_one_size():
    """11 to 4: a stride of 2 and a window of 5."""
    x = np.arange(11, dtype=np.float32).reshape(1, 11, 1)
    np.testing.assert_array_equal(nf.AdaptiveMaxPool((4,))(x).ravel(), [4, 6, 8, 10])
    np.testing.assert_array_equal(nf.AdaptiveMeanPool((4,))(x).ravel(), [2, 4, 6, 8])


@pytest.mark.parametrize("shape", [(3, 7, 2), (2, 5, 6, 4), (2, 3, 4, 5, 2)])
def test_global_pools_of_every_rank(shape):
    x = np.random.default_rng(1).normal(size=shape)
    axes = tuple(range(1, x.ndim - 1))
    np.testing.assert_array_equal(nf.GlobalMaxPool()(x), x.max(axes, keepdims=True))
    np.testing.assert_allclose(nf.GlobalMeanPool()(x), x.mean(axes, keepdims=True), rtol=1e-12, atol=1e-15)


def test_repr():
    assert nf.trainables(LAYERS) == []
    shown = [repr(layer).split(",\n")[0] for layer in LAYERS]
    assert shown == [
        "MaxPool((2, 2))", "MeanPool((3, 2), stride=(2, 2), pad=((1, 1), (1, 1)))", "AdaptiveMaxPool((5, 3))",
        "AdaptiveMeanPool((3, 4))", "GlobalMaxPool()", "GlobalMeanPool()", "LPPool(2, (2, 2))",
        "LPPool(3.5, (3, 2), stride=(2, 2), pad=((1, 1), (1, 1)))",
    ]  # fmt: skip


WRONG = [
    (lambda: nf.MaxPool((2, 2, 2, 2)), nf.ShapeError, "MaxPool: k must be of 1 to 3 axes, got (2, 2, 2, 2)"),
    (lambda: nf.MaxPool((2, 0)), nf.RangeError, "MaxPool: k must be 1 or more, for each of 2 axes, got (2, 0)"),
    (lambda: nf.MeanPool("2"), nf.DTypeError, "MeanPool: k must be an integer or 2 of them, got '2'"),
    (lambda: nf.MeanPool(2, stride=0), nf.RangeError, "MeanPool: stride must be 1 or more, for each of 2 axes, got 0"),
    (lambda: nf.MaxPool((2, 3), pad=(1, 3)), nf.RangeError,
     "MaxPool: pad must be smaller than the window (2, 3), got ((1, 1), (3, 3))"),
    (lambda: nf.MaxPool(2, pad="valid"), nf.RangeError,
     "MaxPool: pad must be an integer, integers, or \"same\", got 'valid'"),
    (lambda: nf.LPPool(0.5, 2), nf.RangeError, "LPPool: p must be a number in [1, inf), got 0.5"),
    (lambda: nf.LPPool(2, (2, 0)), nf.RangeError, "LPPool: k must be 1 or more, for each of 2 axes, got (2, 0)"),
    (lambda: nf.AdaptiveMaxPool((0, 1)), nf.RangeError,
     "AdaptiveMaxPool: out must be 1 or more, for each of 2 axes, got (0, 1)"),
    (lambda: nf.AdaptiveMeanPool(()), nf.ShapeError, "AdaptiveMeanPool: out must be of 1 to 3 axes, got ()"),
    (lambda: nf.AdaptiveMaxPool(9)(X), nf.ShapeError,
     "AdaptiveMaxPool: x must be of spatial sizes of (9, 9) or more, got shape (2, 12, 8, 3)"),
    (lambda: nf.AdaptiveMeanPool((2,))(X), nf.ShapeError,
     "AdaptiveMeanPool: x must be of shape (n, length, c), got (2, 12, 8, 3)"),
    (lambda: nf.GlobalMaxPool()(X[0, 0]), nf.ShapeError,
     "GlobalMaxPool: x must be of shape (n, spatial axes, c), got (8, 3)"),
    (lambda: nf.GlobalMeanPool()(None), nf.DTypeError, "GlobalMeanPool: x must be an array, got NoneType"),
    (lambda: nf.Chain(nf.relu, nf.MaxPool((2,)))(X), nf.ShapeError,
     "1.maxpool: x must be of shape (n, length, c), got (2, 12, 8, 3)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_messages(call, kind, text):
    with raises(kind, text):
        call()


@pytest.mark.parametrize(
    ("layer", "field", "value", "text"),
    [
        (nf.MaxPool(2), "window", 2, "MaxPool: window must be a tuple, got 2"),
        (nf.LPPool(2, 2), "p", "2", "LPPool: p must be a number in [1, inf), got '2'"),
        (nf.MaxPool(2), "stride", None, "MaxPool: stride must be (2, 2), got None"),
        (nf.MeanPool(2), "pad", 1, "MeanPool: pad must be ((1, 1), (1, 1)), got 1"),
        (nf.AdaptiveMaxPool(2), "out", 2, "AdaptiveMaxPool: out must be a tuple, got 2"),
    ],
)
def test_fields_that_a_file_may_not_hold(layer, field, value, text):
    before = getattr(layer, field)
    setattr(layer, field, value)
    with pytest.raises(nf.Error, match="^" + re.escape(text) + "$"):
        layer.check_fields()
    setattr(layer, field, before)
    layer.check_fields()
