"""Schedules against their formulas written out, against PyTorch's where they are the same, and what they refuse."""

import itertools
import math

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import schedules as S
from tests.steps import mlp, raises

TIMES = range(1, 41)


def cycle(l0, l1, period, shape, fade=lambda t: 1):
    """Flux.jl's formula of what goes between two numbers."""
    return lambda t: abs(l0 - l1) * fade(t) * shape(t, period) + min(l0, l1)


def triangle(t, period):
    return 2 / math.pi * abs(math.asin(math.sin(math.pi * (t - 1) / period)))


def sine(t, period):
    return abs(math.sin(math.pi * (t - 1) / period))


def cosine(t, period):
    return (1 + math.cos(math.pi * ((t - 1) % period) / period)) / 2


def wave(t, period):
    return (1 + math.cos(math.pi * (t - 1) / period)) / 2


def half_wave(start, end, steps):
    """From one number to another by half a cosine."""
    return lambda t: start + (end - start) * (1 - math.cos(math.pi * min((t - 1) / steps, 1))) / 2


def halves(period):
    return lambda t: 0.5 ** ((t - 1) // period)


CASES = [
    (S.Constant(0.3), lambda t: 0.3),
    (S.Step(0.1, 0.5, 7), lambda t: 0.1 * 0.5 ** ((t - 1) // 7)),
    (S.Step(0.1, 0.5, 1), lambda t: 0.1 * 0.5 ** (t - 1)),
    (S.Step(0.1, 0.5, (2, 5, 1)), lambda t: 0.1 * 0.5 ** ((t > 2) + (t > 7) + (t > 8))),
    (S.Step(0.1, 2.0, [3]), lambda t: 0.1 if t <= 3 else 0.2),
    (S.Exp(0.1, 0.9), lambda t: 0.1 * 0.9 ** (t - 1)),
    (S.Exp(0.1, 0.0), lambda t: 0.1 * (t == 1)),
    (S.Poly(0.1, 2, 30), lambda t: 0.1 * (1 - (t - 1) / 30) ** 2 if t <= 30 else 0),
    (S.Poly(0.1, 0.5, 30), lambda t: 0.1 * (1 - (t - 1) / 30) ** 0.5 if t <= 30 else 0),
    (S.Inv(0.1, 0.3, 1.5), lambda t: 0.1 / (1 + (t - 1) * 0.3) ** 1.5),
    (S.Linear(0.1, 0.4, 10), lambda t: 0.1 + 0.3 * min(t - 1, 10) / 10),
    (S.Triangle(0.1, 0.4, 9), cycle(0.1, 0.4, 9, triangle)),
    (S.Triangle(0.4, 0.1, 10), cycle(0.1, 0.4, 10, triangle)),
    (S.TriangleDecay2(0.1, 0.4, 9), cycle(0.1, 0.4, 9, triangle, halves(9))),
    (S.TriangleExp(0.1, 0.4, 9, 0.95), cycle(0.1, 0.4, 9, triangle, lambda t: 0.95 ** (t - 1))),
    (S.Sin(0.1, 0.4, 9), cycle(0.1, 0.4, 9, sine)),
    (S.SinDecay2(0.1, 0.4, 8), cycle(0.1, 0.4, 8, sine, halves(8))),
    (S.SinExp(0.4, 0.1, 8, 0.95), cycle(0.1, 0.4, 8, sine, lambda t: 0.95 ** (t - 1))),
    (S.CosAnneal(0.1, 0.4, 9), cycle(0.1, 0.4, 9, cosine)),
    (S.CosAnneal(0.4, 0.1, 9, restart=False), cycle(0.1, 0.4, 9, wave)),
    (S.OneCycle(20, 0.5),
     lambda t: half_wave(0.02, 0.5, 5)(t) if t <= 5 else half_wave(0.5, 5e-6, 15)(t - 5)),
    (S.OneCycle(30, 0.5, 0.3, 0.1, 0.51),
     lambda t: half_wave(0.3, 0.5, 16)(t) if t <= 16 else half_wave(0.5, 0.1, 14)(t - 16)),
    (S.OneCycle(10, 0.5, percent_start=0, endval=0.1), half_wave(0.5, 0.1, 10)),
    (S.OneCycle(10, 0.5, percent_start=1, startval=0.1, endval=0.5), half_wave(0.1, 0.5, 10)),
    (S.Sequence((0.1, 3), (S.Exp(1.0, 0.5), 4), (lambda t: t / 100, 2)),
     lambda t: 0.1 if t <= 3 else 0.5 ** (t - 4) if t <= 7 else (t - 7) / 100),
    (S.Warmup(S.Exp(0.8, 0.9), 8), lambda t: 0.8 * (t - 1) / 8 if t <= 8 else 0.8 * 0.9 ** (t - 9)),
    (S.Warmup(0.8, 4, start=0.2), lambda t: 0.2 + 0.6 * min(t - 1, 4) / 4),
    (S.Loop(S.Exp(1.0, 0.5), 3), lambda t: 0.5 ** ((t - 1) % 3)),
    (S.Loop(0.5, 3), lambda t: 0.5),
    (S.Interpolator(S.Exp(1.0, 0.5), 4), lambda t: 0.5 ** (math.ceil(t / 4) - 1)),
    (S.Interpolator(S.Exp(1.0, 0.5), 0.5, math.floor), lambda t: 0.5 ** (2 * t - 1)),
    (S.Shifted(S.Inv(1.0, 1.0, 1.0), 5), lambda t: 1 / (t + 4)),
    (S.Shortened(S.Exp(1.0, 0.9), 7), lambda t: 0.9 ** (min(t, 7) - 1)),
    (S.reverse(S.Inv(1.0, 0.5, 1.0), 30), lambda t: 1 / (1 + (29 - t) * 0.5) if t < 30 else 1.0),
    (S.symmetric(S.Inv(1.0, 0.5, 1.0), 31), lambda t: 1 / (1 + (min(t, max(31 - t, 1)) - 1) * 0.5)),
    (S.symmetric(lambda t: t * t, 12), lambda t: t * t if t < 6 else max(12 - t, 1) ** 2),
    (S.ComposedSchedule(S.Triangle(0.1, 0.4, 9), l1=S.Step(0.4, 0.5, 9), l0=0.0),
     lambda t: cycle(0.0, 0.4 * 0.5 ** ((t - 1) // 9), 9, triangle)(t)),
]  # fmt: skip


def test_every_schedule_has_a_case():
    made = {type(schedule).__name__ for schedule, _ in CASES} | {"Curve", "Stateful", "reverse", "symmetric"}
    assert made == set(S.__all__)


@pytest.mark.parametrize(("schedule", "formula"), CASES, ids=[str(case[0]) for case in CASES])
def test_against_the_formula(schedule, formula):
    found = [schedule(t) for t in TIMES]
    assert all(type(x) is float for x in found)
    np.testing.assert_allclose(found, [formula(t) for t in TIMES], rtol=1e-14, atol=1e-15)
    assert schedule(np.int64(3)) == schedule(3) == schedule(3.0)


# Ours, PyTorch's class, its numbers, its rate at the start.
OTHERS = [
    (S.Step(0.1, 0.5, 7), "StepLR", {"step_size": 7, "gamma": 0.5}, 0.1),
    (S.Step(0.1, 0.5, (2, 5)), "MultiStepLR", {"milestones": [2, 7], "gamma": 0.5}, 0.1),
    (S.Exp(0.1, 0.9), "ExponentialLR", {"gamma": 0.9}, 0.1),
    (S.Poly(0.1, 2.0, 30), "PolynomialLR", {"total_iters": 30, "power": 2.0}, 0.1),
    (S.Linear(0.01, 0.1, 8), "LinearLR", {"start_factor": 0.1, "total_iters": 8}, 0.1),
    (S.CosAnneal(0.1, 0.01, 9), "CosineAnnealingWarmRestarts", {"T_0": 9, "eta_min": 0.01}, 0.1),
    (S.CosAnneal(0.1, 0.01, 9, restart=False), "CosineAnnealingLR", {"T_max": 9, "eta_min": 0.01}, 0.1),
    (S.Triangle(0.01, 0.1, 10), "CyclicLR",
     {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "cycle_momentum": False}, 0.01),
    (S.TriangleDecay2(0.01, 0.1, 10), "CyclicLR",
     {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "cycle_momentum": False, "mode": "triangular2"}, 0.01),
    (S.TriangleExp(0.01, 0.1, 10, 0.9), "CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5,
     "cycle_momentum": False, "mode": "exp_range", "gamma": 0.9}, 0.01),
    # PyTorch's phases end at pct_start * total_steps - 1 and total_steps - 1
    (S.OneCycle(39, 0.1, endval=0.1 / 25 / 1e4, percent_start=9 / 39), "OneCycleLR",
     {"max_lr": 0.1, "total_steps": 40, "pct_start": 0.25, "cycle_momentum": False}, 0.1),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # of PyTorch's: the optimiser makes no step here
@pytest.mark.parametrize(("schedule", "name", "numbers", "start"), OTHERS, ids=[other[1] for other in OTHERS])
def test_against_pytorch(schedule, name, numbers, start):
    torch = pytest.importorskip("torch")
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=start)
    other, found = getattr(torch.optim.lr_scheduler, name)(optimiser, **numbers), []
    for _ in TIMES[:-1]:
        found.append(optimiser.param_groups[0]["lr"])
        other.step()
    np.testing.assert_allclose([schedule(t) for t in TIMES[:-1]], found, rtol=0, atol=1e-12)


def test_a_warmup_is_pytorchs_sequence():
    torch = pytest.importorskip("torch")
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    lr = torch.optim.lr_scheduler
    parts = [lr.LinearLR(optimiser, 0.1, total_iters=5), lr.ExponentialLR(optimiser, 0.9)]
    other, found = lr.SequentialLR(optimiser, parts, [5]), []
    for _ in TIMES:
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        other.step()
    schedule = S.Warmup(S.Exp(0.1, 0.9), 5, start=0.01)
    np.testing.assert_allclose([schedule(t) for t in TIMES], found, rtol=0, atol=1e-15)


def test_what_a_schedule_gives_is_what_adjust_takes():
    state = nf.setup(nf.OptimiserChain(nf.ClipNorm(), nf.Adam()), mlp())
    for t in TIMES:
        nf.adjust(state, eta=S.CosAnneal(0.1, 0.0, 10)(t))
        assert state.rule.eta == S.CosAnneal(0.1, 0.0, 10)(t)


def test_too_large_a_number_is_infinite_and_refused_by_adjust():
    assert S.Exp(1.0, 10.0)(400) == math.inf
    assert S.Inv(1.0, 1e300, 100.0)(3) == 0.0
    with raises(nf.RangeError, "Adam: eta must be a number in [0, inf), got inf"):
        nf.adjust(nf.setup(nf.Adam(), mlp()), eta=S.Exp(1.0, 10.0)(400))


def test_schedules_are_records():
    one = S.Sequence((S.Exp(0.1, 0.9), 5), (S.Triangle(0, 1, 4), 8))
    assert one == S.Sequence((S.Exp(0.1, 0.9), 5), (S.Triangle(0, 1, 4), 8)) != S.Sequence((S.Exp(0.1, 0.9), 6))
    assert hash(one) == hash(S.Sequence([S.Exp(0.1, 0.9), 5], (S.Triangle(0, 1, 4), 8)))
    assert hash(S.Step(0.1, 0.5, [1, 2])) == hash(S.Step(0.1, 0.5, (1, 2)))
    assert repr(S.TriangleExp(0.1, 0.4, 10, 0.9)) == "TriangleExp(l0=0.1, l1=0.4, period=10, decay=0.9)"
    assert repr(S.Sequence((0.1, 5), (S.Exp(0.1, 0.9), 8))) == "Sequence((0.1, 5), (Exp(start=0.1, decay=0.9), 8))"
    assert repr(S.ComposedSchedule(S.Exp(0.1, 0.9), start=2)) == "ComposedSchedule(Exp(start=0.1, decay=0.9), start=2)"
    with pytest.raises(AttributeError):
        S.Exp(0.1, 0.9).start = 1


def test_a_stateful_schedule_counts_for_itself():
    seen = S.Stateful(S.Exp(1.0, 0.5), advance=lambda t: t != 3)
    assert list(itertools.islice(seen, 5)) == [1.0, 0.5, 0.25, 0.25, 0.25] and seen.t == 3
    seen.reset()
    assert next(seen) == 1.0 and next(S.Stateful(0.5)) == 0.5


def test_a_shortened_schedule_can_be_gone_through():
    few = S.Shortened(S.Triangle(0.0, 1.0, 4), 6)
    assert len(few) == 6 and list(few) == [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]


CALLS = [
    (lambda: S.Shortened(1.0, 0), nf.RangeError, "schedules: nsteps must be an integer in [1, 2**63), got 0"),
    (lambda: S.reverse("x", 3), nf.DTypeError, "Reversed: schedule must be a number or a schedule, got 'x'"),
    (lambda: S.symmetric(1.0, 0.5), nf.DTypeError, "schedules: period must be an integer in [1, 2**63), got 0.5"),
    (lambda: S.Exp(0.1, 0.9)(0), nf.RangeError, "schedules: t must be a number in [1, inf), got 0"),
    (lambda: S.Exp(0.1, 0.9)("1"), nf.DTypeError, "schedules: t must be a number in [1, inf), got '1'"),
    (lambda: S.Exp("a", 0.9), nf.DTypeError, "schedules: start must be a number in (-inf, inf), got 'a'"),
    (lambda: S.Triangle(0, 1, 0), nf.RangeError, "schedules: period must be an integer in [1, 2**63), got 0"),
    (lambda: S.Step(0.1, 0.5, (1, 0)), nf.RangeError, "schedules: step_sizes must be an integer in [1, 2**63), got 0"),
    (lambda: S.CosAnneal(0, 1, 9, restart=1), nf.DTypeError, "CosAnneal: restart must be True or False, got 1"),
    (lambda: S.Loop("x", 3), nf.DTypeError, "Loop: schedule must be a number or a schedule, got 'x'"),
    (lambda: S.Sequence(), nf.DTypeError, "Sequence: parts must be pairs (schedule, steps), got ()"),
    (lambda: S.Sequence((1.0, 2), 3), nf.DTypeError,
     "Sequence: parts must be pairs (schedule, steps), got ((1.0, 2), 3)"),
    (lambda: S.Sequence((None, 2)), nf.DTypeError, "Sequence: parts must be a number or a schedule, got None"),
    (lambda: S.Sequence((1.0, 0)), nf.RangeError, "schedules: steps must be an integer in [1, 2**63), got 0"),
    (lambda: S.ComposedSchedule(abs, l1=1), nf.DTypeError,
     f"ComposedSchedule: schedule must be one of nf.schedules, got {abs!r}"),
    (lambda: S.ComposedSchedule(S.Exp(1, 0.9), l1=1), nf.RangeError,
     "ComposedSchedule: parameters must be of ['start', 'decay'], got 'l1'"),
    (lambda: S.Interpolator(1.0, 2, 3), nf.DTypeError, "Interpolator: ceil_fn must be a function, got 3"),
    (lambda: S.Stateful(1.0, 3), nf.DTypeError, "Stateful: advance must be a function of t, got 3"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), CALLS, ids=[c[2][:40] for c in CALLS])
def test_what_cannot_be_a_schedule(call, kind, text):
    with raises(kind, text):
        call()
