"""The model of threads on made-up plans, by hand; timing a plan's groups is training as always; the command runs."""

import doctest
import subprocess
import sys

import numpy as np
import pytest

import numbaflux as nf
from benchmarks import threads
from benchmarks.peers.cases import TRAINING
from benchmarks.threads import (
    HANDED,
    WAVES,
    Machine,
    Share,
    Wave,
    Work,
    case_of,
    group_times,
    handing,
    makespan,
    markdown,
    measured,
    touched,
    waiting,
    work_of,
)  # fmt: skip
from numbaflux.lowering import Array, Build, as_buf, cut, whole
from numbaflux.plan import Plan
from tests.sources import ROOT

MACHINE = Machine(start=8, wait=3, handed=2, one=10, two=16, socket=40, link=5, own=1000, cache=5000)


def test_examples():
    assert doctest.testmod(threads).failed == 0


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 64])
def test_equal_tiles_take_so_many_turns(workers):
    for tiles in (1, 2, 7, 64, 65):
        assert makespan([2.0] * tiles, workers) == 2.0 * -(-tiles // workers)


def test_any_tiles_stay_within_the_bounds_of_greedy_sharing():
    rng = np.random.default_rng(0)
    for _ in range(200):
        tiles, workers = rng.exponential(1.0, rng.integers(1, 40)).tolist(), int(rng.integers(1, 9))
        least = max(sum(tiles) / workers, max(tiles))
        assert least - 1e-9 <= makespan(tiles, workers) <= sum(tiles) / workers + max(tiles) + 1e-9


def test_one_thread_takes_the_sum():
    work = Work([Wave([5.0, 5.0], 0, 0), Wave([7.0], 0, 0)], 0, 4, False)
    assert work.share(MACHINE, 1) == Share(17, 0, 0, 0, 0, 4)
    assert work.share(MACHINE, 1).total == 21
    serial = Work(work.waves, 0, 4, True)
    assert serial.share(MACHINE, 64, 2) == Share(17, 0, 0, 0, 0, 4)


def test_parts_of_a_call_on_several_threads():
    work = Work([Wave([6.0] * 4, 80, 20), Wave([8.0], 0, 40)], 5000, 4, False)
    two = work.share(MACHINE, 2)
    assert two == Share(even=16, uneven=4, memory=0, handed=50, waits=8 + 2 * 3, python=4)
    assert two.total == 88
    four = work.share(MACHINE, 4)
    assert four == Share(even=8, uneven=6, memory=0, handed=40, waits=16 + 2 * 6, python=4)


def test_memory_binds_plans_beyond_the_cache():
    waves = [Wave([50.0] * 4, 1600, 0)]
    assert Work(waves, 5001, 0, False).share(MACHINE, 4).memory == 0  # 1600 bytes at 32 a nanosecond: 50
    assert Work(waves, 5001, 0, False).share(MACHINE, 8).memory == 0  # at the socket's 40: 40, below a tile's 50
    assert Work([Wave([1.0] * 8, 1600, 0)], 5001, 0, False).share(MACHINE, 8).memory == 39
    assert Work([Wave([1.0] * 8, 1600, 0)], 5000, 0, False).share(MACHINE, 8).memory == 0


def test_two_sockets_have_twice_the_memory_and_a_link():
    work = Work([Wave([1.0] * 8, 1600, 0)], 20_000, 0, False)
    one, two = work.share(MACHINE, 8), work.share(MACHINE, 8, 2)
    assert two.memory == 1600 / 4 / 5 - 1
    assert (two.handed, two.waits) == (3 * one.handed, 3 * one.waits)
    fast = Machine(8, 3, 2, 10, 16, 40, 1e9, 1000, 5000)
    assert work.share(fast, 8, 2).memory == 1600 / 64 - 1  # eight threads ask for 8 a nanosecond each


def test_what_a_worker_is_handed_ends_with_its_own_cache():
    work = Work([Wave([1.0], 0, 1e6)], 0, 0, False)
    assert work.share(MACHINE, 2).handed == 1000 / 2


def test_bytes_count_once_and_private_ones_never():
    x, y, build = as_buf(np.zeros(100, np.float32)), as_buf(np.zeros(100, np.float32)), Build()
    t = build.temp((100,), np.dtype(np.float32))
    build.add("elementwise.copy", cut(t, 100, write=True), cut(x, 100), rows=100, block=10)
    build.add("elementwise.copy", cut(y, 100, write=True), cut(t, 100), rows=100, block=10, commits=True)
    plan = Plan(build)
    arrays = [a for e in plan.entries for a in e.arrays]
    assert touched(plan, arrays) == (800 if id(t.storage) in plan.private else 1200)
    assert touched(plan, [Array(x.part(0, 60), (60,)), Array(x.part(40, 60), (60,)), whole(x.part(10, 5))]) == 400
    work = work_of(plan, [100.0] * len(plan.groups), 7)
    assert sum(sum(wave.tiles) for wave in work.waves) == pytest.approx(100 * len(plan.groups))
    assert work.python == 7


def test_ragged_last_tile_is_shorter():
    x, y, build = as_buf(np.zeros(25, np.float32)), as_buf(np.zeros(25, np.float32)), Build()
    build.add("elementwise.copy", cut(y, 25, write=True), cut(x, 25), rows=25, block=10, commits=True)
    [wave] = work_of(Plan(build), [100.0], 0).waves
    assert wave.tiles == [40, 40, 20]
    assert (wave.cut, wave.whole) == (200, 0)


def model_and_step():
    model = nf.Chain(nf.Dense(8, 16, nf.tanh, rng=0), nf.Dense(16, 3, rng=1))
    step = nf.compile(lambda m, x, y: nf.losses.mse(m(x), y), model, nf.setup(nf.Adam(1e-2), model))
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((100, n)).astype(np.float32) for n in (8, 3))
    return model, step, (x, y)


def test_timed_groups_are_whole_steps():
    (timed, step, batch), (plain, again, _) = model_and_step(), model_and_step()
    with nf.threads(1):
        step(*batch)
        instance = step.program(batch)[0].instance
        times = group_times(instance, 3)
    for _ in range(4):
        again(*batch)
    assert len(times) == len(instance.plan.groups)
    assert sum(times) > 0
    for a, b in zip(timed, plain, strict=True):
        assert np.array_equal(a.weight, b.weight)
        assert np.array_equal(a.bias, b.bias)


def test_measuring_leaves_the_plan_as_it_was():
    model, step, batch = model_and_step()
    plan, groups, python = measured(step, batch, 3)
    before = model[0].weight.copy()
    step(*batch)
    assert not np.array_equal(before, model[0].weight)
    assert len(groups) == len(plan.groups)
    assert python > 0


def test_plans_that_only_wait_and_hand_over():
    assert (waiting(1).waves, waiting(9).waves) == (1, 9)
    assert {g.tiles for g in waiting(9).groups} == {2}
    for over in (False, True):
        plan = handing(over)
        assert plan.waves == WAVES
        y, x = (a.buf.storage.array for a in plan.entries[0].arrays)
        numbers = np.arange(HANDED, dtype=np.float32)
        x[...] = numbers
        plan.run()
        assert np.array_equal(x, numbers)  # back again
        assert np.array_equal(y, np.roll(numbers, HANDED // 2 * over))


def test_cases_by_name():
    assert case_of("lenet_b128") is TRAINING["lenet_b128"]
    assert case_of("batch_lenet:128").batch == 128


def test_table_of_records():
    found = [{"threads": n, "us": 8.0, "measured": 10.0 if n < "3" else 0.0, "faster": 1.5} for n in ("1", "2", "8")]
    machine = {"processor": "One", "cores": 2, "gigabytes": 8, "system": "Linux 6", "threads": 2, "date": "2026-01-01"}
    machine |= {"versions": {"numbaflux": "1.0", "numpy": "2.0"}}
    first, _, head, _, row = markdown({"case": {"waves": 3, "rows": found, "machine": machine}}).splitlines()
    assert first == ("Measured on 2026-01-01 with 2 threads on One, 2 cores, 8 GB, Linux 6. numbaflux 1.0, NumPy 2.0.")
    assert head == "| case | model over measured at 1 and 2 | 2 | 8 |"
    assert row == "| case | 0.80, 0.80 | 1.50 | 1.50 |"


def test_command_prints_a_row_a_number_of_threads():
    if nf.native.pool().limit < 2:
        pytest.skip("machine: one core")
    command = [sys.executable, "-m", "benchmarks.threads", "width:64", "--rounds", "1", "--groups"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("  wave")]
    assert lines[0].startswith("start ")
    assert lines[1].startswith("width:64: ")
    labels = [line[:8].strip() for line in lines[3:]]
    assert labels == ["1", "2", "8", "32", "64", "2 x 32", "2 x 64"]
