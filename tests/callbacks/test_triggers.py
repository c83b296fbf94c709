"""throttle by a clock of its own; patience, early_stopping and plateau against what Flux.jl documents."""

import math

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.callbacks import early_stopping, patience, plateau, triggers
from tests.callbacks.scripted import ONE, fresh, train


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(triggers.time, "monotonic", lambda: self.now)


def calls(monkeypatch, times, seconds=10, **options):
    """(time, argument) of each run of a throttled function that is called at such times, and flushed at the end."""
    clock, ran = Clock(monkeypatch), []
    f = nf.throttle(lambda x: ran.append((clock.now - 100, x)), seconds, **options)
    for now in times:
        clock.now = 100.0 + now
        f(now)
    f.flush()
    f.flush()
    return ran


TIMES = [1, 2, 9, 11, 12, 25, 26]


def test_leading(monkeypatch):
    assert calls(monkeypatch, TIMES) == [(1, 1), (11, 11), (25, 25)]


def test_leading_and_trailing(monkeypatch):
    assert calls(monkeypatch, TIMES, trailing=True) == [(1, 1), (11, 11), (25, 25), (26, 26)]
    assert calls(monkeypatch, [1], trailing=True) == [(1, 1)]


def test_trailing_alone(monkeypatch):
    assert calls(monkeypatch, TIMES, leading=False, trailing=True) == [(11, 11), (25, 25), (26, 26)]
    assert calls(monkeypatch, [1], leading=False, trailing=True) == [(1, 1)]


def test_neither(monkeypatch):
    assert calls(monkeypatch, TIMES, leading=False) == [(11, 11), (25, 25)]


def test_no_seconds_run_it_always(monkeypatch):
    assert calls(monkeypatch, TIMES, seconds=0) == [(t, t) for t in TIMES]


def test_the_last_result_is_returned(monkeypatch):
    clock = Clock(monkeypatch)
    f = nf.throttle(lambda x, plus=0: x + plus, 5)
    assert f(1, plus=2) == 3 and f(10) == 3
    clock.now += 5
    assert f(10) == 10


def test_an_error_comes_out_and_takes_its_time(monkeypatch):
    Clock(monkeypatch)
    f = nf.throttle(lambda: 1 / 0, 5)
    with pytest.raises(ZeroDivisionError):
        f()
    assert f() is None


def test_among_the_callbacks_it_is_told_of_batches_and_the_end(monkeypatch):
    clock, ran = Clock(monkeypatch), []

    class Data:
        def __iter__(self):
            for _ in range(4):
                clock.now += 1
                yield ONE

    note = nf.throttle(lambda event: ran.append((event.epoch, event.batch)), 2.5, trailing=True)
    train([0] * 2, [note], data=Data())
    assert ran == [(1, 1), (1, 4), (2, 3), (2, 4)]


def test_it_shows_itself():
    assert repr(nf.throttle(print, 3)) == "throttle(print, 3, leading=True, trailing=False)"


# ---------------------------------------------------------------- Flux's predicates


def in_a_row(truths, wait):
    """Whether the last `wait` of each beginning are all true."""
    return [i >= wait and all(truths[i - wait : i]) for i in range(1, len(truths) + 1)]


@pytest.mark.parametrize("wait", [1, 2, 3])
def test_patience(wait):
    truths = np.random.default_rng(1).random(40) < 0.7
    trigger = patience(lambda i, shift=0: truths[i - shift], wait)
    assert [trigger(i + 1, shift=1) for i in range(40)] == in_a_row(truths.tolist(), wait)


@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize("min_dist", [0.0, 1.0])
def test_early_stopping(delay, min_dist):
    scores = np.random.default_rng(2).integers(0, 20, 60).tolist()
    best = [min(scores[:i], default=math.inf) for i in range(60)]  # it takes small gains too
    worse = [b - s < min_dist for b, s in zip(best, scores, strict=True)]
    stop = early_stopping(lambda x: x, delay, min_dist=min_dist)
    assert [stop(s) for s in scores] == in_a_row(worse, delay)


def test_early_stopping_by_a_distance_of_ones_own():
    stop = early_stopping(lambda x: x, 2, distance=lambda best, score: score - best, init_score=-math.inf)
    assert [stop(s) for s in (1, 2, 1, 2, 0, 1)] == [False, False, False, False, False, True]


def test_nan_is_worse():
    stop = early_stopping(lambda x: x, 2)
    assert [stop(s) for s in (3, math.nan, 2, math.nan, math.nan)] == [False, False, False, False, True]


@pytest.mark.parametrize("width", [1, 2])
def test_plateau(width):
    scores = np.random.default_rng(3).integers(0, 3, 60).tolist()
    still = [abs(a - b) < 1e-6 for a, b in zip([math.inf, *scores], scores, strict=False)]
    flat = plateau(lambda x: x, width)
    assert [flat(s) for s in scores] == in_a_row(still, width)


def test_plateau_by_a_distance_of_ones_own():
    flat = plateau(lambda x: x, 1, distance=lambda a, b: (a - b) / b, init_score=1.0, min_dist=0.1)
    assert [flat(s) for s in (1.05, 2.0, 2.1)] == [True, False, True]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nf.throttle(3, 1), "throttle: f must be a function, got 3"),
        (lambda: nf.throttle(print, 1, 2), "throttle: leading must be True or False, got 2"),
        (lambda: nf.throttle(print, 1, trailing="yes"), "throttle: trailing must be True or False, got 'yes'"),
        (lambda: patience(True, 3), "patience: predicate must be a function, got True"),
        (lambda: early_stopping(1.0, 3), "early_stopping: f must be a function, got 1.0"),
        (lambda: plateau(None, 3), "plateau: f must be a function, got None"),
    ],
)
def test_wrong_arguments(make, text):
    with pytest.raises(nf.DTypeError, match=f"^{text}$"):
        make()


def test_stopping_a_training_by_a_predicate():
    stop = early_stopping(lambda event: event.loss, 2)
    history = train([3, 2, 2.5, 2.5, 1], [lambda event: event.stop() if stop(event) else None], fresh())
    assert len(history) == 4
