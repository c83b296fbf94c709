"""Padding: values against np.pad, gradients, plans, Conv's pad_mode against PyTorch, files, every message."""

import functools
import re

import numpy as np
import pytest

import numbaflux as nf

X = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
MODES = {  # of a function: np.pad's mode
    nf.pad_repeat: "edge", nf.pad_reflect: "reflect", nf.pad_symmetric: "symmetric", nf.pad_circular: "wrap",
    nf.pad_zeros: "constant", nf.pad_constant: "constant",
}  # fmt: skip
PADS = [  # pad, dims, and np.pad's widths
    (1, None, [(0, 0), (1, 1), (1, 1), (0, 0)]),
    ((2, 3), None, [(0, 0), (2, 2), (3, 3), (0, 0)]),
    ((2, 0, 1, 3), None, [(0, 0), (2, 0), (1, 3), (0, 0)]),
    (((0, 4), (3, 0)), None, [(0, 0), (0, 4), (3, 0), (0, 0)]),
    ((0, 2), -1, [(0, 0), (0, 0), (0, 0), (0, 2)]),
    ((1, 2), (0, 1), [(1, 1), (2, 2), (0, 0), (0, 0)]),
    ((1, 0, 0, 3), (2, 1), [(0, 0), (0, 3), (1, 0), (0, 0)]),
    (0, None, [(0, 0)] * 4),
]
each = pytest.mark.parametrize("pad_by", MODES, ids=lambda f: f.__name__)


def raises(kind, text):
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


@each
@pytest.mark.parametrize(("pad", "dims", "widths"), PADS, ids=[f"{pad} {dims}" for pad, dims, _ in PADS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_against_numpy(pad_by, pad, dims, widths, dtype):
    x = X.astype(dtype)
    y = pad_by(x, pad, dims=dims)
    np.testing.assert_array_equal(y, np.pad(x, widths, MODES[pad_by]))
    assert y.dtype == dtype


@pytest.mark.parametrize("val", [2.5, -1, np.float32(0.1), np.inf, np.nan])
def test_a_number_around(val):
    np.testing.assert_array_equal(
        nf.pad_constant(X, (1, 2), val),
        np.pad(X, [(0, 0), (1, 1), (2, 2), (0, 0)], constant_values=val),
    )


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 3, 4, 3, 2)])
def test_every_rank_and_as_much_as_there_is(shape):
    x = np.random.default_rng(1).normal(size=shape)
    for pad_by, mode in MODES.items():
        widths = [(0, 0), *((n - 1, n - 1) for n in shape[1:-1]), (0, 0)]
        np.testing.assert_array_equal(pad_by(x, [n - 1 for n in shape[1:-1]]), np.pad(x, widths, mode))
    np.testing.assert_array_equal(nf.pad_repeat(x, 9, dims=1), np.pad(x, [(0, 0), (9, 9)] + [(0, 0)] * (x.ndim - 2),
                                                                    "edge"))  # fmt: skip


@each
def test_gradients(pad_by):
    weight = np.random.default_rng(2).normal(size=(2, 10, 8, 3))
    nf.check_gradients(lambda x: (weight * pad_by(x, (2, 3, 1, 3)) ** 2).sum(), X.astype(np.float64))


@each
def test_gradients_of_gradients(pad_by):
    def penalty(x):
        return (nf.gradient(lambda x: (pad_by(x, 2) ** 3).sum(), x) ** 2).sum()

    nf.check_gradients(penalty, X[:1, :, :, :1].astype(np.float64))


@each
def test_compiled_and_without_computing(pad_by):
    def function(x):
        return pad_by(x, (2, 3, 1, 3))

    np.testing.assert_array_equal(nf.compile(function)(X), function(X))
    assert nf.outputsize(function, X.shape) == (2, 10, 8, 3)


def test_a_plan_holds_the_number():
    np.testing.assert_array_equal(
        nf.compile(lambda x: nf.pad_constant(x, 1, -np.inf))(X), nf.pad_constant(X, 1, -np.inf)
    )


def test_in_files(tmp_path):
    model = nf.Chain(functools.partial(nf.pad_reflect, pad=2), functools.partial(nf.pad_constant, pad=1, val=2.5))
    nf.save(tmp_path / "model.h5", model)
    np.testing.assert_array_equal(nf.load(tmp_path / "model.h5")(X), model(X))


WRONG = [
    (lambda: nf.pad_zeros(None, 1), nf.DTypeError, "pad_zeros: x must be an array, got NoneType"),
    (lambda: nf.pad_zeros(None, 1, dims=0), nf.DTypeError,
     "pad_zeros: x must be an array of float32 or float64, got NoneType"),
    (lambda: nf.pad_constant(np.ones((2, 3), np.int64), 1, dims=0), nf.DTypeError,
     "pad_constant: x must be an array of float32 or float64, got int64"),
    (lambda: nf.pad_reflect(X[0, 0], 1), nf.ShapeError,
     "pad_reflect: x must be of shape (n, spatial axes, c), got (4, 3)"),
    (lambda: nf.pad_reflect(X, (5, 0)), nf.ShapeError,
     "pad_reflect: x must be of 6 or more along axis 1 for reflect padding by (5, 5), got (2, 5, 4, 3); a smaller pad"),
    (lambda: nf.pad_symmetric(X, 5), nf.ShapeError,
     "pad_symmetric: x must be of 5 or more along axis 2 for symmetric padding by (5, 5), got (2, 5, 4, 3); "
     "a smaller pad"),
    (lambda: nf.pad_circular(X, (0, 5), dims=2), nf.ShapeError,
     "pad_circular: x must be of 5 or more along axis 2 for circular padding by (0, 5), got (2, 5, 4, 3); "
     "a smaller pad"),
    (lambda: nf.pad_repeat(X[:0], 1, dims=0), nf.ShapeError,
     "pad_repeat: x must be of 1 or more along axis 0 for replicate padding by (1, 1), got (0, 5, 4, 3); "
     "a smaller pad"),
    (lambda: nf.pad_zeros(X, "same"), nf.DTypeError, "pad_zeros: pad must be an integer or integers, got 'same'"),
    (lambda: nf.pad_zeros(X, -1), nf.RangeError, "pad_zeros: pad must be 0 or more, for each of 2 axes, got -1"),
    (lambda: nf.pad_zeros(X, 1.5), nf.DTypeError, "pad_zeros: pad must be an integer or 2 of them, got 1.5"),
    (lambda: nf.pad_zeros(X, (1, 2, 3)), nf.RangeError,
     "pad_zeros: pad must be 0 or more, for each of 2 axes, got (1, 2, 3)"),
    (lambda: nf.pad_zeros(X, 1, dims=4), nf.ShapeError, "pad_zeros: axis must be in -4..3, got 4"),
    (lambda: nf.pad_zeros(X, 1, dims=(1, -3)), nf.RangeError, "pad_zeros: dims must be different axes, got (1, -3)"),
    (lambda: nf.pad_zeros(X, 1, dims="h"), nf.DTypeError, "pad_zeros: dims must be an integer or integers, got 'h'"),
    (lambda: nf.pad_constant(X, 1, "0"), nf.DTypeError, "pad_constant: val must be a number, got '0'"),
    (lambda: nf.Conv((3, 3), 3, 4, pad_mode="mirror"), nf.RangeError,
     "Conv: pad_mode must be one of zeros, circular, reflect, replicate, symmetric, got 'mirror'"),
    (lambda: nf.Conv((3, 3), 3, 4, pad_mode=None), nf.RangeError,
     "Conv: pad_mode must be one of zeros, circular, reflect, replicate, symmetric, got None"),
    (lambda: nf.Conv((3, 3), 3, 4, pad=4, pad_mode="reflect")(X), nf.ShapeError,
     "conv: x must be of 5 or more along axis 2 for reflect padding by (4, 4), got (2, 5, 4, 3); a smaller pad"),
    (lambda: nf.Chain(nf.Conv((3, 3), 3, 4, pad=1, pad_mode="circular"))(X[0]), nf.ShapeError,
     "0.conv: x must be of shape (n, h, w, c), got (5, 4, 3)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text[:60] for *_, text in WRONG])
def test_messages(call, kind, text):
    with raises(kind, text):
        call()


# --------------------------------------------------------------------------------------------------------------- Conv

CONVS = [  # mode, window, options, shape of x
    *((mode, (3, 3), {"pad": 1}, (2, 6, 5, 3)) for mode in ("circular", "reflect", "replicate", "zeros")),
    ("reflect", (4,), {"pad": 2, "stride": 2}, (3, 9, 4)),
    ("circular", (3, 2), {"pad": (2, 1), "groups": 2, "dilation": (2, 1)}, (2, 7, 5, 4)),
    ("replicate", (2, 3, 3), {"pad": 1}, (1, 4, 3, 5, 2)),
]


@pytest.mark.parametrize(("mode", "k", "options", "shape"), CONVS, ids=[f"{mode} {k}" for mode, k, *_ in CONVS])
def test_conv_does_what_torch_does(mode, k, options, shape):
    torch = pytest.importorskip("torch")
    layer = nf.f64(nf.Conv(k, shape[-1], 4, pad_mode=mode, rng=0, **options))
    x = np.random.default_rng(3).normal(size=shape)
    groups, more = options.get("groups", 1), {name: value for name, value in options.items() if name != "pad"}
    theirs = getattr(torch.nn, f"Conv{len(k)}d")(shape[-1], 4, k, padding=options["pad"], padding_mode=mode, bias=False,
                                                 dtype=torch.float64, **more)  # fmt: skip
    assert theirs.groups == groups
    theirs.weight.data = torch.tensor(np.moveaxis(np.moveaxis(layer.weight, -1, 0), -1, 1).copy())
    given = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    right = theirs(given)
    (right**2).sum().backward()
    np.testing.assert_allclose(layer(x), np.moveaxis(right.detach().numpy(), 1, -1), rtol=1e-10, atol=1e-12)
    grads, dx = nf.gradient(lambda m, x: (m(x) ** 2).sum(), layer, x)
    np.testing.assert_allclose(dx, np.moveaxis(given.grad.numpy(), 1, -1), rtol=1e-10, atol=1e-10)
    right = np.moveaxis(np.moveaxis(theirs.weight.grad.numpy(), 1, -1), 0, -1)
    np.testing.assert_allclose(grads.weight, right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate", "symmetric"])
def test_conv_pads_and_then_slides(mode, tmp_path):
    layer = nf.Conv((3, 2), 3, 4, nf.tanh, pad="same", pad_mode=mode, flip=True, rng=0)
    plain = nf.Conv((3, 2), 3, 4, nf.tanh, flip=True, rng=0)
    pad_by = getattr(nf, "pad_" + {"replicate": "repeat"}.get(mode, mode))
    y = layer(X)
    np.testing.assert_allclose(y, plain(pad_by(X, (1, 1, 0, 1))), rtol=1e-5, atol=1e-6)
    assert y.shape == (2, 5, 4, 4)
    np.testing.assert_array_equal(nf.compile(layer)(X), y)
    nf.check_gradients(lambda m, x: (m(x) ** 2).mean(), nf.f64(layer), X.astype(np.float64))
    nf.save(tmp_path / "model.h5", layer)
    again = nf.load(tmp_path / "model.h5")
    np.testing.assert_array_equal(again(X), y)
    assert repr(again) == repr(layer) and (f"pad_mode='{mode}'" in repr(layer)) == (mode != "zeros")


def test_a_file_with_an_unknown_mode_is_refused(tmp_path):
    layer = nf.Conv((3, 3), 3, 4)
    layer.pad_mode = "mirror"
    nf.save(tmp_path / "model.h5", layer)
    with pytest.raises(nf.FileFormatError, match="pad_mode must be one of zeros, circular"):
        nf.load(tmp_path / "model.h5")
