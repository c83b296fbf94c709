"""Behind a flatten the features of PyTorch stand in another order; the outputs agree all the same."""

import numpy as np
import pytest

import numbaflux as nf
from tests.convert.test_torch import T, filled, outputs, torch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 5, 2)).astype(np.float32)
CONV, CONV2 = T.Conv2d(2, 4, 3), (lambda: nf.Conv((3, 3), 2, 4))  # (6, 5, 2) to (4, 3, 4)


def images(x):
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def agree(theirs, ours, x=X):
    filled(theirs)
    nf.convert(ours, theirs.state_dict(), example=x)
    with torch.no_grad():
        want = theirs.eval()(torch.tensor(images(x) if x.ndim == 4 else x)).numpy()
    np.testing.assert_allclose(ours(x), want, atol=1e-5 * max(1, abs(want).max()))


def test_lenet(tmp_path):
    theirs = T.Sequential(
        *(T.Conv2d(1, 6, 5), T.ReLU(), T.MaxPool2d(2), T.Conv2d(6, 16, 5), T.ReLU(), T.MaxPool2d(2), T.Flatten()),
        *(T.Linear(256, 120), T.ReLU(), T.Linear(120, 84), T.ReLU(), T.Linear(84, 10)),
    )
    ours = nf.Chain(
        *(nf.Conv((5, 5), 1, 6, nf.relu), nf.MaxPool((2, 2)), nf.Conv((5, 5), 6, 16, nf.relu), nf.MaxPool((2, 2))),
        *(nf.flatten, nf.Dense(256, 120, nf.relu), nf.Dense(120, 84, nf.relu), nf.Dense(84, 10)),
    )
    x = RNG.normal(size=(4, 28, 28, 1)).astype(np.float32)
    nf.convert(ours, theirs.state_dict(), example=x[:1])
    with torch.no_grad():
        want = theirs(torch.tensor(images(x))).numpy()
    np.testing.assert_allclose(ours(x), want, rtol=0, atol=1e-5)


def test_norms_dropout_and_activations_between():
    theirs = T.Sequential(CONV, T.Flatten(), T.BatchNorm1d(48), T.Dropout(), T.Tanh(), T.LayerNorm(48), T.Linear(48, 3))
    ours = [nf.flatten, nf.BatchNorm(48), nf.Dropout(0.5), nf.tanh, nf.LayerNorm(48), nf.Dense(48, 3)]
    agree(theirs, nf.Chain(CONV2(), *ours))


def test_rms_norm_and_a_residual_between():
    class Twice(T.Module):
        def forward(self, x):
            return torch.softmax(x, 1) + x * x.max(1, keepdim=True)[0]

    theirs = T.Sequential(CONV, T.Flatten(), T.RMSNorm(48, eps=1e-5), Twice(), T.Linear(48, 3))
    twice = nf.Parallel(nf.add, nf.softmax, lambda x: x * x.max(axis=1, keepdims=True))
    agree(theirs, nf.Chain(CONV2(), nf.flatten, nf.RMSNorm(48), twice, nf.Dense(48, 3)))


def test_several_dense_beside_one_another():
    class Both(T.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = T.Linear(48, 3), T.Linear(48, 3)

        def forward(self, x):
            return torch.cat([self.a(x), self.b(x)], 1)

    both = nf.Parallel(nf.cat, nf.Dense(48, 3), nf.Dense(48, 3))
    agree(T.Sequential(CONV, T.Flatten(), Both()), nf.Chain(CONV2(), nf.flatten, both))


def test_a_flatten_inside_of_a_layer_of_ones_own():
    @nf.layer
    class Net:
        conv: nf.Conv
        head: nf.Dense

        def __call__(self, x):
            y = nf.relu(self.conv(x))
            return self.head(y.reshape(len(y), -1))

    agree(T.Sequential(CONV, T.ReLU(), T.Flatten(), T.Linear(48, 3)), Net(CONV2(), nf.Dense(48, 3)))


def test_images_flattened_at_once():
    agree(T.Sequential(T.Flatten(), T.Linear(60, 3)), nf.Chain(nf.flatten, nf.Dense(60, 3)))


def test_shuffled_and_upsampled_images():
    theirs = T.Sequential(CONV, T.PixelShuffle(2), T.Upsample(scale_factor=2), T.Flatten(), T.Linear(192, 3))
    ours = nf.Chain(CONV2(), nf.PixelShuffle(2), nf.Upsample(2), nf.flatten, nf.Dense(192, 3))
    nf.convert(ours, filled(theirs).state_dict(), example=X)  # one channel is left: nothing to put in order
    assert np.array_equal(ours[4].weight, theirs[4].weight.detach().numpy().T)


def test_an_upsampled_image_keeps_its_channels_apart():
    theirs = T.Sequential(CONV, T.Upsample(scale_factor=2), T.Flatten(), T.Linear(192, 3))
    agree(theirs, nf.Chain(CONV2(), nf.Upsample(2), nf.flatten, nf.Dense(192, 3)))


def test_pooled_to_one_place_there_is_one_order():
    theirs = T.Sequential(CONV, T.AdaptiveAvgPool2d(1), T.Flatten(), T.Linear(4, 3))
    agree(theirs, nf.Chain(CONV2(), nf.GlobalMeanPool(), nf.flatten, nf.Dense(4, 3)))


def test_sequences_have_features_last_in_pytorch_too():
    theirs = filled(T.Sequential(T.Embedding(9, 4), T.Linear(4, 2), T.Flatten(), T.Linear(10, 3)))
    ours = nf.Chain(nf.Embedding(9, 4), nf.Dense(4, 2), nf.flatten, nf.Dense(10, 3))
    x = RNG.integers(0, 9, (3, 5))
    nf.convert(ours, theirs.state_dict(), example=x)
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach().numpy(), atol=1e-5)


def test_series_of_a_convolution_have_channels_first():
    theirs = filled(T.Sequential(T.Conv1d(2, 4, 3), T.Flatten(), T.Linear(16, 3)))
    ours, x = nf.Chain(nf.Conv((3,), 2, 4), nf.flatten, nf.Dense(16, 3)), X[:, :, 0, :]
    nf.convert(ours, theirs.state_dict(), example=x)
    np.testing.assert_allclose(ours(x), outputs(theirs, x), atol=1e-5)


def test_channels_put_first_before_the_flatten():
    ours = nf.Chain(CONV2(), lambda x: x.transpose(0, 3, 1, 2), nf.flatten, nf.Dense(48, 3))
    theirs = T.Sequential(CONV, T.Linear(48, 3))
    with pytest.raises(nf.PlanError, match=r"a flatten must be of images .* got reshape of shape \(3, 48\)"):
        nf.convert(ours, theirs.state_dict(), example=X)


def test_patches_as_rows_of_features():
    ours = nf.Chain(CONV2(), lambda x: x.reshape(len(x), 4, 12), nf.Dense(12, 3))
    with pytest.raises(nf.PlanError, match=r"a flatten must be of images .* got dense of shape \(3, 4, 3\)"):
        nf.convert(ours, T.Sequential(CONV, T.Linear(12, 3)).state_dict(), example=X)


def test_places_as_tokens_have_features_last():
    class Tokens(T.Module):
        def forward(self, x):
            return x.flatten(2).transpose(1, 2)

    theirs = T.Sequential(CONV, Tokens(), T.Linear(4, 2), T.Flatten(), T.Linear(24, 3))
    agree(theirs, nf.Chain(CONV2(), lambda x: x.reshape(len(x), 12, 4), nf.Dense(4, 2), nf.flatten, nf.Dense(24, 3)))


def test_a_number_of_each_sample_times_flattened_features():
    class Scaled(T.Module):
        def forward(self, x):
            return x.sum(1, keepdim=True) * x

    scaled = lambda x: x.sum(axis=1, keepdims=True) * x  # noqa: E731
    theirs = T.Sequential(CONV, T.Flatten(), Scaled(), T.Linear(48, 3))
    agree(theirs, nf.Chain(CONV2(), nf.flatten, scaled, nf.Dense(48, 3)))


def test_several_inputs():
    theirs = filled(T.Sequential(T.Linear(4, 3), T.Conv2d(2, 4, 3), T.Flatten(), T.Linear(48, 3)))
    deep = nf.Chain(nf.Conv((3, 3), 2, 4), nf.flatten, nf.Dense(48, 3))
    ours, flat = nf.Parallel(nf.add, nf.Dense(4, 3), deep), RNG.normal(size=(3, 4)).astype(np.float32)
    nf.convert(ours, theirs.state_dict(), example=(flat, X))
    with torch.no_grad():
        want = theirs[0](torch.tensor(flat)) + theirs[1:](torch.tensor(images(X)))
    np.testing.assert_allclose(ours(flat, X), want.numpy(), atol=2e-5)


# ---------------------------------------------------------------- refused


def test_an_example_is_asked_for_where_a_flatten_may_stand():
    weights = T.Linear(4, 3).state_dict()
    for first in (nf.flatten, lambda x: x, np.tanh):
        with pytest.raises(nf.ShapeError, match="example must be an input of the model, .* got None; example=np.zeros"):
            nf.convert(nf.Chain(first, nf.Dense(4, 3)), weights)
    nf.convert(nf.Chain(nf.tanh, nf.Dropout(0.5), nf.Dense(4, 3)), weights)
    with pytest.raises(nf.DTypeError, match="example must be an array or a tuple of arrays, got list"):
        nf.convert(nf.Dense(4, 3), weights, example=[1, 2])


@pytest.mark.parametrize(
    ("between", "name", "theirs"),
    [
        (nf.GroupNorm(48, 2), "moments", T.GroupNorm(2, 48)),
        (nf.Parallel(nf.cat, nf.tanh, nf.relu), "concatenate", T.ReLU()),
        (lambda x: x[:, :24], "slice", T.ReLU()),
        (lambda x: x.reshape(len(x), 2, 24), "reshape", T.ReLU()),
        (nf.SkipConnection(nf.Dense(48, 48), nf.add), "add", T.Linear(48, 48)),
    ],
)
def test_what_mixes_flattened_features_is_refused(between, name, theirs):
    ours = nf.Chain(CONV2(), nf.flatten, between, nf.Chain(lambda x: x.reshape(len(x), -1)))
    ours = nf.Chain(*ours.layers, lambda x: x[:, :4], nf.Dense(4, 3))
    before = nf.state(ours)
    with pytest.raises(nf.PlanError, match=f"a flatten must be of images .* got {name} of shape .*; convert its"):
        nf.convert(ours, T.Sequential(CONV, theirs, T.Linear(4, 3)).state_dict(), example=X)
    assert all(np.array_equal(a, before[path]) for path, a in nf.state(ours).items())
