"""Python's turn between the kernels of a plan: after what it reads, before what reads what it writes."""

from functools import partial

import numpy as np
import pytest

from numbaflux import instance as instances
from numbaflux.instance import Instance
from numbaflux.lowering import Build, as_buf, cut, whole
from numbaflux.native import pool
from numbaflux.plan import Plan

N = 50_000


def doubled(build, out, x):
    build.add("elementwise.add", cut(out, write=True), cut(x), cut(x), rows=N, block=4096, work=1e6)


def made(host, commits=False):
    """z = 2 h(2 x) and w = 2 x, where h is what Python makes of an array in its place."""
    x, z, w = (np.zeros(N, np.float32) for _ in range(3))
    x[...] = np.arange(N) % 7
    build = Build()
    y = build.temp((N,), x.dtype)
    doubled(build, y, as_buf(x))
    build.host(lambda instance: host(instance, instance.view(y)), whole(y, write=True), commits=commits)
    doubled(build, as_buf(z), y)
    doubled(build, as_buf(w), as_buf(x))
    return Plan(build), x, z, w


def plus_one(instance, y):
    y += 1


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", ["native", "interpreted", "in many calls"])
def test_python_sees_what_is_made_before_and_what_follows_sees_python(monkeypatch, way, workers):
    if workers > pool().limit:
        pytest.skip("machine: one CPU")
    if way == "in many calls":
        monkeypatch.setattr(instances, "SLICE", 1e5)
    plan, x, z, w = made(plus_one)
    assert [e.kernel for g in plan.groups for e in g.entries].count(None) == 0 and len(plan.hosts) == 1
    instance = Instance(plan, workers)
    if way == "interpreted":
        instance.calls = [partial(instance._interpret, *cut) for cut in instance.cuts]
    assert len(instance.hosts) == len(instance.cuts) + 1 >= 3
    for factor in (1, 2):
        x *= factor
        instance.run()
        np.testing.assert_array_equal(z, 2 * (2 * x + 1))
        np.testing.assert_array_equal(w, 2 * x)


def test_what_it_writes_for_good_comes_behind_all_checks():
    build, x, y = Build(), np.ones(4, np.float32), np.zeros(4, np.float32)
    told = []
    build.host(lambda instance: told.append(instance.status[0]), whole(as_buf(y), write=True), commits=True)
    build.check("check.finite_all", whole(as_buf(x).part(0, 1)), error=lambda _: ValueError("not finite"))
    plan = Plan(build)
    instance = Instance(plan, 1)
    instance.run()
    x[0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        instance.run()
    x[0] = 1
    instance.run()
    assert told == [0, 1, 0]


def test_it_may_leave_out_the_rest():
    def leave(instance, y):
        instance.status[0] = -1

    plan, x, z, _ = made(leave)
    instance = Instance(plan, 1)
    z[...] = 7
    instance.run()
    assert (z == 7).all() and not instance.status[0]


def test_what_it_raises_reaches_the_caller_and_the_plan_runs_again():
    raised = [True]

    def fail(instance, y):
        if raised.pop():
            raise KeyError("host")

    plan, x, z, _ = made(fail)
    with pytest.raises(KeyError, match="host"):
        plan.run()
    raised.append(False)
    plan.run()
    np.testing.assert_array_equal(z, 4 * x)


def test_plans_with_turns_of_python_do_not_rest():
    plan, *_ = made(plus_one)
    plan.pace.took(1e12)
    plan.pace.took(1e12)
    assert plan.pace.rest == 0
