"""Conv, ConvTranspose and their functions: values and gradients beside PyTorch, options, errors, files, plans."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import lanes
from numbaflux.op import FileFormatError

RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def channels_first(a):
    return np.moveaxis(np.asarray(a, np.float64), -1, 1)


def torch_weight(w):
    """(window, a, b) as (b, a, window)."""
    return np.moveaxis(np.moveaxis(np.asarray(w, np.float64), -1, 0), -1, 1)


LAYERS = (  # layer, shape of x
    (lambda: nf.Conv((3,), 4, 6, stride=2, pad=1), (3, 17, 4)),
    (lambda: nf.Conv((3, 3), 3, 32, pad=1), (4, 16, 16, 3)),
    (lambda: nf.Conv((5, 5), 1, 6), (17, 28, 28, 1)),
    (lambda: nf.Conv((3, 2), 4, 6, stride=(2, 1), dilation=(1, 2), groups=2, bias=False), (3, 9, 8, 4)),
    (lambda: nf.DepthwiseConv((3, 3), 5, 10, pad=1), (2, 7, 7, 5)),
    (lambda: nf.Conv((3, 3, 3), 2, 20, pad=1), (1, 8, 8, 8, 2)),
    (lambda: nf.Conv((1, 1), 8, 24), (5, 6, 6, 8)),
    (lambda: nf.ConvTranspose((2, 2), 8, 3, stride=2), (3, 6, 5, 8)),
    (lambda: nf.ConvTranspose((3,), 4, 6, stride=3, pad=1, outpad=2), (18, 9, 4)),
    (lambda: nf.ConvTranspose((3, 3), 4, 6, dilation=2, groups=2), (2, 5, 5, 4)),
    (lambda: nf.ConvTranspose((2, 3, 2), 3, 2, stride=2, pad=(1, 0, 1)), (2, 3, 4, 5, 3)),
)


@pytest.mark.parametrize("make, shape", LAYERS, ids=lambda v: str(v()) if callable(v) else "x".join(map(str, v)))
def test_layers_do_what_torch_does(make, shape):
    torch = pytest.importorskip("torch")
    layer, x = make(), drawn(*shape)
    if layer.bias is not None:
        layer.bias = drawn(*layer.bias.shape)
    rank, transposed = len(layer.stride), isinstance(layer, nf.ConvTranspose)
    given = torch.tensor(channels_first(x), requires_grad=True)
    weight = torch.tensor(torch_weight(layer.weight), requires_grad=True)
    bias = None if layer.bias is None else torch.tensor(layer.bias.astype(np.float64), requires_grad=True)
    name = f"conv{'_transpose' * transposed}{rank}d"
    more = {"output_padding": layer.outpad} if transposed else {}
    low = tuple(a for a, _ in layer.pad)
    right = getattr(torch.nn.functional, name)(given, weight, bias, stride=layer.stride, padding=low,
                                               dilation=layer.dilation, groups=layer.groups, **more)  # fmt: skip
    dy = drawn(*np.moveaxis(right.detach().numpy(), 1, -1).shape)
    right.backward(torch.tensor(channels_first(dy)))

    def close(got, tensor, turn):
        found = turn(tensor.detach().numpy())
        np.testing.assert_allclose(got, found, rtol=1e-4, atol=1e-5 * abs(found).max())

    def last(a):
        return np.moveaxis(a, 1, -1)

    close(layer(x), right, last)
    grads, dx = nf.gradient(lambda m, x: (m(x) * dy).sum(), layer, x)
    close(dx, given.grad, last)
    close(grads.weight, weight.grad, lambda w: np.moveaxis(np.moveaxis(w, 1, -1), 0, -1))
    if bias is not None:
        close(grads.bias, bias.grad, lambda b: b)


def test_same_padding_keeps_the_size_and_puts_the_odd_one_behind():
    for k in (1, 2, 3, 4, 5):
        x = drawn(1, 9, 2)
        y = nf.Conv((k,), 2, 3, pad="same", dilation=1)(x)
        assert y.shape == (1, 9, 3)
    ones = np.ones((2, 1, 1), np.float32)
    assert nf.conv(np.array([[[1], [10], [100]]], np.float32), ones, pad="same").ravel().tolist() == [11, 110, 100]


def test_flip_is_the_convolution_of_mathematics():
    impulse = np.zeros((1, 5), np.float32)
    impulse[0, 2] = 1
    layer = nf.Conv((3,), 1, 1, flip=True, pad=1, bias=False)
    y = layer(impulse[..., None])[0, :, 0]
    np.testing.assert_array_equal(y[1:4], layer.weight[:, 0, 0])
    kernel, x = layer.weight[:, 0, 0], drawn(1, 9, 1)
    valid = nf.Conv((3,), 1, 1, flip=True, bias=False)
    valid.weight = layer.weight
    np.testing.assert_allclose(valid(x)[0, :, 0], np.convolve(x[0, :, 0], kernel, "valid"), rtol=1e-5, atol=1e-6)
    nf.check_gradients(lambda m, x: (m(x) ** 2).sum(), valid, x)


def test_gradients_of_layers():
    for layer, x in (
        (nf.Conv((2, 2), 2, 3, nf.tanh, stride=2, pad=1), drawn(2, 4, 3, 2)),
        (nf.Conv((3,), 2, 4, groups=2), drawn(16, 5, 2)),
        (nf.ConvTranspose((2, 2), 2, 3, nf.tanh, stride=(1, 2)), drawn(2, 2, 3, 2)),
    ):
        nf.check_gradients(lambda m, x: (m(x) ** 2).sum(), layer, x)


def test_second_order():
    """The penalty of a gradient, as in WGAN-GP."""
    layer, x = nf.f64(nf.Conv((2,), 2, 3, nf.tanh)), drawn(2, 5, 2).astype(np.float64)

    def penalty(m, x):
        dx = nf.gradient(lambda x: (m(x) ** 2).sum(), x)
        return (dx**2).sum()

    nf.check_gradients(penalty, layer, x)


SHOWN = (
    (nf.Conv((5, 5), 1, 6, nf.relu), "Conv((5, 5), 1, 6, relu)"),
    (nf.Conv(3, 4, 8, stride=2, pad="same", groups=2), "Conv((3, 3), 4, 8, stride=2, pad=1, groups=2)"),
    (nf.Conv((3,), 4, 8, pad=(1, 0), bias=False), "Conv((3,), 4, 8, pad=(1, 0), bias=False)"),
    (nf.Conv((3, 3), 2, 2, flip=True, dilation=(1, 2)), "Conv((3, 3), 2, 2, dilation=(1, 2), flip=True)"),
    (nf.ConvTranspose((2, 2), 8, 3, stride=2, outpad=1), "ConvTranspose((2, 2), 8, 3, stride=2, outpad=1)"),
)


@pytest.mark.parametrize("layer, text", SHOWN, ids=[text for _, text in SHOWN])
def test_repr(layer, text):
    assert repr(layer).startswith(text)
    again = eval(text, {"Conv": nf.Conv, "ConvTranspose": nf.ConvTranspose, "relu": nf.relu})  # noqa: S307  # of a word written here
    assert repr(again) == repr(layer)


@pytest.mark.parametrize("layer", [layer for layer, _ in SHOWN], ids=[text for _, text in SHOWN])
def test_save_and_load(layer, tmp_path):
    path = tmp_path / "model.h5"
    nf.save(path, layer)
    again = nf.load(path)
    x = drawn(
        2,
        *(6,) * len(layer.stride),
        8 if isinstance(layer, nf.ConvTranspose) else layer.weight.shape[-2] * layer.groups,
    )
    np.testing.assert_array_equal(again(x), layer(x))
    assert repr(again) == repr(layer)


X = drawn(2, 8, 8, 3)
WRONG = (
    (lambda: nf.Conv((3, 3), 3, 4)(drawn(2, 8, 8, 4)), nf.ShapeError, "of 3 channels, got shape (2, 8, 8, 4)"),
    (lambda: nf.Conv((3, 3), 3, 4)(drawn(8, 8, 3)), nf.ShapeError, "conv: w must be of 3 axes"),
    (lambda: nf.Conv((9, 9), 3, 4)(X), nf.ShapeError, "conv: x must be of 9 or more along spatial axis 0"),
    (lambda: nf.Conv((3, 3), 3, 4)(X.astype(np.float64)), nf.DTypeError, "conv: w must be of float64 as x"),
    (lambda: nf.Conv((3, 3), 3, 4)(np.ones((2, 8, 8, 3), np.int64)), nf.DTypeError, "conv: x must be an array of"),
    (lambda: nf.Conv((3, 3), 3, 4, stride=0), nf.RangeError, "stride must be 1 or more, for each of 2 axes, got 0"),
    (lambda: nf.Conv((3, 3), 3, 4, stride=(1, 2, 3)), nf.RangeError, "Conv: stride must be 1 or more"),
    (lambda: nf.Conv((3, 3), 3, 4, pad=-1), nf.RangeError, "Conv: pad must be 0 or more"),
    (lambda: nf.Conv((3, 3), 3, 4, pad="full"), nf.RangeError, 'Conv: pad must be an integer, integers, or "same"'),
    (lambda: nf.Conv((3, 3), 3, 4, dilation=1.5), nf.DTypeError, "Conv: dilation must be an integer"),
    (lambda: nf.Conv((3, 3), 3, 4, groups=2), nf.RangeError, "Conv: groups must be a divisor of 3 and 4, got 2"),
    (lambda: nf.Conv((0, 3), 3, 4), nf.RangeError, "Conv: k must be 1 or more"),
    (lambda: nf.Conv((3, 3, 3, 3), 3, 4), nf.ShapeError, "Conv: k must be of 1 to 3 axes"),
    (lambda: nf.Conv((3, 3), 0, 4), nf.RangeError, "Conv: n_in must be"),
    (lambda: nf.Conv((3, 3), 3, 4, "relu"), nf.DTypeError, "Conv: activation must be a function"),
    (lambda: nf.Conv((3, 3), 3, 4, init=lambda s, rng: np.ones(3)), nf.ShapeError, "init(shape) must be of"),
    (lambda: nf.conv([1.0], drawn(3, 1, 1)), nf.DTypeError, "conv: x must be an array, got list"),
    (lambda: nf.conv(drawn(1, 4, 1), drawn(3, 1)), nf.ShapeError, "conv: w must be of shape (window of 1 to 3 axes"),
    (lambda: nf.conv(drawn(1, 4, 1), drawn(3, 1, 2), drawn(3)), nf.ShapeError, "conv: b must be of shape (2,)"),
    (lambda: nf.conv_transpose(drawn(1, 4, 1), drawn(3, 1, 1), stride=2, outpad=2), nf.RangeError,
     "conv_transpose: outpad must be below stride (2,)"),
    (lambda: nf.conv_transpose(drawn(1, 1, 1), drawn(1, 1, 1), pad=1), nf.ShapeError, "pad must be small enough"),
    (lambda: nf.ConvTranspose((2, 2), 4, 6)(drawn(2, 5, 5, 3)), nf.ShapeError, "x must be of 4 channels"),
    (lambda: nf.ConvTranspose((2, 2), 4, 6)(drawn(2, 5, 4)), nf.ShapeError, "x must be of 2 spatial axes"),
)  # fmt: skip


@pytest.mark.parametrize("call, error, text", WRONG, ids=[text[:50] for *_, text in WRONG])
def test_errors(call, error, text):
    with pytest.raises(error) as raised:
        call()
    assert text in str(raised.value)


@pytest.mark.parametrize(
    "field, value", [("groups", 5), ("stride", (0, 1)), ("pad", ((1, 1),)), ("dilation", (1,)), ("flip", 1)]
)
def test_a_file_with_wrong_fields_is_refused(field, value, tmp_path):
    layer = nf.Conv((2, 2), 2, 3)
    object.__setattr__(layer, field, value)
    with pytest.raises((nf.Error, FileFormatError)):
        nf.save(tmp_path / "a.h5", layer)
        nf.load(tmp_path / "a.h5")


# ---------------------------------------------------------------- plans


def step_of(model, x, y):
    step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, nf.setup(nf.Descent(0.1), model))
    step(x, y)
    return next(iter(step.programs.values())).plan


def test_one_large_image_is_worked_on_by_many_tiles():
    x = drawn(1, 128, 128, 3)
    model = nf.Conv((3, 3), 3, 16, pad=1)
    plan = step_of(model, x, drawn(1, 128, 128, 16))
    tiles = {e.kernel: g.tiles for g in plan.groups for e in g.entries if str(e.kernel).startswith("conv.")}
    assert tiles["conv.conv"] >= 32
    assert tiles["conv.conv_grad_w"] >= 32


def test_few_channels_stay_in_lanes_from_the_first_layer_to_the_last():
    model = nf.Chain(nf.Conv((3, 3), 1, 6, nf.relu), nf.Conv((3, 3), 6, 8, nf.tanh), nf.flatten, nf.Dense(64 * 8, 2))
    plan = step_of(model, drawn(64, 12, 12, 1), drawn(64, 2))
    names = [e.kernel for e in plan.entries]
    assert names.count("lanes.from_lanes") == 1, "only what Dense reads"
    assert names.count("lanes.to_lanes") == 2, "x and what comes back from Dense"
    main = max(plan.groups, key=lambda g: len(g.entries))
    assert {"conv.conv_images", "conv.conv_images_grad_w", "dense.product"} <= {e.kernel for e in main.entries}


def test_lanes_are_for_few_channels_and_whole_vectors():
    assert lanes.worth(16, 16, 1024)
    assert not lanes.worth(15, 16, 1024)
    assert not lanes.worth(16, 17, 1024)
    assert not lanes.worth(16, 16, 2**20)


def test_images_that_are_not_there_do_not_count():
    """In a ragged block the spare lanes hold what the bias makes of nothing, times what the loss makes of that."""
    layer, x = nf.Conv((2, 2), 1, 3), drawn(17, 4, 4, 1)
    layer.bias = np.array([3e38, 1, 2], np.float32)

    def loss(m, x):
        y = m(x)
        return (nf.where(y > 1e38, 0.0, y) ** 2).sum()

    together = nf.gradient(loss, layer, x)[0]
    apart = [nf.gradient(loss, layer, x[i : i + 1])[0] for i in range(17)]
    np.testing.assert_allclose(together.weight, sum(g.weight for g in apart), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together.bias, sum(g.bias for g in apart), rtol=1e-4, atol=1e-5)
