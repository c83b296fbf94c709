"""The rules against their papers' formulas in extended precision, over several steps."""

import numpy as np
import pytest

from numbaflux.kernels import hyper
from numbaflux.optim.around import Rounded
from numbaflux.optim.rules import HYPER
from tests.entries import call

DTYPES = [np.float32, np.float64]
SIZES = [1, 15, 16, 17, 1000]
LD = np.longdouble


def start(n, dtype, **numbers):
    """Parameters, gradients, the numbers in memory."""
    rng = np.random.default_rng(0)
    hyper = np.array([{"power1": 1.0, "power2": 1.0, **numbers}.get(name, 0.0) for name in HYPER])
    return rng.normal(size=n).astype(dtype), [rng.normal(size=n).astype(dtype) for _ in range(5)], hyper


def near(found, right, dtype, units):
    """Within some roundings of numbers near 1."""
    assert abs(found - right).max() <= units * np.finfo(dtype).eps * max(1, abs(right).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_descent(n, dtype):
    p, gs, hyper = start(n, dtype, eta=0.05)
    right = p.astype(LD)
    for g in gs:
        call("optim.descent", p, g, hyper)
        right -= LD(0.05) * g
    near(p, right, dtype, 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_momentum(n, dtype):
    """Flux's: eta inside the velocity."""
    p, gs, hyper = start(n, dtype, eta=0.05, beta1=0.9)
    right, v, velocity = p.astype(LD), np.zeros(n, LD), np.zeros(n, dtype)
    for g in gs:
        call("optim.momentum", p, velocity, g, hyper)
        v = LD(0.9) * v + LD(0.05) * g
        right -= v
    near(velocity, v, dtype, 10)
    near(p, right, dtype, 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("decay", "eta_decay"), [(0.0, 0.0), (0.01, 0.0), (0.0, 0.2)])
def test_adam(n, dtype, decay, eta_decay):
    """Kingma and Ba, algorithm 1; Loshchilov and Hutter: weights shrink by eta_decay times eta, or by decay."""
    eta, beta1, beta2, eps = (LD(x) for x in (0.01, 0.9, 0.99, 1e-8))
    p, gs, hyper = start(n, dtype, eta=0.01, beta1=0.9, beta2=0.99, eps=1e-8, decay=decay, eta_decay=eta_decay)
    m, v = np.zeros(n, dtype), np.zeros(n, dtype)
    right, first, second = p.astype(LD), np.zeros(n, LD), np.zeros(n, LD)
    for t, g in enumerate(gs, 1):
        call("optim.adam", p, m, v, g, hyper)
        call("optim.tick", hyper)
        first = beta1 * first + (1 - beta1) * g
        second = beta2 * second + (1 - beta2) * g.astype(LD) ** 2
        step = eta * (first / (1 - beta1**t)) / (np.sqrt(second / (1 - beta2**t)) + eps)
        right = right - step - (LD(decay) + eta * LD(eta_decay)) * right
        assert hyper[0] == t
        near(hyper[1:3], np.array([beta1**t, beta2**t]), np.float64, 10)
    near(m, first, dtype, 10)
    near(v, second, dtype, 20)
    near(p, right, dtype, 20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_leaves_a_parameter_without_gradient_alone(dtype):
    p, _, hyper = start(33, dtype, eta=0.01, beta1=0.9, beta2=0.99, eps=1e-8)
    before, zero = p.copy(), np.zeros(33, dtype)
    call("optim.adam", p, zero.copy(), zero.copy(), zero, hyper)
    np.testing.assert_array_equal(p, before)


def test_numbers_stand_where_kernels_read_them():
    assert [getattr(hyper, name.upper()) for name in HYPER] == list(range(len(HYPER)))


def numbers(**given):
    return np.array([given.get(name, 0.0) for name in HYPER])


def test_tick_changes_what_it_counts_only():
    hyper = np.arange(1.0, 1.0 + len(HYPER))
    hyper[HYPER.index("wait")] = 0
    right = hyper.copy()
    right[:3] = 2, 8, 15
    call("optim.tick", hyper)
    assert hyper.tolist() == right.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kernel", "states"),
    [("descent", 0), ("momentum", 1), ("rmsprop", 1), ("rmsprop_centred", 2), ("adadelta", 2), ("adam", 2),
     ("adam_variant", 2), ("adamax", 2), ("amsgrad", 3), ("oadam", 3), ("lion", 1), ("rprop", 2)],
)  # fmt: skip
def test_a_rule_that_waits_changes_nothing(kernel, states, dtype):
    p, gs, hyper = start(33, dtype, eta=0.1, eps=1e-8, wait=1.0, beta1=0.5, beta2=0.5, ell1=0.5, ell2=1.2, gamma2=1.0)
    held = [p, *(gs[i].copy() for i in range(states)), hyper]
    before = [x.copy() for x in held]
    call(f"optim.{kernel}", *held[:-1], gs[4], hyper)
    call("optim.tick", hyper)
    assert all((x == y).all() for x, y in zip(held, before, strict=True))
    hyper[HYPER.index("wait")] = 0.0
    call(f"optim.{kernel}", *held[:-1], gs[4], hyper)
    assert not any((x == y).all() for x, y in zip(held[:-1], before, strict=False))


# -------------------------------------------------------------------------------------------------------------- norms

TALL = [("f4", 1e-30), ("f4", 1.0), ("f4", 1e30), ("f8", 1e-280), ("f8", 1e-160), ("f8", 1.0), ("f8", 1e250)]


@pytest.mark.parametrize(("dtype", "size"), TALL)
@pytest.mark.parametrize("n", [1, 15, 1024, 1025, 5000])
@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 7.0, 1e5])
def test_a_norm_is_that_of_extended_precision_whatever_its_size(n, p, dtype, size):
    """The slots of two parts, and what brings the norm of both to omega."""
    rng = np.random.default_rng(n)
    parts = [(rng.normal(size=n) * size).astype(dtype), (rng.normal(size=7) * size / 1e10).astype(dtype)]
    hyper, slots, factor = numbers(p=p, omega=size / 3), np.full((2, 2), np.nan), np.full(1, np.nan)
    for slot, h in zip(slots, parts, strict=True):
        call("optim.norm", slot, h, hyper)
    call("optim.join", factor, slots, hyper)
    every = np.abs(np.concatenate(parts).astype(LD))
    largest = every.max()
    right = min(LD(size / 3) / (largest * ((every / largest) ** LD(p)).sum() ** (1 / LD(p))), 1)
    np.testing.assert_allclose(factor, np.float64(right), rtol=1e-13)


@pytest.mark.parametrize(("dtype", "size"), TALL)
def test_clipped_gradients_have_the_norm_that_was_asked_for(dtype, size):
    h = (np.random.default_rng(0).normal(size=3000) * size).astype(dtype)
    before, slot, factor = h.copy(), np.zeros(2), np.zeros(1)
    hyper = numbers(p=2.0, omega=size / 2, delta=np.inf)
    call("optim.norm", slot, h, hyper)
    call("optim.join", factor, slot[None], hyper)
    call("optim.clip", h, factor, hyper)
    assert abs(np.sqrt(((h.astype(LD) / size) ** 2).sum()) - 0.5) < 1e-6
    np.testing.assert_allclose(h / np.abs(h).max(), before / np.abs(before).max(), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("omega", [0.0, 1.0, 1e308])
def test_gradients_of_zero_are_left_alone(dtype, omega):
    slot, factor, hyper = np.zeros(2), np.zeros(1), numbers(p=2.0, omega=omega)
    call("optim.norm", slot, np.zeros(50, dtype), hyper)
    call("optim.join", factor, slot[None], hyper)
    assert factor == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_decay_adds_to_gradients(n, dtype):
    p, (h, *_), hyper = start(n, dtype, decay=0.1, sign_decay=0.03)
    p[0] = 0  # has no sign
    right = h + (LD(0.1) * p + LD(0.03) * np.sign(p))
    call("optim.decay", h, p, hyper)
    near(h, right, dtype, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("over", "under", "ratio"), [(3, 4, 0.75), (3, 0, 1.0), (0, 4, 1.0), (1e-30, 1e30, 1e-60)])
def test_trust_is_a_ratio_of_norms(over, under, ratio, dtype):
    """You et al. 2020, algorithm 2, in two parts each; without one of the norms the rate alone."""
    hyper, slots, pair = numbers(p=2.0, rate=0.5, eta_decay=0.2), np.zeros((2, 2, 2)), np.zeros(2)
    for own, size in zip(slots, (over, under), strict=True):
        for slot, share in zip(own, (0.6, 0.8), strict=True):  # of which the squares' sum is 1
            call("optim.norm", slot, np.array([0.0, size * share, 0.0], dtype), hyper)
    call("optim.trust", pair, *slots, hyper)
    np.testing.assert_allclose(pair, [0.9, 0.5 * ratio], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_blend(n, dtype):
    y, (x, *_), hyper = start(n, dtype)
    right = LD(0.9) * y + LD(0.1) * x
    call("optim.blend", y, x, np.array([0.9, 0.1]), hyper)
    near(y, right, dtype, 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounded_is_what_numpy_makes_a_float16_of(dtype):
    """Ties, numbers below the least normal one, and beyond the largest, where it stays; the rest is what was lost."""
    ties = [1 + 2**-11, 1 + 3 * 2**-11, -(2**-14) - 2**-25, 2**-24 * 0.5, 2**-24 * 1.5, 65519.0, 1e6, -1e6, 0.0]
    full = np.concatenate([ties, np.random.default_rng(0).normal(size=40) * 2.0 ** np.arange(-28, 12)]).astype(dtype)
    hyper = numbers(**Rounded("float16").memory())
    p, rest = full.copy(), np.zeros_like(full)
    call("optim.rounded", p, rest, hyper)
    right = np.clip(full, -65504, 65504).astype(np.float16).astype(dtype)
    np.testing.assert_array_equal(p, right)
    np.testing.assert_array_equal(rest, full - right)
    call("optim.rounded", p, rest, hyper)  # of the same sum once more
    np.testing.assert_array_equal(p, right)


# ------------------------------------------------------------------------------------------------------- accumulation


def test_the_gate_opens_for_each_nth_gradient_and_a_new_n_counts_from_the_next_on():
    """The pair makes a mean of what comes: n - 1 parts of what was, the first none of it."""
    hyper, later, opened, means = numbers(n=3.0), np.zeros((2, len(HYPER))), [], []
    pair = np.zeros(2)
    for t in range(1, 12):
        if t == 5:
            hyper[HYPER.index("n")] = 2.0  # in the middle of the second three
        call("optim.gate", later, pair, hyper)
        means.append(pair.tolist())
        waits = later[:, HYPER.index("wait")]
        assert waits[0] == waits[1] and later.sum() == waits.sum()
        opened += [t] if waits[0] == 0 else []
    assert opened == [3, 6, 8, 10]
    assert means[:3] == [[0, 1 / 3], [1, 1 / 3], [1, 1 / 3]] and means[6:8] == [[0, 0.5], [1, 0.5]]


def test_a_gate_that_waits_counts_nothing_and_keeps_those_after_it_waiting():
    hyper, later = numbers(n=1.0, wait=1.0), np.zeros((1, len(HYPER)))
    before = hyper.copy()
    call("optim.gate", later, np.zeros(2), hyper)
    assert (hyper == before).all() and later[0, HYPER.index("wait")] == 1
