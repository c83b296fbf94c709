"""A plan that waited for its threads twice runs on one for a while, longer each time; results stay."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import pace
from numbaflux.native import pool
from numbaflux.pace import FIRST, MOST, Pace


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(pace, "LATE", 4.0)


def rests(p):
    """How many calls run on one thread until threads are tried again."""
    count = 0
    while p.workers(8) == 1:
        count += 1
    return count


def test_two_late_calls_in_a_row_bring_a_rest_that_doubles_up_to_a_bound():
    p, late = Pace(1e5), 1e9
    p.took(late)
    assert rests(p) == 0
    p.took(1e5)
    p.took(late)
    assert rests(p) == 0, "a good call came in between"
    p.took(1e5)
    found = []
    for _ in range(9):
        p.took(late)
        p.took(late)
        found.append(rests(p))
    assert found == [min(FIRST * 2**i, MOST) for i in range(9)]
    p.took(1e5)
    p.took(late)
    p.took(late)
    assert rests(p) == FIRST, "after a good call it begins anew"


def test_long_calls_never_rest():
    p = Pace(1e9)
    for _ in range(10):
        p.took(1e15)
    assert p.workers(8) == 8


def test_a_plan_that_is_always_late_gives_the_same_bits(monkeypatch):
    """And uses one thread meanwhile: the runner's own count says so."""
    if pool().limit < 2:
        pytest.skip("machine: one CPU")
    nf.set_num_threads(2)
    x = np.random.default_rng(0).standard_normal((300, 40)).astype(np.float32)
    model = nf.Chain(nf.Dense(40, 64, nf.tanh, rng=0), nf.Dense(64, 3, rng=1))
    usual = nf.compile(model)(x)
    monkeypatch.setattr(pace, "LATE", 0.0)
    predict = nf.compile(model)
    assert all(predict(x).tobytes() == usual.tobytes() for _ in range(2 * FIRST))
    plan = predict.last.plan
    assert not plan.serial
    assert plan.pace.rest > 0
