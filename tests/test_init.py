"""Initialisers: fans by hand, moments and bounds against theory, dtypes, seeds, every message."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
ALL = [*RANDOM, "zeros", "ones"]
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
@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (5, 5, 16, 96)])
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
