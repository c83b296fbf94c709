"""Random numbers: the stream against a Philox written here in plain Python, the state, every message."""

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaflux import rng as rng_module
from numbaflux.op import DTypeError, Error, RangeError, ShapeError
from numbaflux.rng import Generator, as_generator, default, seed

WORD = 2**64
SEEDS = st.integers(0, WORD - 1)


def philox(key, counter):
    """One block of Philox 4x64-10, from the paper: four words."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 // WORD) ^ c1 ^ k0, p1 % WORD, (p0 // WORD) ^ c3 ^ k1, p0 % WORD
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) % WORD, (k1 + 0xBB67AE8584CAA73B) % WORD
    return [c0, c1, c2, c3]


DRAWS = [
    lambda g: g.uniform((3, 5)),
    lambda g: g.uniform(7, -2.0, 3.0, np.float64),
    lambda g: g.normal((4, 2), 1.0, 2.0),
    lambda g: g.integers(6, -4, 9),
    lambda g: g.permutation(11),
]


@given(SEEDS, SEEDS)
def test_a_draw_is_philox_of_seed_and_call(seed, call):
    # numpy counts a block before it computes it, hence the first block of a call is number 1.
    blocks = [philox((seed, 0), (block, 0, call, 0)) for block in (1, 2)]
    expected = [(word >> 11) / 2**53 for block in blocks for word in block]
    assert Generator(seed, call).uniform(8, dtype=np.float64).tolist() == expected


@given(SEEDS, SEEDS)
def test_a_child_is_the_first_word_of_its_own_stream(seed, index):
    assert Generator(seed).child(index).state == (philox((seed, 1), (1, 0, index, 0))[0], 0)


def test_children_differ_and_take_no_count():
    g = Generator(5)
    seeds = {g.child(i).state[0] for i in range(1000)}
    assert len(seeds) == 1000
    assert g.state == (5, 0)
    g.permutation(3)
    assert g.child(0).state == Generator(5).child(0).state


@pytest.mark.parametrize("draw", DRAWS)
def test_a_draw_takes_one_count_and_does_not_depend_on_the_draws_before(draw):
    g = Generator(3)
    results = [draw(g) for _ in range(4)]
    assert g.state == (3, 4)
    assert not np.array_equal(results[0], results[1])
    for call in (3, 1, 2, 0):
        other = Generator(3, call)
        assert draw(other).tobytes() == results[call].tobytes()
    g = Generator(3)
    g.normal(1000)  # however large, one count
    assert draw(g).tobytes() == results[1].tobytes()


COPIES = [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g)), lambda g: Generator(*g.state)]  # noqa: S301  # of objects made here


@pytest.mark.parametrize("copier", COPIES)
def test_saved_states_resume_exactly(copier):
    g = Generator(WORD - 1, 9)
    g.normal(3)
    twin, saved = copier(g), g.state
    assert saved == (WORD - 1, 10)
    ahead = [g.normal(5).tobytes(), g.permutation(8).tobytes()]
    assert g.state == (WORD - 1, 12)
    g.state = saved
    assert [g.normal(5).tobytes(), g.permutation(8).tobytes()] == ahead
    assert twin.state == saved and repr(twin) == f"Generator(seed={WORD - 1}, counter=10)"
    assert [twin.normal(5).tobytes(), twin.permutation(8).tobytes()] == ahead


def test_the_counter_wraps():
    g = Generator(1, WORD - 1)
    g.uniform(1)
    assert g.state == (1, 0)


def distance(sample, cdf):
    """Kolmogorov and Smirnov's largest distance, times sqrt(n): above 1.95 once in 1000 samples."""
    ordered = np.sort(sample.astype(np.float64).ravel())
    n = len(ordered)
    expected = np.array([cdf(value) for value in ordered])
    steps = np.arange(n + 1) / n
    return math.sqrt(n) * max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_distributions(dtype, seed):
    g = Generator(seed)
    u, z = g.uniform((200, 100), -3.0, 5.0, dtype), g.normal((200, 100), 2.0, 0.5, dtype)
    assert u.dtype == z.dtype == dtype and u.shape == z.shape == (200, 100)
    assert distance(u, lambda value: (value + 3) / 8) < 1.95
    assert distance(z, lambda value: 0.5 * math.erfc(-(value - 2) / 0.5 / math.sqrt(2))) < 1.95
    assert distance(u, lambda value: min(1.0, (value + 3) / 7.5)) > 1.95  # the measure tells a wrong range


def test_draws_in_a_row_are_uncorrelated():
    g = Generator(0)
    draws = np.array([g.normal(4, dtype=np.float64) for _ in range(5000)])
    correlation = np.corrcoef(np.hstack([draws[1:], draws[:-1]]).T) - np.eye(8)
    assert np.abs(correlation).max() < 5 / math.sqrt(5000)


@given(SEEDS, st.sampled_from([np.float32, np.float64]), st.data())
def test_uniform_keeps_its_bounds(seed, dtype, data):
    width = 64 if dtype == np.float64 else 32
    numbers = st.floats(-(2.0**100), 2.0**100, width=width)
    low, high = sorted([data.draw(numbers), data.draw(numbers)])
    values = Generator(seed).uniform(200, low, high, dtype)
    assert (values >= low).all()
    assert (values < high).all() if low < high else (values == low).all()


def test_uniform_never_rounds_up_to_high():
    # 2**24 - 2 + 2 u: float32 has three numbers there, and every u above 3/4 rounds to 2**24.
    assert Generator(0).uniform(1000, 2.0**24 - 2, 2.0**24).max() == 2.0**24 - 1


def test_integers_and_permutations_cover_their_range():
    g = Generator(0)
    values = g.integers((100, 100), -2, 3)
    assert values.dtype == np.int64 and values.shape == (100, 100)
    counts = np.bincount(values.ravel() + 2, minlength=5)
    assert len(counts) == 5
    assert ((counts - 2000) ** 2 / 2000).sum() < 18.47  # chi squared, 4 degrees of freedom: once in 1000
    assert g.integers(4, 2**63 - 2, 2**63 - 1).tolist() == [2**63 - 2] * 4
    orders = np.array([g.permutation(4) for _ in range(4800)])
    assert orders.dtype == np.int64
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24 and ((counts - 200) ** 2 / 200).sum() < 49.73  # 23 degrees of freedom: once in 1000
    assert g.permutation(0).shape == (0,)


def test_seed_restarts_the_default_generator_in_place():
    holder = default()
    seed(11)
    a = default().normal(3)
    seed(11)
    assert default() is holder and holder.state == (11, 0)
    assert default().normal(3).tobytes() == a.tobytes() == Generator(11).normal(3).tobytes()


def test_the_default_generator_differs_from_process_to_process():
    code = "from numbaflux.rng import default; print(default().state[0])"
    seeds = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(seeds) == 2 and all(text.strip().isdigit() for text in seeds)


def test_import_does_not_load_numpy_random_numba_or_scipy():
    code = "import sys, numbaflux.rng; print([m for m in ('numpy.random', 'numba', 'scipy') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


def test_as_generator():
    g = Generator(1)
    assert as_generator(g, "f") is g
    assert as_generator(None, "f") is default()
    assert as_generator(np.int64(4), "f").state == (4, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Generator(-1), RangeError, "Generator: seed must be an integer in [0, 2**64), got -1"),
        (lambda: Generator(WORD), RangeError, f"Generator: seed must be an integer in [0, 2**64), got {WORD}"),
        (lambda: Generator(1.0), DTypeError, "Generator: seed must be an integer in [0, 2**64), got 1.0"),
        (lambda: Generator(True), DTypeError, "Generator: seed must be an integer in [0, 2**64), got True"),
        (lambda: Generator(1, -1), RangeError, "Generator: counter must be an integer in [0, 2**64), got -1"),
        (lambda: seed("a"), DTypeError, "Generator: seed must be an integer in [0, 2**64), got 'a'"),
        (
            lambda: setattr(Generator(1), "state", 3),
            DTypeError,
            "Generator: state must be two integers (seed, counter), got 3",
        ),
        (
            lambda: Generator(1).uniform((2, -1)),
            ShapeError,
            "uniform: shape must be an integer or a tuple of integers, none negative, got (2, -1)",
        ),
        (
            lambda: Generator(1).normal("ab"),
            ShapeError,
            "normal: shape must be an integer or a tuple of integers, none negative, got 'ab'",
        ),
        (
            lambda: Generator(1).integers(None, 0, 1),
            ShapeError,
            "integers: shape must be an integer or a tuple of integers, none negative, got None",
        ),
        (lambda: Generator(1).uniform(2, 1, 0), RangeError, "uniform: high must be at least low = 1.0, got 0.0"),
        (lambda: Generator(1).uniform(2, math.nan), RangeError, "uniform: low must be finite in float32, got nan"),
        (lambda: Generator(1).uniform(2, 0, "b"), DTypeError, "uniform: high must be a number, got 'b'"),
        (
            lambda: Generator(1).uniform(2, -3e38, 3e38),
            RangeError,
            "uniform: high - low must be finite in float32, got 6e+38",
        ),
        (
            lambda: Generator(1).uniform(2, dtype=np.float16),
            DTypeError,
            "uniform: dtype must be np.float32 or np.float64, got <class 'numpy.float16'>",
        ),
        (
            lambda: Generator(1).normal(2, dtype=None),
            DTypeError,
            "normal: dtype must be np.float32 or np.float64, got None",
        ),
        (
            lambda: Generator(1).normal(2, dtype="nonsense"),
            DTypeError,
            "normal: dtype must be np.float32 or np.float64, got 'nonsense'",
        ),
        (lambda: Generator(1).normal(2, 1e39), RangeError, "normal: mean must be finite in float32, got 1e+39"),
        (lambda: Generator(1).normal(2, 0, -1), RangeError, "normal: std must be a number in [0, inf), got -1"),
        (lambda: Generator(1).integers(2, 3, 3), RangeError, "integers: high must be above low = 3, got 3"),
        (lambda: Generator(1).permutation(-1), RangeError, "permutation: n must be an integer in [0, 2**63), got -1"),
        (lambda: Generator(1).permutation(2.5), DTypeError, "permutation: n must be an integer in [0, 2**63), got 2.5"),
        (lambda: Generator(1).child(-1), RangeError, "child: index must be an integer in [0, 2**64), got -1"),
        (
            lambda: as_generator(np.random.default_rng(0), "dropout"),
            DTypeError,
            "dropout: rng must be None, a seed or a numbaflux Generator, got numpy.random._generator.Generator; "
            "pass a seed: rng=0",
        ),
        (
            lambda: as_generator(True, "dropout"),
            DTypeError,
            "dropout: rng must be None, a seed or a numbaflux Generator, got builtins.bool; pass a seed: rng=0",
        ),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
    assert isinstance(caught.value, Error)


def test_a_refused_draw_takes_no_count():
    g = Generator(1)
    for bad in (
        lambda: g.uniform(-1),
        lambda: g.uniform(1, 1, 0),
        lambda: g.normal(1, 0, -1),
        lambda: g.integers(1, 2, 1),
        lambda: g.permutation(-1),
        lambda: setattr(g, "state", (2, -1)),
    ):
        with pytest.raises(Error):
            bad()
    assert g.state == (1, 0)


def test_no_other_state_is_in_the_module():
    kept = [name for name, value in vars(rng_module).items() if isinstance(value, Generator)]
    assert kept == ["_default"]
