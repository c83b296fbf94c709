"""Weights of PyTorch: each layer gives what PyTorch's gives, for every layout that has a choice."""

import numpy as np
import pytest

import numbaflux as nf

torch = pytest.importorskip("torch")
T = torch.nn


def outputs(theirs, x, first=True):
    """What a PyTorch model gives in inference for x of numbaflux's layout; first: it has channels first."""
    axes = (0, x.ndim - 1, *range(1, x.ndim - 1)) if first else range(x.ndim)
    with torch.no_grad():
        y = theirs.eval()(torch.tensor(np.ascontiguousarray(x.transpose(axes)))).numpy()
    return np.moveaxis(y, 1, -1) if first else y


def filled(theirs, seed=0):
    """A PyTorch module with random numbers in all its arrays; variances positive."""
    torch.manual_seed(seed)
    for name, array in theirs.state_dict().items():
        if array.dtype.is_floating_point:
            array.copy_(torch.rand_like(array) + 0.5 if name.endswith("var") else torch.randn_like(array))
    return theirs


CASES = {
    "linear": (T.Linear(4, 3), nf.Dense(4, 3), (5, 4), False),
    "linear without bias": (T.Linear(4, 3, bias=False), nf.Dense(4, 3, bias=False), (5, 4), False),
    "conv1": (T.Conv1d(3, 4, 3, stride=2, padding=1), nf.Conv((3,), 3, 4, stride=2, pad=1), (2, 9, 3), True),
    "conv2": (T.Conv2d(3, 4, (3, 2), dilation=2), nf.Conv((3, 2), 3, 4, dilation=2), (2, 7, 6, 3), True),
    "conv2 of groups": (T.Conv2d(4, 6, 3, groups=2), nf.Conv((3, 3), 4, 6, groups=2), (2, 5, 5, 4), True),
    "conv2 depthwise": (T.Conv2d(3, 6, 2, groups=3), nf.DepthwiseConv((2, 2), 3, 6), (2, 5, 4, 3), True),
    "conv2 turned over": (T.Conv2d(3, 4, (3, 2)), nf.Conv((3, 2), 3, 4, flip=True), (2, 5, 4, 3), True),
    "conv3": (T.Conv3d(2, 3, (1, 2, 3)), nf.Conv((1, 2, 3), 2, 3), (1, 3, 4, 5, 2), True),
    "transposed1": (T.ConvTranspose1d(3, 4, 3), nf.ConvTranspose((3,), 3, 4), (2, 5, 3), True),
    "transposed2": (
        T.ConvTranspose2d(4, 6, (3, 2), stride=2, groups=2, bias=False),
        nf.ConvTranspose((3, 2), 4, 6, stride=2, groups=2, bias=False),
        (2, 3, 4, 4),
        True,
    ),
    "batch norm": (T.BatchNorm2d(3), nf.BatchNorm(3), (2, 4, 5, 3), True),
    "batch norm, plain": (T.BatchNorm1d(3, affine=False), nf.BatchNorm(3, affine=False), (6, 3), False),
    "instance norm": (
        T.InstanceNorm2d(3, affine=True, track_running_stats=True),
        nf.InstanceNorm(3, affine=True, track_stats=True),
        (2, 4, 5, 3),
        True,
    ),
    "group norm": (T.GroupNorm(2, 6), nf.GroupNorm(6, 2), (2, 4, 5, 6), True),
    "layer norm": (T.LayerNorm((3, 4)), nf.LayerNorm((3, 4)), (2, 3, 4), False),
    "rms norm": (T.RMSNorm(4, eps=1e-5), nf.RMSNorm(4), (2, 3, 4), False),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_layer(name, dtype):
    theirs, ours, shape, first = CASES[name]
    theirs = filled(theirs.double() if dtype == np.float64 else theirs.float())
    ours = nf.f64(ours) if dtype == np.float64 else nf.f32(ours)
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    before = ours(x)
    nf.convert(ours, theirs.state_dict())
    want = outputs(theirs, x, first)
    assert not np.allclose(before, want, atol=1e-2)
    np.testing.assert_allclose(ours(x), want, rtol=0, atol=2e-5 if dtype == np.float32 else 1e-12)


def test_embedding():
    theirs, ours = filled(T.Embedding(7, 3)), nf.Embedding(7, 3)
    nf.convert(ours, theirs.state_dict())
    x = np.array([[0, 6, 2]])
    assert np.array_equal(ours(x), theirs(torch.tensor(x)).detach().numpy())


def test_embedding_with_a_row_of_padding():
    theirs, ours = T.Embedding(7, 3, padding_idx=2), nf.Embedding(7, 3, padding_idx=2)
    nf.convert(ours, theirs.state_dict())
    assert np.array_equal(ours.weight, theirs.weight.detach().numpy())
    with pytest.raises(nf.RangeError, match=r"row 2 of the weight, for padding, must be zeros, got others"):
        nf.convert(ours, filled(theirs).state_dict())


def test_bilinear():
    theirs, ours = filled(T.Bilinear(2, 3, 4)), nf.Bilinear(2, 3, 4)
    nf.convert(ours, theirs.state_dict())
    x, y = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    want = theirs(torch.tensor(x[:, :2]), torch.tensor(y)).detach().numpy()
    np.testing.assert_allclose(ours(x[:, :2], y), want, atol=1e-5)


def test_embedding_bag():
    theirs, ours = filled(T.EmbeddingBag(7, 3)), nf.EmbeddingBag(7, 3)
    nf.convert(ours, theirs.state_dict())
    x = np.array([[0, 6, 2]])
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_attention(bias):
    theirs = filled(T.MultiheadAttention(6, 3, bias=bias, batch_first=True))
    ours = nf.MultiHeadAttention(6, 3, bias=bias)
    nf.convert(ours, theirs.state_dict())
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 5, 6)).astype(np.float32)
    want, scores = theirs(*map(torch.tensor, (q, k, v)), average_attn_weights=False)
    y, own = ours(q, k, v, return_scores=True)
    np.testing.assert_allclose(y, want.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(own, scores.detach().numpy(), atol=1e-5)


def test_attention_among_dense_of_its_sizes():
    class Net(T.Module):
        def __init__(self):
            super().__init__()
            self.first, self.mha, self.last = T.Linear(6, 6), T.MultiheadAttention(6, 2), T.Linear(6, 6)

    theirs = filled(Net())
    ours = nf.Chain(nf.Dense(6, 6), nf.MultiHeadAttention(6, 2, bias=True), nf.Dense(6, 6))
    nf.convert(ours, theirs.state_dict())
    assert np.array_equal(ours[2].weight, theirs.last.weight.detach().numpy().T)
    assert np.array_equal(ours[1].out_proj.weight, theirs.mha.out_proj.weight.detach().numpy().T)


def test_a_residual_network_by_its_names():
    class Block(T.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = T.Conv2d(4, 4, 3, padding=1, bias=False), T.BatchNorm2d(4)
            self.conv2, self.bn2 = T.Conv2d(4, 4, 3, padding=1, bias=False), T.BatchNorm2d(4)

        def forward(self, x):
            return x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))

    def block():
        convs = [nf.Conv((3, 3), 4, 4, pad=1, bias=False) for _ in range(2)]
        return nf.SkipConnection(nf.Chain(convs[0], nf.BatchNorm(4, nf.relu), convs[1], nf.BatchNorm(4)), nf.add)

    theirs = filled(T.Sequential(T.Conv2d(3, 4, 1), Block(), Block()))
    ours = nf.Chain(nf.Conv((1, 1), 3, 4), block(), block())
    nf.convert(ours, theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    want = outputs(theirs, x)
    np.testing.assert_allclose(ours(x), want, atol=1e-5 * abs(want).max())


def test_a_model_that_trains_takes_new_weights():
    theirs, ours = filled(T.Linear(4, 3)), nf.Dense(4, 3)
    opt_state = nf.setup(nf.Descent(0.1), ours)
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), ours, opt_state)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    step(x)
    nf.convert(ours, theirs.state_dict())
    np.testing.assert_allclose(step(x), (outputs(theirs, x, first=False) ** 2).mean(), rtol=1e-5)
