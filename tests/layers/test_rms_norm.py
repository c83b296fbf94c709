"""RMSNorm: against PyTorch and plain NumPy; messages."""

import re

import numpy as np
import pytest

import numbaflux as nf

X = np.random.default_rng(0).normal(1, 3, (5, 4, 6))


def made(*args, **options):
    """With a weight that is not the first one."""
    layer = nf.RMSNorm(*args, **options)
    for p in nf.trainables(layer):
        p[...] = np.linspace(-1, 2, p.size).reshape(p.shape)
    return layer


LAYERS = [made(6), made((4, 6), nf.tanh, eps=1e-2), made(6, affine=False)]
each = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.describe())


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_does_what_torch_does(layer, dtype):
    torch = pytest.importorskip("torch")
    layer = nf.f64(layer) if dtype == np.float64 else layer
    given = torch.tensor(X, requires_grad=True)
    weight = None if layer.weight is None else torch.tensor(layer.weight.astype(np.float64), requires_grad=True)
    right = torch.nn.functional.rms_norm(given, layer.size, weight, layer.eps)
    right = torch.tanh(right) if layer.activation is nf.tanh else right
    (right**2).sum().backward()
    x, tolerance = X.astype(dtype), 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(layer(x), right.detach(), rtol=tolerance, atol=tolerance)
    grads, dx = nf.gradient(lambda m, x: (m(x) ** 2).sum(), layer, x)
    np.testing.assert_allclose(dx, given.grad, rtol=0, atol=tolerance * 10)
    if weight is not None:
        np.testing.assert_allclose(grads.weight, weight.grad, rtol=tolerance, atol=tolerance * 10)


def test_each_index_of_the_leading_axes_is_by_itself():
    y = nf.RMSNorm(6)(X.astype(np.float32))
    np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-4)
    np.testing.assert_allclose(y[3, 1], X[3, 1] / np.sqrt((X[3, 1] ** 2).mean() + 1e-5), rtol=1e-5)


def test_what_is_trained_and_shown():
    assert [path for path, _ in nf.trainables(nf.RMSNorm(3), path=True)] == ["weight"]
    assert [nf.hasaffine(layer) for layer in LAYERS] == [True, True, False]
    assert [layer.describe() for layer in LAYERS] == [
        "RMSNorm(6)", "RMSNorm((4, 6), tanh, eps=0.01)", "RMSNorm(6, affine=False)",
    ]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), [
    (lambda: nf.RMSNorm(0), nf.RangeError, "RMSNorm: size must be an integer in [1, inf), got 0"),
    (lambda: nf.RMSNorm(()), nf.DTypeError, "RMSNorm: size must be a tuple of integers, got ()"),
    (lambda: nf.RMSNorm(3, "relu"), nf.DTypeError, "RMSNorm: activation must be a function, got str; nf.relu"),
    (lambda: nf.RMSNorm(3, eps=-1.0), nf.RangeError, "RMSNorm: eps must be a number in [0, inf), got -1.0"),
    (lambda: nf.RMSNorm(3)(X), nf.ShapeError, "RMSNorm: x must be of shape (..., 3), got (5, 4, 6)"),
    (lambda: nf.RMSNorm(6)(X.astype(int)), nf.DTypeError,
     "RMSNorm: x must be an array of float32 or float64, got int64; x.astype(np.float32)"),
])  # fmt: skip
def test_messages(call, kind, text):
    with raises(kind, text):
        call()


def test_fields_that_a_file_may_not_hold():
    layer = nf.RMSNorm(3)
    layer.weight = np.ones(2, np.float32)
    with raises(nf.ShapeError, "RMSNorm: weight must be None or float32 of shape (3,), got float32 of shape (2,)"):
        layer.check_fields()
