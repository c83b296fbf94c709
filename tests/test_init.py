"""Initialisers: fans by hand, moments and bounds against theory, dtypes, seeds, every message."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import init
from numbaflux.op import DTypeError, Error, RangeError, ShapeError
from numbaflux.rng import Generator, default, seed

# name -> (standard deviation, bound / standard deviation) for fan_in, fan_out at gain 1, and the default gain
RANDOM = {
    "glorot_uniform": (lambda fi, fo: math.sqrt(2 / (fi + fo)), math.sqrt(3), 1.0),
    "glorot_normal": (lambda fi, fo: math.sqrt(2 / (fi + fo)), None, 1.0),
    "kaiming_uniform": (lambda fi, fo: math.sqrt(1 / fi), math.sqrt(3), math.sqrt(2)),
    "kaiming_normal": (lambda fi, fo: math.sqrt(1 / fi), None, math.sqrt(2)),
}
ALL = [*RANDOM, "truncated_normal", "lecun_normal", "rand", "randn", "zeros", "ones"]
# shape -> fans, counted by hand
FANS = {
    (): (1, 1),
    (7,): (1, 7),
    (784, 10): (784, 10),
    (5, 1, 6): (5, 30),
    (5, 5, 1, 6): (25, 150),
    (3, 3, 4, 8): (36, 72),
    (2, 3, 4, 5, 6): (120, 144),
}


@pytest.mark.parametrize(("shape", "expected"), FANS.items())
def test_fans(shape, expected):
    assert init.fans(shape) == expected


@given(st.lists(st.integers(1, 5), min_size=3, max_size=5), st.randoms(use_true_random=False))
def test_fans_count_the_connections_of_a_convolution(shape, random):
    # Full output positions: each weight joins one input channel to one output channel at one place of the kernel.
    weight = np.ones(shape)
    assert init.fans(shape) == (weight[..., 0].sum(), weight[..., 0, :].sum())


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("shape", [(1000, 1000), (200, 300), (5, 5, 16, 96)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gain", [None, 0.5])
def test_moments_against_theory(name, shape, dtype, gain):
    spread, edge, default_gain = RANDOM[name]
    keywords = {} if gain is None else {"gain": gain}
    w = getattr(init, name)(shape, dtype=dtype, rng=4, **keywords)
    assert w.shape == shape and w.dtype == dtype and w.flags.c_contiguous
    n, std = w.size, (gain or default_gain) * spread(*init.fans(shape))
    values = w.astype(np.float64).ravel() / std
    fourth = 1.8 if edge else 3.0  # kurtosis of the uniform and of the normal distribution
    assert abs(values.mean()) < 5 / math.sqrt(n)
    assert abs((values**2).mean() - 1) < 5 * math.sqrt((fourth - 1) / n)
    assert abs((values**4).mean() - fourth) < 0.1
    if edge:
        assert 0.999 * edge < np.abs(values).max() <= edge * (1 + 2e-7)
    else:
        assert np.abs(values).max() > 3.5


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("shape", [5, (1, 2), (2, 1), (3, 2, 4)])
def test_scale_is_exact_for_small_fans(name, shape):
    spread, edge, gain = RANDOM[name]
    g = Generator(9)
    unit = g.uniform(shape, -edge, edge, np.float64) if edge else g.normal(shape, dtype=np.float64)
    w = getattr(init, name)(shape, dtype=np.float64, rng=9)
    np.testing.assert_allclose(w, unit * gain * spread(*init.fans(shape)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", RANDOM)
def test_rows_and_columns_are_independent(name):
    w = getattr(init, name)((400, 50), dtype=np.float64, rng=1)
    assert np.abs(np.corrcoef(w.T) - np.eye(50)).max() < 5 / math.sqrt(400)


@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name):
    f = getattr(init, name)
    assert f((4, 3), rng=1).tobytes() == f((4, 3), rng=1).tobytes() != f((4, 3), rng=2).tobytes()
    g = Generator(1)
    first, second = f((4, 3), rng=g), f((4, 3), rng=g)
    assert first.tobytes() == f((4, 3), rng=1).tobytes() != second.tobytes()
    assert g.state == (1, 2)
    seed(1)
    assert f((4, 3)).tobytes() == first.tobytes()
    assert default().state == (1, 1)
    assert f((4, 3), gain=0.0, rng=1).tolist() == [[0.0] * 3] * 4


@pytest.mark.parametrize("name", ALL)
def test_every_initialiser_is_called_alike(name):
    f = getattr(init, name)
    for shape in (6, (6,), [6], (np.int64(6),)):
        w = functools.partial(f, dtype=np.float64)(shape, rng=0)
        assert w.shape == (6,) and w.dtype == np.float64 and w.flags.writeable
    assert f((2, 3), rng=0).dtype == np.float32
    with pytest.raises(TypeError):
        f((2, 3), 1.0)  # all but the shape by name


def test_zeros_and_ones():
    g = Generator(0)
    assert init.zeros((2, 3), rng=g).tolist() == [[0.0] * 3] * 2
    assert init.ones((0, 3), rng=g).shape == (0, 3)
    assert init.ones(2, rng=g).tolist() == [1.0, 1.0]
    assert g.state == (0, 0)


@pytest.mark.parametrize("name", ALL)
def test_messages_of_every_initialiser(name):
    f = getattr(init, name)
    shape = "an integer or a tuple of integers, none negative"
    with pytest.raises(ShapeError) as caught:
        f((2, -3), rng=0)
    assert str(caught.value) == f"{name}: shape must be {shape}, got (2, -3)"
    with pytest.raises(ShapeError) as caught:
        f((2.0, 3), rng=0)
    assert str(caught.value) == f"{name}: shape must be {shape}, got (2.0, 3)"
    with pytest.raises(DTypeError) as caught:
        f((2, 3), dtype=np.int64, rng=0)
    assert str(caught.value) == f"{name}: dtype must be np.float32 or np.float64, got <class 'numpy.int64'>"


@pytest.mark.parametrize("name", RANDOM)
def test_messages_of_random_initialisers(name):
    f, g = getattr(init, name), Generator(0)
    cases = [
        (lambda: f((2, 0), rng=g), ShapeError, "shape must be free of zeros, got (2, 0)"),
        (lambda: f(3, gain=-1.0, rng=g), RangeError, "gain must be in [0, inf), got -1.0"),
        (lambda: f(3, gain=math.nan, rng=g), RangeError, "gain must be in [0, inf), got nan"),
        (lambda: f(3, gain=math.inf, rng=g), RangeError, "gain must be in [0, inf), got inf"),
        (lambda: f(3, gain=10**400, rng=g), RangeError, f"gain must be in [0, inf), got 1{'0' * 199}"),
        (lambda: f(3, gain="2", rng=g), DTypeError, "gain must be a number, got '2'"),
        (lambda: f(3, gain=True, rng=g), DTypeError, "gain must be a number, got True"),
        (
            lambda: f(3, rng="a"),
            DTypeError,
            "rng must be None, a seed or a numbaflux Generator, got builtins.str; pass a seed: rng=0",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == f"{name}: {message}"
        assert isinstance(caught.value, Error)
    assert g.state == (0, 0)


# ------------------------------------------------------------------------------------------ normal, but not everywhere


def normal_share(z):
    """Of the normal distribution below z."""
    return math.erfc(-z / math.sqrt(2)) / 2


@pytest.mark.parametrize(
    ("mean", "std", "lo", "hi"),
    [
        (0, 1, -2, 2),
        (1, 0.5, 0.5, 3),
        (0, 1, 3, 40),
        (0, 1, -1e9, -0.7),
        (0, 1, -0.2, 0.1),
        (5, 2, -1e6, 1e6),
        (-3, 1, 6, 8),
    ],
)
def test_truncated_normal_against_its_distribution(mean, std, lo, hi):
    n = 20_000
    w = init.truncated_normal(n, mean=mean, std=std, lo=lo, hi=hi, dtype=np.float64, rng=3)
    assert lo <= w.min() and w.max() <= hi and w.shape == (n,)
    sign = -1 if lo > mean else 1  # in the lower tail differences of shares are exact
    low, high = sorted(normal_share(sign * (end - mean) / std) for end in (lo, hi))
    shares = np.sort([(normal_share(sign * (x - mean) / std) - low) / (high - low) for x in w])
    steps = np.arange(n + 1) / n
    distance = max(abs(shares - steps[1:]).max(), abs(shares - steps[:-1]).max())
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov: 1 in 1000


def test_truncated_normal_against_pytorch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.trunc_normal_(torch.empty(200_000, dtype=torch.float64), 0.5, 1.0, -1.0, 1.5).numpy()
    ours = init.truncated_normal(200_000, mean=0.5, std=1.0, lo=-1.0, hi=1.5, dtype=np.float64, rng=0)
    for power in (1, 2, 3, 4):
        assert abs((ours**power).mean() - (theirs**power).mean()) < 0.02


def test_where_the_distribution_has_nothing_left_the_nearest_end_is_taken():
    assert init.truncated_normal(3, std=1e-300, lo=1, hi=2, rng=0).tolist() == [1.0] * 3
    assert init.truncated_normal(3, mean=1e300, dtype=np.float64, rng=0).tolist() == [2.0] * 3
    tail = init.truncated_normal(1000, std=0.01, lo=1, hi=2, dtype=np.float64, rng=0)
    assert 1 <= tail.min() and tail.max() < 1.002


@pytest.mark.parametrize(("fan_in", "std"), [(1000, 0.0316), (10, 0.316)])
def test_lecun_normal_has_the_spread_of_its_fan(fan_in, std):
    """The ends at -2 and 2 are numbers: of inputs as many as these they cut off nothing to speak of."""
    w = init.lecun_normal((fan_in, 4000), dtype=np.float64, rng=0)
    np.testing.assert_allclose(w.std(), std, rtol=0.01)
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    np.testing.assert_allclose(init.lecun_normal((5, 5, 40, 40), rng=0).std(), 1 / math.sqrt(1000), rtol=0.01)


# ------------------------------------------------------------------------------------------------------------- matrices


@pytest.mark.parametrize("shape", [(5, 5), (20, 7), (7, 20), (1, 6), (6, 1), (3, 3, 4, 10), (2, 3, 50)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal(shape, dtype, gain):
    w = init.orthogonal(shape, gain=gain, dtype=dtype, rng=1)
    assert w.shape == shape and w.dtype == dtype and w.flags.c_contiguous
    matrix = w.reshape(-1, shape[-1]).astype(np.float64)
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    wanted = gain**2 * np.eye(matrix.shape[1])
    np.testing.assert_allclose(matrix.T @ matrix, wanted, rtol=0, atol=20 * gain**2 * np.finfo(dtype).eps)


def test_orthogonal_matrices_are_equally_likely():
    """Of rotations of the plane that QR alone gives, the first column never points to the right."""
    ws = np.array([init.orthogonal((2, 2), dtype=np.float64, rng=i) for i in range(2000)])
    angles = np.sort(np.arctan2(ws[:, 1, 0], ws[:, 0, 0])) / (2 * np.pi) + 0.5
    assert abs(angles - np.arange(2000) / 2000).max() < 1.95 / math.sqrt(2000)
    assert abs(np.linalg.det(ws).mean()) < 0.1  # rotations as often as reflections


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.0, 0), (0.07, 7), (0.101, 11), (0.5, 50), (1.0, 100)])
def test_sparse_init(sparsity, zeros):
    w = init.sparse_init((100, 40), sparsity=sparsity, dtype=np.float64, rng=2)
    assert ((w == 0).sum(axis=0) == zeros).all()
    if zeros < 100:
        np.testing.assert_allclose(w[w != 0].std(), 0.01, rtol=0.1)
    if 0 < zeros < 100:
        assert len({column.tobytes() for column in (w == 0).T}) > 30, "each column has its own places"


@pytest.mark.parametrize("shape", [(4, 4), (2, 5), (5, 2)])
def test_identity_of_a_dense_layer_passes_its_input_on(shape):
    x = Generator(0).normal((3, shape[0]))
    layer = nf.Dense(*shape, init=functools.partial(init.identity_init, gain=3))
    same = min(shape)
    np.testing.assert_array_equal(layer(x)[:, :same], 3 * x[:, :same])
    assert not layer(x)[:, same:].any()


@pytest.mark.parametrize("shape", [(3, 2, 2), (5, 3, 2, 3), (2, 4, 2, 2), (3, 3, 3, 1, 2)])
def test_identity_of_a_convolution_stands_at_the_centre(shape):
    w = init.identity_init(shape)
    *kernel, n_in, n_out = shape
    for index in np.ndindex(shape):
        centre = all(i == (k - 1) // 2 for i, k in zip(index, kernel, strict=False))
        assert w[index] == (centre and index[-2] == index[-1])
    moved = init.identity_init(shape, shift=1)
    np.testing.assert_array_equal(moved, np.concatenate([w[-1:], w[:-1]]))


def test_identity_moved_along_two_axes():
    w = init.identity_init((3, 3), shift=(1, 2), gain=2)
    assert w.tolist() == [[0, 2, 0], [0, 0, 2], [2, 0, 0]]
    assert init.identity_init(4).tolist() == init.identity_init(4, shift=1).tolist() == [0.0] * 4


def test_rand_and_randn():
    uniform, normal = init.rand(40_000, rng=0, dtype=np.float64), init.randn(40_000, rng=0, dtype=np.float64)
    assert uniform.min() >= 0 and uniform.max() < 1
    for w, moments in ((uniform, (1 / 2, 1 / 3, 1 / 4)), (normal, (0, 1, 0))):
        np.testing.assert_allclose([(w**k).mean() for k in (1, 2, 3)], moments, atol=0.05)


OTHERS = {
    "truncated_normal": {}, "lecun_normal": {}, "orthogonal": {}, "sparse_init": {"sparsity": 0.5}, "rand": {},
    "randn": {},
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_seeds_of_the_others(name):
    f, g = functools.partial(getattr(init, name), **OTHERS[name]), Generator(1)
    first, second = f((4, 3), rng=g), f((4, 3), rng=g)
    assert first.tobytes() == f((4, 3), rng=1).tobytes() != second.tobytes()
    assert g.state == (1, 2), "one draw each"


@pytest.mark.parametrize("name", [*OTHERS, "identity_init"])
def test_layers_take_each_of_them(name):
    f = functools.partial(getattr(init, name), **OTHERS.get(name, {}))
    seed(0)
    assert nf.Dense(4, 3, init=f).weight.dtype == np.float32
    assert nf.Dense(4, 3, init=functools.partial(f, dtype=np.float64), rng=2).bias.dtype == np.float64


WRONG = [
    (lambda: init.truncated_normal(3, lo=1, hi=1), RangeError, "truncated_normal: hi must be above lo = 1.0, got 1.0"),
    (lambda: init.truncated_normal(3, std=0), RangeError, "truncated_normal: std must be a number in (0, inf), got 0"),
    (lambda: init.orthogonal(3), ShapeError, "orthogonal: shape must be of two axes or more, got (3,)"),
    (lambda: init.orthogonal((3, 0)), ShapeError, "orthogonal: shape must be free of zeros, got (3, 0)"),
    (lambda: init.orthogonal((3, 2), gain=-1), RangeError, "orthogonal: gain must be in [0, inf), got -1"),
    (lambda: init.lecun_normal((3, 0)), ShapeError, "lecun_normal: shape must be free of zeros, got (3, 0)"),
    (lambda: init.sparse_init((3, 2, 1), sparsity=0.5), ShapeError,
     "sparse_init: shape must be of two axes, got (3, 2, 1)"),
    (lambda: init.sparse_init((3, 2), sparsity=1.5), RangeError,
     "sparse_init: sparsity must be a number in [0, 1], got 1.5"),
    (lambda: init.identity_init((3, 2), shift=0.5), DTypeError,
     "identity_init: shift must be an integer, or one for each of the first axes, got 0.5"),
    (lambda: init.identity_init((3, 2), shift=(0, 0, 1)), DTypeError,
     "identity_init: shift must be an integer, or one for each of the first axes, got (0, 0, 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_messages_of_the_others(call, error, message):
    before = default().state
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message and default().state == before
